"""The HTTP application, and the one place where its parts are put together."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import psycopg
import structlog
from fastapi import FastAPI
from psycopg_pool import AsyncConnectionPool

from adapters import catalogues
from adapters.clock import Clock, SystemClock, TestClock
from adapters.postgres.writer import Writer
from adapters.prices import content_hash
from adapters.settings import Settings
from adapters.upstream import Upstream
from api import (
    admin,
    audit,
    billing,
    dashboard,
    freezing,
    health,
    history,
    logs,
    openapi,
    problems,
    publishing,
    replays,
    spending,
    testing,
    topup,
    usage,
    usage_batch,
    workspaces,
)
from api.auth import KeyRing
from api.edge import Edge
from api.house import House
from api.metrics import Metrics
from api.receipts import Receipts
from domain.catalogue import Catalogue
from domain.errors import BackdatedPriceBook
from domain.facts import Context
from domain.ledger import Ledger
from projections import tables

POOL_MAX = 8
POOL_PATIENCE_S = 5.0

log = structlog.get_logger("daybook")


def create_app(settings: Settings) -> FastAPI:
    """The application of these settings. It opens its connections when it is started.

    :raises CatalogueUnusable: at once, so that a deployment with a bad catalogue never starts.
    """
    logs.configure(settings.log)
    catalogue, digest = catalogues.load(settings.catalogue)
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with _opened(settings, metrics) as house:
            await publish(house, catalogue, digest)
            app.state.house = house
            _calm_collector()
            yield

    app = FastAPI(
        title="Daybook", lifespan=lifespan, docs_url="/docs", redoc_url=None, redirect_slashes=False
    )
    for module in (
        usage,
        usage_batch,
        billing,
        history,
        topup,
        workspaces,
        admin,
        freezing,
        spending,
        publishing,
        audit,
        replays,
        testing,
        health,
    ):
        app.include_router(module.router)
    dashboard.mount(app)
    problems.install(app)
    openapi.install(app)
    app.add_middleware(Edge, metrics=metrics, hot={"/v1/usage": usage.charge})
    return app


@asynccontextmanager
async def _opened(settings: Settings, metrics: Metrics) -> AsyncIterator[House]:
    conninfo = settings.database.conninfo()
    await asyncio.to_thread(_make_tables, conninfo)
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(
            AsyncConnectionPool(
                conninfo,
                min_size=1,
                max_size=POOL_MAX,
                timeout=POOL_PATIENCE_S,
                kwargs={"autocommit": True},
                check=AsyncConnectionPool.check_connection,
                open=False,
            )
        )
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
        yield House(
            settings, clock, pool, writer, Ledger(writer), keys, metrics, receipts, upstream
        )


def _make_tables(conninfo: str) -> None:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        tables.create_all(connection)


async def publish(house: House, catalogue: Catalogue, digest: str) -> None:
    """Put the catalogue and its prices in force, unless they are; any number may do so at once.

    Prices that are older than the newest ones in the book are left alone: an administrator has
    published since.
    """
    context = Context(await house.clock.now())
    await house.ledger.publish_catalogue(catalogue, digest, context)
    terms = catalogue.price_book
    if terms is None:
        return
    entries = catalogues.price_entries(catalogue)
    start = catalogues.starts_at(terms)
    try:
        await house.ledger.publish_prices(
            start,
            catalogue.currency,
            terms.markup_bps,
            entries,
            content_hash(start, terms.markup_bps, entries),
            context,
        )
    except BackdatedPriceBook as refusal:
        log.warning("catalogue_prices_not_published", reason=str(refusal))


def _calm_collector() -> None:
    """What lives now lives on: pauses of the collector would dominate the slowest answers."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
