"""Where HTTP comes in: headers, faults, pages; the desk does the rest."""

from __future__ import annotations

import asyncio
import base64
import binascii
import secrets
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from adapters.stripe.sandbox.books import API_VERSION, Json
from adapters.stripe.sandbox.connection import break_off
from adapters.stripe.sandbox.desk import Asked, Desk
from adapters.stripe.sandbox.errors import StripeError
from adapters.stripe.sandbox.faults import Fault, Faults, refusal
from adapters.stripe.sandbox.route import PAGES, ROUTES, Html, Show, Visit
from adapters.stripe.sandbox.webhooks import Webhooks

SECOND_S = 1.0
POLL_S = 0.02
FORM = "application/x-www-form-urlencoded"
Endpoint = Callable[[Request], Awaitable[Response]]


class Frontage:
    """The public side of a sandbox: Stripe's API and its hosted pages."""

    def __init__(self, desk: Desk, faults: Faults, webhooks: Webhooks) -> None:
        self._desk, self._faults, self._webhooks = desk, faults, webhooks

    def routes(self) -> list[Route]:
        """Every registered route and page; fixed paths before those with placeholders."""
        operations = sorted(ROUTES, key=lambda entry: entry[1].count("{"))
        pages = sorted(PAGES, key=lambda entry: entry[1].count("{"))
        return [
            *(Route(path, self._api(path), methods=[method]) for method, path in operations),
            *(Route(path, self._page(PAGES[method, path]), methods=[method])
              for method, path in pages),
        ]  # fmt: skip

    async def keep_time(self) -> None:
        """Do what is due, second by second, for ever."""
        while True:
            self._desk.clockwork.catch_up()
            self._webhooks.wake.set()
            await asyncio.sleep(SECOND_S)

    def unknown(self, method: str, path: str) -> Response:
        """What Stripe says of an address that it does not know."""
        text = f"Unrecognized request URL ({method}: {path})."
        return _json(404, StripeError(404, "invalid_request_error", text).body(), _number())

    def _api(self, template: str) -> Endpoint:
        async def answer(request: Request) -> Response:
            asked = Asked(
                method="GET" if request.method == "HEAD" else request.method,
                template=template,
                path=request.path_params,
                url=request.url.path,
                form=await _form(request),
                key=request.headers.get("idempotency-key") if request.method == "POST" else None,
                number=_number(),
            )
            fault = self._faults.next(asked.method, asked.url, template)
            entry = self._desk.note(asked, fault)
            try:
                self._desk.admit(_api_key(request), request.headers.get("stripe-version"))
                if fault in ("timeout", "drop"):
                    return await _silence(request, fault)
                with self._desk.answers.turn(asked.key) if asked.key else nullcontext():
                    if (refused := refusal(fault)) is not None:
                        raise refused
                    if fault == "hold":
                        await self._faults.hold()
                    status, body, headers = self._desk.answer(asked)
            except StripeError as refused:
                status, body, headers = refused.status, refused.body(), {}
            entry["status"] = status
            self._webhooks.wake.set()
            if fault in ("timeout_after", "drop_after"):
                return await _silence(request, fault)
            return _json(status, body, asked.number, headers)

        return answer

    def _page(self, show: Show) -> Endpoint:
        async def answer(request: Request) -> Response:
            form = parse_qsl((await request.body()).decode(), keep_blank_values=True)
            visit = Visit(
                self._desk.books, request.path_params, dict(request.query_params), dict(form)
            )
            self._desk.clockwork.catch_up()
            try:
                with self._desk.books.transaction():
                    shown = show(visit)
            except StripeError as refused:
                return Response(str(refused), refused.status, media_type="text/plain")
            self._webhooks.wake.set()
            if isinstance(shown, Html):
                return HTMLResponse(shown.body, shown.status)
            return RedirectResponse(shown.url, 303)

        return answer


async def _form(request: Request) -> str:
    if request.method != "POST":
        return request.url.query
    text = (await request.body()).decode()
    kind = request.headers.get("content-type", FORM).partition(";")[0]
    if text and kind != FORM:
        return f"{kind}="  # An unknown parameter, as Stripe would see it.
    return text


def _api_key(request: Request) -> str:
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value).decode().partition(":")[0]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return value.strip()


async def _silence(request: Request, fault: Fault) -> Response:
    """No answer: the connection breaks at once, or nothing comes until the client has gone."""
    if fault in ("timeout", "timeout_after"):
        while not await request.is_disconnected():  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(POLL_S)
    else:
        break_off(request)
    return Response(status_code=504)  # To nobody.


def _number() -> str:
    return f"req_{secrets.token_hex(7)}"


def _json(status: int, body: Json, number: str, headers: dict[str, str] | None = None) -> Response:
    content = msgspec.json.format(msgspec.json.encode(body), indent=2)
    fixed = {"Request-Id": number, "Stripe-Version": API_VERSION}
    return Response(content, status, {**fixed, **(headers or {})}, "application/json")
