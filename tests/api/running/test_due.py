"""The sweeper: what time does is recorded though nobody asks, once, and one failure holds up
nothing else. The poster runs as the process that it is."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from adapters.postgres.database import Database
from api.posting import Stand
from api.running.due import run_due
from domain.account.hold_facts import Labels
from domain.account.usage import Tokens
from domain.commands import Command, Stream
from domain.contract.facts import CancellationScheduled
from domain.contract.subscription import Subscription, subscription_stream
from domain.facts import Context
from domain.ledger import Ledger
from domain.workspace.tenancy import workspace_place
from projections import due_work
from projections.compare import compare
from tests.adapters.postgres.writing import writing
from tests.api.conftest import settings_of
from tests.api.deployments import environment, eventually
from tests.domain.given import LONG_AGO, entries
from tests.domain.tenant import catalogue
from tests.projections.stories import ask, dump, post, rebuilt, rows

NOW = datetime.now(UTC)
BEFORE = Context(NOW - timedelta(days=70))
SWEPT = {"HoldExpired", "CreditsExpired", "CycleClosed", "CycleOpened", "DeploysBlocked"}


@contextmanager
def poster(database: Database) -> Iterator[None]:
    """`python -m api.posting`, on the machine's own clock."""
    settings = settings_of(database, "faces", clock=False)
    process = subprocess.Popen(
        [sys.executable, "-m", "api.posting"],
        env=environment(**settings.environment()),
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


async def opened(ledger: Ledger, name: str, context: Context = BEFORE) -> None:
    """A workspace with a hold, a grant that ends and an unpaid invoice, all of it long ago."""
    await ledger.create_workspace(name, name, "owner", "UTC", context)
    soon = context.now + timedelta(hours=1)
    await ledger.grant(name, 5_000_000, "gift", context, expires_at=soon)
    estimate, labels = Tokens(100, 0, 100), Labels(llm_model="gpt-5.4")
    await ledger.authorize(name, f"hold_{name}", "chat", estimate, labels, context)

    def unpaid(workspace: Any) -> None:
        workspace.mark_past_due("in_1", context.now, 3, context.now + timedelta(days=3), context)

    await ledger.book.submit(Command((workspace_place(name),), unpaid))


async def shop(ledger: Ledger) -> None:
    """A catalogue and its prices."""
    context = Context(LONG_AGO)
    await ledger.publish_catalogue(catalogue("faces"), "v1", context)
    await ledger.publish_prices(LONG_AGO, "usd", 0, entries(), "v1", context)


def story(database: Database, *names: str, context: Context = BEFORE) -> None:
    async def play() -> None:
        async with writing(database) as writer:
            ledger = Ledger(writer)
            await shop(ledger)
            for name in names:
                await opened(ledger, name, context)

    asyncio.run(play())


def told(database: Database) -> list[str]:
    """What the sweeper wrote, in order."""
    found = rows(
        database,
        "SELECT kind FROM event_log WHERE data->>'actor' = 'sweeper' ORDER BY position",
    )
    return [kind for (kind,) in found if kind in SWEPT]


def test_what_is_over_is_recorded_though_nobody_asks(database: Database) -> None:
    story(database, "acme")

    with poster(database):
        eventually(lambda: set(told(database)) == SWEPT)
        eventually(lambda: "cycle" not in ask(database, due).get("acme", set()))

    swept = told(database)
    assert swept.count("CycleOpened") == 2  # 70 days are two whole cycles
    assert {swept.count(kind) for kind in SWEPT - {"CycleOpened", "CycleClosed"}} == {1}
    triggers = rows(
        database, "SELECT DISTINCT data->>'trigger' FROM event_log WHERE kind = 'CycleOpened'"
    )
    assert triggers == [("timer",)]
    with psycopg.connect(database.conninfo(), autocommit=True) as connection:
        assert compare(connection) == []


def due(connection: Any) -> Any:
    return due_work.due(connection, datetime.now(UTC))


def swept_by_hand(database: Database, sweepers: int = 1) -> list[int]:
    """How many facts each of some sweepers left, all at work at once."""

    async def play() -> list[int]:
        async with (
            writing(database) as writer,
            writing(database) as other,
            AsyncConnectionPool(database.conninfo(), kwargs={"autocommit": True}) as pool,
        ):
            stands = [Stand(Ledger(w), pool) for w in (writer, other)][:sweepers]
            return await asyncio.gather(*(run_due(stand, NOW) for stand in stands))

    return asyncio.run(play())


def test_two_sweepers_do_it_once(database: Database) -> None:
    names = [f"ws_{number}" for number in range(20)]
    story(database, *names)
    post(database)

    left = swept_by_hand(database, 2)

    swept = told(database)
    assert [swept.count(kind) for kind in ("HoldExpired", "CycleOpened", "DeploysBlocked")] == [
        20,
        40,
        20,
    ]
    post(database)
    assert sum(left) >= len(swept)
    assert swept_by_hand(database) == [0]


def test_one_failure_holds_up_nothing_else(database: Database) -> None:
    story(database, "acme", "zoo")
    post(database)
    rows(
        database,
        "INSERT INTO due_streams VALUES (%s, 'gone', 0)",
        stream := uuid4(),
        owner=True,
    )
    rows(
        database,
        "INSERT INTO due_work (kind, stream, id, due_at, last_position)"
        " VALUES ('cycle', %s, '', now(), 0)",
        stream,
        owner=True,
    )

    assert swept_by_hand(database)[0] > 0

    assert told(database).count("DeploysBlocked") == 2


def test_nothing_is_due_before_its_time(database: Database) -> None:
    story(database, "acme", context=Context(NOW - timedelta(minutes=1)))
    post(database)

    assert swept_by_hand(database) == [0]


@pytest.mark.scenario("S103")
def test_what_is_due_is_the_same_after_a_rebuild(database: Database) -> None:
    story(database, "acme", "zoo")
    post(database)
    before = dump(database)
    assert before["due_work"].count(b"\n") == 6
    assert rebuilt(database) == before

    swept_by_hand(database)
    post(database)
    left = rows(database, "SELECT kind FROM due_work")
    assert sorted(left) == [("cycle",), ("cycle",)]
    after = dump(database)
    assert rebuilt(database) == after


def test_a_contract_ends_on_its_day_within_the_cycle(database: Database) -> None:
    """One that is to end before its cycle does, as Stripe's portal can have it."""
    context = Context(NOW - timedelta(days=20))

    def cancel(subscription: Subscription) -> None:
        stamp = subscription.stamp(context, "cancel")
        ends = NOW - timedelta(days=10)
        subscription.record(CancellationScheduled(**stamp, cancel_at=ends, source="portal"))

    async def play() -> None:
        async with writing(database) as writer:
            ledger = Ledger(writer)
            await shop(ledger)
            await ledger.create_workspace("acme", "acme", "owner", "UTC", context)
            await ledger.set_plan("acme", "connect", context)
            place = Stream(Subscription, subscription_stream("acme"))
            await ledger.book.submit(Command((place,), cancel))

    asyncio.run(play())
    post(database)

    assert swept_by_hand(database)[0] > 0

    post(database)
    ended = rows(
        database, "SELECT data->>'reverted_to_plan' FROM event_log WHERE kind = 'SubscriptionEnded'"
    )
    assert ended == [("free",)]
    assert swept_by_hand(database) == [0]
