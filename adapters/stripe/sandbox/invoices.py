"""Invoices: drafted, filled, finalised, voided. invoice_payment.py collects what they ask for."""

from __future__ import annotations

from typing import Any

from adapters.stripe.sandbox.billing_settings import settings
from adapters.stripe.sandbox.books import Books, Json
from adapters.stripe.sandbox.errors import invalid
from adapters.stripe.sandbox.invoice_lines import SHOWN, lines_of
from adapters.stripe.sandbox.payment_intents import AMOUNTS_MIN

LINES_MAX = 250


def draft(
    books: Books,
    customer: Json,
    reason: str,
    currency: str,
    period: tuple[int, int],
    **fields: Any,
) -> Json:
    """A new empty draft for (start, end). `fields` are any fields of the invoice."""
    balance = customer.get("balance") or 0
    invoice = _blank(books) | {
        "billing_reason": reason,
        "currency": currency,
        "customer": customer["id"],
        "customer_address": customer.get("address"),
        "customer_email": customer.get("email"),
        "customer_name": customer.get("name"),
        "customer_phone": customer.get("phone"),
        "customer_tax_exempt": customer.get("tax_exempt"),
        "period_end": period[1],
        "period_start": period[0],
        "starting_balance": balance,
        **fields,
    }
    return advancing(books, invoice, invoice["auto_advance"])


def advancing(books: Books, invoice: Json, by_itself: bool) -> Json:
    """The invoice as one that advances by itself, or as one that does not."""
    drafted = invoice["status"] == "draft" and by_itself
    return invoice | {
        "auto_advance": by_itself,
        "automatically_finalizes_at": books.now() + settings(books).draft_s if drafted else None,
        "next_payment_attempt": invoice["next_payment_attempt"] if by_itself else None,
    }


def of_subscription(subscription: Json, at: int | None = None) -> Json:
    """The `parent` of an invoice that belongs to a subscription."""
    return {
        "quote_details": None,
        "subscription_details": {
            "metadata": subscription["metadata"],
            "subscription": subscription["id"],
            "subscription_proration_date": at,
        },
        "type": "subscription_details",
    }


def subscription_of(invoice: Json) -> str | None:
    """The id of the subscription that an invoice belongs to."""
    details = (invoice["parent"] or {}).get("subscription_details")
    return None if details is None else details["subscription"]


def total_up(invoice: Json, lines: list[Json]) -> Json:
    """The invoice with these lines and the sums that follow from them."""
    total = sum(line["amount"] for line in lines)
    due, _ = owed(total, invoice["starting_balance"], invoice["currency"])
    return invoice | {
        "amount_due": due,
        "amount_remaining": due,
        "lines": {
            "object": "list",
            "data": lines[:SHOWN],
            "has_more": len(lines) > SHOWN,
            "url": f"/v1/invoices/{invoice['id']}/lines",
        },
        "subtotal": total,
        "subtotal_excluding_tax": total,
        "total": total,
        "total_excluding_tax": total,
    }


def owed(total: int, balance: int, currency: str) -> tuple[int, int]:
    """What a card is asked for, and the customer's balance after it.

    A credit (a negative balance) pays first. What is less than a card can be charged is not
    asked for: it stays on the balance, for the next invoice.
    """
    together = total + balance
    if together < AMOUNTS_MIN.get(currency, 1):
        return 0, together
    return together, 0


def add_lines(books: Books, invoice: Json, lines: list[Json]) -> Json:
    """Write lines onto a draft; the invoice with its new sums."""
    before = lines_of(books, invoice["id"])
    if len(before) + len(lines) > LINES_MAX:
        raise invalid(
            f"You cannot add more than {LINES_MAX} items to an invoice.",
            "invoice",
        )
    for line in lines:
        books.put(line)
    return books.put(total_up(invoice, before + lines))


def finalise(books: Books, invoice: Json, auto_advance: bool | None = None) -> Json:
    """Open a draft: it gets its number and can no longer change.

    With nothing to collect it is paid at once; who calls does what a paid invoice brings.
    """
    if invoice["status"] != "draft":
        raise invalid(
            "This invoice is already finalized, you can't re-finalize a non-draft invoice.",
            code="invoice_not_editable",
        )
    customer = books.get("customer", invoice["customer"])
    balance = customer.get("balance") or 0
    invoice = total_up(invoice | {"starting_balance": balance}, lines_of(books, invoice["id"]))
    _, after = owed(invoice["total"], balance, invoice["currency"])
    now = books.now()
    invoice |= {
        "auto_advance": invoice["auto_advance"] if auto_advance is None else auto_advance,
        "automatically_finalizes_at": None,
        "effective_at": now,
        "ending_balance": after,
        "hosted_invoice_url": f"{books.url}/invoice/{invoice['id']}",
        "invoice_pdf": f"{books.url}/invoice/{invoice['id']}/pdf",
        "number": _number(books, customer),
        "status": "open",
        "status_transitions": invoice["status_transitions"] | {"finalized_at": now},
    }
    _stamp_metadata(books, invoice)
    books.emit("invoice.finalized", books.put(invoice))
    move_balance(books, invoice["customer"], after)
    if invoice["amount_due"] == 0:
        return paid(books, invoice, 0)
    return invoice


