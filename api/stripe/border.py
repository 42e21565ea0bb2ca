"""What goes on at the border by itself: facts are carried out, events tried again, books compared.

One loop in the poster. Any number of posters may run: each part takes turns in the database.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable
from datetime import timedelta

import psycopg
import structlog

from adapters.postgres import reconciliations
from adapters.settings import Settings
from api import idempotency
from api.house import House, open_house
from api.metrics import Metrics
from api.outgoing import sending
from api.problems import UNREACHABLE
from api.stripe.reconcile import reconcile
from domain.errors import StripeUnavailable

POLL_S = 1.0
"""A notification that is lost costs this much."""
GAP_S = 0.02
LOOK_S = 0.2
"""How often whoever rests looks whether it is time to end."""
INBOX_EVERY_S = 2.0
OUTGOING_EVERY_S = 1.0
DAILY_LOOK_S = 60.0
EVERY = timedelta(days=1)
RECONNECT_S = 0.5
CHANNEL = "events"

log = structlog.get_logger("daybook.border")


def run(settings: Settings, stop: threading.Event) -> None:
    """Work in this thread until ``stop`` is set, whatever goes away meanwhile."""

    async def work() -> None:
        async with open_house(settings, Metrics(), name="daybook-border", pool_max=4) as house:
            await keep(house, stop)

    while not stop.is_set():
        try:
            asyncio.run(work())
        except Exception as error:  # An alarm; the read models go on.
            log.warning("border_closed", error=type(error).__name__)
            stop.wait(RECONNECT_S)


async def keep(house: House, stop: threading.Event) -> None:
    """Work until ``stop`` is set. What fails is logged, and done again."""
    news = asyncio.Event()
    listening = asyncio.create_task(_listen(house, news), name="border news")
    try:
        await asyncio.gather(
            _again(stop, "follower", lambda: _follow(house, news), GAP_S),
            _again(stop, "inbox", house.inbox.retry_due, INBOX_EVERY_S),
            _again(stop, "outgoing", lambda: sending.keep_up(house), OUTGOING_EVERY_S),
            _again(stop, "daily", lambda: _daily(house), DAILY_LOOK_S),
        )
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def _follow(house: House, news: asyncio.Event) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(POLL_S):
            await news.wait()
    news.clear()
    await house.follower.step(patience_s=0)


async def _daily(house: House) -> None:
    """Forget old bodies, answers and messages; compare the books, unless that was done within a
    day. Where the clock stands still, that is for whoever moves it."""
    await house.inbox.purge()
    await idempotency.purge(house.pool)
    await sending.purge(house)
    if not house.settings.stripe_key or house.settings.test_clock:
        return
    now = await house.clock.now()
    async with house.pool.connection() as connection:
        if not await reconciliations.claim(connection):
            return
        try:
            before = await reconciliations.finished_at(connection)
            if before is None or now - before >= EVERY:
                await reconcile(house)
        finally:
            await reconciliations.release(connection)


async def _again(
    stop: threading.Event, name: str, act: Callable[[], Awaitable[object]], pause: float
) -> None:
    while not stop.is_set():
        try:
            await act()
        except UNREACHABLE as error:
            log.warning("border_lost_the_database", part=name, error=type(error).__name__)
            await asyncio.sleep(RECONNECT_S)
        except StripeUnavailable as error:
            log.warning("border_has_no_stripe", part=name, error=type(error).__name__)
        except Exception:  # An alarm; the other parts go on.
            log.exception("border_failed", part=name)
            await asyncio.sleep(RECONNECT_S)
        waited = 0.0  # seconds
        while waited < pause and not stop.is_set():
            await asyncio.sleep(min(pause, LOOK_S))
            waited += LOOK_S


async def _listen(house: House, news: asyncio.Event) -> None:
    conninfo = house.settings.database.conninfo(application_name="daybook-follower")
    while True:
        with contextlib.suppress(psycopg.Error):
            async with await psycopg.AsyncConnection.connect(
                conninfo, autocommit=True
            ) as connection:
                await connection.execute(f"LISTEN {CHANNEL}")
                news.set()  # for what was committed before anybody listened
                async for _ in connection.notifies():
                    news.set()
        await asyncio.sleep(RECONNECT_S)
