"""Behind the sandbox's stage: its clock and its post, for a deployment whose clock is moved."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import httpx
import structlog

from adapters.authorities import authorities
from domain.errors import StripeUnavailable

log = structlog.get_logger("daybook.stripe")

PATIENCE_S = 60.0
"""A clock that moves by a year does a year's work."""


class Backstage:
    """The control API of a sandbox.

    :raises StripeUnavailable: from every call, when it does not answer.
    """

    def __init__(self, url: str) -> None:
        self._http = httpx.AsyncClient(
            base_url=url, timeout=PATIENCE_S, trust_env=False, verify=authorities()
        )

    async def aclose(self) -> None:
        """Let go of the connections."""
        await self._http.aclose()

    async def move_clock(self, now: datetime) -> bool:
        """Set the sandbox's clock, and let it do what falls due on the way; False if it stands
        there already, or beyond."""
        at = int(now.timestamp())
        stands = await self._ask("GET", "/sandbox/clock")
        if stands["frozen"] and stands["now"] == at:
            return False
        response = await self._send("POST", "/sandbox/clock", {"now": at})
        if not response.is_success and stands["now"] <= at:
            raise StripeUnavailable()  # it could not do what fell due on the way
        return response.is_success

    async def deliver(self) -> int:
        """Deliver what waits, unless webhooks are held; how many got through."""
        endpoint = await self._ask("POST", "/sandbox/webhooks", {})
        if endpoint.get("mode") != "auto":
            return 0
        done = await self._ask("POST", "/sandbox/webhooks/deliver", {"ids": None})
        return sum(one["status"] is not None and one["status"] < 300 for one in done)

    async def _ask(self, method: str, path: str, body: Any = None) -> Any:
        response = await self._send(method, path, body)
        if not response.is_success:
            log.warning("sandbox_refused", path=path, status=response.status_code)
            raise StripeUnavailable()
        return response.json()

    async def _send(self, method: str, path: str, body: Any) -> httpx.Response:
        try:
            return await self._http.request(method, path, json=body)
        except httpx.HTTPError as error:
            log.warning("sandbox_did_not_answer", path=path, error=type(error).__name__)
            raise StripeUnavailable() from None
