"""Webhooks: signed, retried for three days, and on request held, repeated or out of order."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Sequence
from typing import Any

import httpx
import msgspec

from adapters.authorities import authorities
from adapters.stripe.sandbox.books import Books, Json

PATIENCE_S = 20.0
IDLE_S = 0.5
RETRIES = (5, 60, 300, 1_800, 7_200, 18_000, 36_000, 36_000, 36_000, 36_000, 36_000)
"""Seconds from one attempt to the next; after the last one the delivery has failed."""


def signature(secret: str, payload: bytes, at: int) -> str:
    """The Stripe-Signature header of a payload sent at this unix second."""
    signed = hmac.new(secret.encode(), f"{at}.".encode() + payload, hashlib.sha256).hexdigest()
    return f"t={at},v1={signed}"


class Webhooks:
    """Delivers the events of the books to one endpoint, at least once each."""

    def __init__(self, books: Books, patience: float = PATIENCE_S) -> None:
        self._books = books
        self._client = httpx.AsyncClient(
            timeout=patience, follow_redirects=False, verify=authorities()
        )
        self._turn = asyncio.Lock()
        self.wake = asyncio.Event()

    def endpoint(self) -> Json | None:
        """Where webhooks go: its url, secret and mode; None if nowhere."""
        return self._books.look("sandbox.endpoint", "endpoint")

    def send_to(self, *, url: str | None, secret: str | None, mode: str | None) -> Json:
        """Change where and how webhooks go; None leaves a part as it is."""
        empty = {"url": None, "secret": None, "mode": "auto"}
        now = self.endpoint() or {"object": "sandbox.endpoint", "id": "endpoint", **empty}
        asked = {"url": url, "secret": secret, "mode": mode}
        now |= {name: value for name, value in asked.items() if value is not None}
        with self._books.transaction():
            self._books.put(now)
        self.wake.set()
        return now

    def log(self, state: str | None = None) -> list[Json]:
        """Every delivery with its attempts, oldest first; of one state if that is asked."""
        equal = {} if state is None else {"state": state}
        return self._books.find("sandbox.delivery", **equal)[::-1]

    async def deliver(
        self, ids: Sequence[str] | None, times: int = 1, at_once: int = 1
    ) -> list[Json]:
        """Deliver these events now, in this order, each so many times; all pending if None.
        ``at_once``: so many are under way at a time, and who comes first is anybody's guess.

        Answers [{"id", "type", "status"}], one for each attempt; the status of a request that
        failed altogether is None.
        """
        if ids is None:
            ids = [delivery["event"] for delivery in self.log("pending")]
        asked = [event for event in ids for _ in range(times)]
        if at_once <= 1:
            return [{"id": event, **await self._attempt(event)} for event in asked]
        gate = asyncio.Semaphore(at_once)

        async def attempt(event: str) -> Json:
            async with gate:
                return {"id": event, **await self._tried(event)}

        return list(await asyncio.gather(*map(attempt, asked)))

    async def run(self) -> None:
        """Deliver what is due, in auto mode, for ever."""
        while True:
            endpoint = self.endpoint()
            if endpoint is not None and endpoint["mode"] == "auto" and endpoint["url"]:
                now = self._books.now()
                for delivery in self._books.until("sandbox.delivery", "due", now, state="pending"):
                    await self._attempt(delivery["event"])
            try:
                async with asyncio.timeout(IDLE_S):
                    await self.wake.wait()
            except TimeoutError:
                continue
            self.wake.clear()

    async def close(self) -> None:
        """Let go of the connections."""
        await self._client.aclose()

    async def _attempt(self, event_id: str) -> Json:
        async with self._turn:
            return await self._tried(event_id)

    async def _tried(self, event_id: str) -> Json:
        event = self._books.get("event", event_id)
        endpoint = self.endpoint() or {}
        status, error = await self._post(event, endpoint)
        with self._books.transaction():
            self._record(event, status, error)
        return {"type": event["type"], "status": status}

    async def _post(self, event: Json, endpoint: Json) -> tuple[int | None, str | None]:
        payload = msgspec.json.format(msgspec.json.encode(event), indent=2)
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
            "Stripe-Signature": signature(endpoint.get("secret") or "", payload, self._books.now()),
        }
        try:
            answer = await self._client.post(endpoint["url"], content=payload, headers=headers)
        except (httpx.HTTPError, KeyError, TypeError) as failure:
            return None, f"{type(failure).__name__}: {failure}"
        return answer.status_code, None if answer.is_success else answer.text[:500]

    def _record(self, event: Json, status: int | None, error: str | None) -> None:
        delivery = self._books.look("sandbox.delivery", f"delivery_{event['id']}")
        if delivery is None:  # It happened before there was an endpoint.
            delivery = self._books.queue(event)
        now = self._books.now()
        attempts: list[dict[str, Any]] = delivery["attempts"]
        attempts.append({"at": now, "status": status, "error": error})
        if status is not None and 200 <= status < 300:
            delivery |= {"state": "delivered", "due": None}
            self._books.put(event | {"pending_webhooks": 0})
        elif delivery["state"] == "pending":
            if len(attempts) > len(RETRIES):
                delivery |= {"state": "failed", "due": None}
            else:
                delivery["due"] = now + RETRIES[len(attempts) - 1]
        self._books.put(delivery)
