"""Replay: an account, or any other stream, at any position or instant, from its events alone,
never from snapshots."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from psycopg import Connection

from domain.account.credit_account import CreditAccount
from domain.account.wallet import Grant
from domain.codec import decode_fact
from domain.facts import Aggregate, Fact, aggregate_class
from domain.identity import account_id

CHUNK = 10_000
EVENTS = """
    SELECT notification_id, originator_version, topic, state, kind, cause, amount, balance_after
    FROM events WHERE originator_id = %s ORDER BY originator_version
"""


class PastEvent(NamedTuple):
    """One event of an account, as it stands in the book. Amounts in µ, signed; None where no
    wallet money moved."""

    position: int
    version: int
    recorded_at: datetime
    kind: str
    cause: str
    amount: int | None
    balance_after: int | None
    fact: Fact


@dataclass(frozen=True, slots=True)
class Replayed:
    """An account as it was. ``version`` 0 and ``position`` 0: it had no event yet."""

    workspace_id: str
    account: CreditAccount
    version: int
    position: int  # of the last event that is contained
    recorded_at: datetime | None  # of the same
    balance_after: int | None = None  # µ, as the last event says that moved wallet money

    @property
    def balance(self) -> int:
        """µ; negative is debt."""
        return self.account.balance

    @property
    def grants(self) -> tuple[Grant, ...]:
        """Open grants in burn order."""
        return tuple(self.account.wallet.grants)

    @property
    def debt(self) -> int:
        """µ."""
        return self.account.wallet.debt


def replay(
    connection: Connection[Any],
    workspace_id: str,
    *,
    position: int | None = None,
    at: datetime | None = None,
) -> Replayed:
    """Fold an account's events up to a position, or those recorded at or before an instant
    (both given: both hold; neither: all)."""
    account = CreditAccount(account_id(workspace_id))
    last: PastEvent | None = None
    after: int | None = None
    for last in events(connection, account.id, position=position, at=at):
        account.fold(last.fact, last.version)
        after = after if last.balance_after is None else last.balance_after
    if last is None:
        return Replayed(workspace_id, account, 0, 0, None)
    return Replayed(workspace_id, account, last.version, last.position, last.recorded_at, after)


class ReplayedStream(NamedTuple):
    """A stream as it was, folded by the aggregate whose facts it holds."""

    aggregate: Aggregate
    position: int  # of the last event that is contained
    recorded_at: datetime


def replay_stream(
    connection: Connection[Any],
    stream: UUID,
    *,
    position: int | None = None,
    at: datetime | None = None,
) -> ReplayedStream | None:
    """As `replay`, of any stream; None where it had no event yet."""
    aggregate: Aggregate | None = None
    last: PastEvent | None = None
    for last in events(connection, stream, position=position, at=at):
        if aggregate is None:
            aggregate = aggregate_class(type(last.fact))(stream)
        aggregate.fold(last.fact, last.version)
    if last is None or aggregate is None:
        return None
    return ReplayedStream(aggregate, last.position, last.recorded_at)


def events(
    connection: Connection[Any],
    stream: UUID,
    *,
    position: int | None = None,
    at: datetime | None = None,
) -> Iterator[PastEvent]:
    """The events behind `replay`, oldest first, a chunk at a time.

    Within a stream neither positions nor recorded_at ever decrease, so it ends at the first
    event that is too young.
    """
    with connection.transaction(), connection.cursor(name="replay", binary=True) as cursor:
        cursor.itersize = CHUNK
        cursor.execute(EVENTS, (stream,))
        for place, version, topic, state, kind, cause, amount, balance_after in cursor:
            if position is not None and place > position:
                return
            fact = decode_fact(topic, state)
            if at is not None and fact.recorded_at > at:
                return
            yield PastEvent(
                place, version, fact.recorded_at, kind, cause, amount, balance_after, fact
            )
