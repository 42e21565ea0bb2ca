"""What a workspace has subscribed to; its end; and an administrator's way to change it at once."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.call import Call, answer, enter, parse, read_body
from api.idempotency import Answer, once
from api.openapi import documented, query
from api.reads import newest_position, reading
from api.standing import standing
from domain.account.usage import Label
from domain.contract.subscription import Subscription
from projections import quota

router = APIRouter(prefix="/v1", tags=["billing"])


class ScheduledChange(msgspec.Struct, frozen=True):
    """The plan that comes into force when the cycle closes: a smaller one that the customer
    chose, or by an administrator's `migration` another version of the same."""

    direction: Literal["downgrade", "migration"]
    plan: str
    plan_version: int
    effective_at: datetime
    keep_bot_ids: tuple[str, ...]


class PendingChange(msgspec.Struct, frozen=True):
    """The plan that comes into force when its invoice is paid."""

    preview_id: str
    plan: str | None
    expires_at: datetime


class PastDue(msgspec.Struct, frozen=True):
    """What is unpaid: since when, until when deploys go on, and how many invoices it is."""

    first_failed_at: datetime
    grace_days: int
    grace_ends_at: datetime | None
    unpaid_invoices: int


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
    scheduled_change: ScheduledChange | None
    pending_change: PendingChange | None
    overage_enabled: bool
    past_due: PastDue | None
    cycle_id: str
    stripe_subscription_id: str | None
    as_of_position: int


class CancelView(msgspec.Struct, frozen=True):
    """When the subscription ends; null: it goes on."""

    cancel_at: datetime | None


class NewPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The plan to put in force."""

    plan: Label


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """There is nothing to say."""


_new_plan = msgspec.json.Decoder(NewPlan)
_nothing = msgspec.json.Decoder(Nothing)


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
    "/billing/subscription/cancel",
    **documented(
        "Cancel at the end of the period",
        "billing:write",
        body=Nothing,
        optional_body=True,
        answers={200: CancelView},
        keyed=False,
    ),
)
async def cancel(request: Request) -> Response:
    """Until then everything keeps working; then the default plan is in force. Credits stay."""
    call = await enter(request, "billing:write")
    body = await read_body(request)
    parse(_nothing, body or b"{}")

    async def act(_: str) -> Answer:
        house, context = call.house, await call.context()
        at = await house.ledger.cancel(house.till.contracts, call.workspace_id, context)
        return Answer(CancelView(at), await newest_position(house))

    return await once(call, body, act)


@router.post(
    "/billing/subscription/resume",
    **documented(
        "Let a cancelled subscription go on",
        "billing:write",
        body=Nothing,
        optional_body=True,
        answers={200: CancelView},
        keyed=False,
    ),
)
async def resume(request: Request) -> Response:
    """Possible until the period ends."""
    call = await enter(request, "billing:write")
    body = await read_body(request)
    parse(_nothing, body or b"{}")

    async def act(_: str) -> Answer:
        house, context = call.house, await call.context()
        await house.ledger.resume(house.till.contracts, call.workspace_id, context)
        return Answer(CancelView(None), await newest_position(house))

    return await once(call, body, act)


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
    """Without a payment; 409 for a plan that Stripe bills. The cycle goes on, and what was used
    of it stays used."""
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
    async with reading(call, "usage_hourly") as (connection, position):
        faces = await quota.face_count(connection, call.workspace_id)
    return SubscriptionView(
        subscription.plan_id,
        subscription.plan_version,
        subscription.status,
        faces,
        stands.plan.limits.get("faces"),
        subscription.period_start,
        subscription.period_end,
        subscription.cancel_at,
        scheduled_change(subscription),
        _pending(subscription),
        subscription.overage_enabled,
        _past_due(subscription),
        subscription.cycle_id,
        subscription.stripe_id,
        position,
    )


def scheduled_change(subscription: Subscription) -> ScheduledChange | None:
    """What waits for the cycle to close, as it is told."""
    coming = subscription.coming
    if coming is None:
        return None
    return ScheduledChange(
        "migration" if subscription.migration else "downgrade",
        coming.to_plan,
        coming.to_version,
        coming.effective_at,
        coming.keep_bot_ids,
    )


def _pending(subscription: Subscription) -> PendingChange | None:
    waits = subscription.pending_change
    if waits is None:
        return None
    promised = subscription.quotes.get(waits.preview_id)
    return PendingChange(waits.preview_id, promised.to_plan if promised else None, waits.expires_at)


def _past_due(subscription: Subscription) -> PastDue | None:
    failed = subscription.failed_invoices
    if not failed:
        return None
    days, ends = subscription.grace_days, subscription.grace_ends_at
    return PastDue(min(failed.values()), days, ends, len(failed))
