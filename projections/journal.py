"""The journal: what each event moves, as double entry. Every entry is in balance, unit by unit.

Money is µ of the account's currency; included units are a commodity of their own. Accounts are
named as accountants do, `Liabilities:Credits:{workspace}`; a posting is debit where positive.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from domain.account.allowance_facts import AllowanceClosed, AllowanceGranted, OverageSettled
from domain.account.credit_facts import (
    Credited,
    CreditsExpired,
    CreditsReinstated,
    CreditsReversed,
)
from domain.account.usage_facts import Debited, Draw, UsageRecorded, UsageVoided
from domain.catalogue.price_book import Rated
from domain.facts import Fact
from domain.identity import usage_id
from domain.invoice.facts import InvoicePaid, InvoiceRefunded
from domain.money import minor_of, round_half_even
from projections.account_names import component, unit_of

CLEARING = "Assets:Stripe:Clearing"
PAID_BY = {
    "card_topup": CLEARING,
    "auto_topup": CLEARING,
    "manual_payment_ref": "Assets:ManualReceipts",
    "promo": "Expenses:Promotions",
    "adjustment": "Expenses:Adjustments",
}
AVAILABLE, GRANTED, USED, EXPIRED = (
    f"Equity:Units:{name}" for name in ("Available", "Granted", "Used", "Expired")
)


class Posting(NamedTuple):
    """A line of an entry: positive is debit, negative credit; µ, or whole units."""

    account: str
    amount: int
    unit: str
    is_money: bool = True


class Entry(NamedTuple):
    """What one event moves. ``event_id`` is the act's, or the event's cause."""

    position: int
    at: datetime
    type: str
    workspace_id: str
    event_id: str
    usage_id: str | None
    postings: tuple[Posting, ...]


class Holder(NamedTuple):
    """Whose a stream is, and in which currency it counts, such as USD."""

    workspace_id: str
    currency: str


class Billed(NamedTuple):
    """What an invoice is for, in minor units."""

    overage: int = 0
    tax: int = 0
    refunded: int = 0  # before the event that is looked at


class Surroundings(ABC):
    """What an event does not say by itself: it stands in earlier events of its own stream."""

    @abstractmethod
    def holder(self, stream: UUID) -> Holder:
        """Whose the stream is."""

    @abstractmethod
    def billed(self, stream: UUID, version: int) -> Billed:
        """What an invoice is for, by its events before this version."""

    @abstractmethod
    def granted(self, stream: UUID, version: int, fact: AllowanceGranted) -> int:
        """The units that were granted before, in the place that this grant takes: those of its
        bucket and cycle, where a larger plan grants its own; and what is left of a cycle that
        another plan took the place of at the instant at which it began, so that it was never
        closed."""

    @abstractmethod
    def is_closed(self, stream: UUID, version: int, bucket: str, cycle_id: str) -> bool:
        """Whether what a bucket had left of a cycle was closed before this version."""

    @abstractmethod
    def rated(self, stream: UUID, version: int) -> Rated | None:
        """The price in the event before this one, of an act that is paid later."""


def entry(
    position: int, stream: UUID, version: int, fact: Fact, around: Surroundings
) -> Entry | None:
    """The entry of an event; None where it moves neither money nor units."""
    fold = FOLDS.get(type(fact))
    if fold is None:
        return None
    holder = around.holder(stream)
    postings = tuple(one for one in fold(fact, holder, around, (stream, version)) if one.amount)
    if not postings:
        return None
    usage = getattr(fact, "usage", None)
    act = getattr(fact, "usage_id", None) or getattr(fact, "rates_usage_id", None)
    if act is None and usage is not None:
        act = usage_id(stream, version)
    event_id = usage.event_id if usage is not None else fact.unique_cause()
    kind = type(fact).__name__
    at = fact.recorded_at
    return Entry(position, at, kind, holder.workspace_id, event_id, act, postings)


Place = tuple[UUID, int]
Fold = Callable[[Any, Holder, Surroundings, Place], Iterator[Posting]]


def credits_of(holder: Holder) -> str:
    """The account of what a workspace has left: what is owed to it."""
    return f"Liabilities:Credits:{component(holder.workspace_id)}"


def _moved(holder: Holder, debit: str, credit: str, amount: int) -> Iterator[Posting]:
    yield Posting(debit, amount, holder.currency)
    yield Posting(credit, -amount, holder.currency)


def _counted(bucket: str, debit: str, credit: str, units: int) -> Iterator[Posting]:
    yield Posting(debit, units, unit_of(bucket), False)
    yield Posting(credit, -units, unit_of(bucket), False)


def _credited(fact: Credited, holder: Holder, *_: object) -> Iterator[Posting]:
    yield from _moved(holder, PAID_BY[fact.source], credits_of(holder), fact.amount)


def _expired(fact: CreditsExpired, holder: Holder, *_: object) -> Iterator[Posting]:
    yield from _moved(holder, credits_of(holder), "Income:Expired", fact.amount)


def _reversed(fact: CreditsReversed, holder: Holder, *_: object) -> Iterator[Posting]:
    yield from _moved(holder, credits_of(holder), CLEARING, fact.amount)


def _reinstated(fact: CreditsReinstated, holder: Holder, *_: object) -> Iterator[Posting]:
    yield from _moved(holder, CLEARING, credits_of(holder), fact.amount)


def _debited(
    fact: Debited, holder: Holder, around: Surroundings, place: Place
) -> Iterator[Posting]:
    rated = fact.rated if fact.usage is not None else None
    meter = fact.usage.meter if fact.usage is not None else None
    if fact.rates_usage_id is not None:
        rated = around.rated(*place)
    yield Posting(credits_of(holder), fact.amount, holder.currency)
    yield from _income(holder, meter, rated, fact.amount, -1)
    yield from _drawn(holder, fact.other_draws, 1, around, place)


def _recorded(
    fact: UsageRecorded, holder: Holder, around: Surroundings, place: Place
) -> Iterator[Posting]:
    yield from _drawn(holder, fact.draws, 1, around, place)


def _voided(
    fact: UsageVoided, holder: Holder, around: Surroundings, place: Place
) -> Iterator[Posting]:
    yield Posting(credits_of(holder), -fact.amount, holder.currency)
    yield from _income(holder, fact.usage.meter, fact.rated, fact.amount, 1)
    yield from _drawn(holder, fact.draws, -1, around, place, fact.cycle_id)


def _income(
    holder: Holder, meter: str | None, rated: Rated | None, amount: int, sign: int
) -> Iterator[Posting]:
    """The provider's part and the markup's, in the proportion of the whole act; together they
    are the amount."""
    if meter is None and rated is None:
        yield Posting("Income:Adjustments", sign * amount, holder.currency)
        return
    provider = amount
    if rated is not None and rated.total:
        provider = round_half_even(amount * rated.provider_cost, rated.total)
    usage = f"Income:Usage:{component(meter or 'rated later')}"
    yield Posting(usage, sign * provider, holder.currency)
    yield Posting("Income:Markup", sign * (amount - provider), holder.currency)


def _drawn(
    holder: Holder,
    draws: tuple[Draw, ...],
    sign: int,
    around: Surroundings,
    place: Place,
    cycle_id: str | None = None,
) -> Iterator[Posting]:
    """Included units, and overage. What the user's own account paid, or nobody, moves nothing.
    Units of a cycle that is closed are available to nothing but late usage: they come from what
    was posted as expired, and go back there. ``cycle_id`` is the act's where it is taken back."""
    for draw in draws:
        if draw.source == "allowance" and draw.bucket is not None:
            cycle = draw.cycle_id or cycle_id
            is_over = cycle is not None and around.is_closed(*place, draw.bucket, cycle)
            left = EXPIRED if is_over else AVAILABLE
            yield from _counted(draw.bucket, USED, left, sign * draw.units)
        elif draw.source == "overage":
            unbilled = f"Assets:UnbilledOverage:{component(holder.workspace_id)}"
            yield from _moved(holder, unbilled, "Income:Overage", sign * draw.amount)


