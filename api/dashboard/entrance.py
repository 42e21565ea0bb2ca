"""The way into the dashboard: sign in with a key, and choose a workspace."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse
from starlette.responses import Response

from api.dashboard import pages, session
from api.dashboard.composition import Included
from api.dashboard.composition import included as included_of
from api.dashboard.page_route import PageRoute
from api.house import House
from api.refusals import Unauthenticated
from domain.errors import Forbidden, NotFound
from projections import balances, workspace_status, workspaces

LISTED_MAX: Final = 100

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/")
async def start(request: Request) -> Response:
    """The form to sign in; or the key's workspace; or the choice of one."""
    try:
        viewer = await session.viewer(request)
    except (Unauthenticated, Forbidden):
        return pages.page("sign_in.html", signed_in=False, error=None)
    if viewer.workspace_id is not None:
        return _to(viewer.workspace_id)
    house: House = request.app.state.house
    asked = request.query_params.get("workspace", "").strip()
    if asked:
        try:
            await house.ledger.account(asked)
            return _to(asked)
        except NotFound:
            pass
    return await _choice(house, asked)


@router.post("/session")
async def begin(request: Request) -> Response:
    """Sign in with the form's ``api_key``."""
    session.require_same_origin(request)
    key = (await session.read_form(request)).get("api_key", "")
    onward = RedirectResponse("/", 303, pages.HEADERS)
    try:
        await session.sign_in(request, onward, key)
    except Unauthenticated:
        error, status = "No key like this is in use. Look for missing characters.", 401
    except Forbidden:
        error, status = f"This key may not read billing: it lacks the scope {session.SCOPE}.", 403
    else:
        return onward
    return pages.page("sign_in.html", status, signed_in=False, error=error)


@router.post("/session/end")
async def end(request: Request) -> Response:
    """Sign out."""
    session.require_same_origin(request)
    onward = RedirectResponse("/", 303, pages.HEADERS)
    session.sign_out(request, onward)
    return onward


async def _choice(house: House, missing: str) -> Response:
    """The list of workspaces; ``missing`` was asked for, and is none of them."""
    async with house.pool.connection() as connection:
        tenants = await workspaces.tenants(connection, limit=LISTED_MAX + 1)
        listed = [
            (tenant, await balances.balance(connection, tenant.workspace_id))
            for tenant in tenants[:LISTED_MAX]
        ]
        due = await workspace_status.past_due(connection, limit=1_000)
    meters = (await house.ledger.plans()).current.meters.values()
    sources = {source for meter in meters for source in meter.waterfall}
    included: dict[str, list[Included]] = {}
    if not any(source.startswith("wallet") for source in sources):
        for tenant, _ in listed:
            account = await house.ledger.account(tenant.workspace_id)
            included[tenant.workspace_id] = list(included_of(account))
    return pages.page(
        "workspaces.html",
        404 if missing else 200,
        listed=listed,
        included=included,
        past_due={status.workspace_id for status in due},
        more=len(tenants) > LISTED_MAX,
        missing=missing,
    )


def _to(workspace_id: str) -> Response:
    return RedirectResponse(pages.path("w", workspace_id), 303, pages.HEADERS)
