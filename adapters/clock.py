"""What time it is: the only place where the edge asks."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Protocol

from psycopg_pool import AsyncConnectionPool

START = datetime(2026, 6, 1, tzinfo=UTC)
"""Where a test clock begins."""

BEGIN = """INSERT INTO test_clock ("only", now) VALUES (true, %s) ON CONFLICT DO NOTHING"""
READ = "SELECT now FROM test_clock"
SET = """
    UPDATE test_clock SET now = %(now)s
    WHERE now <= %(now)s
       OR NOT EXISTS (SELECT FROM events WHERE kind = 'WorkspaceCreated')
"""


class Clock(Protocol):
    """Gives the time to whoever builds a command."""

    async def now(self) -> datetime:
        """The time, UTC."""
        ...


class SystemClock:
    """The machine's own clock."""

    async def now(self) -> datetime:
        """The time, UTC."""
        return datetime.now(UTC)


class TestClock:
    """A clock that stands still until it is set, the same for every process of a cell.

    It starts at 2026-06-01T00:00:00Z. While there is no workspace yet it may be set to any
    instant, afterwards only forward.
    """

    __test__ = False  # the name is not pytest's

    def __init__(self, pool: AsyncConnectionPool[Any]) -> None:
        self._pool = pool

    async def now(self) -> datetime:
        """The time that was set, UTC."""
        async with self._pool.connection() as connection:
            row = await (await connection.execute(READ)).fetchone()
            if row is None:
                await connection.execute(BEGIN, (START,))
                return START
            now: datetime = row[0]
            return now.astimezone(UTC)

    async def set(self, now: datetime) -> bool:
        """Set it; False, and nothing changed, if that would be backward."""
        async with self._pool.connection() as connection:
            await connection.execute(BEGIN, (START,))
            cursor = await connection.execute(SET, {"now": now})
            return bool(cursor.rowcount == 1)
