"""What Stripe tells of subscriptions and their invoices.

No delivery is taken at its word: what decides is the object as it is at Stripe now. Only where
Stripe has no such object (any more) is the picture in the event all there is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog

from adapters.stripe import agreements
from adapters.stripe.objects import Unreadable, pictured
from api.stripe.till import Disposition, Handler, StripeEvent, Till
from domain.contract.processor import RemoteSubscription, Session
from domain.contract.sync import Synced
from domain.facts import Context
from domain.invoice.invoice import InvoiceDocument
from domain.invoice.invoicing import Failure

log = structlog.get_logger("daybook.stripe")


# Pages.


async def checkout_completed(event: StripeEvent, till: Till, context: Context) -> Disposition:
    """A page was completed: its subscription is in force once it is paid."""
    if event.object.get("mode") != "subscription":
        return "ignored"
    contracts = till.contracts
    session = await contracts.session(event.object["id"])
    if session is None or session.workspace_id is None or session.payment_attempt_id is None:
        return "ignored"
    if session.subscription_id is None:
        return "deferred"
    remote = await contracts.subscription(session.subscription_id)
    if remote is None or remote.workspace_id is None:
        return "deferred"
    ledger = till.ledger
    if await ledger.known_subscription(remote.workspace_id) is None:
        return "ignored"
    if not session.is_paid or not remote.is_live:
        await ledger.announce(remote, context)
        return "applied"
    done = await ledger.activate(remote, session.amount_total, context)
    if done == "deferred":
        # The one in force may have ended at Stripe, and nobody has told us yet.
        ours = await ledger.known_subscription(remote.workspace_id)
        if ours is not None and ours.stripe_id is not None:
            await _synced(ours.stripe_id, till, context, whose=ours.workspace_id)
            done = await ledger.activate(remote, session.amount_total, context)
    if done == "applied":
        paid = session.amount_total
        await ledger.note_checkout_paid(session.payment_attempt_id, paid, context)
    if done == "deferred":
        return await _bought_twice(session, remote, till, context)
    return done


async def _bought_twice(
    session: Session, remote: RemoteSubscription, till: Till, context: Context
) -> Disposition:
    """Two pages were paid: the second subscription ends before it costs any more, and what was
    paid for it waits for an administrator, to be refunded or credited."""
    attempt_id, invoice_id = session.payment_attempt_id, remote.latest_invoice_id
    intent_id = await till.contracts.payment_of(invoice_id) if invoice_id else None
    ids = {"subscription": remote.id, "workspace_id": remote.workspace_id}
    log.error("subscribed_twice", **ids, payment_attempt_id=attempt_id)
    if intent_id is not None and attempt_id is not None:
        paid = session.amount_total
        await till.ledger.note_bought_twice(attempt_id, intent_id, paid, context)
        await till.payments.name_attempt(intent_id, attempt_id, remote.workspace_id or "")
    await till.contracts.drop(remote.id)
    return "applied"


async def checkout_expired(event: StripeEvent, till: Till, context: Context) -> Disposition:
    """Nobody paid in time, or the bank said no days later: nothing was ever in force, and Stripe
    need not go on asking for money."""
    attempt = (event.object.get("metadata") or {}).get("payment_attempt_id")
    if event.object.get("mode") != "subscription" or attempt is None:
        return "ignored"
    session = await till.contracts.session(event.object["id"])
    if session is not None and session.subscription_id is not None and session.workspace_id:
        ours = await till.ledger.known_subscription(session.workspace_id)
        if session.is_paid or (ours is not None and ours.is_known(session.subscription_id)):
            return "applied"
        await till.contracts.drop(session.subscription_id)
    await till.ledger.note_checkout_expired(attempt, context)
    return "applied"


# Subscriptions.


async def subscription_changed(event: StripeEvent, till: Till, context: Context) -> Disposition:
    """Something about a subscription is different; what, Stripe says now."""
    stripe_id = event.object.get("subscription") or event.object.get("released_subscription")
    whose = None
    if event.type.startswith("customer.subscription."):
        stripe_id = event.object["id"]
        whose = (event.object.get("metadata") or {}).get("workspace_id")
    if not stripe_id:
        return "ignored"
    return (await _synced(str(stripe_id), till, context, whose=whose)).disposition


async def _synced(
    stripe_id: str, till: Till, context: Context, *, paid: bool = False, whose: str | None = None
) -> Synced:
    synced = await till.ledger.sync_subscription(
        till.contracts, stripe_id, context, paid=paid, whose=whose
    )
    ours, remote = synced.subscription, synced.remote
    if synced.disposition == "applied" and ours is not None and remote is not None:
        known = ours.billed_plan
        if ours.stripe_id == remote.id and remote.plan != known and remote.pending_until is None:
            log.warning("stripe_plan_differs", subscription=remote.id, ours=known, at=remote.plan)
    return synced


# Invoices.


async def invoice_changed(event: StripeEvent, till: Till, context: Context) -> Disposition:
    """An invoice is different: mirror it, and follow what that means for its subscription."""
    contracts = till.contracts
    document = await contracts.invoice(event.object["id"]) or _pictured(event.object)
    if document is None:
        # Of a subscription that may be on its way, or of nothing that could be ours.
        return "deferred" if agreements.invoice_subscription(event.object)[0] else "ignored"
    status = None
    if document.subscription_id is not None:
        paid = document.status == "paid"
        synced = await _synced(
            document.subscription_id, till, context, paid=paid, whose=document.workspace_id
        )
        known, remote = synced.disposition, synced.remote
        if known != "applied" and not await till.ledger.mirrors(document.id):
            return known
        # A declined upgrade that waits for its payment is nobody's debt.
        waits = remote and remote.pending_until and remote.latest_invoice_id == document.id
        status = remote.status if remote and not waits else None
    failure = _failure(event) if event.type == "invoice.payment_failed" else None
    done = await till.ledger.note_invoice(document, context, failure=failure, remote_status=status)
    if done == "applied" and document.workspace_id and event.type in CLOSING:
        await till.ledger.bill_overage(contracts, document.workspace_id, context)
    return done


async def invoice_deleted(event: StripeEvent, till: Till, context: Context) -> Disposition:
    """A draft was thrown away at Stripe, which has nothing left of it but this picture."""
    document = _pictured(event.object)
    if document is None:
        return "ignored"
    return await till.ledger.note_invoice_deleted(document, event.created, context)


async def charge_refunded(event: StripeEvent, till: Till, context: Context) -> Disposition:
    """Money that paid an invoice was given back; other payments are none of ours."""
    intent = event.object.get("payment_intent")
    if (event.object.get("metadata") or {}).get("payment_attempt_id") or not intent:
        return "ignored"
    invoice_id = await till.contracts.invoice_of(str(intent))
    document = await till.contracts.invoice(invoice_id) if invoice_id else None
    if document is None or document.workspace_id is None:
        return "ignored"
    if document.subscription_id is not None and not await till.ledger.mirrors(document.id):
        known = await _synced(document.subscription_id, till, context)
        if known.disposition == "ignored":
            return "ignored"  # of a subscription that never came into force
    back = int(event.object.get("amount_refunded") or 0)
    return await till.ledger.note_invoice_refunded(document.id, back, context)


def _pictured(found: dict[str, Any]) -> InvoiceDocument | None:
    """The invoice as the event shows it, for one that Stripe does not have (any more)."""

    def read(found: Mapping[str, Any]) -> InvoiceDocument:
        return agreements.invoice(found, (found.get("lines") or {}).get("data") or ())

    try:
        return pictured(read, found)
    except Unreadable:
        return None


def _failure(event: StripeEvent) -> Failure:
    error = event.object.get("last_finalization_error") or {}
    return Failure(
        event.id,
        event.created,
        int(event.object.get("attempt_count") or 0),
        agreements.moment_or_none(event.object.get("next_payment_attempt")),
        error.get("decline_code"),
    )


CLOSING = ("invoice.created", "invoice.finalized")

CONTRACT: dict[str, Handler] = {
    "charge.refunded": charge_refunded,
    "invoice.deleted": invoice_deleted,
    "checkout.session.completed": checkout_completed,
    "checkout.session.async_payment_succeeded": checkout_completed,
    "checkout.session.async_payment_failed": checkout_expired,
    "checkout.session.expired": checkout_expired,
    **dict.fromkeys(
        (
            "customer.subscription.created",
            "customer.subscription.updated",
            "customer.subscription.deleted",
            "customer.subscription.paused",
            "customer.subscription.resumed",
            "customer.subscription.pending_update_applied",
            "customer.subscription.pending_update_expired",
            "subscription_schedule.canceled",
            "subscription_schedule.completed",
            "subscription_schedule.released",
            "subscription_schedule.updated",
        ),
        subscription_changed,
    ),
    **dict.fromkeys(
        (
            "invoice.created",
            "invoice.finalized",
            "invoice.updated",
            "invoice.paid",
            "invoice.payment_succeeded",
            "invoice.payment_failed",
            "invoice.voided",
            "invoice.marked_uncollectible",
        ),
        invoice_changed,
    ),
}
"""Who takes in which of Stripe's events."""
