"""Whether our books say of an object what Stripe says of it now."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from adapters.stripe import readings
from api.stripe.till import Till
from domain.commands import Stream
from domain.invoice.invoice import Invoice, InvoiceDocument, invoice_stream
from domain.payment.attempt import PaymentAttempt
from domain.payment.processor import Intent

Json = dict[str, Any]


class Difference(NamedTuple):
    """Two words for one thing. No names, no addresses: ids, states and amounts (µ)."""

    what: str
    stripe: str
    daybook: str


Compare = Callable[[Json, Till], Awaitable[Difference | None]]
"""Takes an object as Stripe has it now; None where both books agree, or where it is none of
our business."""


async def payment(found: Json, till: Till) -> Difference | None:
    """A PaymentIntent: credited if and only if it was paid, with the amount that was."""
    intent = readings.intent(found)
    word = f"{intent.status} {intent.amount_received} {intent.currency}"
    if intent.payment_attempt_id is None:
        if intent.status != "succeeded" or await _is_of_an_invoice(intent, till):
            return None
        return Difference("nobody here asked for this payment", word, "nothing")
    attempt = await till.ledger.payment(intent.payment_attempt_id)
    ours = f"{attempt.status} {attempt.credited} {attempt.currency}"
    if intent.id in attempt.quarantined:
        return Difference("the payment waits for an administrator", word, "quarantined")
    if intent.id in attempt.doubted:
        return None
    if intent.status == "succeeded":
        agrees = attempt.status == "succeeded" and attempt.stripe_payment_intent == intent.id
        what = "the payment was made and is not credited"
    elif attempt.stripe_payment_intent == intent.id and attempt.status == "succeeded":
        agrees, what = False, "the payment is credited and was not made"
    else:
        agrees = attempt.via == "checkout" or _tells(attempt, intent)
        what = "the payment stands elsewhere"
    return None if agrees else Difference(what, word, ours)


def _tells(attempt: PaymentAttempt, intent: Intent) -> bool:
    """Whether an attempt that charges a saved card stands where its unpaid intent does."""
    if attempt.stripe_payment_intent not in (None, intent.id):
        return True  # another intent is the one that counts
    if intent.status in ("failed", "canceled", "requires_action"):
        return not attempt.is_open or attempt.status == "requires_action"
    return attempt.version > 0


async def _is_of_an_invoice(intent: Intent, till: Till) -> bool:
    query = {"payment": {"type": "payment_intent", "payment_intent": intent.id}}
    listed = await till.stripe.v1.invoice_payments.list_async(query)  # type: ignore[arg-type]
    return bool(listed.data)


async def session(found: Json, till: Till) -> Difference | None:
    """A checkout session: what it was for is over when it is."""
    if found["status"] == "open":
        return None
    paid = found["payment_status"] in ("paid", "no_payment_required")
    word = f"{found['mode']} {found['status']} {found['payment_status']}"
    if found["mode"] == "subscription":
        if found["status"] != "complete" or not paid:
            return None
        return await _subscribed(found, word, till)
    attempt_id = (found.get("metadata") or {}).get("payment_attempt_id")
    if attempt_id is None or (found["status"] == "complete" and not paid):
        return None
    attempt = await till.ledger.payment(attempt_id)
    if not attempt.is_open:
        return None
    return Difference("the checkout page is done and the attempt is not", word, attempt.status)


async def _subscribed(found: Json, word: str, till: Till) -> Difference | None:
    remote = await till.contracts.subscription(readings.id_of(found.get("subscription")))
    if remote is None or not remote.is_live:
        return None
    return await _of_subscription(remote.id, till, word)


async def subscription(found: Json, till: Till) -> Difference | None:
    """A subscription: in force here if and only if it is there, in the same state and period,
    and for the same version of a plan."""
    differs = await _of_subscription(found["id"], till, found["status"])
    remote = await till.contracts.subscription(found["id"]) if differs is None else None
    if remote is None or remote.workspace_id is None or remote.pending_until is not None:
        return differs
    ours = await till.ledger.known_subscription(remote.workspace_id)
    if ours is None or ours.stripe_id != remote.id:
        return None
    if remote.plan == ours.billed_plan:
        return None
    bills = " ".join(map(str, remote.plan)) if remote.plan else "a price that is none of ours"
    plan = f"{ours.plan_id} {ours.plan_version}"
    return Difference("the subscription bills another plan", bills, plan)


async def _of_subscription(id: str, till: Till, word: str) -> Difference | None:
    remote = await till.contracts.subscription(id)
    if remote is None or remote.workspace_id is None:
        return None
    ours = await till.ledger.known_subscription(remote.workspace_id)
    if ours is None:
        return Difference("the subscription is of no workspace of ours", word, "nothing")
    link = ours.stripe
    if not remote.is_live:
        if link is None or link.id != id or remote.status == "incomplete":
            return None
        return Difference("the subscription has ended and is in force here", word, ours.status)
    if link is None or link.id != id:
        return Difference("the subscription is paid for and not in force here", word, ours.status)
    if link.status != remote.status or ours.period_end != remote.period_end:
        return Difference(
            "the subscription stands elsewhere",
            f"{remote.status} until {remote.period_end.isoformat()}",
            f"{link.status} until {ours.period_end and ours.period_end.isoformat()}",
        )
    return None


async def invoice(found: Json, till: Till) -> Difference | None:
    """An invoice: mirrored, in the same state, for the same amount."""
    document = await till.contracts.invoice(found["id"])
    if document is None or document.workspace_id is None:
        return None
    ours = await till.ledger.book.fresh(Stream(Invoice, invoice_stream(document.id)))
    assert isinstance(ours, Invoice)
    same_amount = document.status == "draft" or ours.amount_due == document.amount_due
    if ours.status == document.status and same_amount:
        return None
    if ours.status == "none" and await _never_came(document, till):
        return None
    return Difference(
        "the invoice stands elsewhere",
        f"{document.status} {document.amount_due}",
        f"{ours.status} {ours.amount_due}",
    )


async def _never_came(document: InvoiceDocument, till: Till) -> bool:
    """Whether an unpaid invoice is of a subscription that never was in force, and is not now."""
    if document.subscription_id is None or document.status == "paid":
        return False
    remote = await till.contracts.subscription(document.subscription_id)
    ours = await till.ledger.known_subscription(document.workspace_id or "")
    is_known = ours is not None and ours.is_known(document.subscription_id)
    return remote is not None and not remote.is_live and not is_known


async def refund(found: Json, till: Till) -> Difference | None:
    """A refund of a credited payment: its credits went back too."""
    attempt = await _credited(readings.id_of(found.get("payment_intent")), till)
    if attempt is None:
        return None
    there = readings.refund(found)
    here = attempt.refunds.get(there.id)
    if here == (there.amount, there.state):
        return None
    return Difference("the refund is not taken in", f"{there.state} {there.amount}", f"{here}")


async def dispute(found: Json, till: Till) -> Difference | None:
    """A dispute of a credited payment: what moved there has moved here."""
    there = readings.contest(found)
    attempt = await _credited(there.intent or "", till)
    if attempt is None:
        return None
    word = f"{there.withdrawn} {there.reinstated} {there.outcome}"
    here = attempt.disputes.get(there.id)
    ours = "nothing" if here is None else f"{here.withdrawn} {here.reinstated} {here.outcome}"
    return None if ours == word else Difference("the dispute stands elsewhere", word, ours)


async def _credited(intent_id: str, till: Till) -> PaymentAttempt | None:
    """The attempt that a payment of Stripe's was credited for, or ought to be."""
    intent = await till.payments.intent(intent_id) if intent_id else None
    if intent is None or intent.payment_attempt_id is None:
        return None
    attempt = await till.ledger.payment(intent.payment_attempt_id)
    asked_for = attempt.kind is not None and intent.id not in attempt.doubted
    return attempt if asked_for or attempt.is_credited_for(intent.id) else None


