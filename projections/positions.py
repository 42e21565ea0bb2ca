"""How far the read models are, and waiting until they have seen what a caller has written."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from psycopg import AsyncConnection

POSITION = "SELECT min(position) FROM positions WHERE model = ANY(%b::text[])"
# A position that a rolled-back commit drew belongs to nothing. Whoever was told it (by an act
# that wrote nothing) has seen it once everything committed is folded.
SEEN = """
    SELECT min(position) >= %b::bigint
        OR (SELECT last_value FROM events_notification_id_seq) >= %b::bigint
           AND min(position) >= (SELECT coalesce(max(notification_id), 0) FROM events)
    FROM positions WHERE model = ANY(%b::text[])
"""
LAG = """
    SELECT model, (SELECT coalesce(max(notification_id), 0) FROM events) - position, error
    FROM positions ORDER BY model
"""
FIRST_PAUSE = 0.002
LONGEST_PAUSE = 0.02


async def position(connection: AsyncConnection, *models: str) -> int:
    """The position that all of these models contain; ask before reading their rows."""
    cursor = await connection.execute(POSITION, (list(models),), prepare=True)
    row = await cursor.fetchone()
    return 0 if row is None or row[0] is None else int(row[0])


async def reach(
    connection: AsyncConnection,
    position: int,
    models: Sequence[str],
    timeout: float = 2.0,  # noqa: ASYNC109 - an answer in time, not a cancellation
) -> bool:
    """Wait until all of these models contain ``position``; False after ``timeout`` seconds.

    The connection is in autocommit: within a transaction's snapshot nothing ever moves.
    """
    deadline = time.monotonic() + timeout
    pause = FIRST_PAUSE
    while True:
        cursor = await connection.execute(SEEN, (position, position, list(models)), prepare=True)
        row = await cursor.fetchone()
        if row is not None and row[0]:
            return True
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        await asyncio.sleep(min(pause, left))
        pause = min(pause * 1.5, LONGEST_PAUSE)


async def lag(connection: AsyncConnection) -> dict[str, tuple[int, str | None]]:
    """For each model how many positions it is behind, and the error that stopped it."""
    cursor = await connection.execute(LAG)
    return {model: (max(behind, 0), error) for model, behind, error in await cursor.fetchall()}
