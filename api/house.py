"""What the routes stand on: everything one process holds, made once by `api/app.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from psycopg_pool import AsyncConnectionPool

from adapters.clock import Clock
from adapters.postgres.writer import Writer
from adapters.settings import Settings
from adapters.upstream import Upstream
from api.auth import KeyRing
from api.metrics import Metrics
from api.receipts import Receipts
from domain.ledger import Ledger


@dataclass(frozen=True, slots=True)
class House:
    """The parts of a running process. ``pool`` connects as the runtime, for reads."""

    settings: Settings
    clock: Clock
    pool: AsyncConnectionPool[Any]
    writer: Writer
    ledger: Ledger
    keys: KeyRing
    metrics: Metrics
    receipts: Receipts
    upstream: Upstream | None  # None: no provider is configured
