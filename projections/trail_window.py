"""Where in the book a span of time lies: told by the audit trail, so that no payload is read."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from psycopg import AsyncConnection

# Times are nearly in order of position, and where they are not, only the bounds are wider. What
# has no time in the trail may be of any.
FIRST = """
    SELECT position FROM audit_trail
    WHERE position > %s AND (recorded_at >= %s OR recorded_at IS NULL) ORDER BY position LIMIT 1
"""
LAST = """
    SELECT position FROM audit_trail
    WHERE recorded_at < %s OR recorded_at IS NULL ORDER BY position DESC LIMIT 1
"""
CHAINED = "SELECT coalesce(max(position), 0) FROM audit_trail"


class TrailWindow(NamedTuple):
    """Events of a span of time are at positions from ``first`` on, and there up to ``last`` or
    behind ``chained``, where the trail ends. Others are there too."""

    first: int
    last: int
    chained: int


async def trail_window(
    connection: AsyncConnection[Any], after: int, since: datetime | None, until: datetime | None
) -> TrailWindow:
    """Bounds for the events behind ``after`` that were recorded in [since, until)."""
    # First of all: what is chained meanwhile is behind it, and so in the window.
    chained = await _position(connection, CHAINED) or 0
    first, last = after + 1, chained
    if since is not None:
        first = await _position(connection, FIRST, after, since) or max(after, chained) + 1
    if until is not None:
        last = await _position(connection, LAST, until) or 0
    return TrailWindow(first, last, chained)


async def _position(connection: AsyncConnection[Any], query: str, *values: Any) -> int | None:
    row = await (await connection.execute(query.encode(), values)).fetchone()
    return None if row is None else row[0]
