"""`/v1/test`: a deployment whose clock stands still until it is moved. Absent otherwise."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated

import msgspec
from fastapi import APIRouter
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from adapters.clock import TestClock
from adapters.stripe.backstage import Backstage
from api.call import Call, answer, enter, parse, read_body
from api.house import House
from api.openapi import documented
from api.outgoing import sending
from api.reads import newest_position, reached
from api.running.due import run_due
from domain.errors import InvalidInput, NotFound
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
    """What was due and is done; the read models contain it. ``done``: facts that time left,
    events of Stripe that were delivered or settled, and reactions to facts."""

    now: datetime
    done: int
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
    """Forward only, once there is a workspace. Nothing that becomes due is done by this alone,
    except in the sandbox of Stripe, whose clock moves along."""
    call, clock = await _enter(request)
    asked = parse(_time, await read_body(request))
    try:
        now = asked.now.astimezone(UTC)
    except OverflowError:
        raise InvalidInput(("now",), "must be within the years 1 to 9999") from None
    if not 2000 <= now.year <= 2200:
        raise InvalidInput(("now",), "must be within the years 2000 to 2200")
    if not await clock.set(now):
        raise InvalidInput(("now",), "is earlier than the clock; it only goes forward")
    await set_sandbox_clock(call.house)
    return answer(Time(now))


@router.post(
    "/tick",
    **documented("Do what is due", "admin", answers={200: Ticked}, of="deployment"),
)
async def tick(request: Request) -> Response:
    """Runs due work until nothing is left, at the sandbox of Stripe too, and waits until the read
    models contain it. Webhooks that the sandbox holds back stay there."""
    call, clock = await _enter(request)
    now, house = await clock.now(), call.house
    done, expired = 0, set[str]()
    async with backstage_of(house) as backstage:
        while True:
            position = await _folded(house)
            expired |= await _expiring(house, now)
            acts = await _round(house, backstage, now)
            done += acts
            if not acts and position == await newest_position(house):
                return answer(Ticked(now, done, len(expired), position), position)


async def set_sandbox_clock(house: House) -> None:
    """Let the sandbox of Stripe, if there is one, have the time of our test clock."""
    if isinstance(house.clock, TestClock):
        async with backstage_of(house) as backstage:
            if backstage is not None:
                await backstage.move_clock(await house.clock.now())


@asynccontextmanager
async def backstage_of(house: House) -> AsyncIterator[Backstage | None]:
    """The sandbox's controls, while the block lasts; None where there is no sandbox."""
    url = house.settings.stripe_url
    if not house.settings.stripe_is_sandbox or not url:
        yield None
        return
    async with aclosing(Backstage(url)) as backstage:
        yield backstage


async def _round(house: House, backstage: Backstage | None, now: datetime) -> int:
    """Everything that is due, once; how much that was."""
    done = 0
    if backstage is not None:
        await backstage.move_clock(now)
        done += await backstage.deliver()
    done += await house.inbox.retry_due(unfinished=True)
    done += await house.follower.step(every=True)
    done += await run_due(house, now)
    return done + await sending.run_once(house, now)


async def _folded(house: House) -> int:
    position = await newest_position(house)
    await reached(house, position, [model.name for model in MODELS], PATIENCE_S)
    return position


async def _expiring(house: House, now: datetime) -> set[str]:
    async with house.pool.connection() as connection:
        return set(await expiries.due(connection, None, now))


async def _enter(request: Request) -> tuple[Call, TestClock]:
    house_clock = request.app.state.house.clock
    if not isinstance(house_clock, TestClock):
        raise NotFound("page", request.url.path)
    return await enter(request, "admin", "deployment"), house_clock
