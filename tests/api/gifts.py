"""Handlers of an event that only tests send: a gift of 5 USD. What it does shows in the ledger."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from adapters.postgres.database import Database
from api.stripe.till import Disposition, StripeEvent, Till
from domain.errors import NotFound, StripeUnavailable
from domain.facts import Context
from tests.api.conftest import Served, serve, settings_of
from tests.api.sandboxed import with_stripe

FIVE = 5_000_000
broken = threading.Event()
busy = threading.Event()


async def gift(told: StripeEvent, till: Till, context: Context) -> Disposition:
    """A handler: grants 5 USD to a workspace, once per event; waits for one that is unknown."""
    if broken.is_set():
        raise KeyError(told.object["email"])
    if busy.is_set():
        raise StripeUnavailable()
    try:
        await till.ledger.grant(
            told.object["workspace"], FIVE, told.id, context, category="promotional", reason="gift"
        )
    except NotFound:
        return "deferred"
    return "applied"


async def idle(told: StripeEvent, till: Till, context: Context) -> Disposition:
    """A handler that has nothing to do."""
    return "ignored"


@contextmanager
def serving_gifts(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """A deployment with Stripe's keys, whose handlers are those above."""
    handlers = {"gift.given": (idle, gift), "gift.idle": (idle,)}
    monkeypatch.setattr("api.house.all_handlers", lambda: handlers)
    broken.clear()
    busy.clear()
    with serve(with_stripe(settings_of(database))) as served:
        yield served


def given(workspace: str, **more: Any) -> dict[str, Any]:
    return {"object": "gift", "id": "gift_1", "workspace": workspace, **more}


def inbox(app: Served) -> list[tuple[str, str]]:
    """(event, disposition) of everything stored."""
    with psycopg.connect(app.database.conninfo()) as connection:
        return connection.execute(
            "SELECT event_id, disposition FROM stripe_inbox ORDER BY number"
        ).fetchall()
