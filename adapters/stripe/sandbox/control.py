"""What Stripe has not: the sandbox told what to do next. JSON, under /sandbox.

POST /sandbox/clock     {"now": unix seconds | RFC 3339 | null}   forward; null: let it run
GET  /sandbox/clock     {"now", "frozen"}
GET  /sandbox/requests  the API requests so far, oldest first
POST /sandbox/script    {"next": [{"path", "fault", "method"?, "times"?}]}   see faults.py
POST /sandbox/release   lets the held requests go on
GET  /sandbox/webhooks  ?state=pending|delivered|failed
POST /sandbox/webhooks  {"mode": "auto"|"held", "url", "secret"}
POST /sandbox/webhooks/deliver  {"ids": [...]|null, "times": 1, "at_once": 1}
POST /sandbox/cards     {"customer", "card": "4242..." | "pm_card_..."}
POST /sandbox/disputes  {"charge", "amount"?, "reason"?}
POST /sandbox/disputes/{id}  {"step": "funds_withdrawn" | "won" | ...}
POST /sandbox/authenticate/{id}  {"outcome": "complete" | "fail"}
POST /sandbox/checkout/{id}      see checkout_page.py
POST /sandbox/billing            see billing_settings.py
POST /sandbox/reset     {"now"?}   forgets everything but where webhooks go; sets the clock

The clock follows the machine's until it is set. Once there is a customer it moves forward only.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from adapters.stripe.sandbox.desk import Desk
from adapters.stripe.sandbox.errors import StripeError, invalid
from adapters.stripe.sandbox.faults import Faults
from adapters.stripe.sandbox.route import Books, Json
from adapters.stripe.sandbox.webhooks import Webhooks

Told = Callable[[Request, Json], Awaitable[Any]]
Order = Callable[[Books, Json], Json]
"""An order about one object: the id from the path, if there is one, is among what is told."""

ORDERS: dict[str, Order] = {}


def order(path: str) -> Callable[[Order], Order]:
    """This function does what is posted to /sandbox`path`, in one transaction."""

    def register(function: Order) -> Order:
        ORDERS[path] = function
        return function

    return register


def routes(desk: Desk, faults: Faults, webhooks: Webhooks) -> list[Route]:
    """The routes of the control API."""
    control = _Control(desk, faults, webhooks)
    posts: dict[str, Told] = {
        "/clock": control.move,
        "/script": control.script,
        "/release": control.release,
        "/webhooks": control.send,
        "/webhooks/deliver": control.deliver,
        "/reset": control.reset,
    }
    for path, function in ORDERS.items():
        posts[path] = control.doing(function)
    gets: dict[str, Told] = {
        "/clock": control.clock,
        "/requests": control.requests,
        "/script": control.pending,
        "/webhooks": control.webhooks_log,
    }
    return [
        *(_route("GET", path, told) for path, told in gets.items()),
        *(_route("POST", path, told) for path, told in posts.items()),
    ]


def _route(method: str, path: str, told: Told) -> Route:
    async def answer(request: Request) -> Response:
        try:
            body = msgspec.json.decode(await request.body() or b"{}")
            result = await told(request, {**body, **request.path_params})
        except StripeError as refused:
            return JSONResponse(refused.body(), refused.status)
        except (msgspec.DecodeError, KeyError, TypeError, ValueError) as wrong:
            return JSONResponse({"error": {"message": f"{type(wrong).__name__}: {wrong}"}}, 400)
        return Response(msgspec.json.encode(result), media_type="application/json")

    return Route(f"/sandbox{path}", answer, methods=[method])


def _instant(now: int | str | None) -> int | None:
    if isinstance(now, str):
        at = datetime.fromisoformat(now)
        if at.tzinfo is None:
            raise invalid("now needs a zone: 2026-06-01T00:00:00Z", "now")
        return int(at.timestamp())
    return now


class _Control:
    def __init__(self, desk: Desk, faults: Faults, webhooks: Webhooks) -> None:
        self._desk, self._faults, self._webhooks = desk, faults, webhooks

    async def clock(self, _: Request, told: Json) -> Json:
        clock = self._desk.books.look("sandbox.clock", "clock") or {"frozen": None}
        return {"now": self._desk.books.now(), "frozen": clock["frozen"] is not None}

    async def move(self, request: Request, told: Json) -> Json:
        instant = _instant(told["now"])
        books = self._desk.books
        if instant is not None and instant < books.now() and books.has_customers():
            raise invalid("The clock moves forward only.", "now")
        self._desk.clockwork.advance(instant)
        self._webhooks.wake.set()
        return await self.clock(request, told)

    async def requests(self, _: Request, told: Json) -> list[Json]:
        return list(self._desk.log)

    async def script(self, _: Request, told: Json) -> Json:
        self._faults.expect(told["next"])
        return {"next": self._faults.pending()}

    async def pending(self, _: Request, told: Json) -> Json:
        return {"next": self._faults.pending(), "held": self._faults.held}

    async def release(self, _: Request, told: Json) -> Json:
        self._faults.release()
        return {}

    async def webhooks_log(self, request: Request, told: Json) -> list[Json]:
        return self._webhooks.log(request.query_params.get("state"))

    async def send(self, _: Request, told: Json) -> Json:
        mode = told.get("mode")
        if mode not in (None, "auto", "held"):
            raise invalid("mode is auto or held", "mode")
        return self._webhooks.send_to(url=told.get("url"), secret=told.get("secret"), mode=mode)

    async def deliver(self, _: Request, told: Json) -> list[Json]:
        return await self._webhooks.deliver(
            told.get("ids"), told.get("times", 1), told.get("at_once", 1)
        )

    async def reset(self, _: Request, told: Json) -> Json:
        books = self._desk.books
        with books.transaction():
            books.clear()
            if told.get("now") is not None:
                books.freeze(_instant(told["now"]))
        self._desk.log.clear()
        self._faults.expect([])
        return {}

    def doing(self, function: Order) -> Told:
        async def do(_: Request, told: Json) -> Json:
            self._desk.clockwork.catch_up()
            with self._desk.books.transaction():
                result = function(self._desk.books, told)
            self._webhooks.wake.set()
            return result

        return do
