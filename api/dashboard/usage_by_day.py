"""Usage per day, as the chart draws it: what each model cost, or units where they pay for all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection

from projections import usage_report
from projections.usage_report import DaySums, UsageSums

DAYS: Final = 30
MODELS_MAX: Final = 6
"""The chart has a colour for each of these, and one for all others together."""
OTHERS: Final = MODELS_MAX + 1
INCLUDED, OVERAGE, ABSORBED = 1, 3, OTHERS
"""Their colours."""


class Series(NamedTuple):
    """One colour of the chart, and its value on every day."""

    name: str
    values: list[int]
    colour: int


async def usage_by_day(
    connection: AsyncConnection[Any],
    workspace_id: str,
    zone: ZoneInfo,
    now: datetime,
    *,
    in_units: bool,
) -> dict[str, Any]:
    """The last thirty days in a time zone: ``days``, ``series`` with a value for each of them, in
    µ or in units, and ``calls`` in all."""
    days = last_days(zone, now)
    asked = (connection, workspace_id, days[0], days[-1])
    if in_units:
        report = await usage_report.grouped(*asked, "date", zone.key)
        series, calls = by_source(days, report.rows), report.totals.request_count
    else:
        sums = await usage_report.by_day_and_model(*asked, zone.key)
        series, calls = by_model(days, sums), sum(row.request_count for row in sums)
    return {
        "days": [day.isoformat() for day in days],
        "series": [one._asdict() for one in series],
        "calls": calls,
    }


def last_days(zone: ZoneInfo, now: datetime) -> list[date]:
    """The days that the page looks back on, today the last."""
    today = now.astimezone(zone).date()
    return [today - timedelta(days=back) for back in range(DAYS - 1, -1, -1)]


def by_model(days: Sequence[date], sums: Iterable[DaySums]) -> list[Series]:
    """µ by model, the dearest first; the cheaper ones together as one."""
    place = {day: index for index, day in enumerate(days)}
    models: dict[str, list[int]] = {}
    for row in sums:
        micros = models.setdefault(row.llm_model or "no model", [0] * len(days))
        micros[place[row.day]] += row.total_cost
    ordered = sorted(models.items(), key=lambda item: (-sum(item[1]), item[0]))
    shown, rest = ordered[:MODELS_MAX], ordered[MODELS_MAX:]
    series = [Series(name, micros, index + 1) for index, (name, micros) in enumerate(shown)]
    if rest:
        together = [sum(column) for column in zip(*(micros for _, micros in rest), strict=True)]
        series.append(Series(f"{len(rest)} other models", together, OTHERS))
    return series


def by_source(days: Sequence[date], sums: Iterable[UsageSums]) -> list[Series]:
    """Units by who paid for them; sources that paid for nothing are left out."""
    found = {row.group_key: row for row in sums}
    rows = [found.get(day.isoformat(), UsageSums(None, "")) for day in days]
    series = (
        Series("Included", [row.included_credits for row in rows], INCLUDED),
        Series("Overage", [row.overage_credits for row in rows], OVERAGE),
        Series("Absorbed, never billed", [row.absorbed_credits for row in rows], ABSORBED),
    )
    return [one for one in series if any(one.values)]
