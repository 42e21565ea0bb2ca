"""How far a follower of the log is, and which of its reactions have to be tried again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, NamedTuple

from psycopg import AsyncConnection
from psycopg.rows import class_row

from domain.codec import decode_fact
from domain.facts import Recorded

TURN_S = 0.02

# One at a time in a cell, and nobody if its connection breaks.
LOCK = "SELECT pg_try_advisory_lock(7005, 'events'::regclass::oid::int)"
UNLOCK = "SELECT pg_advisory_unlock(7005, 'events'::regclass::oid::int)"
BEGIN = "INSERT INTO follower_positions VALUES (%s, 0) ON CONFLICT DO NOTHING"
POSITION = "SELECT position FROM follower_positions WHERE follower = %s"
MOVE = "UPDATE follower_positions SET position = %s WHERE follower = %s"
HEAD = "SELECT coalesce(max(notification_id), 0) FROM events"
READ = """
    SELECT notification_id, originator_id, originator_version, topic, state FROM events
    WHERE notification_id > %s AND notification_id <= %s AND kind = ANY(%s::text[])
    ORDER BY notification_id LIMIT %s
"""
AT = """
    SELECT notification_id, originator_id, originator_version, topic, state FROM events
    WHERE notification_id = %s
"""
PARK = """
    INSERT INTO follower_parked AS known (follower, position, reaction, error, next_attempt_at)
    VALUES (%(follower)s, %(position)s, %(reaction)s, %(error)s,
            now() + make_interval(secs => %(pause)s))
    ON CONFLICT (follower, position, reaction) DO UPDATE
    SET attempts = known.attempts + 1, error = excluded.error,
        next_attempt_at = excluded.next_attempt_at
"""
UNPARK = "DELETE FROM follower_parked WHERE follower = %s AND position = %s AND reaction = %s"
DUE = """
    SELECT position, reaction, attempts, error, parked_at, next_attempt_at FROM follower_parked
    WHERE follower = %s AND (%s OR next_attempt_at <= now()) ORDER BY position, reaction LIMIT 100
"""


class Fetched(NamedTuple):
    """A fact at its place in its stream and in the log."""

    recorded: Recorded
    position: int


class Parked(NamedTuple):
    """A reaction that failed. ``error`` is its kind only."""

    position: int
    reaction: str
    attempts: int
    error: str
    parked_at: datetime
    next_attempt_at: datetime


@asynccontextmanager
async def turn(connection: AsyncConnection[Any], patience_s: float) -> AsyncIterator[bool]:
    """The block is this cell's only follower; False if another one was for so many seconds."""
    until = time.monotonic() + patience_s
    while not await _true(connection, LOCK):
        if time.monotonic() >= until:
            yield False
            return
        await asyncio.sleep(TURN_S)
    try:
        yield True
    finally:
        if not connection.closed:
            await connection.execute(UNLOCK)


async def position(connection: AsyncConnection[Any], follower: str) -> int:
    """The position up to which every fact was handed out; 0 for a new follower."""
    row = await (await connection.execute(POSITION, (follower,))).fetchone()
    if row is None:
        await connection.execute(BEGIN, (follower,))
    return int(row[0]) if row else 0


async def move(connection: AsyncConnection[Any], follower: str, position: int) -> None:
    """Every fact up to here was handed out."""
    await connection.execute(MOVE, (position, follower))


async def head(connection: AsyncConnection[Any]) -> int:
    """The newest position; whatever is committed later has a higher one."""
    row = await (await connection.execute(HEAD)).fetchone()
    return int(row[0]) if row else 0


async def read(
    connection: AsyncConnection[Any], after: int, upto: int, kinds: Sequence[str], limit: int
) -> list[Fetched]:
    """The facts of these kinds in (after, upto], oldest first, at most ``limit``."""
    cursor = await connection.execute(READ, (after, upto, list(kinds), limit), binary=True)
    return [_fetched(*row) for row in await cursor.fetchall()]


async def at(connection: AsyncConnection[Any], position: int) -> Fetched | None:
    """The fact at a position."""
    row = await (await connection.execute(AT, (position,), binary=True)).fetchone()
    return None if row is None else _fetched(*row)


async def park(
    connection: AsyncConnection[Any],
    follower: str,
    position: int,
    reaction: str,
    error: str,
    pause_s: int,
) -> None:
    """Note that a reaction failed (again), and is to be tried after so many seconds."""
    values = {"follower": follower, "position": position, "reaction": reaction, "error": error}
    await connection.execute(PARK, values | {"pause": pause_s})


async def unpark(
    connection: AsyncConnection[Any], follower: str, position: int, reaction: str
) -> None:
    """It worked in the end."""
    await connection.execute(UNPARK, (follower, position, reaction))


async def parked(
    connection: AsyncConnection[Any], follower: str, *, every: bool = False
) -> list[Parked]:
    """Reactions whose time has come, or ``every`` one that waits; at most 100."""
    async with connection.cursor(row_factory=class_row(Parked)) as cursor:
        return await (await cursor.execute(DUE, (follower, every))).fetchall()


async def count_parked(connection: AsyncConnection[Any]) -> int:
    """How many reactions wait to be tried again."""
    row = await (await connection.execute("SELECT count(*) FROM follower_parked")).fetchone()
    return int(row[0]) if row else 0


async def _true(connection: AsyncConnection[Any], query: str) -> bool:
    row = await (await connection.execute(query.encode())).fetchone()
    return row is not None and bool(row[0])


def _fetched(position: int, stream: Any, version: int, topic: str, state: bytes) -> Fetched:
    return Fetched(Recorded(stream, version, decode_fact(topic, state)), position)
