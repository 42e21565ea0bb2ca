"""`/healthz`, `/readyz`, `/metrics`: for whoever keeps the process running."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import psycopg
from fastapi import APIRouter
from psycopg import AsyncConnection
from psycopg_pool import PoolTimeout
from starlette.requests import Request
from starlette.responses import Response

from adapters.postgres import following, inbox
from api.call import answer
from api.house import House
from api.openapi import documented
from api.reads import newest_position
from api.stripe.inbox import OVERDUE
from projections import positions
from projections.audit_trail import CHAINED

router = APIRouter(tags=["health"])

PATIENCE_S = 2.0


class Alive(msgspec.Struct, frozen=True):
    """The process answers."""

    status: str


class Ready(msgspec.Struct, frozen=True):
    """Whether requests can be served, and what is in the way. Lags are in positions."""

    status: str
    writer: bool
    database: bool
    position: int | None
    projection_lag: dict[str, int]
    stopped: list[str]


@router.get("/healthz", **documented("Whether the process lives", None, answers={200: Alive}))
async def alive(request: Request) -> Response:
    """Says nothing about the database: restarting this process would not mend that."""
    return answer(Alive("ok"))


@router.get(
    "/readyz",
    **documented("Whether requests can be served", None, answers={200: Ready, 503: Ready}),
)
async def ready(request: Request) -> Response:
    """503 while the writer does not run or the database does not answer."""
    house: House = request.app.state.house
    writer = house.writer.is_running
    position: int | None = None
    lag: dict[str, tuple[int, str | None]] = {}
    try:
        async with asyncio.timeout(PATIENCE_S):
            position = await newest_position(house)
            async with house.pool.connection() as connection:
                lag = await positions.lag(connection)
    except (psycopg.Error, PoolTimeout, TimeoutError):
        position = None
    good = writer and position is not None
    body = Ready(
        "ok" if good else "unavailable",
        writer,
        position is not None,
        position,
        {model: behind for model, (behind, _) in lag.items()},
        [model for model, (_, error) in lag.items() if error is not None],
    )
    return answer(body, status=200 if good else 503)


@router.get("/metrics", include_in_schema=False)
async def metrics(request: Request) -> Response:
    """Prometheus' text format, of this process."""
    house: House = request.app.state.house
    try:
        async with asyncio.timeout(PATIENCE_S):
            newest = await newest_position(house)
            house.metrics.position.set(newest)
            async with house.pool.connection() as connection:
                row = await (await connection.execute(CHAINED)).fetchone()
                house.metrics.unchained.set(max(newest - row[0], 0) if row else newest)
                for model, (behind, _) in (await positions.lag(connection)).items():
                    house.metrics.lag.labels(model).set(behind)
                await _count_border(house, connection)
    except (psycopg.Error, PoolTimeout, TimeoutError):
        pass  # What this process knows by itself is worth showing all the same.
    return Response(house.metrics.text(), media_type="text/plain; version=0.0.4")


async def _count_border(house: House, connection: AsyncConnection[Any]) -> None:
    old = await house.clock.now() - OVERDUE
    found = await inbox.count_open(connection, old)
    for state in inbox.OPEN:
        every, overdue = found.get(state, (0, 0))
        house.metrics.open_webhooks.labels(state, "any").set(every)
        house.metrics.open_webhooks.labels(state, "72h").set(overdue)
    house.metrics.parked.set(await following.count_parked(connection))
