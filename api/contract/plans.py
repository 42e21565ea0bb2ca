"""`/v1/plans` and `/v1/billing/plans`: what can be subscribed to, side by side."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter
from psycopg import AsyncConnection
from starlette.requests import Request
from starlette.responses import Response

from api.call import answer, enter
from api.contract.plan_view import PlanComparisonView, PlanView, offer_view, plan_view
from api.freshness import PATIENCE_S, least_position
from api.house import House
from api.openapi import documented, path_parameter
from api.refusals import ProjectionLagging
from api.standing import standing
from domain.errors import NotFound
from projections import plans, positions
from projections.plan_comparison import PlanRow
from projections.plans import Version

router = APIRouter(prefix="/v1", tags=["billing"])
MODEL = "plan_comparison"


@router.get("/plans", **documented("Compare plans", None, answers={200: PlanComparisonView}))
async def public(request: Request) -> Response:
    """The plans that are sold now. For everybody, without a key."""
    house: House = request.app.state.house
    least = await least_position(request, house.pool)
    async with up_to_date(house, least) as (connection, position):
        version, rows = await _in_force(connection)
    data = [plan_view(row, version.currency) for row in rows if row.status == "live"]
    return answer(_comparison(version, data, position))


@router.get(
    "/billing/plans",
    **documented(
        "Compare plans for a workspace", "billing:read", answers={200: PlanComparisonView}
    ),
)
async def own(request: Request) -> Response:
    """The plans that are sold now, those that were quoted to this workspace, and the one that it
    has, in the version that it has."""
    call = await enter(request, "billing:read")
    stands = await standing(call)
    pin = (stands.subscription.plan_id, stands.subscription.plan_version)
    async with up_to_date(call.house, call.least) as (connection, position):
        version, rows = await _in_force(connection)
        quoted = await plans.quoted_to(connection, call.workspace_id)
        has = await plans.pinned(connection, call.workspace_id, *pin)
    shown = [row for row in rows if row.status == "live"]
    shown += [row for row in quoted if _is_open(row, call.workspace_id, stands.context.now)]
    if has is not None and pin not in [(row.plan_id, row.version) for row in shown]:
        shown.append(has)
    data = [
        plan_view(row, version.currency, current=(row.plan_id, row.version) == pin) for row in shown
    ]
    return answer(_comparison(version, data, position))


@router.get(
    "/billing/plans/{plan_id}",
    **documented(
        "One plan",
        "billing:read",
        answers={200: PlanView},
        parameters=[path_parameter("plan_id", "starter")],
    ),
)
async def one(request: Request) -> Response:
    """As this workspace would get it now; 404 also for what was quoted to somebody else."""
    call = await enter(request, "billing:read")
    stands = await standing(call)
    offer = stands.plans.find(request.path_params["plan_id"], call.workspace_id)
    if offer.custom is not None and offer.custom.withdrawn:
        raise NotFound("plan", offer.plan_id)
    pin = (stands.subscription.plan_id, stands.subscription.plan_version)
    currency = stands.plans.current.currency
    return answer(offer_view(offer, currency, current=(offer.plan_id, offer.version) == pin))


@asynccontextmanager
async def up_to_date(
    house: House, position: int = 0
) -> AsyncIterator[tuple[AsyncConnection[Any], int]]:
    """A connection on which the read model holds every catalogue that was published, and what
    else there is up to a position.

    :raises ProjectionLagging: it is not within 2 s.
    """
    async with house.pool.connection() as connection:
        least = max(position, await plans.last_word(connection))
        if not await positions.reach(connection, least, [MODEL], PATIENCE_S):
            raise ProjectionLagging()
        yield connection, await positions.position(connection, MODEL)


async def _in_force(connection: AsyncConnection[Any]) -> tuple[Version, list[PlanRow]]:
    found = await plans.in_force(connection)
    assert found is not None, "a deployment publishes a catalogue before it serves"
    return found


def _is_open(row: PlanRow, workspace_id: str, now: Any) -> bool:
    is_over = row.valid_until is not None and now >= row.valid_until
    return row.workspace_id == workspace_id and not row.withdrawn and not is_over


def _comparison(version: Version, data: list[PlanView], position: int) -> PlanComparisonView:
    return PlanComparisonView(
        version.catalogue, version.version, version.currency, version.default_plan, data, position
    )
