"""What the routes stand on: everything that one process holds, opened and closed here."""

from __future__ import annotations

import asyncio
import select
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import psycopg
from psycopg_pool import AsyncConnectionPool

from adapters.clock import Clock, SystemClock, TestClock
from adapters.postgres.writer import Writer
from adapters.settings import Settings
from adapters.upstream import Upstream
from api.auth import KeyRing
from api.metrics import Metrics
from api.spending.receipts import Receipts
from api.stripe import till as tills
from api.stripe.follower import Follower
from api.stripe.handlers import all_handlers, all_reactions
from api.stripe.inbox import Inbox
from api.stripe.till import Till
from domain.ledger import Ledger
from projections import tables

POOL_MAX = 8
BORDER_POOL_MAX = 7
"""Connections that taking in events and following the log may hold, opened when needed."""
POOL_PATIENCE_S = 5.0


@dataclass(frozen=True, slots=True)
class House:
    """The parts of a running process. ``pool`` connects as the runtime, for reads. ``name`` is
    ours alone: how the database server knows our connections."""

    name: str
    settings: Settings
    clock: Clock
    pool: AsyncConnectionPool[Any]
    writer: Writer
    ledger: Ledger
    keys: KeyRing
    metrics: Metrics
    receipts: Receipts
    upstream: Upstream | None  # None: no provider is configured
    till: Till
    inbox: Inbox
    follower: Follower


@asynccontextmanager
async def open_house(
    settings: Settings, metrics: Metrics, *, name: str = "daybook", pool_max: int = POOL_MAX
) -> AsyncIterator[House]:
    """Everything a process needs, for one event loop; all of it is closed with the block.

    ``name`` and a number of our own are how the database server knows us. Tables of read models
    are made if missing.
    """
    name = f"{name} {uuid4().hex[:12]}"
    conninfo = settings.database.conninfo(application_name=name)
    await asyncio.to_thread(_make_tables, conninfo)
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(_pool(conninfo, 1, pool_max))
        border = await stack.enter_async_context(_pool(conninfo, 0, BORDER_POOL_MAX))
        writer = Writer(conninfo)
        await writer.start()
        stack.push_async_callback(writer.stop)
        metrics.watch(writer)
        keys = KeyRing(pool, conninfo)
        keys.start()
        stack.push_async_callback(keys.stop)
        receipts = Receipts(pool)
        receipts.start()
        stack.push_async_callback(receipts.stop)
        upstream = None
        if settings.upstream_url:
            upstream = Upstream(
                settings.upstream_url, settings.upstream_key, settings.upstream_patience_s
            )
            stack.push_async_callback(upstream.close)
        clock: Clock = TestClock(pool) if settings.test_clock else SystemClock()
        ledger = Ledger(writer)
        till = await stack.enter_async_context(tills.opened(settings, ledger, clock))
        inbox = Inbox(border, till, all_handlers(), metrics)
        follower = Follower(border, till, inbox, all_reactions())
        yield House(
            *(name, settings, clock, pool, writer, ledger, keys, metrics, receipts, upstream),
            *(till, inbox, follower),
        )


def _pool(conninfo: str, least: int, most: int) -> AsyncConnectionPool[Any]:
    return AsyncConnectionPool(
        conninfo,
        min_size=least,
        max_size=most,
        timeout=POOL_PATIENCE_S,
        kwargs={"autocommit": True},
        check=_check,
        open=False,
    )


async def _check(connection: psycopg.AsyncConnection[Any]) -> None:
    """Find out whether the server has hung up, without asking it for each request: one that goes
    closes the line, or says so, and then there is something to read.

    :raises psycopg.OperationalError: it has.
    """
    line = select.poll()
    line.register(connection.fileno(), select.POLLIN)
    if line.poll(0):
        await AsyncConnectionPool.check_connection(connection)


def _make_tables(conninfo: str) -> None:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        tables.create_all(connection)
