"""How new a read must be: `min_position` and `consistency`, the same for every GET."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

from psycopg_pool import AsyncConnectionPool
from starlette.requests import Request

from api.reading import number_of
from api.refusals import ProjectionLagging
from domain.errors import InvalidInput

PATIENCE_S = 2.0
LOOK_S = 0.02
CONSISTENCY: Final = ("eventual", "strong")
NEWEST = "SELECT coalesce(max(notification_id), 0) FROM events"


async def newest_of(pool: AsyncConnectionPool[Any]) -> int:
    """The position of the newest event that is committed."""
    async with pool.connection() as connection:
        row = await (await connection.execute(NEWEST)).fetchone()
    return int(row[0]) if row else 0


async def least_position(request: Request, pool: AsyncConnectionPool[Any]) -> int:
    """The position that an answer to this request must contain; 0 where any will do.

    `min_position` names it, `consistency=strong` means the newest there is. Once this returns it
    is committed, so whoever reads the ledger itself has it; read models may still be behind.

    :raises InvalidInput: no position, or another consistency.
    :raises ProjectionLagging: nothing was committed at that position within 2 s.
    """
    if request.method not in ("GET", "HEAD") or not request.scope["query_string"]:
        return 0
    least = number_of(request, "min_position", 0) or 0
    consistency = request.query_params.get("consistency", "eventual")
    if consistency not in CONSISTENCY:
        raise InvalidInput(("query", "consistency"), f"is one of {', '.join(CONSISTENCY)}")
    is_strong = consistency == "strong"
    if not least and not is_strong:
        return 0
    until = time.monotonic() + PATIENCE_S
    while (newest := await newest_of(pool)) < least:
        if time.monotonic() > until:
            raise ProjectionLagging()
        await asyncio.sleep(LOOK_S)
    return newest if is_strong else least
