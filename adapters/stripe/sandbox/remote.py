"""A sandbox as the one who started it sees it: its address, its secret, its control."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import httpx

from adapters.authorities import authorities
from adapters.stripe.sandbox.books import Books, Json

PATIENCE_S = 60.0


class Refused(RuntimeError):
    """The control API did not do what it was told."""


class Control:
    """Tells a running sandbox what to do. Everything is in control.py; `post` and `get` too."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(
            base_url=f"{url}/sandbox", timeout=PATIENCE_S, verify=authorities()
        )

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()

    def get(self, path: str, **query: str) -> Any:
        """What GET /sandbox`path` answers."""
        return _content(self._client.get(path, params=query))

    def post(self, path: str, **told: Any) -> Any:
        """What POST /sandbox`path` answers."""
        return _content(self._client.post(path, json=told))

    def clock(self, now: int | str | None) -> int:
        """Move the clock forward to an instant and stop it there (None: let it run)."""
        return int(self.post("/clock", now=now)["now"])

    def now(self) -> int:
        """The sandbox's time, in unix seconds."""
        return int(self.get("/clock")["now"])

    def requests(self, method: str | None = None, path: str | None = None) -> list[Json]:
        """The API's requests so far, oldest first; of a method and a path if they are given."""
        return [
            entry
            for entry in self.get("/requests")
            if method in (None, entry["method"]) and path in (None, entry["path"])
        ]

    def script(self, *steps: Json) -> None:
        """What goes wrong next: {"path", "fault", "method"?, "times"?} each."""
        self.post("/script", next=list(steps))

    def held(self) -> int:
        """How many requests wait for `release`."""
        return int(self.get("/script")["held"])

    def release(self) -> None:
        """Let the held requests go on."""
        self.post("/release")

    def send_webhooks(
        self, url: str | None = None, secret: str | None = None, mode: str | None = None
    ) -> None:
        """Where webhooks go, and whether by themselves ("auto") or when told ("held")."""
        given = {"url": url, "secret": secret, "mode": mode}
        self.post("/webhooks", **{name: value for name, value in given.items() if value})

    def webhooks(self, state: str | None = None) -> list[Json]:
        """Every delivery, oldest first; or those "pending", "delivered", "failed"."""
        return list(self.get("/webhooks", **({"state": state} if state else {})))

    def deliver(
        self, ids: Sequence[str] | None = None, times: int = 1, at_once: int = 1
    ) -> list[Json]:
        """Deliver these events now (None: all that are pending): in this order, or ``at_once``."""
        return list(self.post("/webhooks/deliver", ids=ids, times=times, at_once=at_once))

    def card(self, customer: str, card: str = "pm_card_visa") -> Json:
        """Give a customer a card, and make it the default one; the PaymentMethod."""
        return dict(self.post("/cards", customer=customer, card=card))

    def dispute(self, charge: str, **more: Any) -> Json:
        """Let the holder of a card dispute a charge; the Dispute."""
        return dict(self.post("/disputes", charge=charge, **more))

    def step(self, dispute: str, step: str) -> Json:
        """Take a dispute a step on: see disputes.py."""
        return dict(self.post(f"/disputes/{dispute}", step=step))

    def authenticate(self, intent: str, outcome: str = "complete") -> Json:
        """Let an authentication "complete" or "fail"; the intent after it."""
        return dict(self.post(f"/authenticate/{intent}", outcome=outcome))

    def reset(self, now: int | str | None = None) -> None:
        """Forget everything but where webhooks go, and set the clock if that is asked."""
        self.post("/reset", now=now)


class Remote:
    """A running sandbox. `books` is what it knows, if it runs in this process."""

    def __init__(self, url: str, webhook_secret: str, books: Books | None = None) -> None:
        self.url = url
        self.webhook_secret = webhook_secret
        self.books = books
        self.control = Control(url)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.control.close()


def _content(answer: httpx.Response) -> Any:
    if answer.is_success:
        return answer.json()
    raise Refused(f"{answer.status_code}: {answer.text}")
