"""Reading read models: waiting for a position, and saying which one an answer is of."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from psycopg import AsyncConnection

from api.call import Call
from api.freshness import PATIENCE_S, newest_of
from api.house import House
from api.refusals import ProjectionLagging
from projections import positions


async def newest_position(house: House) -> int:
    """The position of the newest event that is committed."""
    return await newest_of(house.pool)


async def reached(
    house: House, position: int, models: Sequence[str], patience: float = PATIENCE_S
) -> None:
    """Wait until the read models contain a position.

    :raises ProjectionLagging: they did not in time.
    """
    async with house.pool.connection() as connection:
        if not await positions.reach(connection, position, models, patience):
            raise ProjectionLagging()


@asynccontextmanager
async def reading(call: Call, *models: str) -> AsyncIterator[tuple[AsyncConnection[Any], int]]:
    """A connection on which the models hold what `min_position` or `consistency` ask for; and
    the position that an answer is of: everything up to there is in it.

    :raises ProjectionLagging: they do not within 2 s.
    """
    async with call.house.pool.connection() as connection:
        if call.least and not await positions.reach(connection, call.least, models, PATIENCE_S):
            raise ProjectionLagging()
        yield connection, await positions.position(connection, *models)
