"""`/v1/billing/plan-change`: what another plan would cost, exactly; then it, or nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated
from uuid import NAMESPACE_URL, uuid5

import msgspec
from fastapi import APIRouter
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from api.call import Call, enter, parse, read_body
from api.contract.subscription import ScheduledChange, scheduled_change
from api.idempotency import Answer, Claim, claim, once
from api.openapi import documented
from api.reads import newest_position
from api.refusals import IdempotencyInProgress
from api.standing import standing
from domain.account.usage import Label
from domain.contract.errors import PlanChangeIsPending
from domain.contract.facts import Direction
from domain.contract.plan_changing import Confirmed, Quoted

router = APIRouter(prefix="/v1/billing/plan-change", tags=["billing"])

TURN = " turn"
"""A key that no client can send. Whoever claims it confirms, and nobody else in the workspace."""
TURN_ASKED_S = 0.05
TURN_PATIENCE_S = 10.0


class PlanChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The plan to change to, and which bots should stay where it allows fewer, best first."""

    plan: Label
    keep_bot_ids: Annotated[tuple[Label, ...], Meta(max_length=1_000)] = ()


class PreviewLine(msgspec.Struct, frozen=True):
    """A line of the invoice that the change would make."""

    description: str
    amount_minor: int
    proration: bool


class Units(msgspec.Struct, frozen=True, rename={"before": "from", "after": "to"}):
    """Included units of a bucket, before and after."""

    before: int
    after: int


class Effects(msgspec.Struct, frozen=True):
    """What the change would do: bots that it pauses, first to last, and included units."""

    bots_to_pause: tuple[str, ...]
    allowance: dict[str, Units]


class PlanPreview(msgspec.Struct, frozen=True):
    """What the change costs now, and from the next invoice on. `proration_date` is the instant
    that the confirmation will use too; null where nothing is prorated."""

    preview_id: str
    plan: str
    direction: Direction
    requires_checkout: bool
    proration_date: int | None
    amount_due_now_minor: int
    currency: str
    lines: tuple[PreviewLine, ...]
    effective_at: datetime
    next_invoice_total_minor: int
    effects: Effects
    expires_at: datetime


class Confirmation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The preview to carry out."""

    preview_id: Label


class PlanChangeResult(msgspec.Struct, frozen=True):
    """`applied`: it is in force, and was charged; `scheduled`: it will be when the cycle closes;
    `pending_payment`: when it is paid, for instance at `payment_url`."""

    status: str
    effective_at: datetime
    charged_minor: int
    payment_url: str | None


class StillComing(msgspec.Struct, frozen=True):
    """What is scheduled now: nothing, or what only an administrator takes back."""

    scheduled_change: ScheduledChange | None


_change = msgspec.json.Decoder(PlanChange)
_confirmation = msgspec.json.Decoder(Confirmation)


@router.post(
    "/preview",
    **documented(
        "What another plan would cost",
        "billing:write",
        body=PlanChange,
        answers={200: PlanPreview},
        examples={"pro": {"plan": "pro", "keep_bot_ids": []}},
        keyed=False,
    ),
)
async def preview(request: Request) -> Response:
    """The amount is Stripe's own, to the second; nothing is changed and nothing charged."""
    call = await enter(request, "billing:write")
    body = await read_body(request)
    asked = parse(_change, body)
    return await once(call, body, lambda key: _preview(call, asked, key))


async def _preview(call: Call, asked: PlanChange, key: str) -> Answer:
    house = call.house
    preview_id = f"pcq_{uuid5(NAMESPACE_URL, f'{call.workspace_id}/{key}').hex}"
    quoted = await house.ledger.preview_plan(
        house.till.contracts,
        call.workspace_id,
        asked.plan,
        asked.keep_bot_ids,
        preview_id,
        await call.context(),
    )
    currency = (await house.ledger.plans()).current.currency
    return Answer(_told(quoted, currency), quoted.position)


@router.post(
    "/confirm",
    **documented(
        "Change the plan as previewed",
        "billing:write",
        body=Confirmation,
        answers={200: PlanChangeResult},
        examples={"a preview": {"preview_id": "pcq_0"}},
        keyed=True,
    ),
)
async def confirm(request: Request) -> Response:
    """Charges exactly what was previewed. 409 `preview_stale`, with the new figure where only
    that differs, when it no longer holds: then nothing was done."""
    call = await enter(request, "billing:write")
    body = await read_body(request)
    asked = parse(_confirmation, body)

    async def act(_: str) -> Answer:
        house = call.house
        async with _alone(call):
            done = await house.ledger.confirm_plan(
                house.till.contracts, call.workspace_id, asked.preview_id, await call.context()
            )
        return Answer(_result(done), done.position)

    return await once(call, body, act, required=True)


@asynccontextmanager
async def _alone(call: Call) -> AsyncIterator[None]:
    """Confirmations of a workspace take turns: of two previews that are confirmed at once, the
    second would be charged what is left after the first, which nobody was shown.

    :raises PlanChangeIsPending: somebody else's takes too long.
    """
    for _ in range(int(TURN_PATIENCE_S / TURN_ASKED_S)):
        try:
            turn = await claim(call, TURN, b"")
            break
        except IdempotencyInProgress:
            await asyncio.sleep(TURN_ASKED_S)
    else:
        raise PlanChangeIsPending("another change is being confirmed; ask again in a moment")
    assert isinstance(turn, Claim)
    try:
        yield
    finally:
        await turn.settle(None)


@router.delete(
    "",
    **documented(
        "Take a scheduled change back",
        "billing:write",
        answers={200: StillComing},
        keyed=False,
    ),
)
async def unschedule(request: Request) -> Response:
    """The plan stays as it is when the cycle closes. Nothing happens where nothing is scheduled,
    and what an administrator scheduled stays."""
    call = await enter(request, "billing:write")

    async def act(_: str) -> Answer:
        house = call.house
        position = await house.ledger.unschedule_plan(
            house.till.contracts, call.workspace_id, await call.context()
        )
        stands = await standing(call)
        told = StillComing(scheduled_change(stands.subscription))
        return Answer(told, position or await newest_position(house))

    return await once(call, b"", act)


def _told(quoted: Quoted, currency: str) -> PlanPreview:
    promised = quoted.quote
    return PlanPreview(
        promised.preview_id,
        promised.to_plan,
        promised.direction,
        promised.needs_checkout,
        promised.proration_date,
        promised.amount_due_now,
        currency,
        tuple(
            PreviewLine(line.description, line.amount_minor, line.proration)
            for line in promised.lines
        ),
        promised.effective_at,
        promised.next_invoice_total,
        Effects(
            quoted.bots_to_pause,
            {name: Units(*units) for name, units in quoted.allowances.items()},
        ),
        promised.expires_at,
    )


def _result(done: Confirmed) -> PlanChangeResult:
    return PlanChangeResult(done.status, done.effective_at, done.charged, done.payment_url)
