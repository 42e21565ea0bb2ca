"""Who calls: API keys to callers, remembered for a moment."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg_pool import AsyncConnectionPool

from adapters.postgres import keys
from api.refusals import Unauthenticated
from domain.errors import Forbidden

TTL_S = 5.0
"""How long a revoked key may still work where its notification was lost."""

REMEMBERED_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever holds the key. ``workspace_id`` None may act for every workspace."""

    key_id: str
    workspace_id: str | None
    scopes: frozenset[str]
    actor: str  # as events name it

    def may(self, scope: str) -> bool:
        """Whether the key has a scope; `admin` has all."""
        return scope in self.scopes or "admin" in self.scopes

    def require(self, scope: str) -> None:
        """Refuse unless the key has the scope."""
        if not self.may(scope):
            raise Forbidden(f"This key lacks the scope {scope}.")


class KeyRing:
    """Finds the caller of a key; asks the database at most every 5 s for each."""

    def __init__(self, pool: AsyncConnectionPool[Any], conninfo: str) -> None:
        self._pool = pool
        self._conninfo = conninfo
        self._known: dict[bytes, tuple[Caller, float]] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to listen for changed keys."""
        self._task = asyncio.create_task(self._listen(), name="keys")

    async def stop(self) -> None:
        """Stop listening."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None  # it may hold a connection that was about to log in

    async def caller(self, authorization: str | None) -> Caller:
        """The caller of an Authorization header.

        :raises Unauthenticated: none, not a bearer key, unknown or revoked.
        """
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or len(key) != keys.LENGTH or not key.isascii():
            raise Unauthenticated()
        digest = keys.digest(key)
        known = self._known.get(digest)
        if known is not None and known[1] > time.monotonic():
            return known[0]
        asked_at = time.monotonic()
        async with self._pool.connection() as connection:
            found = await keys.find(connection, digest)
        if found is None:
            self._known.pop(digest, None)
            raise Unauthenticated()
        caller = Caller(
            found.key_id,
            found.workspace_id,
            found.scopes,
            f"admin:{found.key_id}" if "admin" in found.scopes else found.key_id,
        )
        if len(self._known) >= REMEMBERED_MAX:
            self._known.clear()
        self._known[digest] = (caller, asked_at + TTL_S)
        return caller

    async def _listen(self) -> None:
        while True:
            with contextlib.suppress(psycopg.Error):
                async with await psycopg.AsyncConnection.connect(
                    self._conninfo, autocommit=True
                ) as connection:
                    await connection.execute(f"LISTEN {keys.CHANNEL}")
                    self._known.clear()
                    async for _ in connection.notifies():
                        self._known.clear()
            # Deaf for a moment: whatever changes now is noticed when what is known expires.
            await asyncio.sleep(1.0)
