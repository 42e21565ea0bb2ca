"""What a workspace has subscribed to, and an administrator's way to change it at once."""

from __future__ import annotations

from datetime import datetime

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.call import Call, answer, enter, parse, read_body
from api.idempotency import Answer, once
from api.openapi import documented, query
from api.reads import reading
from api.standing import standing
from domain.usage import Label
from projections import quota

router = APIRouter(prefix="/v1", tags=["billing"])


class SubscriptionView(msgspec.Struct, frozen=True):
    """The plan in force and the cycle that runs: [start, end), UTC. `face_count` counts faces
    that were ever used; `face_limit` is null where there is none."""

    plan: str
    plan_version: int
    status: str
    face_count: int
    face_limit: int | str | None
    current_period_start: datetime | None
    current_period_end: datetime | None
    cancel_at: datetime | None
    scheduled_change: str | None
    overage_enabled: bool
    past_due: str | None
    cycle_id: str


class NewPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The plan to put in force."""

    plan: Label


_new_plan = msgspec.json.Decoder(NewPlan)


@router.get(
    "/billing/subscription",
    **documented(
        "The subscription",
        "billing:read",
        answers={200: SubscriptionView},
        parameters=[query("min_position", "Wait until this position is in it", kind="integer")],
    ),
)
async def read(request: Request) -> Response:
    """Plan, period and switches, as they are at this moment."""
    call = await enter(request, "billing:read")
    return answer(await _view(call))


@router.post(
    "/admin/workspaces/{workspace_id}/plan",
    tags=["admin"],
    **documented(
        "Put another plan in force now",
        "admin",
        body=NewPlan,
        answers={200: SubscriptionView},
        examples={"connect": {"plan": "connect"}},
        keyed=False,
        of="path",
    ),
)
async def change_plan(request: Request) -> Response:
    """Without a payment. The cycle goes on, and what was used of it stays used."""
    call = await enter(request, "admin", "path")
    body = await read_body(request)
    asked = parse(_new_plan, body)

    async def act(_: str) -> Answer:
        context = await call.context()
        done = await call.house.ledger.set_plan(call.workspace_id, asked.plan, context)
        return Answer(await _view(call), done.position)

    return await once(call, body, act)


async def _view(call: Call) -> SubscriptionView:
    stands = await standing(call)
    subscription = stands.subscription
    async with reading(call, "usage_hourly") as (connection, _):
        faces = await quota.face_count(connection, call.workspace_id)
    return SubscriptionView(
        subscription.plan_id,
        subscription.plan_version,
        subscription.status,
        faces,
        stands.plan.limits.get("faces"),
        subscription.period_start,
        subscription.period_end,
        None,
        None,
        subscription.overage_enabled,
        None,
        subscription.cycle_id,
    )
