"""How a subscription begins: its object, its first invoice, and whether that is paid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adapters.stripe.sandbox import invoices
from adapters.stripe.sandbox.books import Books, Json
from adapters.stripe.sandbox.errors import invalid
from adapters.stripe.sandbox.invoice_items import bill_items, one_off
from adapters.stripe.sandbox.invoice_lines import line_of_period
from adapters.stripe.sandbox.invoice_payment import collect, open_for_payment
from adapters.stripe.sandbox.proration import Debit, period_at
from adapters.stripe.sandbox.subscription_items import (
    new_item,
    period_of,
    record_debit,
    same_terms,
)
from adapters.stripe.sandbox.subscription_state import keep_cycle

_NOTHING = (
    "application", "application_fee_percent", "billing_cycle_anchor_config",
    "billing_thresholds", "cancel_at", "canceled_at", "customer_account", "days_until_due",
    "default_payment_method", "default_source", "description", "ended_at",
    "latest_invoice", "next_pending_invoice_item_invoice", "on_behalf_of",
    "pause_collection", "pending_invoice_item_interval", "pending_setup_intent",
    "pending_update", "schedule", "status_details", "test_clock", "transfer_data",
    "trial_end", "trial_start",
)  # fmt: skip
_UNSET = ("account_tax_ids", "custom_fields", "description", "footer")
_BLANK: Json = {
    "object": "subscription",
    **dict.fromkeys(_NOTHING),
    "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None},
    "billing_schedules": [],
    "cancel_at_period_end": False,
    "cancellation_details": dict.fromkeys(("comment", "feedback", "feedback_option", "reason")),
    "collection_method": "charge_automatically",
    "default_tax_rates": [],
    "discounts": [],
    "invoice_settings": dict.fromkeys(_UNSET) | {"issuer": {"account": None, "type": "self"}},
    "livemode": False,
    "managed_payments": {"enabled": False},
    "metadata": {},
    "payment_settings": {
        "payment_method_options": None,
        "payment_method_types": None,
        "save_default_payment_method": "off",
    },
    "status": "incomplete",
    "trial_settings": {
        "end_behavior": {
            "billing_cycle_anchor": None,
            "missing_payment_method": "create_invoice",
        }
    },
}


def start_subscription(
    books: Books,
    customer: Json,
    items: Sequence[Json],
    metadata: dict[str, str] | None = None,
    payment_method: str | None = None,
    payment_behavior: str = "allow_incomplete",
    once: Sequence[Json] = (),
    **fields: Any,
) -> Json:
    """Subscribe a customer to items ({price, quantity}) from now on; it, as it ends up.

    `payment_method` becomes the subscription's default; `fields` are any fields of it; `once`
    is put onto its first invoice too ({price, quantity} of one-off prices).

    :raises StripeError: the card_error of the first payment, if `payment_behavior` is
        error_if_incomplete; the request that asked leaves nothing behind then.
    """
    subscription = blank_subscription(books, customer["id"], items) | {
        "default_payment_method": payment_method,
        "metadata": metadata or {},
        **fields,
    }
    invoice = first_invoice(books, customer, subscription)
    subscription["latest_invoice"] = invoice["id"]
    books.put(subscription)
    keep_cycle(books, subscription)
    books.emit("customer.subscription.created", subscription)
    extras = [one_off(books, customer["id"], entry, subscription["id"]) for entry in once]
    invoice = bill_items(books, invoice, extras)
    invoice = bill_period(books, invoice, subscription)
    books.emit("invoice.created", invoice)
    invoice = open_for_payment(books, invoice)
    if invoice["status"] == "open" and payment_behavior != "default_incomplete":
        _, refusal = collect(books, invoice)
        if refusal is not None and payment_behavior == "error_if_incomplete":
            refusal.kept = False
            raise refusal
    return books.get("subscription", subscription["id"])


def first_invoice(books: Books, customer: Json, subscription: Json) -> Json:
    """The empty draft of a subscription's first invoice. It is not written."""
    now = books.now()
    return invoices.draft(
        books,
        customer,
        "subscription_create",
        subscription["currency"],
        (now, now),
        auto_advance=True,
        parent=invoices.of_subscription(subscription),
    )


def bill_period(books: Books, invoice: Json, subscription: Json) -> Json:
    """Put a whole period of every item onto a draft; it is what the items were last billed."""
    period = period_of(subscription)
    for item in subscription["items"]["data"]:
        line = line_of_period(books, invoice["id"], item, period)
        invoice = invoices.add_lines(books, invoice, [line])
        source = {"invoice": invoice["id"], "line": line["id"]}
        record_debit(books, item["id"], Debit(line["amount"], *period), source)
    return invoice


def blank_subscription(books: Books, customer_id: str, asked: Sequence[Json]) -> Json:
    """A subscription from now on, incomplete until it is paid. It is not written."""
    if not asked:
        raise invalid("Missing required param: items.", "items", "parameter_missing")
    now = books.now()
    subscription_id = books.new_id("sub")
    items = [new_item(books, subscription_id, entry, (now, now)) for entry in asked]
    same_terms(items)
    terms = items[0]["price"]["recurring"]
    _, ends = period_at(now, terms["interval"], terms["interval_count"], now)
    for item in items:
        item["current_period_end"] = ends
    return _BLANK | {
        "id": subscription_id,
        "billing_cycle_anchor": now,
        "billing_mode": {
            "flexible": {"proration_discounts": "included"},
            "type": "flexible",
            "updated_at": now,
        },
        "created": now,
        "currency": items[0]["price"]["currency"],
        "customer": customer_id,
        "items": {
            "object": "list",
            "data": items,
            "has_more": False,
            "url": f"/v1/subscription_items?subscription={subscription_id}",
        },
        "start_date": now,
    }
