"""The sandbox as a server.

`python -m adapters.stripe.sandbox.server FD_OR_PORT --data FILE --webhook URL --secret whsec_…`
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import os
import socket
import threading
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from adapters.stripe.sandbox import control
from adapters.stripe.sandbox.books import Books
from adapters.stripe.sandbox.connection import BreakableConnection
from adapters.stripe.sandbox.desk import Desk
from adapters.stripe.sandbox.faults import Faults
from adapters.stripe.sandbox.frontage import Frontage
from adapters.stripe.sandbox.remote import Remote
from adapters.stripe.sandbox.webhooks import Webhooks

MODULES = (
    "customers", "products", "prices", "payment_methods", "payment_intents", "setup_intents",
    "charges", "refunds", "disputes", "balance", "event_objects", "test_clocks",
    "subscriptions", "subscription_items", "schedules", "invoice_routes", "invoice_items",
    "invoice_payment", "preview", "renewal", "subscription_change", "billing_settings",
    "checkout", "checkout_page", "checkout_delayed", "portal", "portal_page",
    "authentication", "hosted_invoice",
)  # fmt: skip
"""What the sandbox can do: each registers its routes, pages and due work when imported."""

IDLE_S = 75
"""Longer than clients keep a connection that is idle: none is closed on somebody just asking."""

STARTED_WITHIN_S = 30.0
SECRET = "whsec_" + "sandbox"
"""What webhooks are signed with if nothing else is said: it protects nothing."""
FD_MAX = 1024


def create_app(
    books: Books,
    *,
    webhook: str | None = None,
    secret: str | None = None,
    mode: str | None = None,
    strict: bool = False,
    key: str | None = None,
) -> Starlette:
    """The sandbox over these books. Webhooks go to the endpoint given here, or to none."""
    for name in MODULES:
        importlib.import_module(f"adapters.stripe.sandbox.{name}")
    desk, faults, webhooks = Desk(books, strict=strict, key=key), Faults(), Webhooks(books)
    if webhook is not None or secret is not None:
        webhooks.send_to(url=webhook, secret=secret, mode=mode)
    frontage = Frontage(desk, faults, webhooks)

    @asynccontextmanager
    async def life(app: Starlette) -> AsyncIterator[None]:
        works = (webhooks.run, frontage.keep_time)
        tasks = [asyncio.create_task(_kept_going(work, desk)) for work in works]
        yield
        faults.release()
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await webhooks.close()

    async def unknown(request: Request) -> Response:
        return frontage.unknown(request.method, request.url.path)

    every = ["GET", "POST", "DELETE", "PUT", "PATCH"]
    app = Starlette(
        routes=[
            *control.routes(desk, faults, webhooks),
            *frontage.routes(),
            Route("/{rest:path}", unknown, methods=every),
        ],
        lifespan=life,
    )
    app.state.desk = desk
    return app


async def _kept_going(work: Callable[[], Awaitable[None]], desk: Desk) -> None:
    """Do this for ever; a mistake in it is ours, and is not passed over."""
    while True:
        try:
            await work()
        except Exception as mistake:
            desk.broken.append(f"{type(mistake).__name__}: {mistake}")
            traceback.print_exception(mistake)
            await asyncio.sleep(1)


def config(app: Callable[..., Awaitable[None]]) -> uvicorn.Config:
    """How it is served."""
    return uvicorn.Config(
        app,
        http=BreakableConnection,
        log_level="error",
        access_log=False,
        timeout_keep_alive=IDLE_S,
        timeout_graceful_shutdown=2,
    )


@contextmanager
def serving(
    file: str = ":memory:",
    *,
    webhook: str | None = None,
    webhook_secret: str = SECRET,
    mode: str = "auto",
    strict: bool = True,
    key: str | None = None,
    now: int | None = None,
) -> Iterator[Remote]:
    """A sandbox in a thread of this process, on a port of its own; its clock stopped at `now`.

    `strict` holds every answer and event to the contract, and fails at the end if one broke it.
    """
    books = Books(file)
    if now is not None:
        books.freeze(now)
    with socket.create_server(("127.0.0.1", 0)) as sock:
        books.url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        app = create_app(
            books, webhook=webhook, secret=webhook_secret, mode=mode, strict=strict, key=key
        )
        server = uvicorn.Server(config(app))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
        thread.start()
        deadline = time.monotonic() + STARTED_WITHIN_S
        while not server.started:
            if not thread.is_alive() or time.monotonic() > deadline:
                raise RuntimeError("the sandbox did not start")
            time.sleep(0.005)
        desk: Desk = app.state.desk
        try:
            with Remote(books.url, webhook_secret, books) as remote:
                yield remote
        finally:
            server.should_exit = True
            thread.join()
            if strict:
                desk.hold_events()
            books.close()
    if desk.broken:
        raise AssertionError(f"the sandbox broke the contract: {desk.broken[:5]}")


def _listening(number: int) -> socket.socket:
    if number < FD_MAX:
        return socket.socket(fileno=number)
    return socket.create_server(("127.0.0.1", number))


def main() -> None:
    """Serve until told to end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("where", type=int, help="a listening socket below 1024, or a port")
    parser.add_argument("--data", type=Path, help="keep everything in this file")
    parser.add_argument("--webhook", help="where webhooks go")
    parser.add_argument("--secret", help="what they are signed with")
    parser.add_argument("--mode", choices=("auto", "held"))
    parser.add_argument("--url", help="where browsers reach the sandbox, if not where it listens")
    asked = parser.parse_args()
    books = Books(str(asked.data) if asked.data else ":memory:")
    with _listening(asked.where) as sock:
        host, port = sock.getsockname()[:2]
        books.url = asked.url or f"http://{host}:{port}"
        # Not as arguments: those are for everybody to see.
        secret = asked.secret or os.environ.get("STRIPE_WEBHOOK_SECRET")
        key = os.environ.get("STRIPE_SECRET_KEY")
        app = create_app(books, webhook=asked.webhook, secret=secret, mode=asked.mode, key=key)
        uvicorn.Server(config(app)).run(sockets=[sock])
    books.close()


if __name__ == "__main__":
    main()
