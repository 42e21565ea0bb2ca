"""What the journal needs to know beside an event: looked up in the book, or kept on the way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any
from uuid import UUID

from psycopg import Connection

from domain.account.allowance_facts import AllowanceClosed, AllowanceGranted, CycleEnded
from domain.account.credit_facts import CreditAccountOpened
from domain.account.usage_facts import Debited, Draw, UsageRated, UsageRecorded, UsageVoided
from domain.catalogue.price_book import Rated
from domain.codec import decode_fact
from domain.facts import Fact
from domain.invoice.facts import (
    InvoiceDrafted,
    InvoiceFinalized,
    InvoiceLineRecorded,
    InvoiceRefunded,
)
from projections.journal import Billed, Holder, Surroundings

FIRST = """
    SELECT topic, state FROM events WHERE originator_id = %s AND originator_version = 1
"""
EARLIER = """
    SELECT topic, state FROM events WHERE originator_id = %s AND originator_version < %s
      AND kind IN ('InvoiceLineRecorded', 'InvoiceFinalized', 'InvoiceRefunded')
    ORDER BY originator_version
"""
GRANTS = """
    SELECT topic, state, originator_version FROM events
    WHERE originator_id = %s AND originator_version < %s AND kind = 'AllowanceGranted'
    ORDER BY originator_version DESC
"""
SINCE = """
    SELECT topic, state FROM events WHERE originator_id = %s
      AND originator_version BETWEEN %s AND %s AND (kind = ANY(%s::text[]) OR %s)
    ORDER BY originator_version
"""
CLOSED = """
    SELECT topic, state FROM events WHERE originator_id = %s AND originator_version < %s
      AND kind = 'AllowanceClosed' ORDER BY originator_version DESC
"""
AT = "SELECT topic, state FROM events WHERE originator_id = %s AND originator_version = %s"
NOBODY = Holder("", "USD")

Window = tuple[str, str]
"""A bucket, and the cycle, days or lifetime in which its units count."""


def _window(fact: AllowanceGranted | AllowanceClosed) -> Window:
    return fact.bucket, fact.cycle_id


def holder_of(opened: Fact) -> Holder | None:
    """Whose a stream is, by its first fact."""
    match opened:
        case CreditAccountOpened(workspace_id=name, currency=currency):
            return Holder(name, currency.upper())
        case InvoiceDrafted(workspace_id=name, currency=currency):
            return Holder(name, currency.upper())
    return None


def more_billed(before: Billed, fact: Fact) -> Billed:
    """What an invoice is for, with one more of its facts."""
    match fact:
        case InvoiceLineRecorded(kind="overage", amount=amount):
            return before._replace(overage=before.overage + amount)
        case InvoiceFinalized(tax=tax):
            return before._replace(tax=tax)
        case InvoiceRefunded(cumulative=cumulative):
            return before._replace(refunded=cumulative)
    return before


class Running:
    """What is left of the cycle that runs, in one bucket or another, as far as it was looked at."""

    def __init__(self) -> None:
        self._left: dict[str, tuple[str, int]] = {}  # bucket -> cycle, units
        self.before = 0
        """Units that were left where the last grant took the place of another cycle's."""

    def take(self, fact: Fact) -> None:
        """Fold one fact of an account."""
        match fact:
            case AllowanceGranted(reset="cycle"):
                cycle_id, left = self._left.get(fact.bucket, (fact.cycle_id, 0))
                self.before = 0 if cycle_id == fact.cycle_id else left
                self._left[fact.bucket] = fact.cycle_id, fact.units
            case AllowanceGranted():
                self.before = 0
            case AllowanceClosed():
                self._forget(fact.cycle_id)
            case CycleEnded():
                self._forget(fact.cycle_id)
            case Debited() | UsageRecorded():
                self._use(fact.draws, 1)
            case UsageVoided():
                self._use(fact.draws, -1)

    def _forget(self, cycle_id: str) -> None:
        self._left = {name: one for name, one in self._left.items() if one[0] != cycle_id}

    def _use(self, draws: Iterable[Draw], sign: int) -> None:
        for draw in draws:
            if draw.source == "allowance" and draw.cycle_id is None and draw.bucket in self._left:
                cycle_id, left = self._left[draw.bucket]
                self._left[draw.bucket] = cycle_id, left - sign * draw.units


