"""How a subscription stands, and what the fate of its invoices makes of it."""

from __future__ import annotations

from typing import Any

from adapters.stripe.sandbox.books import Books, Json
from adapters.stripe.sandbox.fields import changed
from adapters.stripe.sandbox.invoices import subscription_of
from adapters.stripe.sandbox.proration_items import keep_debits

INCOMPLETE_S = 23 * 3_600
"""A first payment, and a pending update, have so long."""
ENDED = ("canceled", "incomplete_expired")


def revise(books: Books, subscription: Json, **fields: Any) -> Json:
    """Write changed fields and announce them; nothing if nothing changes."""
    after = subscription | fields
    previous = changed(subscription, after)
    if previous:
        books.put(after)
        books.emit("customer.subscription.updated", after, previous)
    return after


def settle(books: Books, invoice: Json) -> None:
    """Do what a change of an invoice's state means for its subscription, if it has one."""
    subscription_id = subscription_of(invoice)
    if subscription_id is None:
        return
    subscription = books.get("subscription", subscription_id)
    if subscription["status"] in ENDED:
        return
    pending = pending_of(books, subscription_id)
    if pending is not None and pending["invoice"] == invoice["id"]:
        if invoice["status"] == "paid":
            apply_pending(books, subscription, pending)
        return
    if subscription["status"] == "incomplete":
        if invoice["status"] == "paid":
            revise(books, subscription, status="active")
        return
    revise(books, subscription, status=_standing(books, subscription))


def pending_of(books: Books, subscription_id: str) -> Json | None:
    """The sandbox's own record of a pending update.

    {subscription, invoice, items, debits, expires_at}: it is there from the moment that the
    change waits for its payment, also while that payment is tried.
    """
    return books.look("sandbox.pending", f"pending_{subscription_id}")


def apply_pending(books: Books, subscription: Json, pending: Json) -> Json:
    """The invoice of a pending update is paid: the change holds."""
    books.remove(pending["id"])
    keep_debits(books, pending["debits"])
    waited = subscription["pending_update"] is not None
    subscription = revise(
        books,
        subscription,
        items=subscription["items"] | {"data": pending["items"]},
        latest_invoice=pending["invoice"],
        pending_update=None,
    )
    if waited:
        books.emit("customer.subscription.pending_update_applied", subscription)
    return subscription


def keep_cycle(books: Books, subscription: Json) -> None:
    """Remember when the current period ends: renewal.py looks for it."""
    books.put(
        {
            "object": "sandbox.cycle",
            "id": f"cycle_{subscription['id']}",
            "subscription": subscription["id"],
            "ends": subscription["items"]["data"][0]["current_period_end"],
        }
    )


def end(books: Books, subscription: Json, reason: str | None, **details: Any) -> Json:
    """Cancel at this instant. Open invoices stay owed but are no longer collected.

    `details` are the comment and feedback of the customer.
    """
    now = books.now()
    _cancel_schedule(books, subscription["schedule"])
    former = subscription["cancellation_details"]
    reason = reason or former["reason"] or "cancellation_requested"
    subscription |= {
        "canceled_at": subscription["canceled_at"] or now,
        "cancellation_details": former | details | {"reason": reason},
        "ended_at": now,
        "pending_update": None,
        "schedule": None,
        "status": "canceled",
    }
    books.put(subscription)
    books.remove(f"cycle_{subscription['id']}")
    if (pending := pending_of(books, subscription["id"])) is not None:
        books.remove(pending["id"])
    for invoice in invoices_of(books, subscription["id"]):
        if invoice["status"] in ("draft", "open") and invoice["auto_advance"]:
            invoice |= {
                "auto_advance": False,
                "automatically_finalizes_at": None,
                "next_payment_attempt": None,
            }
            books.put(invoice)
    books.emit("customer.subscription.deleted", subscription)
    return subscription


def _cancel_schedule(books: Books, schedule_id: str | None) -> None:
    schedule = books.look("subscription_schedule", schedule_id or "")
    if schedule is not None and schedule["status"] == "active":
        schedule |= {"canceled_at": books.now(), "current_phase": None, "status": "canceled"}
        books.emit("subscription_schedule.canceled", books.put(schedule))


def invoices_of(books: Books, subscription_id: str) -> list[Json]:
    """The invoices of a subscription, newest first."""
    return books.find("invoice", parent__subscription_details__subscription=subscription_id)


def _standing(books: Books, subscription: Json) -> str:
    """`active` or `past_due` by the latest finalised invoice that still counts.

    A void invoice never was; an uncollectible one changes nothing. An `unpaid` subscription
    stays so until its latest invoice is paid.
    """
    status: str = subscription["status"]
    pending = pending_of(books, subscription["id"])
    for invoice in invoices_of(books, subscription["id"]):
        if invoice["status"] in ("draft", "void"):
            continue
        if pending is not None and pending["invoice"] == invoice["id"]:
            continue
        if invoice["status"] == "paid":
            return "active"
        if invoice["status"] == "open" and invoice["attempted"] and status != "unpaid":
            return "past_due"
        return status
    return "active"
