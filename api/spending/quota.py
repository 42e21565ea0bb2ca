"""`/v1/billing/compile-quota`: included compilation, who used it, and what comes after it."""

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
from api.standing import Standing, standing
from domain.account.bucket import Bucket
from domain.errors import NotFound
from projections import quota
from projections.quota import FaceQuota

router = APIRouter(prefix="/v1/billing/compile-quota", tags=["billing"])

METER = "compile"


class FaceView(msgspec.Struct, frozen=True):
    """Included units that one face used; `face_id` is null for usage without one."""

    face_id: str | None
    tokens_charged_period: int
    tokens_charged_alltime: int


class QuotaView(msgspec.Struct, frozen=True):
    """Included units. What calls under way have set aside is no longer in `tokens_remaining`."""

    plan: str
    tokens_used: int
    tokens_limit: int
    tokens_remaining: int
    quota_reset_at: datetime | None
    allow_compile_overflow: bool
    faces: list[FaceView]
    as_of_position: int


class Overflow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether compilation beyond the quota is paid from the credit balance."""

    allow_compile_overflow: bool


_overflow = msgspec.json.Decoder(Overflow)


@router.get(
    "",
    **documented(
        "The compile quota",
        "billing:read",
        answers={200: QuotaView},
        parameters=[query("min_position", "Wait until this position is in it", kind="integer")],
    ),
)
async def read(request: Request) -> Response:
    """One quota for all faces; the faces' numbers say who used it."""
    call = await enter(request, "billing:read")
    return answer(await _view(call))


@router.patch(
    "",
    **documented(
        "Allow compilation beyond the quota, or not",
        "billing:write",
        body=Overflow,
        answers={200: QuotaView},
        examples={"allow": {"allow_compile_overflow": True}},
        keyed=False,
    ),
)
async def change(request: Request) -> Response:
    """Only what exceeds the quota is paid from the balance."""
    call = await enter(request, "billing:write")
    body = await read_body(request)
    asked = parse(_overflow, body)

    async def act(_: str) -> Answer:
        await _view(call)  # a deployment without the meter has nothing to switch
        context = await call.context()
        done = await call.house.ledger.set_overflow(
            call.workspace_id, asked.allow_compile_overflow, context
        )
        return Answer(await _view(call), done.position)

    return await once(call, body, act)


async def _view(call: Call) -> QuotaView:
    stands = await standing(call)
    meter = stands.plans.current.meters.get(METER)
    if meter is None or meter.bucket is None:
        raise NotFound("meter", METER)
    account = stands.account
    bucket = account.buckets.get(meter.bucket) or Bucket(0, 0, "", "never")
    async with reading(call, "usage_hourly") as (connection, position):
        cycle_id, since = _period(stands, bucket)
        faces = await quota.by_face(
            connection,
            call.workspace_id,
            sorted(stands.meters_of(meter.bucket)),
            cycle_id=cycle_id,
            since=since,
        )
    return QuotaView(
        account.plan,
        bucket.used,
        bucket.granted,
        bucket.remaining,
        bucket.resets_at(stands.subscription.period_end),
        account.overflow,
        [_face(face) for face in faces],
        position,
    )


def _face(face: FaceQuota) -> FaceView:
    return FaceView(face.face_id, face.period, face.all_time)


def _period(stands: Standing, bucket: Bucket) -> tuple[str | None, datetime | None]:
    """(cycle, start) of what counts as this period: neither for units granted once."""
    if bucket.reset == "cycle":
        return stands.subscription.cycle_id, None
    return None, bucket.since if bucket.reset.startswith("days:") else None
