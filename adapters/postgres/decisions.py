"""Receipts of refusals, and the state that an admission was decided on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from adapters.postgres.streams import restored
from domain.codec import decode_fact
from domain.commands import Stream
from domain.facts import Aggregate

KEPT = 1_000
"""Receipts kept of one workspace; older ones are forgotten."""

KEEP = """
    INSERT INTO decisions (decision_id, workspace_id, at, body)
    SELECT id, workspace, at, body::jsonb
    FROM unnest(%s::text[], %s::text[], %s::timestamptz[], %s::text[])
         AS new (id, workspace, at, body)
    ON CONFLICT DO NOTHING
"""
FORGET = """
    DELETE FROM decisions old USING unnest(%s::text[]) AS touched (workspace_id)
    WHERE old.workspace_id = touched.workspace_id AND old.number <= (
        SELECT number FROM decisions d WHERE d.workspace_id = touched.workspace_id
        ORDER BY number DESC OFFSET %s LIMIT 1)
"""
FIND = "SELECT body::text FROM decisions WHERE decision_id = %s AND workspace_id = %s"
SNAPSHOT = """
    SELECT originator_version, topic, state FROM snapshots
    WHERE originator_id = %s AND originator_version < %s
    ORDER BY originator_version DESC LIMIT 1
"""
EVENTS = """
    SELECT originator_version, topic, state FROM events
    WHERE originator_id = %s AND originator_version > %s AND originator_version < %s
    ORDER BY originator_version
"""


class Receipt(NamedTuple):
    """A refusal and what it was decided on; ``body`` is its JSON."""

    decision_id: str
    workspace_id: str
    at: datetime
    body: str


async def keep(connection: AsyncConnection[Any], receipts: Sequence[Receipt]) -> None:
    """Store receipts, and forget the oldest of the workspaces that they concern."""
    await connection.execute(KEEP, [list(column) for column in zip(*receipts, strict=True)])
    await connection.execute(FORGET, (sorted({r.workspace_id for r in receipts}), KEPT))


async def find(connection: AsyncConnection[Any], workspace_id: str, decision_id: str) -> str | None:
    """The JSON of a receipt, or None where there is none (any more)."""
    row = await (await connection.execute(FIND, (decision_id, workspace_id))).fetchone()
    return None if row is None else str(row[0])


async def before(connection: AsyncConnection[Any], stream: Stream, version: int) -> Aggregate:
    """A stream's state right before one of its events: what that event was decided on."""
    aggregate: Aggregate = stream.kind(stream.id)
    cursor = await connection.execute(SNAPSHOT, (stream.id, version), binary=True)
    for kept, topic, state in await cursor.fetchall():
        found = restored(aggregate, topic, state)
        if found is not None and found.version == kept:
            aggregate = found
    cursor = await connection.execute(EVENTS, (stream.id, aggregate.version, version), binary=True)
    async for number, topic, state in cursor:
        aggregate.fold(decode_fact(topic, state), number)
    return aggregate
