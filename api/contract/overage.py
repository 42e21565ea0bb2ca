"""`/v1/billing/overage`: usage beyond what the plan includes, agreed to or not."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.call import Call, answer, enter, parse, read_body
from api.idempotency import Answer, once
from api.openapi import documented
from api.reads import newest_position
from api.standing import standing
from domain.account.bucket import Bucket
from domain.money import usd

router = APIRouter(prefix="/v1/billing/overage", tags=["billing"])


class IncludedUnits(msgspec.Struct, frozen=True):
    """Units that come with the plan this cycle; they are always used first."""

    granted: int
    used: int
    remaining: int


class OverageView(msgspec.Struct, frozen=True):
    """Whether overage is agreed to, and what this cycle's comes to so far. The price is null where
    the plan has no overage; bucket and included units where no plan has any."""

    enabled: bool
    bucket: str | None
    unit_price_usd: Decimal | None
    unit_price_micros: int | None
    accrued_units: int
    accrued_usd: Decimal
    accrued_micros: int
    included: IncludedUnits | None
    period_end: datetime | None
    as_of_position: int


class Switch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Agree to overage, or end the agreement."""

    enabled: bool


_switch = msgspec.json.Decoder(Switch)


@router.get("", **documented("Overage", "billing:read", answers={200: OverageView}))
async def read(request: Request) -> Response:
    """Off until it is switched on; then until it is switched off, over all cycles."""
    call = await enter(request, "billing:read")
    return answer(await _view(call))


@router.put(
    "",
    **documented(
        "Agree to overage, or end it",
        "billing:write",
        body=Switch,
        answers={200: OverageView},
        examples={"on": {"enabled": True}},
        keyed=False,
    ),
)
async def switch(request: Request) -> Response:
    """Only what is consumed while it is on is ever billed. 403 where the plan has no overage."""
    call = await enter(request, "billing:write")
    body = await read_body(request)
    asked = parse(_switch, body)
    return await once(call, body, lambda _: _set(call, asked))


async def _set(call: Call, asked: Switch) -> Answer:
    house = call.house
    position = await house.ledger.switch_overage(
        house.till.contracts, call.workspace_id, asked.enabled, await call.context()
    )
    return Answer(await _view(call), position)


async def _view(call: Call) -> OverageView:
    position = await newest_position(call.house)
    stands = await standing(call)
    account, policy = stands.account, stands.account.policy
    assert policy is not None
    meters = stands.plans.current.meters.values()
    name = next((meter.bucket for meter in meters if "overage" in meter.waterfall), None)
    price = policy.overage_unit_price.get(name or "")
    units, amount = account.overage.get(name or "", (0, 0))
    bucket = account.buckets.get(name or "") or Bucket(0, 0, "", "cycle")
    return OverageView(
        stands.subscription.overage_enabled,
        name,
        None if price is None else usd(price),
        price,
        units,
        usd(amount),
        amount,
        None if name is None else IncludedUnits(bucket.granted, bucket.used, bucket.remaining),
        stands.subscription.period_end,
        position,
    )
