"""What Stripe tells about payments, refunds, disputes and cards, taken in.

An event only says where to look: its object is fetched again, and that state decides. So events
may come in any order, late and again.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from msgspec.structs import replace

from adapters.stripe import readings
from adapters.stripe.objects import Unreadable, pictured
from api.paying.urls import billing_page
from api.stripe.till import Disposition, Handler, StripeEvent, Till
from domain.facts import Context
from domain.payment.paying import Urls
from domain.payment.processor import Charge, Contest, Intent
from domain.payment.returns import RANK


async def payment(event: StripeEvent, till: Till, context: Context) -> Disposition:
    """`payment_intent.*`: a payment moved."""
    intent = await _intent(event.object["id"], till, event.object)
    return await _note(intent, till, context)


async def charged(event: StripeEvent, till: Till, context: Context) -> Disposition:
    """`charge.succeeded`, `charge.failed`: says of a payment what its own events say too."""
    intent_id = readings.id_of(event.object.get("payment_intent"))
    if not intent_id:
        return "ignored"
    intent = await _intent(intent_id, till)
    return "ignored" if intent is None else await _note(intent, till, context)


async def checkout(event: StripeEvent, till: Till, context: Context) -> Disposition:
    """`checkout.session.*` of the modes payment and setup."""
    if event.object.get("mode") == "subscription":
        return "ignored"
    session = await till.payments.session(event.object["id"])
    if session is None:
        return "ignored"
    if session.mode == "setup":
        return await till.ledger.note_card_page(till.payments, session, context)
    urls = _urls(till, session.workspace_id or "")
    return await till.ledger.note_page(till.payments, session, urls, context)


async def refunded(event: StripeEvent, till: Till, context: Context) -> Disposition:
    """`charge.refunded`, `charge.refund.updated`, `refund.*`: money went back, or did not. What
    the event itself says has happened, whether or not the fetched objects show it already."""
    what = event.object
    is_charge = what.get("object") == "charge"
    read = _charge if is_charge else _refunded
    charge_id = what["id"] if is_charge else readings.id_of(what.get("charge"))
    charge = await till.payments.charge(charge_id) if charge_id else None
    if charge is None:
        charge = pictured(read, what)
    else:
        with suppress(Unreadable):
            charge = _newest(charge, pictured(read, what))
    if charge.intent is None:
        return "ignored"
    intent = await _intent(charge.intent, till)
    if intent is None:
        return "ignored"
    return await till.ledger.note_refunds(intent, charge.id, charge.refunds, context)


async def disputed(event: StripeEvent, till: Till, context: Context) -> Disposition:
    """`charge.dispute.*`: freeze, withdraw, give back, release. What the event itself says has
    happened, whether or not the fetched object shows it already."""
    contest = await till.payments.contest(event.object["id"])
    if contest is None:
        contest = pictured(readings.contest, event.object)
    step = event.type.rpartition(".")[2]
    if step == "funds_withdrawn" and not contest.withdrawn:
        contest = replace(contest, withdrawn=contest.amount)
    if step == "funds_reinstated" and not contest.reinstated:
        contest = replace(contest, reinstated=contest.amount)
    if contest.intent is None and contest.charge:
        charge = await till.payments.charge(contest.charge)
        contest = replace(contest, intent=charge.intent if charge else None)
    intent = await _intent(contest.intent, till) if contest.intent else None
    workspace_id = intent.workspace_id if intent else None
    if workspace_id is None:
        workspace_id = await _payer(contest, intent, till)
    if workspace_id is None:
        return "ignored"
    return await till.ledger.note_dispute(intent, workspace_id, contest, context)


async def customer(event: StripeEvent, till: Till, context: Context) -> Disposition:
    """`customer.updated`: another card may be the one to charge."""
    return await till.ledger.note_customer(till.payments, event.object["id"], context)


async def card(event: StripeEvent, till: Till, context: Context) -> Disposition:
    """`payment_method.*`: a card came, changed or went; of the one that went the event names
    whose it was."""
    whose = event.object.get("customer") or event.previous.get("customer")
    customer_id = readings.id_of(whose)
    if not customer_id:
        return "ignored"
    gone = event.object["id"] if event.type == "payment_method.detached" else None
    return await till.ledger.note_customer(till.payments, customer_id, context, gone=gone)


async def _intent(intent_id: str, till: Till, told: dict[str, Any] | None = None) -> Intent | None:
    """The payment as it is now; as it was told where Stripe has it no more."""
    found = await till.payments.intent(intent_id)
    return pictured(readings.intent, told) if found is None and told is not None else found


async def _note(intent: Intent | None, till: Till, context: Context) -> Disposition:
    if intent is None or intent.payment_attempt_id is None:
        return "ignored"
    attempt = await till.ledger.payment(intent.payment_attempt_id)
    received = None
    if attempt.via == "checkout" and intent.status == "succeeded":
        # What was paid on a page may hold tax, which is not credited.
        session = await till.payments.session_of(intent.id)
        received = session.amount if session is not None and session.is_paid else None
    urls = _urls(till, intent.workspace_id or "")
    return await till.ledger.note_payment(till.payments, intent, urls, context, received=received)


async def _payer(contest: Contest, intent: Intent | None, till: Till) -> str | None:
    """Whose money a dispute is about, where the payment was no top-up."""
    customer_id = intent.customer if intent else None
    if customer_id is None and contest.charge:
        charge = await till.payments.charge(contest.charge)
        customer_id = charge.customer if charge else None
    found = await till.payments.customer(customer_id) if customer_id else None
    return found.workspace_id if found else None


def _newest(shown: Charge, told: Charge) -> Charge:
    """A charge as Stripe shows it, with what an event tells beyond that: of a refund its later
    state; of the charge itself more than all that is listed, what failed included."""
    refunds = {refund.id: refund for refund in shown.refunds}
    listed = sum(refund.amount for refund in shown.refunds)
    for refund in told.refunds:
        known = refunds.get(refund.id)
        if refund.id == told.id:
            is_news = refund.amount > listed
        else:
            is_news = known is None or RANK[refund.state] > RANK[known.state]
        if is_news:
            refunds[refund.id] = refund
    return replace(shown, refunds=tuple(refunds.values()))


def _charge(what: Mapping[str, Any]) -> Charge:
    """A charge as an event tells of it."""
    return readings.charge(what, (what.get("refunds") or {}).get("data") or ())


def _refunded(what: Mapping[str, Any]) -> Charge:
    """The charge of a refund, as an event tells of it."""
    return Charge(
        id=readings.id_of(what.get("charge")),
        intent=readings.id_of(what.get("payment_intent")) or None,
        customer=None,
        refunds=(readings.refund(what),),
    )


def _urls(till: Till, workspace_id: str) -> Urls:
    page = billing_page(till.settings.public_url, workspace_id)
    return Urls(page, page)


MONEY: dict[str, Handler] = {
    **dict.fromkeys(
        (
            "payment_intent.created",
            "payment_intent.processing",
            "payment_intent.requires_action",
            "payment_intent.succeeded",
            "payment_intent.payment_failed",
            "payment_intent.canceled",
        ),
        payment,
    ),
    **dict.fromkeys(("charge.succeeded", "charge.failed", "charge.pending"), charged),
    **dict.fromkeys(
        (
            "charge.refunded",
            "charge.refund.updated",
            "refund.created",
            "refund.updated",
            "refund.failed",
        ),
        refunded,
    ),
    **dict.fromkeys(
        (
            "charge.dispute.created",
            "charge.dispute.updated",
            "charge.dispute.funds_withdrawn",
            "charge.dispute.funds_reinstated",
            "charge.dispute.closed",
        ),
        disputed,
    ),
    **dict.fromkeys(
        (
            "checkout.session.completed",
            "checkout.session.expired",
            "checkout.session.async_payment_succeeded",
            "checkout.session.async_payment_failed",
        ),
        checkout,
    ),
    "customer.updated": customer,
    **dict.fromkeys(
        (
            "payment_method.attached",
            "payment_method.updated",
            "payment_method.automatically_updated",
            "payment_method.detached",
        ),
        card,
    ),
}
"""Who takes in which events."""
