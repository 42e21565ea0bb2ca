"""A deployment that dies: processes of its own under the real supervisor, killed with -9 while
they work, and clients who ask again."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import count
from random import Random
from threading import Timer
from typing import Any

import httpx

from adapters.postgres.database import Database
from adapters.settings import Settings
from adapters.stripe.sandbox.server import serving
from api.running.child import Child
from api.serve import Supervisor, listen, url_of
from tests.api.conftest import Served
from tests.api.sandboxed import SECRET, Sandboxed, with_stripe

PATIENCE_S = 120.0
PAUSE_S = 0.02
SOON_S = 0.5
"""A kill comes within this, at any point of what is done meanwhile."""


class Patient(Served):
    """Asks again, with the same key, when the connection breaks; `broken` counts that."""

    def __init__(self, url: str, settings: Settings) -> None:
        super().__init__(url, settings)
        self.http.timeout = httpx.Timeout(PATIENCE_S)
        self.broken = 0
        self._again = count(1)

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        workspace: str | None = None,
        key: str | None = None,
        headers: dict[str, str] | None = None,
        **query: Any,
    ) -> httpx.Response:
        """One request, until it is answered."""
        sent = dict(headers or {})
        if method == "POST" and not path.startswith("/v1/usage"):
            sent.setdefault("Idempotency-Key", f"patient-{next(self._again)}")
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                return super().call(
                    method, path, body, workspace=workspace, key=key, headers=sent, **query
                )
            except httpx.TransportError:
                self.broken += 1
                assert time.monotonic() < until, f"{method} {path} is never answered"
                time.sleep(PAUSE_S)

    def await_life(self) -> None:
        """Wait until it serves."""
        assert self.call("GET", "/healthz").status_code == 200


class Reaper:
    """Kills the worker or the poster of a deployment, when it is told to."""

    def __init__(self, supervisor: Supervisor, random: Random) -> None:
        self._children = [*supervisor.workers, supervisor.poster]
        self._random = random
        self._timers: list[Timer] = []
        self.kills: Counter[str] = Counter()

    def strike(self) -> None:
        """One of them dies within the next moments."""
        victim = self._random.choice(self._children)
        timer = Timer(self._random.uniform(0, SOON_S), self._kill, (victim,))
        self._timers = [*(one for one in self._timers if one.is_alive()), timer]
        timer.start()

    def rest(self) -> None:
        """Nobody dies any more."""
        for timer in self._timers:
            timer.join()

    def _kill(self, victim: Child) -> None:
        pid = victim.pid
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                self.kills[victim.name.split()[0]] += 1


@dataclass(frozen=True)
class Mortal(Sandboxed):
    """A deployment and the sandbox that it uses, and who kills it."""

    app: Patient
    reaper: Reaper


@contextmanager
def mortal(database: Database, catalogue: str, random: Random) -> Iterator[Mortal]:
    """Serve a deployment as `scripts/run` does, and its sandbox, whose webhooks are held."""
    with (
        serving(webhook_secret=SECRET, mode="held", strict=False) as sandbox,
        closing(listen("127.0.0.1", 0)) as sock,
    ):
        settings = Settings(
            database.owner_url, database.runtime_url, database.cell, catalogue, True, "quiet"
        )
        settings = replace(with_stripe(settings, sandbox.url), stripe_patience_s=20.0)
        with Supervisor(sock, settings.environment(), workers=1, server=None) as supervisor:
            app = Patient(url_of(sock), settings)
            app.await_life()
            sandbox.control.send_webhooks(f"{app.url}/v1/webhooks/stripe", SECRET, "held")
            reaper = Reaper(supervisor, random)
            try:
                yield Mortal(app, sandbox, reaper)
            finally:
                reaper.rest()
