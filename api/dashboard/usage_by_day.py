"""Usage per day and model, as the chart draws it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection

from projections import usage_report
from projections.usage_report import DaySums

DAYS: Final = 30
MODELS_MAX: Final = 6
"""The chart has a colour for each of these, and one for all others together."""


async def usage_by_day(
    connection: AsyncConnection[Any], workspace_id: str, zone: ZoneInfo, now: datetime
) -> dict[str, Any]:
    """The last thirty days in a time zone, as `stack` gives them."""
    today = now.astimezone(zone).date()
    days = [today - timedelta(days=back) for back in range(DAYS - 1, -1, -1)]
    sums = await usage_report.by_day_and_model(
        connection, workspace_id, days[0], days[-1], zone.key
    )
    return stack(days, sums)


def stack(days: Sequence[date], sums: Iterable[DaySums]) -> dict[str, Any]:
    """``days`` as they come; ``models``, the dearest first, each with its µ on every day, the
    cheaper ones together as one; ``calls`` in all."""
    place = {day: index for index, day in enumerate(days)}
    by_model: dict[str, list[int]] = {}
    calls = 0
    for row in sums:
        micros = by_model.setdefault(row.llm_model or "no model", [0] * len(days))
        micros[place[row.day]] += row.total_cost
        calls += row.request_count
    ordered = sorted(by_model.items(), key=lambda item: (-sum(item[1]), item[0]))
    shown, rest = ordered[:MODELS_MAX], ordered[MODELS_MAX:]
    if rest:
        together = [sum(column) for column in zip(*(micros for _, micros in rest), strict=True)]
        shown.append((f"{len(rest)} other models", together))
    return {
        "days": [day.isoformat() for day in days],
        "models": [{"name": name, "micros": micros} for name, micros in shown],
        "calls": calls,
    }
