"""`/v1/audit/replay` and `/v1/audit/compare`: numbers made again from the facts alone."""

from __future__ import annotations

import asyncio
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
import psycopg
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.billing import GrantView
from api.call import answer, enter
from api.house import House
from api.openapi import documented, query
from api.reading import instant_of, number_of
from api.reads import newest_position
from domain.errors import InvalidInput, NotFound
from domain.money import usd
from projections import compare, replay

router = APIRouter(prefix="/v1/audit", tags=["audit"])

ACCOUNT = "credit_account/"
SHOWN = 1_000


class ReplayView(msgspec.Struct, frozen=True):
    """An account as it was; `position` and `recorded_at` are of the last fact in it."""

    stream: str
    workspace_id: str
    version: int
    position: int
    as_of_position: int
    recorded_at: datetime | None
    balance_micros: int
    balance_usd: Decimal
    debt_micros: int
    is_frozen: bool
    grants: list[GrantView]
    state: dict[str, Any]


class DifferenceView(msgspec.Struct, frozen=True):
    """Where a read model says something else than the facts."""

    workspace: str
    field: str
    projected: Any
    replayed: Any


class Comparison(msgspec.Struct, frozen=True):
    """Every difference (the first 1,000 are shown); none is how it should be."""

    equal: bool
    count: int
    differences: list[DifferenceView]
    as_of_position: int


@router.get(
    "/replay",
    **documented(
        "An account as it was",
        "audit:read",
        answers={200: ReplayView},
        parameters=[
            query("stream", "credit_account/{workspace_id}"),
            query("position", "With all facts up to this position", kind="integer"),
            query("at", "With all facts recorded at or before this time"),
        ],
        of="anything",
    ),
)
async def replay_account(request: Request) -> Response:
    """Folded from its first fact, without snapshots or read models."""
    call = await enter(request, "audit:read", "anything")
    stream = request.query_params.get("stream") or ACCOUNT + call.workspace_id
    workspace_id = stream.removeprefix(ACCOUNT)
    if workspace_id == stream or not workspace_id:
        raise InvalidInput(("query", "stream"), "has the form credit_account/{workspace_id}")
    if call.caller.workspace_id not in (None, workspace_id):
        raise NotFound("stream", stream)
    position, at = number_of(request, "position"), instant_of(request, "at")
    newest = await newest_position(call.house)
    await call.house.ledger.account(workspace_id)
    past = await asyncio.to_thread(_replay, call.house, workspace_id, position, at)
    state = past.account.state()
    return answer(
        ReplayView(
            stream,
            workspace_id,
            past.version,
            past.position,
            newest if position is None else min(position, newest),
            past.recorded_at,
            past.balance,
            usd(past.balance),
            past.debt,
            past.account.is_frozen,
            [
                GrantView(
                    grant.grant_id,
                    grant.remaining,
                    usd(grant.remaining),
                    grant.category,
                    grant.priority,
                    grant.expires_at,
                )
                for grant in past.grants
            ],
            state,
        )
    )


def _replay(
    house: House, workspace_id: str, position: int | None, at: datetime | None
) -> replay.Replayed:
    conninfo = house.settings.database.conninfo(application_name="daybook-audit")
    with psycopg.connect(conninfo, autocommit=True) as connection:
        return replay.replay(connection, workspace_id, position=position, at=at)


@router.get(
    "/compare",
    **documented(
        "Compare read models with the facts",
        "audit:read",
        answers={200: Comparison},
        parameters=[query("projection", "One of them only", enum=tuple(compare.CHECKS))],
        of="deployment",
    ),
)
async def compare_all(request: Request) -> Response:
    """Every balance and every usage total, by a full fold. Takes as long as the log is."""
    call = await enter(request, "audit:read", "deployment")
    only = request.query_params.get("projection")
    if only is not None and only not in compare.CHECKS:
        raise InvalidInput(("query", "projection"), f"is one of {', '.join(compare.CHECKS)}")
    newest = await newest_position(call.house)
    found = await asyncio.to_thread(_compare, call.house, only)
    shown = [DifferenceView(*difference) for difference in found[:SHOWN]]
    return answer(Comparison(not found, len(found), shown, newest))


def _compare(house: House, only: str | None) -> list[compare.Difference]:
    conninfo = house.settings.database.conninfo(application_name="daybook-audit")
    with psycopg.connect(conninfo, autocommit=True) as connection:
        return compare.compare(connection, only=only)
