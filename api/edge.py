"""The outermost layer: request ids, the access log, and counting. Plain ASGI, for speed."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from uuid import uuid4

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import problems
from api.metrics import Metrics

REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")
SLOW_S = 1.0
Endpoint = Callable[[Request], Awaitable[Response]]

log = structlog.get_logger("daybook.access")


class Edge:
    """Gives every request an id, echoes it, and logs how the request ended.

    The scope gets ``request_id`` and ``correlation_id``: the latter only if the client sent a
    valid X-Request-Id, because it is written into events. Neither keys nor bodies are logged. A
    usage that was charged in good time has its own record, the event, and no line in the log.

    ``hot`` are POST routes by path that are answered right here: routing, dependencies and exit
    stacks would cost as much again as charging a usage does. The router knows them too, for
    the document.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, hot: Mapping[str, Endpoint]) -> None:
        self._app = app
        self._metrics = metrics
        self._hot = hot

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or pass on what is none."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        if scope["method"] == "HEAD":  # as a GET whose body the server keeps to itself (RFC 9110)
            scope = {**scope, "method": "GET"}
        sent = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        correlation_id = sent.decode() if REQUEST_ID.fullmatch(sent) else None
        request_id = correlation_id or uuid4().hex
        scope["request_id"] = request_id
        scope["correlation_id"] = correlation_id
        status = 0

        async def echo(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"x-request-id", request_id.encode()),
                ]
            await send(message)

        structlog.contextvars.bind_contextvars(request_id=request_id)
        try:
            hot = self._hot.get(scope["path"]) if scope["method"] == "POST" else None
            if hot is None:
                await self._app(scope, receive, echo)
            else:
                response = await hot(Request(scope, receive))
                await response(scope, receive, echo)
        except ClientDisconnect:
            pass  # Nobody is left to answer.
        except Exception as error:
            made = problems.response_to(error, scope["path"])
            if not status:
                await made(scope, receive, echo)
        finally:
            self._note(scope, status, time.perf_counter() - started)
            structlog.contextvars.unbind_contextvars("request_id")

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route: Any = scope.get("route")
        hot = scope["path"] if scope["path"] in self._hot else "unmatched"
        path = getattr(route, "path", hot)
        self._metrics.requests.labels(path, str(status)).inc()
        self._metrics.seconds.observe(seconds)
        if status < 400 and seconds < SLOW_S and path in self._hot:
            return
        log.info(
            "request",
            method=scope["method"],
            route=path,
            status=status,
            ms=round(seconds * 1000, 1),
        )
