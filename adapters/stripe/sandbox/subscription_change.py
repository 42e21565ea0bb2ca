"""How the items of a subscription change: with or without proration, now or once it is paid."""

from __future__ import annotations

from typing import Any

from adapters.stripe.sandbox import invoices
from adapters.stripe.sandbox.books import Books, Json
from adapters.stripe.sandbox.errors import invalid
from adapters.stripe.sandbox.invoice_items import bill_items, pending_items
from adapters.stripe.sandbox.invoice_payment import collect, open_for_payment, void
from adapters.stripe.sandbox.proration_items import (
    Proration,
    keep_debits,
    prorate,
    proration_date,
)
from adapters.stripe.sandbox.route import due
from adapters.stripe.sandbox.subscription_items import changed_items, is_changed, period_of
from adapters.stripe.sandbox.subscription_state import INCOMPLETE_S, pending_of, revise

NOTHING = Proration([], [])


def planned(books: Books, subscription: Json, asked: Json) -> tuple[list[Json], Proration, int]:
    """What `items`, `proration_behavior` and `proration_date` would make of a subscription.

    The items after it, what it puts on a bill, and the instant it counts from. A preview and
    the update itself both ask here, so that they cannot differ. Writes nothing.
    """
    behavior = asked.get("proration_behavior", "create_prorations")
    if behavior == "none" and "proration_date" in asked:
        raise invalid(
            "You can not pass `proration_date` when `proration_behavior` is set to `none`.",
            "proration_date",
        )
    after = changed_items(books, subscription, asked.get("items", []))
    if _interval(after) != _interval(subscription["items"]["data"]):
        raise invalid("The sandbox does not change a subscription's interval.", "items")
    at = proration_date(subscription, asked.get("proration_date"), books.now())
    if behavior == "none" or at >= period_of(subscription)[1]:
        return after, NOTHING, at
    return after, prorate(books, subscription, after, at), at


def change_items(books: Books, subscription: Json, asked: Json, fields: dict[str, Any]) -> Json:
    """Carry out an update that names `items`; `fields` are what else of it changes."""
    after, proration, at = planned(books, subscription, asked)
    items = subscription["items"] | {"data": after}
    if not _differ(subscription["items"]["data"], after):
        return revise(books, subscription, **fields, items=items)
    subscription = discard_pending(books, subscription)
    if asked.get("proration_behavior") == "always_invoice" and proration.items:
        return _invoiced(books, subscription, asked, fields | {"items": items}, proration, at)
    # From the last to the first: the pending items of an invoice are listed newest first.
    for item in reversed(proration.items):
        books.emit("invoiceitem.created", books.put(item))
    keep_debits(books, proration.debits)
    return revise(books, subscription, **fields, items=items)


def discard_pending(books: Books, subscription: Json) -> Json:
    """Give up a pending update, if there is one: its invoice is void."""
    pending = pending_of(books, subscription["id"])
    if pending is None:
        return subscription
    invoice = books.get("invoice", pending["invoice"])
    if invoice["status"] in ("open", "uncollectible"):
        void(books, invoice)
    books.remove(pending["id"])
    return revise(books, subscription, pending_update=None)


@due
def expire_pending(books: Books, now: int) -> int | None:
    """Give up pending updates that nobody has paid in time."""
    for pending in books.until("sandbox.pending", "expires_at", now):
        subscription = books.get("subscription", pending["subscription"])
        subscription = discard_pending(books, subscription)
        books.emit("customer.subscription.pending_update_expired", subscription)
    return books.earliest("sandbox.pending", "expires_at")


def _invoiced(
    books: Books,
    subscription: Json,
    asked: Json,
    fields: dict[str, Any],
    proration: Proration,
    at: int,
) -> Json:
    """Bill a change at once; it holds at once too, unless it is to wait for its payment."""
    how = asked.get("payment_behavior", "allow_incomplete")
    invoice = _bill(books, subscription, proration, at)
    books.emit("invoice.created", invoice)
    if how == "pending_if_incomplete":
        return _held_until_paid(books, subscription, fields["items"]["data"], invoice, proration)
    keep_debits(books, proration.debits)
    subscription = revise(books, subscription, **fields, latest_invoice=invoice["id"])
    invoice = open_for_payment(books, invoice)
    if invoice["status"] == "open" and how == "default_incomplete":
        revise(books, subscription, status="past_due")
    elif invoice["status"] == "open":
        _, refusal = collect(books, invoice)
        if refusal is not None and how == "error_if_incomplete":
            refusal.kept = False
            raise refusal
    return books.get("subscription", subscription["id"])


def _held_until_paid(
    books: Books, subscription: Json, after: list[Json], invoice: Json, proration: Proration
) -> Json:
    """Change a subscription once its invoice is paid: now, if the card allows it."""
    expires = min(books.now() + INCOMPLETE_S, period_of(subscription)[1])
    books.put(
        {
            "object": "sandbox.pending",
            "id": f"pending_{subscription['id']}",
            "subscription": subscription["id"],
            "invoice": invoice["id"],
            "items": after,
            "debits": proration.debits,
            "expires_at": expires,
        }
    )
    invoice = open_for_payment(books, invoice)
    if invoice["status"] == "open":
        collect(books, invoice)
    subscription = books.get("subscription", subscription["id"])
    if pending_of(books, subscription["id"]) is None:
        return subscription
    nothing = ("billing_cycle_anchor", "trial_end", "trial_from_plan")
    update = {**dict.fromkeys(nothing), "expires_at": expires, "subscription_items": after}
    return revise(books, subscription, latest_invoice=invoice["id"], pending_update=update)


def _bill(books: Books, subscription: Json, proration: Proration, at: int) -> Json:
    """The draft for a change: its lines, and what else was waiting for an invoice."""
    customer = books.get("customer", subscription["customer"])
    now = books.now()
    invoice = invoices.draft(
        books,
        customer,
        "subscription_update",
        subscription["currency"],
        (now, now),
        auto_advance=True,
        parent=invoices.of_subscription(subscription, at),
    )
    waiting = pending_items(books, customer["id"], subscription["id"])
    return bill_items(books, invoice, proration.items + waiting)


def _differ(before: list[Json], after: list[Json]) -> bool:
    """Whether anything that is billed differs."""
    former = {item["id"]: item for item in before}
    if former.keys() != {item["id"] for item in after}:
        return True
    return any(is_changed(former[item["id"]], item) for item in after)


def _interval(items: list[Json]) -> tuple[str, int]:
    terms = items[0]["price"]["recurring"]
    return terms["interval"], terms["interval_count"]
