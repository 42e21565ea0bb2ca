"""Reading the book beside the writer: streams, events and balances, always as committed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar
from uuid import UUID

import psycopg
from psycopg import AsyncConnection

from adapters.postgres import arrays, streams
from domain.commands import Stream
from domain.errors import Unavailable
from domain.facts import Aggregate, Recorded

T = TypeVar("T")


class Reader:
    """Asks on a connection of its own, so that reads do not hold up batches."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._reader: AsyncConnection | None = None
        self._reading = asyncio.Lock()

    async def connect(self) -> AsyncConnection:
        """A new connection to the book."""
        connection = await AsyncConnection.connect(self._conninfo, autocommit=True)
        for kind, dumper in arrays.DUMPERS:
            connection.adapters.register_dumper(kind, dumper)
        return connection

    async def close(self) -> None:
        """Let go of the connection."""
        if self._reader is not None:
            await self._reader.close()

    async def read(self, ask: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """The answer to a question; a connection that turns out to be dead is replaced once.

        :raises Unavailable: the database does not answer.
        """
        async with self._reading:
            for _ in range(2):
                try:
                    if self._reader is None or self._reader.closed:
                        self._reader = await self.connect()
                    return await ask(self._reader)
                except psycopg.OperationalError:
                    if self._reader is not None:
                        await self._reader.close()
        raise Unavailable()

    async def load(self, wanted: set[Stream]) -> dict[int, tuple[Aggregate, int]]:
        """Streams from their snapshots on, each with how many events came after its own."""
        return await self.read(lambda connection: streams.load(connection, wanted))

    async def forward(self, known: Aggregate) -> Aggregate:
        """A copy of a known state with what was committed since."""
        newer = {known.id.int: known.clone()}
        await self.read(lambda connection: streams.fast_forward(connection, newer))
        return newer[known.id.int]

    async def find(self, stream: UUID, version: int) -> tuple[Recorded, int] | None:
        """The event at a place and its position."""
        return await self.read(lambda connection: streams.by_place(connection, stream, version))

    async def find_cause(self, stream: UUID, cause: str) -> tuple[Recorded, int] | None:
        """The event of a cause and its position."""
        found = await self.read(lambda connection: streams.by_cause(connection, [(stream, cause)]))
        event = found.get((stream.int, cause))
        return None if event is None else (event.recorded, event.position)

    async def balance_at(self, stream: UUID, version: int) -> int:
        """The wallet balance in µ right after an event of an account's stream."""
        return await self.read(lambda connection: streams.balance_at(connection, stream, version))
