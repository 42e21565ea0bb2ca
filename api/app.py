"""The HTTP application, and the one place where its parts are put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from fastapi import FastAPI

from adapters import catalogues
from adapters.prices import content_hash
from adapters.settings import Settings
from api import (
    billing,
    health,
    history,
    logs,
    openapi,
    outgoing,
    problems,
    tenancy,
    testing,
    usage,
    usage_batch,
    workspaces,
)
from api.admin import freezing, publishing
from api.admin import money as admin
from api.auditing import events as audit
from api.auditing import exports, replays, verification
from api.dashboard import routes as dashboard
from api.edge import Edge
from api.house import House, open_house
from api.metrics import Metrics
from api.paying import routes as payments_over_http
from api.spending import routes as spending
from api.stripe import follower_route, reconcile_route, webhook_route
from domain import codec
from domain.catalogue.catalogue import Catalogue
from domain.errors import BackdatedPriceBook
from domain.facts import Context

log = structlog.get_logger("daybook")


def create_app(settings: Settings) -> FastAPI:
    """The application of these settings. It opens its connections when it is started.

    :raises CatalogueUnusable: at once, so that a deployment with a bad catalogue never starts.
    """
    logs.configure(settings.log)
    codec.prepare()
    catalogue, digest = catalogues.load(settings.catalogue)
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_house(settings, metrics) as house:
            await publish(house, catalogue, digest)
            await testing.set_sandbox_clock(house)
            app.state.house = house
            yield

    app = FastAPI(
        title="Daybook", lifespan=lifespan, docs_url="/docs", redoc_url=None, redirect_slashes=False
    )
    for module in (
        usage,
        usage_batch,
        billing,
        history,
        payments_over_http,
        workspaces,
        tenancy,
        admin,
        freezing,
        spending,
        publishing,
        audit,
        replays,
        verification,
        exports,
        webhook_route,
        reconcile_route,
        follower_route,
        outgoing,
        testing,
        health,
    ):
        app.include_router(module.router)
    dashboard.mount(app)
    problems.install(app)
    openapi.install(app)
    app.add_middleware(Edge, metrics=metrics, hot={"/v1/usage": usage.charge})
    return app


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
