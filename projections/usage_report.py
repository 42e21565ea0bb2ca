"""Usage, grouped: what a customer asks of a period, by model, key, face, bot, thread or day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from domain.identity import account_id
from projections.act import SUMS
from projections.usage_history import FILTERS

GROUPS = frozenset(
    {
        *("llm_model", "api_key_id", "model_username", "model_iam_id"),
        *("bot_id", "thread_id", "face_id", "meter", "date"),
    }
)
UNNAMED = "(none)"


class UsageSums(NamedTuple):
    """One row of a report. Costs and ``usd_saved`` are µ; costs are what the customer was
    charged, wallet and overage together. ``group_key`` is None for acts without that label."""

    group_key: str | None
    group_label: str
    request_count: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    provider_cost: int = 0
    markup: int = 0
    total_cost: int = 0
    credits: int = 0
    included_credits: int = 0
    overage_credits: int = 0
    absorbed_credits: int = 0
    tokens_saved: int = 0
    usd_saved: int = 0


assert UsageSums._fields[2:] == SUMS


class UsageReport(NamedTuple):
    """The rows of a report, and their sum."""

    rows: list[UsageSums]
    totals: UsageSums


class DaySums(NamedTuple):
    """What one model cost on one day; µ."""

    day: date
    llm_model: str | None
    total_cost: int
    request_count: int
    input_tokens: int
    output_tokens: int


PERIOD = """
    usage_hourly JOIN usage_labels USING (labels)
    WHERE stream = %(stream)s
      AND (%(start)s::date IS NULL
           OR bucket >= (%(start)s::date::timestamp AT TIME ZONE %(timezone)s))
      AND (%(end)s::date IS NULL
           OR bucket < ((%(end)s::date + 1)::timestamp AT TIME ZONE %(timezone)s))
"""
DAY = "(bucket AT TIME ZONE %(timezone)s)::date"


async def grouped(
    connection: AsyncConnection,
    workspace_id: str,
    start_date: date | None = None,
    end_date: date | None = None,
    group_by: str | None = None,
    timezone: str = "UTC",
    filters: Mapping[str, str] | None = None,
) -> UsageReport:
    """A workspace's usage between two dates, both inclusive, in an IANA time zone.

    Sorted by key, nameless last; one row when ``group_by`` is None. The rows add up to the
    totals, whatever the grouping.

    :raises ValueError: a grouping or a filter that is not offered.
    """
    if group_by is not None and group_by not in GROUPS:
        raise ValueError(f"usage cannot be grouped by {group_by}")
    key = "NULL::text" if group_by is None else f"{DAY}::text" if group_by == "date" else group_by
    where = ""
    for name in filters or {}:
        if name not in FILTERS:
            raise ValueError(f"usage cannot be filtered by {name}")
        where += f" AND {name} = %({name})s"
    sums = ", ".join(f"sum({column})::bigint" for column in SUMS)
    query = f"SELECT {key}, {sums} FROM {PERIOD}{where} GROUP BY 1 ORDER BY 1 NULLS LAST"  # noqa: S608
    values = {**(filters or {}), **_period(workspace_id, start_date, end_date, timezone)}
    cursor = await connection.execute(query.encode(), values)
    rows = [
        UsageSums(key, UNNAMED if key is None else key, *sums)
        for key, *sums in await cursor.fetchall()
    ]
    totals = _totals(rows)
    return UsageReport([totals] if group_by is None else rows, totals)


async def by_day_and_model(
    connection: AsyncConnection,
    workspace_id: str,
    start_date: date | None = None,
    end_date: date | None = None,
    timezone: str = "UTC",
) -> list[DaySums]:
    """Cost by day and model, for a stacked chart: days without usage are left out."""
    query = f"""
        SELECT {DAY}, llm_model, sum(total_cost)::bigint, sum(request_count)::bigint,
               sum(input_tokens)::bigint, sum(output_tokens)::bigint
        FROM {PERIOD} GROUP BY 1, 2 ORDER BY 1, 2 NULLS LAST"""  # noqa: S608
    values = _period(workspace_id, start_date, end_date, timezone)
    cursor = await connection.execute(query.encode(), values)
    return [DaySums(*row) for row in await cursor.fetchall()]


def _period(
    workspace_id: str, start: date | None, end: date | None, timezone: str
) -> dict[str, Any]:
    stream = account_id(workspace_id)
    return {"stream": stream, "start": start, "end": end, "timezone": timezone}


def _totals(rows: Sequence[UsageSums]) -> UsageSums:
    sums = (sum(column) for column in zip(*(row[2:] for row in rows), strict=True))
    return UsageSums(None, "total", *sums)
