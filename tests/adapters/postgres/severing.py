"""A wire between the writer and the server that can be cut at the worst moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from adapters.postgres.database import Database


class Wire:
    """Carries bytes both ways between clients and a server.

    `cut_after_commit` lets the next call that appends events through, waits until the server
    has answered it, and cuts the line with the answer on it. `cut_before` cuts it with the call.
    """

    def __init__(self, host: str, port: int, watch: str) -> None:
        self.host, self.port, self.watch = host, port, watch
        self.armed = ""
        self.cuts = 0

    def cut_after_commit(self) -> None:
        """Lose the next commit's answer."""
        self.armed = "after"

    def cut_before(self) -> None:
        """Lose the next commit on its way to the server."""
        self.armed = "before"

    async def carry(self, client: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        """Carry one connection until either side ends it."""
        server, call = await asyncio.open_connection(self.host, self.port)
        doomed = asyncio.Event()

        async def there() -> None:
            while data := await client.read(65_536):
                # An append is the only call that names a fact's topic.
                if self.armed and b"domain:" in data and b"Debited" in data:
                    self.cuts += 1
                    armed, self.armed = self.armed, ""
                    if armed == "before":
                        return
                    doomed.set()
                call.write(data)
                await call.drain()

        async def back() -> None:
            while data := await server.read(65_536):
                if doomed.is_set():
                    await self._committed()
                    return
                answer.write(data)
                await answer.drain()

        ways = [asyncio.ensure_future(there()), asyncio.ensure_future(back())]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            for end in (call, answer):
                end.close()
                with suppress(OSError):
                    await end.wait_closed()

    async def _committed(self) -> None:
        """The server has answered, so the transaction is over; end its backend, too."""
        async with await psycopg.AsyncConnection.connect(self.watch, autocommit=True) as other:
            await other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'severed' AND query LIKE '%append_events%'"
            )


@asynccontextmanager
async def severable(database: Database) -> AsyncIterator[tuple[Wire, str]]:
    """A wire to the database's server, and the conninfo that leads through it."""
    direct = database.conninfo(application_name="severed")
    parts = conninfo_to_dict(direct)
    watch = database.conninfo(owner=True, application_name="watch")
    wire = Wire(str(parts["host"]), int(parts["port"] or 0), watch)
    listener = await asyncio.start_server(wire.carry, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    try:
        yield wire, make_conninfo(direct, host="127.0.0.1", port=port)
    finally:
        listener.close()
