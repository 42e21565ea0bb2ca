"""The live page: server-sent events, woken by the read models.

The projection runner notifies the channel `posted` after each committed batch. One connection a
process listens; each open stream then asks the read models for what its own workspace got.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple

import psycopg
import structlog

from api.problems import UNREACHABLE
from domain.errors import TryAgain

CHANNEL: Final = "posted"
HEARTBEAT_S: Final = 15.0
GAP_S: Final = 0.04
"""The shortest time between two looks of one stream: a busy ledger costs 25 a second for a single
stream, and for hundreds of them about 250 in all."""
CROWD: Final = 10
RECONNECT_S: Final = 0.5

log = structlog.get_logger("daybook")


class Event(NamedTuple):
    """One server-sent event. ``id`` is where a client resumes; empty leaves it as it was."""

    name: str
    data: str
    id: str = ""

    def encode(self) -> str:
        """The event as it goes over the wire."""
        head = f"id: {self.id}\nevent: {self.name}\n" if self.id else f"event: {self.name}\n"
        return head + "".join(f"data: {line}\n" for line in self.data.splitlines()) + "\n"


Look = Callable[[], Awaitable[Sequence[Event]]]
"""Asks for what is new since it was last called."""


class Feed:
    """Wakes every open stream of this process. Listens only while there is one."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._streams: set[asyncio.Event] = set()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def streams(self) -> int:
        """How many streams are open."""
        return len(self._streams)

    @property
    def is_closed(self) -> bool:
        """Whether streams should end."""
        return self._closed

    def close(self) -> None:
        """End every stream soon, as a process that stops must."""
        self._closed = True
        self._wake()

    @contextmanager
    def watch(self) -> Iterator[asyncio.Event]:
        """An event that is set whenever something was posted, while the block lasts."""
        news = asyncio.Event()
        self._streams.add(news)
        if self._task is None:
            self._task = asyncio.create_task(self._listen(), name="live feed")
        try:
            yield news
        finally:
            self._streams.discard(news)
            if not self._streams and self._task is not None:
                self._task.cancel()
                self._task = None

    def _wake(self) -> None:
        for news in self._streams:
            news.set()

    async def _listen(self) -> None:
        while True:
            with suppress(psycopg.Error):
                async with await psycopg.AsyncConnection.connect(
                    self._conninfo, autocommit=True
                ) as connection:
                    await connection.execute(f"LISTEN {CHANNEL}")
                    self._wake()  # for what was posted before anybody listened
                    async for _ in connection.notifies():
                        self._wake()
            await asyncio.sleep(RECONNECT_S)


async def stream(
    feed: Feed, look: Look, may_stay: Callable[[], Awaitable[bool]]
) -> AsyncIterator[str]:
    """Server-sent events until the client goes, the feed closes, or ``may_stay`` says no.

    Looks at once, whenever something was posted, and with each heartbeat, so that a lost
    notification costs seconds and not the charge.
    """
    yield "retry: 1000\n\n"
    with feed.watch() as news:
        while not feed.is_closed:
            news.clear()
            try:
                events = await look()
            except (TryAgain, *UNREACHABLE) as error:
                log.warning("live_stream_ended", error=type(error).__name__)
                return  # The client comes back by itself, and resumes where it was.
            for event in events:
                yield event.encode()
            await asyncio.sleep(GAP_S * max(1.0, feed.streams / CROWD))
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    await news.wait()
            except TimeoutError:
                if not await may_stay():
                    return
                yield ": still here\n\n"
