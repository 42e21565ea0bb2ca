"""Answers of Idempotency-Keys are kept for a month, and not for ever."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from adapters.postgres.database import Database
from api import idempotency
from api.stripe import border
from tests.acceptance.spending import to
from tests.api.conftest import Served, settings_of, until
from tests.api.outgoing.receiver import receiving
from tests.api.outgoing.test_webhooks import freeze, register, tick


def credit(app: Served, workspace: str, key: str, amount: int = 5) -> tuple[int, str | None]:
    """Give credits under a key: the status, and whether that was an old answer."""
    path, headers = f"/v1/admin/workspaces/{workspace}/credits", {"Idempotency-Key": key}
    answer = app.call("POST", path, {"amount_usd": amount}, headers=headers)
    return answer.status_code, answer.headers.get("Idempotent-Replayed")


def age(database: Database, key: str, days: int, *, settled: bool = True) -> None:
    """As if the key had been sent so long ago, and answered, or not."""
    with psycopg.connect(database.conninfo(), autocommit=True) as connection:
        connection.execute(
            "UPDATE idempotency_keys SET created_at = now() - make_interval(days => %s, mins => 1),"
            " status = CASE WHEN %s THEN status END WHERE key = %s",
            (days, settled, key),
        )


def keys(database: Database) -> list[str]:
    """Every key that is remembered."""
    with psycopg.connect(database.conninfo()) as connection:
        rows = connection.execute("SELECT key FROM idempotency_keys ORDER BY key").fetchall()
    return [key for (key,) in rows]


@contextmanager
def border_at_work(database: Database) -> Iterator[None]:
    """What goes on at the border by itself does, while the block lasts."""
    stop = threading.Event()
    thread = threading.Thread(target=border.run, args=(settings_of(database), stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(20)
        assert not thread.is_alive()


def test_an_answer_is_kept_for_thirty_days(app: Served) -> None:
    workspace = app.workspace()
    for key in ("older", "dead", "younger"):
        assert credit(app, workspace, key) == (201, None)
    age(app.database, "older", 30)
    age(app.database, "dead", 30, settled=False)
    age(app.database, "younger", 29)

    with border_at_work(app.database):
        until(lambda: not {"older", "dead"} & set(keys(app.database)))

    assert credit(app, workspace, "younger") == (201, "true")
    assert credit(app, workspace, "younger", 6) == (422, None)
    assert credit(app, workspace, "older") == (201, None), "carried out once all the same"
    assert app.balance(workspace) == 15_000_000


def test_no_turn_forgets_more_than_it_may(app: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotency, "PURGED_AT_ONCE", 2)
    monkeypatch.setattr(idempotency, "PURGES_A_TURN", 2)
    workspace = app.workspace()
    for number in range(5):
        credit(app, workspace, f"k{number}")
        age(app.database, f"k{number}", 40 - number)

    async def purge() -> int:
        async with AsyncConnectionPool(app.database.conninfo(), min_size=1, open=False) as pool:
            return await idempotency.purge(pool)

    assert asyncio.run(purge()) == 4
    assert [key for key in keys(app.database) if key[0] == "k" and key[1] != "e"] == ["k4"]
    assert asyncio.run(purge()) == 1


def test_old_messages_are_forgotten_without_stripe_too(app: Served) -> None:
    workspace = app.workspace("5")
    with receiving() as receiver:
        endpoint = register(app, workspace, receiver.url)
        freeze(app, workspace, "told")
        tick(app)
    path = f"/v1/billing/webhook-endpoints/{endpoint['id']}/deliveries"
    assert len(app.get(path, workspace)["data"]) == 1

    to(app, "2026-07-05T00:00:00Z")
    with border_at_work(app.database):
        until(lambda: not app.get(path, workspace)["data"])
