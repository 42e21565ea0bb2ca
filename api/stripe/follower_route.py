"""`GET /v1/admin/reactions`: how far what our facts ask of the outside is carried out."""

from __future__ import annotations

from datetime import datetime

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from adapters.postgres import following
from api.call import answer, enter
from api.openapi import documented
from api.stripe.follower import NAME

router = APIRouter(prefix="/v1/admin/reactions", tags=["stripe"])


class FailedReaction(msgspec.Struct, frozen=True):
    """A reaction to the fact at a position that failed, and is tried again. ``error`` is its
    kind only; the log has more."""

    position: int
    reaction: str
    attempts: int
    error: str
    parked_at: datetime
    next_attempt_at: datetime


class Reactions(msgspec.Struct, frozen=True):
    """Every fact up to ``position`` was handed out, ``behind`` more are there; ``parked`` are
    the first 100 reactions that wait to be tried again."""

    position: int
    behind: int
    parked: list[FailedReaction]


@router.get(
    "",
    **documented(
        "What our facts ask of the outside", "admin", answers={200: Reactions}, of="deployment"
    ),
)
async def reactions(request: Request) -> Response:
    """What fails again and again needs somebody to look at it; nothing else waits for it."""
    call = await enter(request, "admin", "deployment")
    async with call.house.pool.connection() as connection:
        position = await following.position(connection, NAME)
        head = await following.head(connection)
        waiting = await following.parked(connection, NAME, every=True)
    return answer(
        Reactions(position, head - position, [FailedReaction(**one._asdict()) for one in waiting])
    )