class FromTheBook(Surroundings):
    """Looks it up: any event can be asked for, wherever a reading begins."""

    def __init__(self, connection: Connection[Any]) -> None:
        self._connection = connection
        self.holder = lru_cache(maxsize=50_000)(self._holder)  # type: ignore[method-assign]

    def holder(self, stream: UUID) -> Holder:
        """Whose the stream is."""
        return self._holder(stream)

    def _holder(self, stream: UUID) -> Holder:
        row = self._connection.execute(FIRST, (stream,), prepare=True).fetchone()
        return (holder_of(decode_fact(*row)) if row else None) or NOBODY

    def billed(self, stream: UUID, version: int) -> Billed:
        billed = Billed()
        for topic, state in self._connection.execute(EARLIER, (stream, version)).fetchall():
            billed = more_billed(billed, decode_fact(topic, state))
        return billed

    def granted(self, stream: UUID, version: int, fact: AllowanceGranted) -> int:
        latest: AllowanceGranted | None = None
        for topic, state, at in self._connection.execute(GRANTS, (stream, version)):
            earlier = decode_fact(topic, state)
            if isinstance(earlier, AllowanceGranted) and earlier.bucket == fact.bucket:
                if _window(earlier) == _window(fact):
                    return earlier.units
                if latest is None:
                    latest, since = earlier, at
        if latest is None or any(
            isinstance(one, AllowanceClosed | CycleEnded) and one.cycle_id == latest.cycle_id
            for one in self._between(stream, since, version, ["AllowanceClosed", "CycleEnded"])
        ):
            return 0
        running = Running()
        for one in self._between(stream, since, version):
            running.take(one)
        return running.before

    def _between(
        self, stream: UUID, first: int, last: int, kinds: list[str] | None = None
    ) -> Iterator[Fact]:
        asked = (stream, first, last, kinds or [], kinds is None)
        for topic, state in self._connection.execute(SINCE, asked):
            yield decode_fact(topic, state)

    def is_closed(self, stream: UUID, version: int, bucket: str, cycle_id: str) -> bool:
        for topic, state in self._connection.execute(CLOSED, (stream, version)):
            closed = decode_fact(topic, state)
            if isinstance(closed, AllowanceClosed) and _window(closed) == (bucket, cycle_id):
                return True
        return False

    def rated(self, stream: UUID, version: int) -> Rated | None:
        row = self._connection.execute(AT, (stream, version - 1)).fetchone()
        fact = decode_fact(*row) if row else None
        return fact.rated if isinstance(fact, UsageRated) else None


class OnTheWay(Surroundings):
    """Keeps it, for who reads every event from the first one on; to be told each before it is
    asked about it."""

    def __init__(self) -> None:
        self._holders: dict[UUID, Holder] = {}
        self._billed: dict[UUID, Billed] = {}
        self._before: dict[UUID, Billed] = {}
        self._rated: dict[UUID, Rated] = {}
        self._granted: dict[tuple[UUID, Window], tuple[int, int]] = {}  # units, and those before
        self._closed: set[tuple[UUID, Window]] = set()
        self._running: dict[UUID, Running] = {}

    def pass_by(self, stream: UUID, version: int, fact: Fact) -> None:
        """Note what later events will need."""
        if version == 1 and (found := holder_of(fact)) is not None:
            self._holders[stream] = found
        if isinstance(fact, InvoiceLineRecorded | InvoiceFinalized | InvoiceRefunded):
            before = self._billed.get(stream, Billed())
            self._before[stream], self._billed[stream] = before, more_billed(before, fact)
        elif isinstance(fact, UsageRated):
            self._rated[stream] = fact.rated
        elif isinstance(fact, AllowanceGranted):
            self._run(stream, fact)
            place = (stream, _window(fact))
            self._granted[place] = fact.units, self._granted.get(place, (0, 0))[0]
        elif isinstance(fact, AllowanceClosed):
            self._run(stream, fact)
            self._closed.add((stream, _window(fact)))
        elif isinstance(fact, CycleEnded | Debited | UsageRecorded | UsageVoided):
            self._run(stream, fact)

    def _run(self, stream: UUID, fact: Fact) -> None:
        running = self._running.get(stream)
        if running is None:
            running = self._running[stream] = Running()
        running.take(fact)

    def holder(self, stream: UUID) -> Holder:
        return self._holders.get(stream, NOBODY)

    def billed(self, stream: UUID, version: int) -> Billed:
        now = self._billed.get(stream, Billed())
        return now._replace(refunded=self._before.get(stream, now).refunded)

    def granted(self, stream: UUID, version: int, fact: AllowanceGranted) -> int:
        return self._granted[stream, _window(fact)][1] or self._running[stream].before

    def is_closed(self, stream: UUID, version: int, bucket: str, cycle_id: str) -> bool:
        return (stream, (bucket, cycle_id)) in self._closed

    def rated(self, stream: UUID, version: int) -> Rated | None:
        return self._rated.get(stream)
