"""The audit trail: every event's hash, and the chain of them, one row an event.

It follows the book after the commit, so that it costs no writer anything, and is only ever added
to: `verify` is what makes the hashes anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple, TypeAlias
from uuid import UUID

from psycopg import Connection

from domain.account.usage_facts import Debited, UsageRecorded
from domain.chain import GENESIS, Checkpoint, linked
from domain.facts import Fact
from projections.event_hash import COLUMNS, Row, hashed

NEXT = f"SELECT {COLUMNS} FROM events WHERE notification_id > %b ORDER BY 1 LIMIT %b"  # noqa: S608
HEAD = "SELECT position, chain_hash FROM audit_trail ORDER BY position DESC LIMIT 1"
CHAINED = "SELECT coalesce(max(position), 0) FROM audit_trail"
SINCE = "SELECT count(*) FROM audit_trail WHERE position > %s"
COPY = """
    COPY audit_trail (position, stream, version, type, actor, cause, correlation_id, occurred_at,
                      recorded_at, event_hash, chain_hash) FROM STDIN (FORMAT BINARY)
"""
TYPES = (
    *("int8", "uuid", "int8", "text", "text", "text", "text"),
    *("timestamptz", "timestamptz", "bytea", "bytea"),
)
SEALED = "SELECT position, chain_hash, at, key_id, signature FROM audit_checkpoints"
LAST = f"{SEALED} ORDER BY position DESC LIMIT 1"
SEAL = """
    INSERT INTO audit_checkpoints (position, chain_hash, at, key_id, signature)
    VALUES (%s, %s, %s, %s, %s) ON CONFLICT (position) DO NOTHING
"""


class Head(NamedTuple):
    """The last event of the chain, and the chain's hash there."""

    position: int = 0
    chain_hash: bytes = GENESIS


class Link(NamedTuple):
    """One event in the chain, as it is stored."""

    position: int
    stream: UUID
    version: int
    type: str
    actor: str | None
    cause: str | None
    correlation_id: str | None
    occurred_at: datetime | None
    recorded_at: datetime | None
    event_hash: bytes
    chain_hash: bytes


def head(connection: Connection[Any]) -> Head:
    """How far the chain is."""
    row = connection.execute(HEAD).fetchone()
    return Head() if row is None else Head(row[0], bytes(row[1]))


def last_checkpoint(connection: Connection[Any]) -> Checkpoint | None:
    """The newest checkpoint of the table."""
    row = connection.execute(LAST).fetchone()
    return None if row is None else Checkpoint(*row)


def checkpoints_after(connection: Connection[Any], position: int) -> list[Checkpoint]:
    """The checkpoints of the table behind a position, in order."""
    rows = connection.execute(f"{SEALED} WHERE position > %s ORDER BY position", (position,))
    return [Checkpoint(*row) for row in rows]


def events_since(connection: Connection[Any], position: int) -> int:
    """How many events of the chain are behind a position."""
    row = connection.execute(SINCE, (position,)).fetchone()
    return int(row[0]) if row else 0


def links(connection: Connection[Any], after: Head, limit: int) -> list[Link]:
    """The next events of the book, hashed and chained; nothing is written."""
    chain_hash = after.chain_hash
    made = []
    rows: Iterable[Row] = connection.execute(
        NEXT, (after.position, limit), prepare=True, binary=True
    )
    for row in rows:
        event_hash, _, fact = hashed(row)
        chain_hash = linked(chain_hash, event_hash)
        made.append(_link(row, fact, event_hash, chain_hash))
    return made


def write(
    connection: Connection[Any], chained: Sequence[Link], sealed: Sequence[Checkpoint]
) -> None:
    """Add these to the trail, within the caller's transaction."""
    if chained:
        with connection.cursor() as cursor, cursor.copy(COPY) as copy:
            copy.set_types(TYPES)
            for link in chained:
                copy.write_row(link)
    for one in sealed:
        connection.execute(SEAL, (one.position, one.chain_hash, one.at, one.key_id, one.signature))


Told: TypeAlias = tuple[str | None, str | None, str | None, datetime | None, datetime | None]
"""What the trail tells of a fact: actor, cause, correlation, and when it was and was recorded."""
UNKNOWN: Final[Told] = (None,) * 5
"""Nothing, where the chainer's code did not know the fact."""


def told_of(fact: Fact | None) -> Told:
    """What the trail tells of a fact."""
    if fact is None:
        return UNKNOWN
    at = fact.recorded_at
    if isinstance(fact, Debited | UsageRecorded) and fact.usage is not None:
        at = fact.usage.occurred_at or at
    return fact.actor, fact.unique_cause(), fact.correlation_id, at, fact.recorded_at


def type_of(topic: str) -> str:
    """What the trail calls an event of a topic."""
    return topic.rpartition(":")[2]


def _link(row: Row, fact: Fact | None, event_hash: bytes, chain_hash: bytes) -> Link:
    stream = UUID(bytes=bytes(row[1]))
    return Link(row[0], stream, row[2], type_of(row[3]), *told_of(fact), event_hash, chain_hash)
