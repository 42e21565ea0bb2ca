"""The dashboard's page of one workspace: its balance, its usage and its charges.

Pages work without scripting; with it, parts are fetched (htmx) and figures are live (live.py).
"""

from __future__ import annotations

from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from starlette.responses import Response

from api.auditing.evidence import event_hash
from api.auditing.explanation import Explanation, explain
from api.dashboard import billing_page, charges, entrance, figures, live, pages, session
from api.dashboard.charges import Charge
from api.dashboard.composition import grant_name, spends_money
from api.dashboard.page_route import PageRoute
from api.dashboard.usage_by_day import usage_by_day
from api.dashboard.usage_by_label import usage_by_label
from api.dashboard.watch import Tenant, Watch, of_tenant, standing
from api.house import House
from api.refusals import Unauthenticated
from domain.account.credit_account import CreditAccount
from domain.errors import Forbidden, NotFound

router = APIRouter(route_class=PageRoute, include_in_schema=False)


def mount(app: FastAPI) -> None:
    """Add the dashboard to an application whose ``state.house`` is there when requests come."""
    app.include_router(entrance.router)
    app.include_router(router)
    app.include_router(billing_page.router)
    app.mount("/static", StaticFiles(directory=pages.STATIC), name="static")


# -- one workspace --------------------------------------------------------------------------------


@router.get("/w/{workspace_id}")
async def workspace(request: Request, workspace_id: str) -> Response:
    """The page; ``?before=`` a position begins its list of charges further back, ``?by=`` a label
    says by what usage is grouped."""
    house, account, tenant = await _enter(request, workspace_id)
    listed, older = await _charges(house, workspace_id, charges.position_of(request, "before"))
    return pages.page(
        "workspace.html",
        **await standing(house, account, tenant),
        **await _usage_by_label(request, house, account, tenant),
        charges=listed,
        older=older,
        after=max((charge.position for charge in listed), default=0),
    )


@router.get("/w/{workspace_id}/balance")
async def balance(request: Request, workspace_id: str) -> Response:
    """The balance and its banners, as the live feed sends them."""
    house, account, tenant = await _enter(request, workspace_id)
    return _part("_standing.html", **await standing(house, account, tenant))


@router.get("/w/{workspace_id}/charges")
async def older_charges(request: Request, workspace_id: str) -> Response:
    """Rows of the list, ``?before=`` a position."""
    house, account, tenant = await _enter(request, workspace_id)
    listed, older = await _charges(house, workspace_id, charges.position_of(request, "before"))
    return _part(
        "_charges.html", workspace=tenant, charges=listed, older=older, currency=account.currency
    )


@router.get("/w/{workspace_id}/charges/{usage_id}")
async def explanation(request: Request, workspace_id: str, usage_id: str) -> Response:
    """Why was I charged this? A part for the dialog, or a page of its own."""
    house, account, tenant = await _enter(request, workspace_id)
    found = await explain(house.ledger.book, workspace_id, usage_id)
    if found is None:
        raise NotFound("charge", usage_id)
    context = {
        "workspace": tenant,
        "currency": account.currency,
        "explanation": found,
        "prices_from": await _prices_from(house, found),
        "grant_names": {
            grant_id: await grant_name(house.ledger.book, account, grant_id)
            for draw in found.draws
            for grant_id in draw.grants
        },
        "labels": _labels(found),
        "event_hash": await _hash(house, found),
    }
    if "hx-request" in request.headers:
        return _part("_explanation.html", **context)
    return pages.page("explanation.html", **context)


@router.get("/w/{workspace_id}/usage")
async def usage(request: Request, workspace_id: str) -> Response:
    """Where usage went, ``?by=`` a label."""
    house, account, tenant = await _enter(request, workspace_id)
    shown = await _usage_by_label(request, house, account, tenant)
    return _part("_breakdown.html", workspace=tenant, **shown)


@router.get("/w/{workspace_id}/usage-by-day.json")
async def chart(request: Request, workspace_id: str) -> Response:
    """What the chart draws: the cost of each day and model in µ, or units by who paid."""
    house, account, tenant = await _enter(request, workspace_id)
    now, in_units = await house.clock.now(), not spends_money(account)
    async with house.pool.connection() as connection:
        days = await usage_by_day(connection, workspace_id, tenant.zone, now, in_units=in_units)
    told = {"currency": account.currency, "unit": _unit(account) if in_units else None, **days}
    return JSONResponse(told, headers=pages.HEADERS)


