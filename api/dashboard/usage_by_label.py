"""Where the usage of the last days went, by one label: a table whose rows add up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection

from api.dashboard.composition import BAR
from api.dashboard.usage_by_day import last_days
from projections import usage_report
from projections.usage_report import UsageSums

ROWS_MAX: Final = 10


class Group(NamedTuple):
    """One row: what has this label, and its part of the whole in thousandths."""

    name: str | None
    sums: UsageSums
    width: int


class Breakdown(NamedTuple):
    """Usage by one label: the largest rows, all others together as one, and the whole."""

    by: str
    groups: list[Group]
    totals: UsageSums


async def usage_by_label(
    connection: AsyncConnection[Any],
    workspace_id: str,
    by: str,
    zone: ZoneInfo,
    now: datetime,
    *,
    in_units: bool,
    names: Mapping[str, str],
) -> Breakdown:
    """The last thirty days, the largest group first: by units, or by what was charged. ``names``
    are those of bots."""
    days = last_days(zone, now)
    report = await usage_report.grouped(connection, workspace_id, days[0], days[-1], by, zone.key)
    size = _units if in_units else _cost
    ordered = sorted(report.rows, key=lambda row: (-size(row), -row.request_count))
    rows = ordered[:ROWS_MAX]
    if rest := ordered[ROWS_MAX:]:
        rows.append(_together(rest))
    whole = size(report.totals)
    groups = [
        Group(
            names.get(row.group_key, row.group_key) if row.group_key else None,
            row,
            size(row) * BAR // whole if whole else 0,
        )
        for row in rows
    ]
    return Breakdown(by, groups, report.totals)


def _cost(row: UsageSums) -> int:
    return row.total_cost


def _units(row: UsageSums) -> int:
    return row.credits


def _together(rows: Sequence[UsageSums]) -> UsageSums:
    sums = (sum(column) for column in zip(*(row[2:] for row in rows), strict=True))
    name = f"{len(rows)} others"
    return UsageSums(name, name, *sums)
