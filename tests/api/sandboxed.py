"""Deployments that talk to a sandbox of Stripe, a real server; and bodies signed as Stripe does."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import httpx

from adapters.postgres.database import Database
from adapters.settings import Settings
from adapters.stripe.sandbox.remote import Remote
from adapters.stripe.sandbox.server import serving
from adapters.stripe.signature import sign
from api.stripe import border
from tests.api.conftest import Served, serve, settings_of

SECRET = "whsec_of_tests"
KEY = "sk_test_of_tests"
START = 1_780_272_000  # 2026-06-01T00:00:00Z, where test clocks begin
_numbers = count(1)


@dataclass(frozen=True)
class Sandboxed:
    """A deployment and the sandbox that it uses, on one clock."""

    app: Served
    sandbox: Remote

    def tick(self) -> Any:
        """Do all that is due on both sides."""
        response = self.app.post("/v1/test/tick")
        assert response.status_code == 200, response.text
        return response.json()

    def to(self, now: str) -> None:
        """Move both clocks."""
        response = self.app.post("/v1/test/clock", {"now": now})
        assert response.status_code == 200, response.text


def with_stripe(settings: Settings, url: str | None = None) -> Settings:
    """The settings of a deployment that has Stripe's keys; ``url`` is the sandbox."""
    return replace(
        settings,
        stripe_key=KEY,
        stripe_webhook_secret=SECRET,
        stripe_url=url,
        stripe_is_sandbox=url is not None,
        stripe_patience_s=2.0,
        public_url="http://daybook.test",
    )


@contextmanager
def sandboxed(
    database: Database,
    catalogue: str = "faces",
    *,
    mode: str = "auto",
    following: bool = False,
    clock: bool = True,
    strict: bool = True,
) -> Iterator[Sandboxed]:
    """Serve a deployment and its sandbox. ``mode`` "held" keeps webhooks back until they are
    delivered by hand; ``following``: what goes on by itself does, as in the poster; not
    ``clock``: time is the machine's; ``strict``: the sandbox holds itself to Stripe's contract,
    which takes most of its time."""
    with serving(webhook_secret=SECRET, mode=mode, strict=strict) as sandbox:
        settings = with_stripe(settings_of(database, catalogue, clock=clock), sandbox.url)
        with serve(settings) as app:
            url = f"{app.url}/v1/webhooks/stripe"
            told = {"url": url, "secret": SECRET, "mode": mode}
            sandbox.control.post("/webhooks", **told)
            with keeping(settings) if following else nullcontext():
                yield Sandboxed(app, sandbox)


@contextmanager
def keeping(settings: Settings) -> Iterator[None]:
    """What goes on at the border by itself does, while the block lasts."""
    stop = threading.Event()
    thread = threading.Thread(target=border.run, args=(settings, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(20)


def event(type: str, object: dict[str, Any], *, id: str | None = None, at: int = START) -> bytes:
    """The body of a webhook."""
    return json.dumps(
        {
            "id": id or f"evt_test{next(_numbers):06}",
            "object": "event",
            "api_version": "2026-10-28.endive",
            "created": at,
            "data": {"object": object},
            "livemode": False,
            "pending_webhooks": 1,
            "request": {"id": None, "idempotency_key": None},
            "type": type,
        }
    ).encode()


def send(
    app: Served,
    body: bytes,
    *,
    secret: str = SECRET,
    at: int = START,
    header: str | None = None,
    path: str = "/v1/webhooks/stripe",
) -> httpx.Response:
    """Deliver a webhook, signed at a time (unix s)."""
    signature = sign(body, secret, at) if header is None else header
    headers = {b"Stripe-Signature": signature.encode()}
    return httpx.post(app.url + path, content=body, headers=headers, trust_env=False, timeout=30)