@router.get("/w/{workspace_id}/live")
async def follow(request: Request, workspace_id: str) -> Response:
    """Server-sent events: rows newer than Last-Event-ID (or ``?after=``), and the balance."""
    house, _, tenant = await _enter(request, workspace_id)
    seen = charges.position_of(request, "after") or 0
    resumed = request.headers.get("last-event-id", "")
    if charges.POSITION.fullmatch(resumed):
        seen = int(resumed)

    async def may_stay() -> bool:
        try:
            await session.viewer(request, workspace_id)
        except (Unauthenticated, Forbidden, NotFound):
            return False
        return True

    return StreamingResponse(
        live.stream(_feed(request.app), Watch(house, tenant, seen).look, may_stay),
        media_type="text/event-stream",
        headers={**pages.HEADERS, "X-Accel-Buffering": "no"},
    )


# -- what the pages are made of -------------------------------------------------------------------


async def _enter(request: Request, workspace_id: str) -> tuple[House, CreditAccount, Tenant]:
    await session.viewer(request, workspace_id)
    house = _house(request)
    account = await house.ledger.account(workspace_id)
    found = await of_tenant(house, workspace_id)
    try:
        zone = ZoneInfo(found.timezone)
    except (ZoneInfoNotFoundError, ValueError):
        zone = ZoneInfo("UTC")
    return house, account, Tenant(workspace_id, found.name or workspace_id, zone)


async def _usage_by_label(
    request: Request, house: House, account: CreditAccount, tenant: Tenant
) -> dict[str, Any]:
    in_units = not spends_money(account)
    by = request.query_params.get("by", "")
    if by not in pages.LABEL_WORDS:
        by = "bot_id" if in_units else "llm_model"
    names: dict[str, str] = {}
    if by == "bot_id":
        bots = (await of_tenant(house, tenant.id)).bots
        names = {bot_id: bot.name or bot_id for bot_id, bot in bots.items()}
    now = await house.clock.now()
    async with house.pool.connection() as connection:
        found = await usage_by_label(
            connection, tenant.id, by, tenant.zone, now, in_units=in_units, names=names
        )
    return {"breakdown": found, "in_units": in_units, "currency": account.currency}


def _unit(account: CreditAccount) -> str:
    """What units are called: as their bucket, where there is one only."""
    return figures.units(next(iter(account.buckets))) if len(account.buckets) == 1 else "units"


async def _charges(
    house: House, workspace_id: str, before: int | None
) -> tuple[list[Charge], int | None]:
    async with house.pool.connection() as connection:
        return await charges.page(connection, workspace_id, before)


async def _prices_from(house: House, found: Explanation) -> Any:
    if found.formula is None:
        return None
    prices = await house.ledger.prices()
    return prices.versions[found.formula.price_book_version - 1].effective_from


async def _hash(house: House, found: Explanation) -> str:
    async with house.pool.connection() as connection:
        return await event_hash(connection, UUID(found.stream), found.version)


def _labels(found: Explanation) -> list[tuple[str, str]]:
    usage = found.usage
    labels = (
        ("Event id", usage.event_id),
        ("Meter", usage.meter),
        ("API key", usage.api_key_id),
        ("User", usage.model_username),
        ("Bot", usage.bot_id),
        ("Thread", usage.thread_id),
    )
    return [(name, value) for name, value in labels if value]


def _house(request: Request) -> House:
    house: House = request.app.state.house
    return house


def _feed(app: FastAPI) -> live.Feed:
    """The process's one feed, made when the first page goes live."""
    if not hasattr(app.state, "live"):
        house: House = app.state.house
        app.state.live = live.Feed(
            house.settings.database.conninfo(application_name="daybook live")
        )
    feed: live.Feed = app.state.live
    return feed


def _part(template: str, **context: Any) -> Response:
    return HTMLResponse(pages.fragment(template, **context), headers=pages.HEADERS)
