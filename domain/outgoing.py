"""What we tell others of our own accord: which facts make which message, and what it says.

The envelope is that of Standard Webhooks: ``{"type", "timestamp", "data"}``. Data hold ids,
amounts (`*_micros`, and exact decimals `*_usd`) and times; never names of people, never secrets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, Literal, NamedTuple, get_args
from uuid import uuid5

from domain.account.budget import BudgetWarned
from domain.account.credit_facts import AccountFrozen, AccountUnfrozen, Credited
from domain.account.topup_facts import AutoTopUpSuspended
from domain.account.usage_facts import Debited, UsageRecorded
from domain.contract.facts import (
    SubscriptionEnded,
    SubscriptionPastDue,
    SubscriptionRecovered,
)
from domain.contract.subscription import PlanChanged
from domain.facts import Fact
from domain.identity import NAMESPACE
from domain.invoice.facts import InvoiceDrafted, InvoicePaid, InvoicePaymentFailed
from domain.money import usd
from domain.payment.facts import PaymentFailed, PaymentRequested
from domain.workspace.facts import BotPaused, BotResumed, DeploysBlocked

MessageType = Literal[
    "account.frozen",
    "account.unfrozen",
    "allowance.exhausted",
    "auto_topup.suspended",
    "balance.exhausted",
    "balance.low",
    "balance.topped_up",
    "bot.paused",
    "bot.resumed",
    "budget.exhausted",
    "budget.warning",
    "deploys.blocked",
    "invoice.paid",
    "invoice.payment_failed",
    "payment.failed",
    "plan.changed",
    "subscription.ended",
    "subscription.past_due",
    "subscription.recovered",
]
TYPES: tuple[str, ...] = get_args(MessageType)
PING = "webhook.test"
"""What a test sends; nobody subscribes to it."""

SCHEDULE = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
"""How long after each failed attempt the next one is made; after the last, none is."""


class Notice(NamedTuple):
    """One thing to tell."""

    type: str
    data: dict[str, Any]


def retry_after(attempts: int) -> timedelta | None:
    """The pause after so many failed attempts, or None when there is no further one."""
    return SCHEDULE[attempts - 1] if attempts <= len(SCHEDULE) else None


def message_id(position: int, type: str, variant: str = "") -> str:
    """The one name of a message, made from the fact that it is about."""
    return f"msg_{uuid5(NAMESPACE, f'outgoing/{position}/{type}/{variant}').hex}"


def money(name: str, micros: int) -> dict[str, Any]:
    """An amount, both ways."""
    return {f"{name}_micros": micros, f"{name}_usd": usd(micros)}


def notices(fact: Fact) -> Iterator[Notice]:
    """What a fact gives to tell, whoever asks. Balances that fall are not here: `fallen` is."""
    told = TOLD.get(type(fact))
    if told is not None:
        yield from told(fact)


def fallen(amount: int, balance_after: int, threshold: int | None) -> Iterator[Notice]:
    """What it means that a balance moved by ``amount`` (µ, negative) to ``balance_after``: it
    may have come below a threshold, or to nothing. Each is told when the line is crossed."""
    before = balance_after - amount
    if threshold is not None and balance_after < threshold <= before:
        said = {**money("balance", balance_after), **money("threshold", threshold)}
        yield Notice("balance.low", said)
    if balance_after <= 0 < before:
        yield Notice("balance.exhausted", money("balance", balance_after))


def _credited(fact: Credited) -> Iterator[Notice]:
    yield Notice(
        "balance.topped_up",
        {
            **money("amount", fact.amount),
            **money("balance", fact.balance_after),
            "source": fact.source,
            "category": fact.category,
            "payment_attempt_id": fact.payment_attempt_id,
        },
    )


def _frozen(fact: AccountFrozen) -> Iterator[Notice]:
    yield Notice("account.frozen", {"reason": fact.reason, "ref": fact.ref})


def _unfrozen(fact: AccountUnfrozen) -> Iterator[Notice]:
    said = {"reason": fact.reason, "ref": fact.ref, "still_frozen": fact.still_frozen}
    yield Notice("account.unfrozen", said)


def _budget(fact: BudgetWarned) -> Iterator[Notice]:
    yield Notice(
        "budget.exhausted" if fact.hard else "budget.warning",
        {
            "budget_id": fact.budget_id,
            "window": fact.window,
            **money("spent", fact.spent),
            **money("limit", fact.limit),
        },
    )


def _used(fact: Debited | UsageRecorded) -> Iterator[Notice]:
    for draw in fact.draws:
        if draw.source == "allowance" and draw.units and draw.remaining_after == 0:
            yield Notice("allowance.exhausted", {"bucket": draw.bucket, "cycle_id": fact.cycle_id})


def _paused(fact: BotPaused) -> Iterator[Notice]:
    yield Notice("bot.paused", {"bot_id": fact.bot_id, "by": fact.by, "limit": fact.limit})


def _resumed(fact: BotResumed) -> Iterator[Notice]:
    yield Notice("bot.resumed", {"bot_id": fact.bot_id, "by": fact.by})


def _blocked(fact: DeploysBlocked) -> Iterator[Notice]:
    yield Notice("deploys.blocked", {"since": fact.since})


def _plan(fact: PlanChanged) -> Iterator[Notice]:
    yield Notice(
        "plan.changed",
        {
            "from_plan": fact.from_plan,
            "from_version": fact.from_version,
            "to_plan": fact.to_plan,
            "to_version": fact.to_version,
            "direction": fact.direction,
            "effective_at": fact.effective_at,
            "charged_minor": fact.charged,
        },
    )


def _past_due(fact: SubscriptionPastDue) -> Iterator[Notice]:
    yield Notice(
        "subscription.past_due",
        {
            "invoice_id": fact.invoice_id,
            "first_failed_at": fact.first_failed_at,
            "grace_days": fact.grace_days,
            "grace_ends_at": fact.grace_ends_at,
        },
    )


def _recovered(fact: SubscriptionRecovered) -> Iterator[Notice]:
    said = {"invoice_id": fact.settled_invoice_id, "recovered_at": fact.recovered_at}
    yield Notice("subscription.recovered", said)


def _ended(fact: SubscriptionEnded) -> Iterator[Notice]:
    yield Notice(
        "subscription.ended",
        {
            "ended_at": fact.ended_at,
            "reason": fact.reason,
            "involuntary": fact.involuntary,
            "reverted_to_plan": fact.reverted_to_plan,
        },
    )


def _suspended(fact: AutoTopUpSuspended) -> Iterator[Notice]:
    yield Notice("auto_topup.suspended", {"reason": fact.reason})


def _invoice_paid(fact: InvoicePaid) -> Iterator[Notice]:
    yield Notice("invoice.paid", {"paid_at": fact.paid_at, "amount_paid_minor": fact.amount_paid})


def _invoice_failed(fact: InvoicePaymentFailed) -> Iterator[Notice]:
    yield Notice(
        "invoice.payment_failed",
        {
            "attempt": fact.attempt,
            "failed_at": fact.failed_at,
            "next_attempt_at": fact.next_attempt_at,
            "decline_code": fact.decline_code,
        },
    )


def _payment_failed(fact: PaymentFailed) -> Iterator[Notice]:
    yield Notice("payment.failed", {"code": fact.code, "decline_code": fact.decline_code})


def about(first: Fact) -> dict[str, Any]:
    """What every message about a stream says of it, by the stream's first fact."""
    match first:
        case InvoiceDrafted(stripe_invoice_id=id):
            return {"invoice_id": id}
        case PaymentRequested(payment_attempt_id=id, kind=kind, amount=amount):
            return {"payment_attempt_id": id, "kind": kind, **money("amount", amount)}
    return {}


