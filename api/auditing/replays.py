"""`/v1/audit/replay` and `/v1/audit/compare`: numbers made again from the facts alone."""

from __future__ import annotations

import asyncio
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import psycopg
from fastapi import APIRouter
from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import Response

from api.auditing.evidence import event_hash
from api.auditing.streams import asked_stream
from api.billing import GrantView
from api.call import answer, enter
from api.house import House
from api.openapi import documented, query
from api.reading import instant_of, number_of
from api.reads import newest_position
from domain.errors import InvalidInput, NotFound
from domain.identity import account_id
from domain.money import usd
from projections import compare, replay

router = APIRouter(prefix="/v1/audit", tags=["audit"])

ACCOUNT = "credit_account/"
SHOWN = 1_000


class ReplayView(msgspec.Struct, frozen=True):
    """A stream as it was; `position`, `recorded_at` and `event_hash` are of the last fact in it.
    The balance and what it consists of are there where it is an account; it equals
    `last_balance_after_micros`, which the last fact says that moved money."""

    stream: str
    workspace_id: str | None
    version: int
    position: int
    as_of_position: int
    recorded_at: datetime | None
    event_hash: str | None
    balance_micros: int | None
    balance_usd: Decimal | None
    last_balance_after_micros: int | None
    debt_micros: int | None
    is_frozen: bool | None
    grants: list[GrantView] | None
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
        "A stream as it was",
        "audit:read",
        answers={200: ReplayView},
        parameters=[
            query("stream", "credit_account/{workspace_id}, or any other stream"),
            query("position", "With all facts up to this position", kind="integer"),
            query("at", "With all facts recorded at or before this time"),
        ],
        of="anything",
    ),
)
async def replay_one(request: Request) -> Response:
    """Folded from its first fact by the aggregate's own code, without snapshots or read models."""
    call = await enter(request, "audit:read", "anything")
    name = request.query_params.get("stream") or ACCOUNT + call.workspace_id
    if name == ACCOUNT:
        raise InvalidInput(("query", "stream"), "has the form credit_account/{workspace_id}")
    stream = await asked_stream(call, name)
    assert stream is not None
    position, at = number_of(request, "position"), instant_of(request, "at")
    newest = await newest_position(call.house)
    workspace_id = name.removeprefix(ACCOUNT)
    if workspace_id != name and account_id(workspace_id) == stream:
        await call.house.ledger.account(workspace_id)
        account = await asyncio.to_thread(_replay, call.house, workspace_id, position, at)
        made = _account_view(account)
    else:
        other = await asyncio.to_thread(_replay_stream, call.house, stream, position, at)
        if other is None:
            raise NotFound("stream", name)
        made = _stream_view(other)
    hash_ = None
    if made.version:
        async with call.house.pool.connection() as connection:
            hash_ = await event_hash(connection, stream, made.version)
    upto = newest if position is None else min(position, newest)
    return answer(replace(made, stream=name, as_of_position=upto, event_hash=hash_))


def _account_view(past: replay.Replayed) -> ReplayView:
    return ReplayView(
        "",
        past.workspace_id,
        past.version,
        past.position,
        0,
        past.recorded_at,
        None,
        past.balance,
        usd(past.balance),
        past.balance_after,
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
        past.account.state(),
    )


def _stream_view(past: replay.ReplayedStream) -> ReplayView:
    aggregate = past.aggregate
    workspace_id = getattr(aggregate, "workspace_id", None)
    none_of_an_account = (None,) * 6
    return ReplayView(
        "",
        workspace_id,
        aggregate.version,
        past.position,
        0,
        past.recorded_at,
        None,
        *none_of_an_account,
        aggregate.state(),
    )


def _replay(
    house: House, workspace_id: str, position: int | None, at: datetime | None
) -> replay.Replayed:
    with _connected(house) as connection:
        return replay.replay(connection, workspace_id, position=position, at=at)


def _replay_stream(
    house: House, stream: UUID, position: int | None, at: datetime | None
) -> replay.ReplayedStream | None:
    with _connected(house) as connection:
        return replay.replay_stream(connection, stream, position=position, at=at)


def _connected(house: House) -> psycopg.Connection[Any]:
    conninfo = house.settings.database.conninfo(application_name="daybook-audit")
    return psycopg.connect(conninfo, autocommit=True)


@router.get(
    "/compare",
    **documented(
        "Compare read models with the facts",
        "audit:read",
        answers={200: Comparison},
        parameters=[query("projection", "One of them only", enum=compare.COMPARED)],
        of="deployment",
    ),
)
async def compare_all(request: Request) -> Response:
    """Every balance and every usage total, and then every row of the read models, by a full fold.
    Takes as long as the log is."""
    call = await enter(request, "audit:read", "deployment")
    only = request.query_params.get("projection")
    if only is not None and only not in compare.COMPARED:
        raise InvalidInput(("query", "projection"), f"is one of {', '.join(compare.COMPARED)}")
    newest = await newest_position(call.house)
    found = await asyncio.to_thread(_compare, call.house, only)
    shown = [DifferenceView(*difference) for difference in found[:SHOWN]]
    return answer(Comparison(not found, len(found), shown, newest))


def _compare(house: House, only: str | None) -> list[compare.Difference]:
    with _connected(house) as connection:
        return compare.compare(connection, only=only)