COMPARISONS: Mapping[str, Compare] = {
    "payment_intent": payment,
    "checkout.session": session,
    "subscription": subscription,
    "invoice": invoice,
    "refund": refund,
    "dispute": dispute,
}
"""By kind of object; whatever others refer to comes first."""


def event_type(found: Json) -> str:
    """The event by which Stripe would tell of an object that stands where this one does."""
    kind, status = found["object"], found.get("status")
    match kind, status:
        case "payment_intent", "requires_payment_method" if found.get("last_payment_error"):
            return "payment_intent.payment_failed"
        case "payment_intent", "succeeded" | "canceled" | "processing" | "requires_action":
            return f"payment_intent.{status}"
        case "payment_intent", _:
            return "payment_intent.created"
        case "checkout.session", "expired":
            return "checkout.session.expired"
        case "checkout.session", _:
            return "checkout.session.completed"
        case "subscription", "canceled" | "incomplete_expired":
            return "customer.subscription.deleted"
        case "subscription", _:
            return "customer.subscription.updated"
        case "invoice", "paid":
            return "invoice.paid"
        case "invoice", "void":
            return "invoice.voided"
        case "invoice", "uncollectible":
            return "invoice.marked_uncollectible"
        case "invoice", "open" if found.get("attempt_count"):
            return "invoice.payment_failed"
        case "invoice", _:
            return "invoice.updated"
        case "dispute", _:
            return "charge.dispute.updated"
    return "refund.updated"
