"""The outermost layer: request ids, the access log, and counting. Plain ASGI, for speed."""

from __future__ import annotations

import re
import time
from typing import Any
from uuid import uuid4

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import problems
from api.metrics import Metrics

REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")
SLOW_S = 1.0
HOT_PATH = "/v1/usage"

log = structlog.get_logger("daybook.access")


class Edge:
    """Gives every request an id, echoes it, and logs how the request ended.

    The scope gets ``request_id`` and ``correlation_id``: the latter only if the client sent a
    valid X-Request-Id, because it is written into events. Neither keys nor bodies are logged. A
    usage that was charged in good time has its own record, the event, and no line in the log.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or pass on what is none."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
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
            await self._app(scope, receive, echo)
        except ClientDisconnect:
            pass  # Nobody is left to answer.
        except Exception as error:
            made = problems.broken(error, scope["path"])
            if not status:
                await made.response()(scope, receive, echo)
        finally:
            self._note(scope, status, time.perf_counter() - started)
            structlog.contextvars.unbind_contextvars("request_id")

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route: Any = scope.get("route")
        path = getattr(route, "path", "unmatched")
        self._metrics.requests.labels(path, str(status)).inc()
        self._metrics.seconds.observe(seconds)
        if status < 400 and seconds < SLOW_S and path == HOT_PATH:
            return
        log.info(
            "request",
            method=scope["method"],
            route=path,
            status=status,
            ms=round(seconds * 1000, 1),
        )
