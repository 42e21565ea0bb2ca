"""What time brings to subscriptions and invoices, each step at its own second.

The order of the functions is the order of their work within one second: what ends, ends before
it would be renewed; a schedule changes the items before they are billed.
"""

from __future__ import annotations

from adapters.stripe.sandbox import invoices
from adapters.stripe.sandbox.books import Books, Json
from adapters.stripe.sandbox.errors import StripeError
from adapters.stripe.sandbox.invoice_items import bill_items, pending_items
from adapters.stripe.sandbox.invoice_payment import collect, open_for_payment, void
from adapters.stripe.sandbox.proration import period_at
from adapters.stripe.sandbox.route import due
from adapters.stripe.sandbox.schedules import change_phases
from adapters.stripe.sandbox.subscription_change import expire_pending
from adapters.stripe.sandbox.subscription_items import period_of
from adapters.stripe.sandbox.subscription_start import bill_period
from adapters.stripe.sandbox.subscription_state import INCOMPLETE_S, end, keep_cycle, revise

__all__ = ["cancel_due", "change_phases", "expire_pending", "renew_due"]


@due
def expire_incomplete(books: Books, now: int) -> int | None:
    """End subscriptions whose first invoice was not paid within 23 hours."""
    for subscription in books.until(
        "subscription", "created", now - INCOMPLETE_S, status="incomplete"
    ):
        books.remove(f"cycle_{subscription['id']}")
        revise(books, subscription, status="incomplete_expired", ended_at=books.now())
        invoice = books.get("invoice", subscription["latest_invoice"])
        if invoice["status"] == "open":
            void(books, invoice)
    first = books.earliest("subscription", "created", status="incomplete")
    return None if first is None else first + INCOMPLETE_S


@due
def cancel_due(books: Books, now: int) -> int | None:
    """End subscriptions that were to end now; what was waiting for an invoice gets a last one."""
    for subscription in books.until("subscription", "cancel_at", now, ended_at=None):
        last = _pending_invoice(books, subscription)
        if last is not None:
            subscription["latest_invoice"] = last["id"]
        end(books, subscription, None)
        if last is not None:
            books.emit("invoice.created", last)
    return books.earliest("subscription", "cancel_at", ended_at=None)


@due
def renew_due(books: Books, now: int) -> int | None:
    """Begin the next period of every subscription whose period is over."""
    for cycle in books.until("sandbox.cycle", "ends", now):
        _renew(books, books.get("subscription", cycle["subscription"]))
    return books.earliest("sandbox.cycle", "ends")


@due
def finalise_due(books: Books, now: int) -> int | None:
    """Finalise drafts whose hour is over, and collect them."""
    for invoice in books.until("invoice", "automatically_finalizes_at", now, status="draft"):
        try:
            with books.transaction():
                opened = open_for_payment(books, invoice)
        except StripeError as refusal:
            _stop(books, invoice, refusal)
            continue
        if opened["status"] == "open":
            collect(books, opened, automatic=True)
    return books.earliest("invoice", "automatically_finalizes_at", status="draft")


@due
def retry_due(books: Books, now: int) -> int | None:
    """Try again to collect what could not be collected."""
    for invoice in books.until("invoice", "next_payment_attempt", now, status="open"):
        collect(books, invoice, automatic=True)
    return books.earliest("invoice", "next_payment_attempt", status="open")


def _stop(books: Books, invoice: Json, refusal: StripeError) -> None:
    """An invoice that cannot be finalised, its customer being gone or its sum too large, waits."""
    error = refusal.error
    names = ("code", "message", "param", "type")
    invoice = invoices.advancing(books, invoice, False) | {
        "last_finalization_error": {name: error[name] for name in names if name in error}
    }
    books.emit("invoice.finalization_failed", books.put(invoice))


def _renew(books: Books, subscription: Json) -> None:
    former = period_of(subscription)
    terms = subscription["items"]["data"][0]["price"]["recurring"]
    anchor = subscription["billing_cycle_anchor"]
    start, ends = period_at(anchor, terms["interval"], terms["interval_count"], former[1])
    items = [
        item | {"current_period_start": start, "current_period_end": ends}
        for item in subscription["items"]["data"]
    ]
    renewed = subscription | {"items": subscription["items"] | {"data": items}}
    keep_cycle(books, renewed)
    customer = books.get("customer", subscription["customer"])
    invoice = invoices.draft(
        books,
        customer,
        "subscription_cycle",
        subscription["currency"],
        former,
        # An unpaid subscription goes on making drafts, which nobody collects.
        auto_advance=subscription["status"] != "unpaid",
        parent=invoices.of_subscription(subscription),
    )
    waiting = pending_items(books, customer["id"], subscription["id"])
    invoice = bill_items(books, invoice, waiting)
    invoice = bill_period(books, invoice, renewed)
    revise(books, subscription, items=renewed["items"], latest_invoice=invoice["id"])
    books.emit("invoice.created", invoice)


def _pending_invoice(books: Books, subscription: Json) -> Json | None:
    """A draft of what still waits for an invoice of a subscription that ends."""
    waiting = pending_items(books, subscription["customer"], subscription["id"])
    if not waiting:
        return None
    invoice = invoices.draft(
        books,
        books.get("customer", subscription["customer"]),
        "subscription_cycle",
        subscription["currency"],
        period_of(subscription),
        auto_advance=False,
        parent=invoices.of_subscription(subscription),
    )
    return bill_items(books, invoice, waiting)
