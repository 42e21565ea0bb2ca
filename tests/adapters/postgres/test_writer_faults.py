"""What the writer does when connections and servers die at the worst moment."""

from __future__ import annotations

import asyncio
import os
import signal

import psycopg
import pytest
from psycopg import AsyncConnection

from adapters.postgres.database import Database, prepare
from adapters.postgres.embedded import EmbeddedServer
from adapters.postgres.writer import Writer
from domain.account.credit_account import CreditAccount
from domain.codec import encode_fact
from domain.errors import TryAgain
from domain.facts import Recorded
from domain.identity import account_id
from domain.ledger import Ledger, account_stream
from tests.adapters.postgres.severing import severable
from tests.adapters.postgres.writing import Process, debits, ledger_with, rows
from tests.domain.given import at, call, charged, open_ledger


@pytest.mark.parametrize("acts", [1, 40])
def test_a_commit_whose_answer_was_lost_is_acknowledged_once(database: Database, acts: int) -> None:
    async def story() -> None:
        async with ledger_with(database, 10**6), severable(database) as (wire, conninfo):
            writer = Writer(conninfo)
            await writer.start()
            ledger = Ledger(writer)
            wire.cut_after_commit()

            charges = await asyncio.gather(
                *(ledger.charge("acme", call(f"u{n}"), at()) for n in range(acts))
            )

            assert wire.cuts == 1, "the line was never cut, so this shows nothing"
            assert not any(c.replayed for c in charges)
            assert [c.balance_after for c in charges] == [
                10**6 - 1_000 * n for n in range(1, acts + 1)
            ]
            found = [
                await writer.find_cause(account_id("acme"), f"usage:u{n}") for n in range(acts)
            ]
            assert [f and f[1] for f in found] == [c.position for c in charges]
            await writer.stop()

    asyncio.run(story())
    assert debits(database) == [f"usage:u{n}" for n in range(acts)]


def test_a_naive_retry_of_that_commit_doubles_it(database: Database) -> None:
    """The control: the usual loop, read, decide, save, again if it failed; as no cause is kept
    unique here, the one intended debit is recorded twice."""

    async def story() -> int:
        async with (
            ledger_with(database, 10**6) as (_, writer),
            severable(database) as (
                wire,
                conninfo,
            ),
        ):
            wire.cut_after_commit()
            for attempt in range(3):
                account = await writer.fresh(account_stream("acme"))
                assert isinstance(account, CreditAccount)
                [debit] = charged(account, call("u1"))
                recorded = Recorded(account.id, account.version, debit)
                try:
                    async with await AsyncConnection.connect(conninfo, autocommit=True) as naive:
                        await _save(naive, recorded, cause=f"attempt:{attempt}")
                    return attempt + 1
                except psycopg.OperationalError:
                    continue
        return 0

    assert asyncio.run(story()) == 2
    assert [cause for _, kind, cause, *_ in rows(database) if kind == "Debited"] == [
        "attempt:0",
        "attempt:1",
    ]


def test_a_commit_that_never_arrived_is_sent_again(database: Database) -> None:
    async def story() -> None:
        async with ledger_with(database, 10**6), severable(database) as (wire, conninfo):
            writer = Writer(conninfo)
            await writer.start()
            wire.cut_before()

            charge = await Ledger(writer).charge("acme", call("u1"), at())

            assert wire.cuts == 1
            assert not charge.replayed
            await writer.stop()

    asyncio.run(story())
    assert debits(database) == ["usage:u1"]


def test_backends_that_are_ended_again_and_again_lose_and_double_nothing(
    database: Database,
) -> None:
    async def story() -> int:
        async with ledger_with(database, 10**9) as (ledger, _):
            over = asyncio.Event()
            answered = 0

            async def client(name: int) -> None:
                nonlocal answered
                number = 0
                while not over.is_set():
                    charge = await ledger.charge("acme", call(f"{name}-{number}"), at())
                    assert charge.metered
                    answered, number = answered + 1, number + 1

            async def killer() -> None:
                owner = database.conninfo(owner=True, application_name="killer")
                async with await AsyncConnection.connect(owner, autocommit=True) as connection:
                    for _ in range(15):
                        before = answered
                        await connection.execute(
                            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                            " WHERE datname = current_database() AND application_name = 'daybook'"
                        )
                        while answered < before + 40:
                            await asyncio.sleep(0.005)
                over.set()

            await asyncio.wait_for(
                asyncio.gather(killer(), *(client(name) for name in range(16))), timeout=60
            )
            return answered

    answered = asyncio.run(story())
    assert len(debits(database)) == answered


