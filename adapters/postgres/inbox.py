"""What Stripe told us: each event once, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

from psycopg import AsyncConnection
from psycopg.rows import class_row

Source = Literal["webhook", "reconciler"]
State = Literal["received", "applied", "ignored", "deferred", "failed"]
STATES: tuple[State, ...] = ("received", "applied", "ignored", "deferred", "failed")
OPEN: tuple[State, ...] = ("received", "deferred", "failed")

COLUMNS = """event_id, number, type, created, source, disposition, reason, attempts,
    received_at, next_attempt_at, settled_at"""
KEEP = """
    INSERT INTO stripe_inbox (event_id, type, created, api_version, payload, sha256, refs, source,
                              received_at, next_attempt_at)
    VALUES (%(event_id)s, %(type)s, %(created)s, %(api_version)s, %(payload)s, %(sha256)s,
            %(refs)s, %(source)s, %(received_at)s, %(next_attempt_at)s)
    ON CONFLICT DO NOTHING
"""
# Whoever holds the row works on it; a process that dies lets it go.
TAKE = """
    SELECT payload, refs, received_at, attempts FROM stripe_inbox
    WHERE event_id = %s AND next_attempt_at IS NOT NULL AND payload IS NOT NULL
    FOR UPDATE SKIP LOCKED
"""
SETTLE = """
    UPDATE stripe_inbox SET disposition = %s, reason = %s, attempts = attempts + 1,
        next_attempt_at = %s, settled_at = %s
    WHERE event_id = %s
"""
FIND = f"SELECT {COLUMNS} FROM stripe_inbox WHERE event_id = %s"  # noqa: S608
DUE = """
    SELECT event_id FROM stripe_inbox
    WHERE next_attempt_at <= %s OR (%s AND disposition IN ('received', 'failed'))
    ORDER BY created, number LIMIT %s
"""
RELATED = """
    SELECT event_id FROM stripe_inbox
    WHERE next_attempt_at IS NOT NULL AND disposition = 'deferred' AND refs && %s::text[]
    ORDER BY created, number LIMIT %s
"""
# Deferred events whose object one of these facts names.
NAMED = """
    SELECT event_id FROM stripe_inbox
    WHERE next_attempt_at IS NOT NULL AND disposition = 'deferred' AND EXISTS (
        SELECT FROM events, unnest(refs) AS ref
        WHERE notification_id > %s AND notification_id <= %s AND kind = ANY(%s::text[])
          AND position(convert_to('"' || ref || '"', 'UTF8') IN state) > 0)
    ORDER BY created, number
"""
PAGE = f"""
    SELECT {COLUMNS} FROM stripe_inbox
    WHERE disposition = ANY(%s::text[]) AND number < %s ORDER BY number DESC LIMIT %s
"""  # noqa: S608
KNOWN = "SELECT event_id FROM stripe_inbox WHERE event_id = ANY(%s::text[])"
COUNT = """
    SELECT disposition, count(*), count(*) FILTER (WHERE received_at <= %s)
    FROM stripe_inbox WHERE next_attempt_at IS NOT NULL GROUP BY disposition
"""
PURGE = "UPDATE stripe_inbox SET payload = NULL WHERE payload IS NOT NULL AND settled_at <= %s"


class Arrival(NamedTuple):
    """An event as it came."""

    event_id: str
    type: str
    created: datetime
    api_version: str | None
    payload: bytes
    sha256: bytes
    refs: list[str]
    source: Source
    received_at: datetime
    next_attempt_at: datetime


class Taken(NamedTuple):
    """An event that is ours to work on until the transaction ends."""

    payload: bytes
    refs: list[str]
    received_at: datetime
    attempts: int


class Receipt(NamedTuple):
    """What is told of an event: never its payload."""

    event_id: str
    number: int
    type: str
    created: datetime
    source: Source
    disposition: State
    reason: str | None
    attempts: int
    received_at: datetime
    next_attempt_at: datetime | None
    settled_at: datetime | None


async def keep(connection: AsyncConnection[Any], arrival: Arrival) -> bool:
    """Store an event durably; False if it is known."""
    return (await connection.execute(KEEP, arrival._asdict())).rowcount == 1


async def take(connection: AsyncConnection[Any], event_id: str) -> Taken | None:
    """Take an open event for the rest of this transaction; None if it is settled, or another
    process has it."""
    row = await (await connection.execute(TAKE, (event_id,))).fetchone()
    return None if row is None else Taken(bytes(row[0]), *row[1:])


async def settle(
    connection: AsyncConnection[Any],
    event_id: str,
    disposition: State,
    now: datetime,
    *,
    again_at: datetime | None = None,
    reason: str | None = None,
) -> None:
    """Note what became of an event. ``again_at``: when to try once more, None for never."""
    settled_at = now if again_at is None else None
    await connection.execute(SETTLE, (disposition, reason, again_at, settled_at, event_id))


async def find(connection: AsyncConnection[Any], event_id: str) -> Receipt | None:
    """An event's receipt."""
    async with connection.cursor(row_factory=class_row(Receipt)) as cursor:
        return await (await cursor.execute(FIND, (event_id,))).fetchone()


async def due(
    connection: AsyncConnection[Any], now: datetime, *, unfinished: bool = False, limit: int = 100
) -> list[str]:
    """Open events whose time has come, in the order in which they happened. ``unfinished``:
    those that broke off too, whenever they are due."""
    return await _ids(connection, DUE, now, unfinished, limit)


async def related(
    connection: AsyncConnection[Any], refs: Sequence[str], limit: int = 50
) -> list[str]:
    """Deferred events that name one of these Stripe objects."""
    return await _ids(connection, RELATED, list(refs), limit)


async def named(
    connection: AsyncConnection[Any], after: int, upto: int, kinds: Sequence[str]
) -> list[str]:
    """Deferred events that name an object which facts of these kinds made known."""
    return await _ids(connection, NAMED, after, upto, list(kinds))


async def known(connection: AsyncConnection[Any], event_ids: Sequence[str]) -> set[str]:
    """Which of these events there are."""
    return set(await _ids(connection, KNOWN, list(event_ids)))


async def page(
    connection: AsyncConnection[Any], states: Sequence[State], before: int, limit: int
) -> list[Receipt]:
    """Receipts of these states, newest first, older than number ``before``."""
    async with connection.cursor(row_factory=class_row(Receipt)) as cursor:
        return await (await cursor.execute(PAGE, (list(states), before, limit))).fetchall()


async def count_open(
    connection: AsyncConnection[Any], before: datetime
) -> dict[str, tuple[int, int]]:
    """How many events are open, and how many of them came before a time, by disposition."""
    rows = await (await connection.execute(COUNT, (before,))).fetchall()
    return {state: (every, old) for state, every, old in rows}


async def purge(connection: AsyncConnection[Any], before: datetime) -> int:
    """Forget the bodies of what was settled before a time; receipts stay."""
    return (await connection.execute(PURGE, (before,))).rowcount


async def _ids(connection: AsyncConnection[Any], query: str, *values: Any) -> list[str]:
    cursor = await connection.execute(query.encode(), values)
    return [row[0] for row in await cursor.fetchall()]