TOLD: dict[type[Fact], Callable[[Any], Iterator[Notice]]] = {
    AccountFrozen: _frozen,
    AccountUnfrozen: _unfrozen,
    AutoTopUpSuspended: _suspended,
    BotPaused: _paused,
    BotResumed: _resumed,
    BudgetWarned: _budget,
    Credited: _credited,
    Debited: _used,
    DeploysBlocked: _blocked,
    InvoicePaid: _invoice_paid,
    InvoicePaymentFailed: _invoice_failed,
    PaymentFailed: _payment_failed,
    PlanChanged: _plan,
    SubscriptionEnded: _ended,
    SubscriptionPastDue: _past_due,
    SubscriptionRecovered: _recovered,
    UsageRecorded: _used,
}

ELSEWHERE = tuple(kind.__name__ for kind in (InvoicePaid, InvoicePaymentFailed, PaymentFailed))
"""The kinds whose streams are not found by a workspace's name; their first facts name it."""
ALWAYS = tuple(
    name
    for name in sorted(kind.__name__ for kind in TOLD)
    if name not in ELSEWHERE and name not in ("Debited", "UsageRecorded")
)
"""The kinds of which every fact is told; of metered acts few are."""
EMPTIED = '"remaining_after":0'
"""What the JSON of a metered act holds that used up an allowance."""