def test_after_the_server_was_away_reads_and_loads_work_or_say_try_again(
    database: Database,
) -> None:
    async def story() -> None:
        async with ledger_with(database, 10**6) as (ledger, writer):
            await ledger.account("acme")
            await open_ledger(writer, "cold")
            for _ in range(3):
                watch = database.conninfo(owner=True, application_name="killer")
                with psycopg.connect(watch, autocommit=True) as owner:
                    owner.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                        " WHERE datname = current_database() AND application_name = 'daybook'"
                    )
                for ask in (
                    lambda: ledger.account("acme"),
                    lambda: writer.find(account_id("acme"), 1),
                    lambda: writer.find_cause(account_id("acme"), "grant:given"),
                    lambda: writer.balance_at(account_id("acme"), 10),
                    lambda: ledger.charge("acme", call("u1"), at()),
                ):
                    try:
                        assert await ask() is not None
                    except TryAgain:
                        assert await ask() is not None

    asyncio.run(story())


def test_a_server_that_stays_away_is_said_within_the_writers_patience(
    durable_server: EmbeddedServer,
) -> None:
    database = prepare(durable_server.url, runtime_url=durable_server.runtime_url)

    async def story() -> None:
        async with ledger_with(database, 10**6, patience_s=1.0) as (ledger, writer):
            await ledger.charge("acme", call("u1"), at())
            durable_server.stop()

            ends = await asyncio.wait_for(
                asyncio.gather(
                    *(ledger.charge("acme", call(f"v{n}"), at()) for n in range(5)),
                    ledger.charge("nobody", call("v"), at()),
                    return_exceptions=True,
                ),
                timeout=20,
            )
            assert all(isinstance(end, TryAgain) for end in ends), ends
            assert writer.waiting == 0
            assert writer.is_running

    asyncio.run(story())


@pytest.mark.parametrize(
    "seconds",
    [pytest.param(6, id="short"), pytest.param(30, id="long", marks=pytest.mark.slow)],
)
def test_four_processes_on_one_account_survive_kill_9_twice(
    durable_server: EmbeddedServer, seconds: int
) -> None:
    database = prepare(durable_server.url, runtime_url=durable_server.runtime_url)

    async def given() -> None:
        async with ledger_with(database, 10**12):
            pass

    async def debits_so_far(at_least: int) -> int:
        end = asyncio.get_running_loop().time() + 60
        while True:
            try:
                async with await AsyncConnection.connect(database.conninfo()) as connection:
                    cursor = await connection.execute("SELECT count(*) FROM events")
                    row = await cursor.fetchone()
                    if row is not None and row[0] >= at_least:
                        return int(row[0])
            except psycopg.OperationalError:
                pass
            assert asyncio.get_running_loop().time() < end, "nobody writes any more"
            await asyncio.sleep(0.05)

    async def kill_twice() -> None:
        for _ in range(2):
            seen = await debits_so_far(0)
            await debits_so_far(seen + 300)
            await asyncio.sleep(seconds / 6)
            os.kill(durable_server.pid, signal.SIGKILL)
            while not durable_server.ensure_running():
                await asyncio.sleep(0.01)
            await debits_so_far(seen + 301)

    asyncio.run(given())
    urls = [database.owner_url, database.runtime_url]
    fellows = [
        Process(task="spend", urls=urls, name=f"p{n}", seconds=seconds, tasks=8) for n in range(4)
    ]
    try:
        for fellow in fellows:
            fellow.hear()
        for fellow in fellows:
            fellow.go()
        asyncio.run(kill_twice())
        told = [fellow.hear() for fellow in fellows]
    finally:
        for fellow in fellows:
            fellow.__exit__()

    recorded = [cause.removeprefix("usage:") for cause in debits(database)]
    accepted = [id for each in told for id in each["accepted"]]
    assert len(set(accepted)) == len(accepted)
    assert set(accepted) <= set(recorded), "an acknowledged debit is lost"
    unknown = set(recorded) - set(accepted)
    assert len(unknown) <= sum(each["unanswered"] for each in told)
    assert all(each["refused"] == 0 for each in told)


async def _save(connection: AsyncConnection, recorded: Recorded, cause: str) -> None:
    """Append one fact, as a recorder without causes would."""
    move = recorded.fact.wallet_move()
    assert move is not None
    await connection.execute(
        "SELECT append_events(%s, %s, %s, %s, %s, %s, %s, '{}', '{}', '{}', '{}')",
        (
            [recorded.originator_id],
            [recorded.originator_version],
            [recorded.fact.TOPIC],
            [encode_fact(recorded.fact)],
            [cause],
            [move[0]],
            [move[1]],
        ),
    )
