"""`/v1/admin/workspaces/{id}/custom-plan`: plans that are quoted to one workspace each."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import msgspec
from fastapi import APIRouter
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from api.call import Call, answer, enter, parse, read_body
from api.contract.plan_view import PlanView, offer_view
from api.idempotency import Answer, once
from api.openapi import documented, path_parameter
from api.words import Reference
from domain.account.usage import Label
from domain.catalogue.catalogue import Offer
from domain.catalogue.custom_plan import PlanOverrides
from domain.errors import InvalidInput
from domain.identity import stream_id

PATH = "/v1/admin/workspaces/{workspace_id}/custom-plan"
router = APIRouter(prefix=PATH, tags=["admin"])

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]


class NewCustomPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A quote: a base plan and what differs from it. `plan_id` is chosen for the workspace if left
    out; the same one again is its next version."""

    base: Label
    overrides: PlanOverrides = PlanOverrides()
    plan_id: Name | None = None
    quote_ref: Reference | None = None
    valid_until: Annotated[datetime, Meta(tz=True)] | None = None


class CustomPlanView(msgspec.Struct, frozen=True):
    """A plan that was quoted to one workspace. `plan_id` is what that workspace asks for."""

    plan_id: str
    version: int
    workspace_id: str
    base: str
    base_version: int
    price_minor: int
    quote_ref: str | None
    valid_until: datetime | None
    accepted_version: int | None
    withdrawn: bool
    plan: PlanView


class CustomPlanList(msgspec.Struct, frozen=True):
    """Everything that was quoted to a workspace, in its newest version."""

    data: list[CustomPlanView]


_new = msgspec.json.Decoder(NewCustomPlan)
EXAMPLE = {
    "base": "enterprise",
    "overrides": {
        "price_minor": 120_000,
        "buckets": {"ai_credits": {"units": 200_000}},
        "limits": {"bots": 80},
        "grace_days": 21,
        "overage_unit_usd": "0.008",
    },
    "quote_ref": "Q-2026-17",
    "valid_until": "2026-07-01T00:00:00Z",
}


@router.post(
    "",
    **documented(
        "Quote a plan to a workspace",
        "admin",
        body=NewCustomPlan,
        answers={201: CustomPlanView},
        examples={"enterprise": EXAMPLE},
        keyed=False,
        of="path",
    ),
)
async def define(request: Request) -> Response:
    """Only that workspace sees it and can take it, at its price and with its terms."""
    call = await enter(request, "admin", "path")
    body = await read_body(request)
    asked = parse(_new, body)
    plan_id = asked.plan_id or f"custom_{stream_id('custom_plan', call.workspace_id).hex[:12]}"
    try:
        until = None if asked.valid_until is None else asked.valid_until.astimezone(UTC)
    except OverflowError:
        raise InvalidInput(("valid_until",), "must be within the years 1 to 9999") from None

    async def act(_: str) -> Answer:
        done = await call.house.ledger.define_custom_plan(
            plan_id,
            call.workspace_id,
            asked.base,
            asked.overrides,
            await call.context(),
            quote_ref=asked.quote_ref,
            valid_until=until,
        )
        offer: Offer = done.answer
        return Answer(await _view(call, offer), done.position, 201)

    return await once(call, body, act)


@router.get(
    "",
    **documented("What was quoted", "admin", answers={200: CustomPlanList}, of="path"),
)
async def all_of_them(request: Request) -> Response:
    """Also what is over, withdrawn or was taken."""
    call = await enter(request, "admin", "path")
    await call.house.ledger.account(call.workspace_id)
    known = await call.house.ledger.plans()
    offers = [one for one in known.offers_to(call.workspace_id) if one.custom is not None]
    return answer(CustomPlanList([await _view(call, offer) for offer in offers]))


@router.delete(
    "/{plan_id}",
    **documented(
        "Withdraw a quote",
        "admin",
        answers={200: CustomPlanView},
        parameters=[path_parameter("plan_id", "custom_1")],
        of="path",
    ),
)
async def withdraw(request: Request) -> Response:
    """Nobody can take it any more; a workspace that has taken it keeps it."""
    call = await enter(request, "admin", "path")
    plan_id = request.path_params["plan_id"]
    context = await call.context()
    done = await call.house.ledger.withdraw_custom_plan(plan_id, call.workspace_id, context)
    return answer(await _view(call, done.answer), done.position)


async def _view(call: Call, offer: Offer) -> CustomPlanView:
    custom, catalogue = offer.custom, await call.house.ledger.plans()
    assert custom is not None
    return CustomPlanView(
        offer.plan_id,
        offer.version,
        custom.workspace_id,
        custom.base_plan,
        custom.base_version,
        offer.plan.price_minor,
        custom.quote_ref,
        custom.valid_until,
        custom.accepted_version or None,
        custom.withdrawn,
        offer_view(offer, catalogue.current.currency),
    )