def _granted(
    fact: AllowanceGranted, _: Holder, around: Surroundings, place: Place
) -> Iterator[Posting]:
    more = fact.units - around.granted(*place, fact)
    yield from _counted(fact.bucket, AVAILABLE, GRANTED, more)


def _closed(fact: AllowanceClosed, *_: object) -> Iterator[Posting]:
    yield from _counted(fact.bucket, EXPIRED, AVAILABLE, fact.unused)


def _settled(fact: OverageSettled, holder: Holder, *_: object) -> Iterator[Posting]:
    name = component(holder.workspace_id)
    unit = minor_of(holder.currency)
    billed = round_half_even(fact.amount, unit) * unit
    yield Posting(f"Assets:Receivable:{name}", billed, holder.currency)
    yield Posting("Expenses:Rounding", fact.amount - billed, holder.currency)
    yield Posting(f"Assets:UnbilledOverage:{name}", -fact.amount, holder.currency)


def _paid(
    fact: InvoicePaid, holder: Holder, around: Surroundings, place: Place
) -> Iterator[Posting]:
    """What is neither overage nor tax is for the plan; what Stripe took off it was its too."""
    billed = around.billed(*place)
    rest = fact.amount_paid - billed.overage - billed.tax
    name = component(holder.workspace_id)
    for account, amount in (
        (CLEARING, fact.amount_paid),
        (f"Assets:Receivable:{name}", -billed.overage),
        ("Liabilities:Tax", -billed.tax),
        ("Income:Subscription", -rest),
    ):
        yield Posting(account, amount * minor_of(holder.currency), holder.currency)


def _refunded(
    fact: InvoiceRefunded, holder: Holder, around: Surroundings, place: Place
) -> Iterator[Posting]:
    more = fact.cumulative - around.billed(*place).refunded
    yield from _moved(holder, "Income:Refunds", CLEARING, more * minor_of(holder.currency))


FOLDS: dict[type[Fact], Fold] = {
    Credited: _credited,
    CreditsExpired: _expired,
    CreditsReversed: _reversed,
    CreditsReinstated: _reinstated,
    Debited: _debited,
    UsageRecorded: _recorded,
    UsageVoided: _voided,
    AllowanceGranted: _granted,
    AllowanceClosed: _closed,
    OverageSettled: _settled,
    InvoicePaid: _paid,
    InvoiceRefunded: _refunded,
}
"""What moves something, and how."""
