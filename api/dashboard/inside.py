"""Our own API, asked from within: what a page does goes the same way as what a service does."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, NamedTuple

import httpx
from fastapi import Request

from api.dashboard.session import COOKIE

PATIENCE_S = 60.0


class Told(NamedTuple):
    """What a route answered: JSON, its fractions as Decimal; of a refusal, the problem."""

    status: int
    body: dict[str, Any]

    @property
    def ok(self) -> bool:
        """Whether it was done, or is under way."""
        return self.status < 400

    @property
    def detail(self) -> str:
        """A refusal in words."""
        return str(self.body.get("detail") or self.body.get("title") or "That did not work.")


class Inside:
    """The API as whoever is signed in may use it, for one workspace. Scopes, idempotency keys
    and refusals are those of the API: a page can do nothing that its key could not."""

    def __init__(self, request: Request, workspace_id: str) -> None:
        self._client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=request.app),
            base_url=str(request.base_url),  # what the API calls "our own page" is the browser's
            timeout=PATIENCE_S,
            headers={
                "Authorization": f"Bearer {request.cookies.get(COOKIE, '')}",
                "X-Workspace-Id": workspace_id,
            },
        )

    async def get(self, path: str, **query: str | int) -> Told:
        """A read."""
        return _told(await self._client.get(path, params=query))

    async def document(self, path: str) -> httpx.Response:
        """A read of something that is no JSON."""
        return await self._client.get(path)

    async def send(self, method: str, path: str, body: Any = None, *, key: str = "") -> Told:
        """A write; ``key`` is the Idempotency-Key, "" for none."""
        headers = {"Idempotency-Key": key} if key else {}
        if body is None:
            return _told(await self._client.request(method, path, headers=headers))
        return _told(await self._client.request(method, path, headers=headers, json=body))


def _told(response: httpx.Response) -> Told:
    try:
        body = json.loads(response.content or b"{}", parse_float=Decimal)
    except ValueError:
        body = {}
    return Told(response.status_code, body if isinstance(body, dict) else {"data": body})
