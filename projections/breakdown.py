"""Which bots and threads used a cycle's units."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from psycopg import AsyncConnection

from domain.contract.subscription import subscription_stream
from domain.identity import account_id

BY_THREAD = """
    SELECT bot_id, thread_id, sum(credits)::bigint, sum(included_credits)::bigint,
           sum(overage_credits)::bigint, sum(absorbed_credits)::bigint
    FROM usage_hourly JOIN usage_labels USING (labels)
    WHERE stream = %s AND cycle_id = %s
    GROUP BY bot_id, thread_id HAVING sum(request_count) <> 0
    ORDER BY bot_id NULLS LAST, thread_id NULLS LAST
"""
CLOSED = """
    SELECT data->>'cycle_id', (data->>'period_start')::timestamptz,
           (data->>'period_end')::timestamptz
    FROM event_log WHERE stream = %(stream)s AND kind = 'CycleClosed'
      AND (%(cycle)s::text IS NULL OR data->>'cycle_id' = %(cycle)s)
    ORDER BY version DESC LIMIT 1
"""


class ThreadUnits(NamedTuple):
    """Units of one thread of one bot, and who paid; None is usage without one."""

    bot_id: str | None
    thread_id: str | None
    credits: int
    included: int
    overage: int
    absorbed: int


class ClosedCycle(NamedTuple):
    """A cycle that is over."""

    cycle_id: str
    period_start: datetime
    period_end: datetime


async def by_thread(
    connection: AsyncConnection[Any], workspace_id: str, cycle_id: str
) -> list[ThreadUnits]:
    """Every bot's threads in a cycle, nameless last; nothing is dropped."""
    cursor = await connection.execute(BY_THREAD, (account_id(workspace_id), cycle_id))
    return [ThreadUnits(*row) for row in await cursor.fetchall()]


async def closed_cycle(
    connection: AsyncConnection[Any], workspace_id: str, cycle_id: str | None = None
) -> ClosedCycle | None:
    """The cycle of this id if it is closed, or the one that was closed last."""
    stream: UUID = subscription_stream(workspace_id)
    cursor = await connection.execute(CLOSED, {"stream": stream, "cycle": cycle_id})
    row = await cursor.fetchone()
    return None if row is None else ClosedCycle(*row)
