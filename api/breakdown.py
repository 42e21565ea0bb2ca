"""`/v1/workspaces/{id}/usage/breakdown`: which bots and threads used a cycle's credits."""

from __future__ import annotations

from datetime import datetime
from itertools import groupby

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.call import Call, answer, enter
from api.openapi import documented, query
from api.reads import reading
from api.standing import Standing, standing
from domain.contract.subscription import CycleClosed
from domain.errors import NotFound
from projections import breakdown
from projections.breakdown import ThreadUnits

router = APIRouter(prefix="/v1/workspaces/{workspace_id}/usage", tags=["workspaces"])


class CycleView(msgspec.Struct, frozen=True):
    """A cycle: [start, end), UTC."""

    cycle_id: str
    period_start: datetime | None
    period_end: datetime | None
    closed: bool


class Split(msgspec.Struct, frozen=True):
    """Credits used, and who paid: the plan, the customer, nobody."""

    credits: int
    included: int
    overage: int
    absorbed: int


class ThreadView(Split, frozen=True, kw_only=True):
    """One thread; null for usage without one."""

    thread_id: str | None


class BotView(Split, frozen=True, kw_only=True):
    """One bot with its threads, which add up to it; null for usage without one. `name` is that
    of a bot which is still there."""

    bot_id: str | None
    name: str | None
    threads: list[ThreadView]


class Breakdown(msgspec.Struct, frozen=True):
    """The bots add up to the totals: nothing is left out."""

    cycle: CycleView
    totals: Split
    bots: list[BotView]
    as_of_position: int


@router.get(
    "/breakdown",
    **documented(
        "Credits by bot and thread",
        "billing:read",
        answers={200: Breakdown},
        parameters=[
            query("cycle", "`current` (if left out), `previous`, or a cycle_id"),
            query("min_position", "Wait until this position is in it", kind="integer"),
        ],
        of="path",
    ),
)
async def read(request: Request) -> Response:
    """Of the cycle that runs, the one before, or any that is closed."""
    call = await enter(request, "billing:read", "path")
    stands = await standing(call)
    asked = request.query_params.get("cycle", "current")
    cycle = await _cycle(call, stands, asked)
    async with reading(call, "usage_hourly") as (connection, position):
        rows = await breakdown.by_thread(connection, call.workspace_id, cycle.cycle_id)
    known = stands.workspace.bots
    bots = [
        _bot(bot_id, known[bot_id].name if bot_id in known else None, list(threads))
        for bot_id, threads in groupby(rows, lambda r: r.bot_id)
    ]
    return answer(Breakdown(cycle, Split(*_sums(rows)), bots, position))


async def _cycle(call: Call, stands: Standing, asked: str) -> CycleView:
    subscription = stands.subscription
    if asked in ("current", subscription.cycle_id):
        start, end = subscription.period_start, subscription.period_end
        return CycleView(subscription.cycle_id, start, end, False)
    for waits in reversed(stands.account.waiting):  # over, and not yet closed
        if asked in ("previous", waits.cycle_id):
            start, end = waits.policy.period_start, waits.period_end
            return CycleView(waits.cycle_id, start, end, False)
    # Closed by time, though nobody has recorded it yet.
    for recorded in reversed(subscription.pending):
        fact = recorded.fact
        if isinstance(fact, CycleClosed) and asked in ("previous", fact.cycle_id):
            return CycleView(fact.cycle_id, fact.period_start, fact.period_end, True)
    async with call.house.pool.connection() as connection:
        found = await breakdown.closed_cycle(
            connection, call.workspace_id, None if asked == "previous" else asked
        )
    if found is None:
        raise NotFound("cycle", asked)
    return CycleView(*found, True)


def _bot(bot_id: str | None, name: str | None, threads: list[ThreadUnits]) -> BotView:
    return BotView(
        *_sums(threads),
        bot_id=bot_id,
        name=name,
        threads=[ThreadView(*thread[2:], thread_id=thread.thread_id) for thread in threads],
    )


def _sums(rows: list[ThreadUnits]) -> tuple[int, int, int, int]:
    return (
        sum(row.credits for row in rows),
        sum(row.included for row in rows),
        sum(row.overage for row in rows),
        sum(row.absorbed for row in rows),
    )
