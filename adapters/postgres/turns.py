"""Turns: where several processes write one account, they queue instead of racing for it.

Fairness only: the unique key of the events stays the guarantee, so nothing here may stop a
commit. A turn is a session advisory lock; who stalls in its turn is not waited for long.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from uuid import UUID

import psycopg
from psycopg import AsyncConnection

ASK = "SELECT pg_notify('turns', id::text) FROM unnest(%b::uuid[]) AS u (id)"
TAKE = (
    "SELECT set_config('lock_timeout', '500ms', true), pg_advisory_lock(7002, hashtext(id::text))"
    " FROM unnest(%b::uuid[]) AS u (id)"
)
END = "SELECT pg_advisory_unlock(7002, hashtext(id::text)) FROM unnest(%b::uuid[]) AS u (id)"
END_ALL = "SELECT pg_advisory_unlock_all()"

DEAF_SECONDS = 1.0


async def take_turns(connection: AsyncConnection | None, streams: list[UUID]) -> list[UUID]:
    """Wait for the turn on each of these streams, given in one fixed order; those it got."""
    if not streams or connection is None:
        return []
    with contextlib.suppress(psycopg.OperationalError):
        try:
            await connection.execute(TAKE, (streams,), prepare=True)
            return streams
        except psycopg.errors.LockNotAvailable:
            await connection.execute(END_ALL)
    return []


async def end_turns(connection: AsyncConnection | None, turns: list[UUID]) -> None:
    """Let the next one have its turn."""
    if turns and connection is not None:
        # A session that is gone has let go of its locks.
        with contextlib.suppress(psycopg.OperationalError):
            await connection.execute(END, (turns,), prepare=True)


async def ask_for_turns(connection: AsyncConnection, streams: list[UUID]) -> None:
    """Tell the others. Whoever is faster never meets a conflict, and would not know."""
    if streams:
        await connection.execute(ASK, (streams,), prepare=True)


async def hear_of_turns(
    connect: Callable[[], Awaitable[AsyncConnection]], heat: Callable[[int], None]
) -> None:
    """Learn, until cancelled, for which streams other processes ask for turns."""
    while True:
        with contextlib.suppress(psycopg.Error):
            async with await connect() as connection:
                await connection.execute("LISTEN turns")
                async for heard in connection.notifies():
                    heat(UUID(heard.payload).int)
        await asyncio.sleep(DEAF_SECONDS)
