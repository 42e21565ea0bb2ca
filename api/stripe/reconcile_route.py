"""`/v1/admin/reconcile`: have Stripe's books compared with ours, and see the last report."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import msgspec
from fastapi import APIRouter
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from adapters.postgres import reconciliations
from api.call import answer, enter, parse, read_body
from api.idempotency import Answer, once
from api.openapi import documented
from api.reads import newest_position
from api.stripe.reconcile import Report, reconcile
from domain.errors import NotFound

router = APIRouter(prefix="/v1/admin/reconcile", tags=["stripe"])


class Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far to look back. Stripe keeps its events for 30 days."""

    days: Annotated[int, Meta(ge=1, le=30)] = 3


_wanted = msgspec.json.Decoder(Wanted)
_report = msgspec.json.Decoder(Report)


@router.post(
    "",
    **documented(
        "Compare Stripe's books with ours",
        "admin",
        body=Wanted,
        optional_body=True,
        answers={200: Report},
        examples={"usual": {"days": 3}},
        keyed=False,
        of="deployment",
    ),
)
async def compare(request: Request) -> Response:
    """Takes in what webhooks lost, as if they had come; reports what that does not explain, and
    leaves it as it is. Safe to repeat."""
    call = await enter(request, "admin", "deployment")
    body = await read_body(request)
    asked = parse(_wanted, body or b"{}")

    async def act(_: str) -> Answer:
        now = await call.house.clock.now()
        report = await reconcile(call.house, now - timedelta(days=asked.days))
        return Answer(report, await newest_position(call.house))

    return await once(call, body, act)


@router.get(
    "",
    **documented(
        "The last comparison with Stripe", "admin", answers={200: Report}, of="deployment"
    ),
)
async def latest(request: Request) -> Response:
    """One is made every day."""
    call = await enter(request, "admin", "deployment")
    async with call.house.pool.connection() as connection:
        found = await reconciliations.latest(connection)
    if found is None:
        raise NotFound("report", "latest")
    return answer(_report.decode(found))
