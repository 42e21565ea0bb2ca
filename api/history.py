"""`/v1/billing/usage`: what was used, added up or item by item."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
import psycopg
from fastapi import APIRouter
from psycopg import AsyncConnection
from starlette.requests import Request
from starlette.responses import Response

from api.call import Call, answer, enter
from api.openapi import Parameter, documented, query
from api.reading import (
    cursor_of,
    dates_of,
    days_of,
    limit_of,
    position_of_cursor,
    zone_of,
)
from api.reads import reading
from api.refusals import UnsupportedGroupBy
from domain.errors import InvalidInput
from domain.money import usd
from projections import balances, usage_history, usage_report
from projections.usage_history import FILTERS, ItemisedAct
from projections.usage_report import GROUPS, UsageSums

router = APIRouter(prefix="/v1/billing/usage", tags=["billing"])


class UsageRow(msgspec.Struct, frozen=True):
    """Usage added up. Costs are what the customer was charged; `group_key` is null for usage
    without that label."""

    group_key: str | None
    group_label: str
    request_count: int
    input_tokens: int
    output_tokens: int
    provider_cost_usd: Decimal
    provider_cost_micros: int
    markup_usd: Decimal
    markup_micros: int
    total_cost_usd: Decimal
    total_cost_micros: int
    credits: int
    included_credits: int
    overage_credits: int
    absorbed_credits: int
    tokens_saved: int
    usd_saved: Decimal


class UsageSummary(msgspec.Struct, frozen=True):
    """The groups, and all of them together: the rows add up to the totals."""

    rows: list[UsageRow]
    totals: UsageRow
    as_of_position: int


class UsageItem(msgspec.Struct, frozen=True):
    """One metered act. Costs are null while it has no price; the four amounts say who paid."""

    usage_id: str
    event_id: str
    position: int
    occurred_at: datetime
    recorded_at: datetime
    meter: str
    action: str | None
    mode: str
    route: str
    llm_model: str | None
    provider: str | None
    api_key_id: str | None
    model_username: str | None
    model_iam_id: str | None
    face_id: str | None
    bot_id: str | None
    thread_id: str | None
    cycle_id: str | None
    tokens: dict[str, int]
    units: int
    included_units: int
    overage_units: int
    absorbed_units: int
    wallet_micros: int
    overage_micros: int
    external_micros: int
    absorbed_micros: int
    provider_cost_usd: Decimal | None
    markup_usd: Decimal | None
    total_cost_usd: Decimal | None
    price_book_version: int | None
    rated: bool
    late: bool
    voided: bool
    voided_at_position: int | None
    balance_after_micros: int | None


class UsageItems(msgspec.Struct, frozen=True):
    """A page of acts, newest first."""

    data: list[UsageItem]
    has_more: bool
    next_cursor: str | None
    as_of_position: int


PERIOD: list[Parameter] = [
    query("start_date", "The first day; or from_date"),
    query("end_date", "The last day, inclusive; or to_date"),
    query("from_date", "Alias of start_date"),
    query("to_date", "Alias of end_date"),
    query("timezone", "IANA name, in which days are meant; UTC if left out"),
    query("min_position", "Wait until this position is in it", kind="integer"),
    *(query(name, "Only usage with this value") for name in sorted(FILTERS)),
]


@router.get(
    "",
    **documented(
        "Usage, added up",
        "billing:read",
        answers={200: UsageSummary},
        parameters=[query("group_by", "One row for each", enum=tuple(sorted(GROUPS))), *PERIOD],
    ),
)
async def summary(request: Request) -> Response:
    """By model, key, face, bot, thread or day, by when the tokens were consumed."""
    call = await enter(request, "billing:read")
    group_by = request.query_params.get("group_by")
    if group_by is not None and group_by not in GROUPS:
        raise UnsupportedGroupBy(
            ("query", "group_by"), f"usage can be grouped by {', '.join(sorted(GROUPS))}"
        )
    zone = zone_of(request)
    days_of(request, zone)
    start, end = dates_of(request)
    async with reading(call, "usage_hourly") as (connection, position):
        await _require_workspace(call, connection)
        try:
            report = await usage_report.grouped(
                connection, call.workspace_id, start, end, group_by, zone.key, _filters(request)
            )
        except psycopg.errors.InvalidParameterValue:
            raise InvalidInput(
                ("query", "timezone"), "is a time zone that the database does not know"
            ) from None
    return answer(UsageSummary([_row(sums) for sums in report.rows], _row(report.totals), position))


@router.get(
    "/events",
    **documented(
        "Usage, item by item",
        "billing:read",
        answers={200: UsageItems},
        parameters=[
            query("limit", "1 to 100; 20 if left out", kind="integer"),
            query("cursor", "next_cursor of the page before"),
            *PERIOD,
        ],
    ),
)
async def items(request: Request) -> Response:
    """Every act with who paid for it, newest first; pages do not shift when acts are added."""
    call = await enter(request, "billing:read")
    limit = limit_of(request)
    before = position_of_cursor(request) or None
    start, end = days_of(request, zone_of(request))
    async with reading(call, "usage_events") as (connection, position):
        await _require_workspace(call, connection)
        acts = await usage_history.page(
            connection,
            call.workspace_id,
            filters=_filters(request),
            start=start,
            end=end,
            before=before,
            limit=limit + 1,
        )
    more = len(acts) > limit
    data = [_item(act) for act in acts[:limit]]
    return answer(UsageItems(data, more, cursor_of(data[-1].position) if more else None, position))


async def _require_workspace(call: Call, connection: AsyncConnection[Any]) -> None:
    """No usage, and no such workspace, are two answers.

    :raises NotFound: there is none.
    """
    if await balances.balance(connection, call.workspace_id) is None:
        await call.house.ledger.account(call.workspace_id)


def _filters(request: Request) -> dict[str, str]:
    return {name: value for name, value in request.query_params.items() if name in FILTERS}


def _row(sums: UsageSums) -> UsageRow:
    return UsageRow(
        sums.group_key,
        sums.group_label,
        sums.request_count,
        sums.input_tokens,
        sums.output_tokens,
        usd(sums.provider_cost),
        sums.provider_cost,
        usd(sums.markup),
        sums.markup,
        usd(sums.total_cost),
        sums.total_cost,
        sums.credits,
        sums.included_credits,
        sums.overage_credits,
        sums.absorbed_credits,
        sums.tokens_saved,
        usd(sums.usd_saved),
    )


def _item(act: ItemisedAct) -> UsageItem:
    def money(micros: int | None) -> Decimal | None:
        return None if micros is None else usd(micros)

    tokens = {
        "input": act.input_tokens,
        "cached_input": act.cached_input_tokens,
        "output": act.output_tokens,
        "reasoning": act.reasoning_tokens,
    }
    derived: dict[str, Any] = {
        "usage_id": act.usage_id,
        "tokens": tokens,
        "wallet_micros": act.wallet,
        "overage_micros": act.overage,
        "external_micros": act.external,
        "absorbed_micros": act.absorbed,
        "provider_cost_usd": money(act.provider_cost),
        "markup_usd": money(act.markup),
        "total_cost_usd": money(act.total_cost),
        "rated": not act.is_unrated,
        "voided": act.is_voided,
        "voided_at_position": act.voided_at,
        "balance_after_micros": act.balance_after,
    }
    same = (name for name in UsageItem.__struct_fields__ if name not in derived)
    return UsageItem(**derived, **{name: getattr(act, name) for name in same})
