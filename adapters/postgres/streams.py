"""Reading streams: loads, fast-forwards and look-ups, many streams a query."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple
from uuid import UUID

import msgspec
from eventsourcing.utils import get_topic
from psycopg import AsyncConnection

from domain.codec import decode_fact
from domain.commands import Stream
from domain.facts import Aggregate, Recorded

CHUNK = 5_000
"""Events a query: a long stream must not hold up the event loop while it is folded."""

SNAPSHOTS = """
    SELECT s.originator_id, s.originator_version, s.topic, s.state
    FROM unnest(%b::uuid[]) AS wanted (id)
    CROSS JOIN LATERAL (
        SELECT * FROM snapshots WHERE originator_id = wanted.id
        ORDER BY originator_version DESC LIMIT 1) s
"""
# Both ends of each stream's range are given: one that is open would be sorted whole every time.
NEWER = """
    SELECT e.originator_id, e.originator_version, e.topic, e.state
    FROM unnest(%b::uuid[], %b::bigint[]) AS known (id, version)
    CROSS JOIN LATERAL (
        SELECT * FROM events
        WHERE originator_id = known.id
          AND originator_version > known.version AND originator_version <= known.version + %b
        ORDER BY originator_version) e
    ORDER BY 1, 2
"""
BY_CAUSE = """
    SELECT e.originator_id, e.originator_version, e.topic, e.state, e.notification_id, e.cause
    FROM unnest(%b::uuid[], %b::text[]) AS wanted (id, cause)
    JOIN events e ON e.originator_id = wanted.id AND e.cause = wanted.cause
"""
BY_PLACE = """
    SELECT e.originator_id, e.originator_version, e.topic, e.state, e.notification_id
    FROM unnest(%b::uuid[], %b::bigint[]) AS wanted (id, version)
    JOIN events e ON e.originator_id = wanted.id AND e.originator_version = wanted.version
"""
BALANCE_AT = """
    SELECT balance_after FROM events
    WHERE originator_id = %s AND originator_version <= %s AND balance_after IS NOT NULL
    ORDER BY originator_version DESC LIMIT 1
"""
KEEP_SNAPSHOT = """
    INSERT INTO snapshots (originator_id, originator_version, topic, state)
    VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING
"""


class Found(NamedTuple):
    """An event that was looked up by its cause."""

    recorded: Recorded
    position: int
    state: bytes


async def load(
    connection: AsyncConnection, streams: Iterable[Stream]
) -> dict[int, tuple[Aggregate, int]]:
    """Rebuild aggregates, by the number of their stream, from their newest snapshot and what
    came after it; with each, how many events that was."""
    loaded = {stream.id.int: stream.kind(stream.id) for stream in streams}
    ids = [aggregate.id for aggregate in loaded.values()]
    kept = await connection.execute(SNAPSHOTS, (ids,), prepare=True, binary=True)
    for stream, version, topic, state in await kept.fetchall():
        aggregate = restored(loaded[stream.int], topic, state)
        if aggregate is not None and aggregate.version == version:
            loaded[stream.int] = aggregate
    before = {key: aggregate.version for key, aggregate in loaded.items()}
    await fast_forward(connection, loaded)
    return {key: (a, a.version - before[key]) for key, a in loaded.items()}


async def fast_forward(connection: AsyncConnection, aggregates: dict[int, Aggregate]) -> set[int]:
    """Fold in, in place, what each stream recorded since; returns the streams that moved."""
    moved: set[int] = set()
    behind = list(aggregates.values())
    while behind:
        each = max(CHUNK // len(behind), 50)
        before = [aggregate.version for aggregate in behind]
        cursor = await connection.execute(
            NEWER, ([a.id for a in behind], before, each), prepare=True, binary=True
        )
        for stream, version, topic, state in await cursor.fetchall():
            aggregates[stream.int].fold(decode_fact(topic, state), version)
            moved.add(stream.int)
        behind = [a for a, v in zip(behind, before, strict=True) if a.version == v + each]
    return moved


async def by_cause(
    connection: AsyncConnection, wanted: Sequence[tuple[UUID, str]]
) -> dict[tuple[int, str], Found]:
    """The recorded events of these causes, by the number of their stream and the cause."""
    if not wanted:
        return {}
    cursor = await connection.execute(
        BY_CAUSE, ([w[0] for w in wanted], [w[1] for w in wanted]), prepare=True, binary=True
    )
    return {
        (row[0].int, row[5]): Found(
            Recorded(row[0], row[1], decode_fact(row[2], row[3])), row[4], bytes(row[3])
        )
        for row in await cursor.fetchall()
    }


async def by_place(
    connection: AsyncConnection, stream: UUID, version: int
) -> tuple[Recorded, int] | None:
    """The event at one place, and its position."""
    cursor = await connection.execute(BY_PLACE, ([stream], [version]), prepare=True, binary=True)
    row = await cursor.fetchone()
    if row is None:
        return None
    return Recorded(row[0], row[1], decode_fact(row[2], row[3])), row[4]


async def balance_at(connection: AsyncConnection, stream: UUID, version: int) -> int:
    """The wallet balance in µ right after an event; 0 before the first that moved money."""
    cursor = await connection.execute(BALANCE_AT, (stream, version))
    row = await cursor.fetchone()
    return 0 if row is None else int(row[0])


def snapshot_row(aggregate: Aggregate) -> tuple[UUID, int, str, bytes]:
    """The row that keeps a committed state."""
    return (
        aggregate.id,
        aggregate.version,
        get_topic(type(aggregate)),
        aggregate.snapshot(),
    )


def restored(empty: Aggregate, topic: str, state: bytes) -> Aggregate | None:
    """A snapshot is a hint: one that this code cannot read is passed over, never an error."""
    if topic != get_topic(type(empty)):
        return None
    try:
        return msgspec.json.decode(state, type=type(empty))
    except msgspec.DecodeError:
        return None
