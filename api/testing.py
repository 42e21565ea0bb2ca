"""`/v1/test`: a deployment whose clock stands still until it is moved. Absent otherwise."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import msgspec
from fastapi import APIRouter
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from adapters.clock import TestClock
from api.call import Call, answer, enter, parse, read_body
from api.openapi import documented
from api.reads import newest_position, reached
from domain.errors import InvalidInput, NotFound
from domain.facts import Context
from projections import expiries
from projections.models import MODELS

router = APIRouter(prefix="/v1/test", tags=["test"])

PATIENCE_S = 30.0


class NewTime(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The instant at which the clock is to stand."""

    now: Annotated[datetime, Meta(tz=True)]


class Time(msgspec.Struct, frozen=True):
    """Where the clock stands."""

    now: datetime


class Ticked(msgspec.Struct, frozen=True):
    """What was due and is done; the read models contain it."""

    now: datetime
    expired_accounts: int
    as_of_position: int


_time = msgspec.json.Decoder(NewTime)


@router.post(
    "/clock",
    **documented(
        "Set the test clock",
        "admin",
        body=NewTime,
        answers={200: Time},
        examples={"ten days on": {"now": "2026-06-11T00:00:00Z"}},
        of="deployment",
    ),
)
async def set_clock(request: Request) -> Response:
    """Forward only, once there is a workspace. Nothing that becomes due is done by this alone."""
    _, clock = await _enter(request)
    asked = parse(_time, await read_body(request))
    try:
        now = asked.now.astimezone(UTC)
    except OverflowError:
        raise InvalidInput(("now",), "must be within the years 1 to 9999") from None
    if not 2000 <= now.year <= 2200:
        raise InvalidInput(("now",), "must be within the years 2000 to 2200")
    if not await clock.set(now):
        raise InvalidInput(("now",), "is earlier than the clock; it only goes forward")
    return answer(Time(now))


@router.post(
    "/tick",
    **documented("Do what is due", "admin", answers={200: Ticked}, of="deployment"),
)
async def tick(request: Request) -> Response:
    """Runs due work until nothing is left, and waits until the read models contain it."""
    call, clock = await _enter(request)
    now = await clock.now()
    models = [model.name for model in MODELS]
    house, swept = call.house, set[str]()
    while True:
        position = await newest_position(house)
        await reached(house, position, models, PATIENCE_S)
        async with house.pool.connection() as connection:
            due = set(await expiries.due(connection, None, now)) - swept
        if not due:
            return answer(Ticked(now, len(swept), position), position)
        for workspace_id in sorted(due):
            await house.ledger.expire_credits(workspace_id, Context(now))
        swept |= due


async def _enter(request: Request) -> tuple[Call, TestClock]:
    house_clock = request.app.state.house.clock
    if not isinstance(house_clock, TestClock):
        raise NotFound("page", request.url.path)
    return await enter(request, "admin", "deployment"), house_clock
