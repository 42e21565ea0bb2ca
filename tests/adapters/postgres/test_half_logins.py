"""Who stops while it logs in hangs up: the server would wait a minute for the rest of that login,
and everything that needs all backends, such as DROP DATABASE, with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import AsyncConnectionPool

from adapters.postgres.database import Database
from adapters.postgres.writer import Writer
from api.auth import KeyRing

PATIENCE_S = 20
PASSWORD = b"p"  # the type of the messages in which a client proves who it is


class Doorkeeper:
    """Carries connections to the server, the first ``served`` of them; the others wait at the
    door: their clients were asked for a password, and the answer is not passed on."""

    def __init__(self, host: str, port: int, served: int) -> None:
        self._server = (host, port)
        self._served = served
        self.asked = asyncio.Event()
        self.left = asyncio.Event()

    async def carry(self, client: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        self._served -= 1
        waits = self._served < 0
        server, call = await asyncio.open_connection(*self._server)

        async def back() -> None:
            while data := await server.read(65_536):
                answer.write(data)

        backwards = asyncio.ensure_future(back())
        while data := await client.read(65_536):
            if waits and data.startswith(PASSWORD):
                self.asked.set()
            else:
                call.write(data)
        if waits:
            self.left.set()
        backwards.cancel()
        call.close()
        answer.close()


@asynccontextmanager
async def guarded(database: Database, served: int) -> AsyncIterator[tuple[Doorkeeper, str]]:
    """A doorkeeper in front of the database, and the conninfo that leads to him."""
    parts = conninfo_to_dict(database.conninfo())
    keeper = Doorkeeper(str(parts["host"]), int(parts["port"] or 0), served)
    listener = await asyncio.start_server(keeper.carry, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    try:
        yield keeper, make_conninfo(database.conninfo(), host="127.0.0.1", port=port)
    finally:
        listener.close()


def test_a_writer_that_stops_while_its_listener_logs_in_hangs_up(database: Database) -> None:
    async def story() -> None:
        async with guarded(database, served=1) as (keeper, conninfo):
            writer = Writer(conninfo)
            await writer.start()
            async with asyncio.timeout(PATIENCE_S):
                await keeper.asked.wait()
                await writer.stop()
                await keeper.left.wait()
            assert not writer.is_running  # and it was not for its end that the line was cut

    asyncio.run(story())


def test_a_key_ring_that_stops_while_it_logs_in_hangs_up(database: Database) -> None:
    async def story() -> None:
        async with guarded(database, served=0) as (keeper, conninfo):
            pool: AsyncConnectionPool[Any] = AsyncConnectionPool(conninfo, min_size=1, open=False)
            ring = KeyRing(pool, conninfo)
            ring.start()
            async with asyncio.timeout(PATIENCE_S):
                await keeper.asked.wait()
                await ring.stop()
                await keeper.left.wait()
            ring.start()  # still there
            await ring.stop()

    asyncio.run(story())
