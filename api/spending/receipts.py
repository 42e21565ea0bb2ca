"""Receipts of refusals: written in the background, so that no refusal ever waits for one."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import Any
from uuid import uuid4

import msgspec
import psycopg
import structlog
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from adapters.postgres import decisions
from adapters.postgres.decisions import Receipt
from domain.errors import PaymentRequired

WAITING_MAX = 2_000
OF_ONE_MAX = 50
"""Receipts of one workspace that may wait at once: more of the same are not worth keeping."""
REST_S = 0.05
UNITS = {"oauth": "link", "allowance": "units", "overage": "micros_per_unit"}

log = structlog.get_logger("daybook")


class Receipts:
    """Keeps what refusals were decided on. Drops what comes faster than it can be written."""

    def __init__(self, pool: AsyncConnectionPool[Any]) -> None:
        self._pool = pool
        self._waiting: dict[str, Receipt] = {}
        self._writing: dict[str, Receipt] = {}
        self._of_one: Counter[str] = Counter()
        self._work = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to write what is noted."""
        self._task = asyncio.create_task(self._write_all(), name="receipts")

    async def stop(self) -> None:
        """Write what is left, then end."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        with contextlib.suppress(psycopg.Error, PoolTimeout):
            await self._write()

    def note(self, workspace_id: str, refusal: PaymentRequired) -> None:
        """Keep a refusal's receipt and give it the id under which it is explained; none where
        there is no room."""
        if refusal.at is None or len(self._waiting) >= WAITING_MAX:
            return
        if self._of_one[workspace_id] >= OF_ONE_MAX:
            return
        decision_id = f"dec_{uuid4().hex}"
        body = {
            "decision_id": decision_id,
            "outcome": "refused",
            "code": refusal.code,
            "detail": str(refusal),
            "at": refusal.at,
            "stream": f"credit_account/{workspace_id}",
            "stream_version": refusal.stream_version,
            "policy_version": refusal.policy_version,
            "plan": refusal.plan,
            "meter": refusal.meter,
            "rule": refusal.rule,
            "sources": sources(refusal.sources),
        }
        text = msgspec.json.encode(body).decode()
        self._waiting[decision_id] = Receipt(decision_id, workspace_id, refusal.at, text)
        self._of_one[workspace_id] += 1
        self._work.set()
        refusal.decision_id = decision_id

    async def find(self, workspace_id: str, decision_id: str) -> str | None:
        """A receipt's JSON, also of one that is not written yet."""
        receipt = self._waiting.get(decision_id) or self._writing.get(decision_id)
        if receipt is not None:
            return receipt.body if receipt.workspace_id == workspace_id else None
        async with self._pool.connection() as connection:
            return await decisions.find(connection, workspace_id, decision_id)

    async def _write_all(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            try:
                await self._write()
            except (psycopg.Error, PoolTimeout) as error:
                log.warning("receipts_lost", error=type(error).__name__, count=len(self._writing))
                self._writing = {}
            await asyncio.sleep(REST_S)

    async def _write(self) -> None:
        self._writing, self._waiting = self._waiting, {}
        self._of_one.clear()
        if self._writing:
            async with self._pool.connection() as connection:
                await decisions.keep(connection, list(self._writing.values()))
        self._writing = {}


def sources(had: tuple[tuple[str, int], ...]) -> list[dict[str, str | int]]:
    """What each source of the waterfall had, and in which unit."""
    return [
        {"source": name, "had": amount, "unit": UNITS.get(name, "micros")} for name, amount in had
    ]
