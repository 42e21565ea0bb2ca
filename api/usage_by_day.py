"""Usage per day and model, as the chart draws it."""

from __future__ import annotations

from datetime import datetime, timedelta, time, UTC
from typing import Any
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection
from domain.identity import account_id

DAYS = 30
MODELS_MAX = 6
"""The chart has a colour for each of these, and one for all others together."""


async def usage_by_day(
    connection: AsyncConnection[Any], workspace_id: str, zone: ZoneInfo, now: datetime
) -> dict[str, Any]:
    """The last thirty days in a time zone: ``days`` oldest first, and for each model, the
    dearest first, its µ on each of them; ``calls`` and ``timezone`` beside."""
    today = now.astimezone(zone).date()
    days = [today - timedelta(days=back) for back in range(DAYS - 1, -1, -1)]
    begin = datetime.combine(days[0], time(), zone)
    cursor = await connection.execute(
        b"""SELECT (bucket AT TIME ZONE %s::text)::date, coalesce(llm_model, meter), sum(total_cost)::bigint, sum(request_count)::bigint
        FROM usage_hourly JOIN usage_labels USING (labels) WHERE stream = %s AND bucket >= %s GROUP BY 1, 2""",
        (zone.key, account_id(workspace_id), begin),
    )
    rows = await cursor.fetchall()
    return stack(days, rows) | {"timezone": zone.key}


def stack(days, rows):
    place = {day: index for index, day in enumerate(days)}
    by_model: dict[str, list[int]] = {}
    calls = 0
    for day, model, micros, count in rows:
        if day in place:
            by_model.setdefault(model, [0] * len(days))[place[day]] += micros
            calls += count
    ordered = sorted(by_model.items(), key=lambda item: (-sum(item[1]), item[0]))
    shown, rest = ordered[:MODELS_MAX], ordered[MODELS_MAX:]
    if rest:
        shown.append((f"{len(rest)} others", [sum(column) for column in zip(*(m for _, m in rest), strict=True)]))
    return {
        "days": [day.isoformat() for day in days],
        "models": [{"name": name, "micros": micros} for name, micros in shown],
        "calls": calls,
    }