def _stamp_metadata(books: Books, invoice: Json) -> None:
    """Stamp the metadata of the subscription as it is at this moment, as Stripe does."""
    subscription_id = subscription_of(invoice)
    if subscription_id is not None:
        metadata = books.get("subscription", subscription_id)["metadata"]
        invoice["parent"]["subscription_details"]["metadata"] = metadata


def paid(books: Books, invoice: Json, amount: int, out_of_band: bool = False) -> Json:
    """Mark an invoice as settled. `amount` came by card."""
    invoice |= {
        "amount_paid": 0 if out_of_band else amount,
        "amount_paid_off_stripe": amount if out_of_band else 0,
        "amount_remaining": 0,
        "attempted": True,
        "auto_advance": False,
        "next_payment_attempt": None,
        "status": "paid",
        "status_transitions": invoice["status_transitions"] | {"paid_at": books.now()},
    }
    books.put(invoice)
    books.emit("invoice.paid", invoice)
    books.emit("invoice.payment_succeeded", invoice)
    return invoice


def void(books: Books, invoice: Json) -> Json:
    """Declare an open or uncollectible invoice a mistake; its use of the balance is undone."""
    if invoice["status"] not in ("open", "uncollectible"):
        raise invalid(
            f"You can only pass in open or uncollectible invoices. This invoice has status"
            f" `{invoice['status']}`."
        )
    customer = books.get("customer", invoice["customer"])
    used = invoice["starting_balance"] - invoice["ending_balance"]
    move_balance(books, customer["id"], (customer.get("balance") or 0) + used)
    invoice |= {
        "amount_remaining": 0,
        "auto_advance": False,
        "next_payment_attempt": None,
        "status": "void",
        "status_transitions": invoice["status_transitions"] | {"voided_at": books.now()},
    }
    books.put(invoice)
    books.emit("invoice.voided", invoice)
    return invoice


def mark_uncollectible(books: Books, invoice: Json) -> Json:
    """Give up on an open invoice; it can still be paid or voided."""
    if invoice["status"] != "open":
        raise invalid(
            f"You can only pass in open invoices. This invoice has status `{invoice['status']}`."
        )
    invoice |= {
        "auto_advance": False,
        "next_payment_attempt": None,
        "status": "uncollectible",
        "status_details": {"uncollectible": {"reason": "user_forgiven"}},
        "status_transitions": invoice["status_transitions"]
        | {"marked_uncollectible_at": books.now()},
    }
    books.put(invoice)
    books.emit("invoice.marked_uncollectible", invoice)
    return invoice


def move_balance(books: Books, customer_id: str, balance: int) -> None:
    """Set what a customer owes (positive) or has in credit (negative)."""
    customer = books.get("customer", customer_id)
    before = customer.get("balance") or 0
    if balance != before:
        customer["balance"] = balance
        books.emit("customer.updated", books.put(customer), {"balance": before})


def _number(books: Books, customer: Json) -> str:
    """The next number of a customer's own sequence: ABCD1234-0001."""
    sequence = customer.get("next_invoice_sequence") or 1
    customer["next_invoice_sequence"] = sequence + 1
    books.put(customer)
    return f"{customer.get('invoice_prefix') or 'SANDBOX'}-{sequence:04d}"


def _blank(books: Books) -> Json:
    """A draft of nothing for nobody."""
    nothing = (
        "account_country", "account_name", "account_tax_ids", "application",
        "automatically_finalizes_at", "custom_fields",
        "customer_account", "customer_shipping", "default_payment_method", "default_source",
        "description", "due_date", "effective_at", "ending_balance", "footer", "from_invoice",
        "hosted_invoice_url", "invoice_pdf", "last_finalization_error", "latest_revision",
        "next_payment_attempt", "number", "on_behalf_of", "parent", "receipt_number",
        "rendering", "shipping_cost", "shipping_details", "statement_descriptor",
        "status_details", "test_clock", "threshold_reason", "webhooks_delivered_at",
    )  # fmt: skip
    zero = (
        "amount_due", "amount_overpaid", "amount_paid", "amount_paid_off_stripe",
        "amount_remaining", "amount_shipping", "attempt_count", "starting_balance",
        "post_payment_credit_notes_amount", "pre_payment_credit_notes_amount", "subtotal",
        "subtotal_excluding_tax", "total", "total_excluding_tax",
    )  # fmt: skip
    empty = (
        "customer_tax_ids", "default_tax_rates", "discounts", "total_discount_amounts",
        "total_pretax_credit_amounts", "total_taxes",
    )  # fmt: skip
    moments = ("finalized_at", "marked_uncollectible_at", "paid_at", "voided_at")
    invoice_id = books.new_id("in")
    return {
        "id": invoice_id,
        "object": "invoice",
        **dict.fromkeys(nothing),
        **dict.fromkeys(zero, 0),
        **{name: [] for name in empty},
        "attempted": False,
        "auto_advance": False,
        "automatic_tax": dict.fromkeys(("disabled_reason", "liability", "provider", "status"))
        | {"enabled": False},
        "collection_method": "charge_automatically",
        "created": books.now(),
        "issuer": {"account": None, "type": "self"},
        "lines": {
            "object": "list",
            "data": [],
            "has_more": False,
            "url": f"/v1/invoices/{invoice_id}/lines",
        },
        "livemode": False,
        "metadata": {},
        "payment_settings": {
            "default_mandate": None,
            "payment_method_options": None,
            "payment_method_types": None,
        },
        "status": "draft",
        "status_transitions": dict.fromkeys(moments),
    }
