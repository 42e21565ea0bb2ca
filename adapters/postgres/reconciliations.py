"""What the comparisons with Stripe found: a report each."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from psycopg import AsyncConnection

KEPT = 400
"""Reports kept: more than a year of days."""

KEEP = "INSERT INTO reconciliations (since, finished_at, report) VALUES (%s, %s, %s::jsonb)"
FORGET = """
    DELETE FROM reconciliations WHERE number <= (
        SELECT number FROM reconciliations ORDER BY number DESC OFFSET %s LIMIT 1)
"""
LATEST = "SELECT report::text FROM reconciliations ORDER BY number DESC LIMIT 1"
FINISHED = "SELECT max(finished_at) FROM reconciliations"
LOCK = "SELECT pg_try_advisory_lock(7006, 'events'::regclass::oid::int)"
UNLOCK = "SELECT pg_advisory_unlock(7006, 'events'::regclass::oid::int)"


async def keep(
    connection: AsyncConnection[Any], since: datetime, finished_at: datetime, report: bytes
) -> None:
    """Store a report (JSON), and forget the oldest."""
    await connection.execute(KEEP, (since, finished_at, report.decode()))
    await connection.execute(FORGET, (KEPT,))


async def latest(connection: AsyncConnection[Any]) -> str | None:
    """The newest report's JSON."""
    row = await (await connection.execute(LATEST)).fetchone()
    return None if row is None else str(row[0])


async def finished_at(connection: AsyncConnection[Any]) -> datetime | None:
    """When the newest report was finished."""
    row = await (await connection.execute(FINISHED)).fetchone()
    return row[0] if row else None


async def claim(connection: AsyncConnection[Any]) -> bool:
    """Be the only one who compares, until `release` or the end of the connection."""
    row = await (await connection.execute(LOCK)).fetchone()
    return row is not None and bool(row[0])


async def release(connection: AsyncConnection[Any]) -> None:
    """Let others compare."""
    await connection.execute(UNLOCK)
