"""Refusals as pages: a person is told in words what a service is told as a problem."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import structlog
from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from starlette.responses import Response

from api.dashboard import pages
from api.problems import UNREACHABLE, status_of
from api.refusals import Unauthenticated
from domain.errors import Refusal

TITLES = {
    401: "Signed out",
    403: "Not allowed",
    404: "Not found",
    503: "Not now",
}
DETAILS = {
    401: "Your session has ended.",
    404: "There is no such page, or it belongs to another workspace.",
    503: "The ledger cannot answer now. Nothing is lost; reload in a moment.",
}

log = structlog.get_logger("daybook")


class PageRoute(APIRoute):
    """A route whose refusals are pages; whoever is signed out is sent to sign in."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler, with refusals turned into pages."""
        handle = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            try:
                return await handle(request)
            except Unauthenticated:
                return _signed_out(request)
            except Refusal as refusal:
                return _refusal(request, status_of(type(refusal)), str(refusal))
            except UNREACHABLE as error:
                log.warning("database_unavailable", error=type(error).__name__)
                return _refusal(request, 503, "")

        return guarded


def _signed_out(request: Request) -> Response:
    if _is_part(request):
        return _refusal(request, 401, "")
    return RedirectResponse("/", 303, pages.HEADERS)


def _refusal(request: Request, status: int, words: str) -> Response:
    title, detail = TITLES.get(status, "Not possible"), DETAILS.get(status, words)
    if _is_part(request):
        part = pages.fragment("_problem.html", title=title, detail=detail, status=status)
        return HTMLResponse(part, status, pages.HEADERS)
    return pages.page("problem.html", status, title=title, detail=detail)


def _is_part(request: Request) -> bool:
    """Whether a page asked for a part of itself, so that nobody would see a whole one."""
    return "hx-request" in request.headers or request.url.path.endswith((".json", "/live"))
