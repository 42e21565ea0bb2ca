"""The writer at its limits: full queues, small caches, long accounts, impossible commands."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from adapters.postgres.application import LedgerApplication
from adapters.postgres.database import Database
from domain.account.credit_account import CreditAccount
from domain.account.usage_facts import Debited
from domain.catalogue.price_book import PriceEntry
from domain.commands import Command
from domain.errors import Busy, InsufficientCredits, NotFound
from domain.identity import account_id
from domain.ledger import Ledger, account_stream
from tests.adapters.postgres.writing import debits, ledger_with, rows, writing
from tests.domain.given import NOW, at, call, chat, entries, open_ledger


def test_a_full_queue_says_so_at_once_and_writes_nothing(database: Database) -> None:
    async def story() -> None:
        async with ledger_with(database, 10**9, queue_limit=50) as (ledger, writer):
            waiting = [
                asyncio.ensure_future(ledger.charge("acme", call(f"u{n}"), at())) for n in range(80)
            ]
            ends = await asyncio.gather(*waiting, return_exceptions=True)

            assert [type(e).__name__ for e in ends] == ["Charge"] * 50 + ["Busy"] * 30
            assert writer.waiting == 0
            await ledger.charge("acme", call("u99"), at())
            assert Busy().retry_after == 1

    asyncio.run(story())
    assert len(debits(database)) == 51


def test_a_writer_that_stops_answers_what_it_took_and_takes_no_more(database: Database) -> None:
    async def story() -> None:
        async with ledger_with(database, 10**6) as (ledger, writer):
            taken = [
                asyncio.ensure_future(ledger.charge("acme", call(f"u{n}"), at())) for n in range(20)
            ]
            await asyncio.sleep(0)
            await writer.stop()

            assert all([(await t).metered for t in taken])
            with pytest.raises(Busy):
                await ledger.charge("acme", call("late"), at())

    asyncio.run(story())
    assert len(debits(database)) == 20


def test_a_caller_who_goes_away_hurts_nobody(database: Database) -> None:
    async def story() -> None:
        async with ledger_with(database, 10**6) as (ledger, writer):
            impatient = asyncio.ensure_future(ledger.charge("acme", call("u1"), at()))
            await asyncio.sleep(0)
            impatient.cancel()
            charge = await ledger.charge("acme", call("u2"), at())

            assert charge.balance_after == 10**6 - 2_000
            assert (await ledger.charge("acme", call("u1"), at())).replayed
            assert writer.waiting == 0

    asyncio.run(story())


def test_a_cache_smaller_than_the_streams_in_use_changes_no_answer(database: Database) -> None:
    names = [f"w{n}" for n in range(12)]

    async def story() -> None:
        async with writing(database, cache_size=3) as writer:
            ledger = await open_ledger(writer, *names)
            await asyncio.gather(*(ledger.grant(name, 20_000, "g", at()) for name in names))
            for turn in range(5):
                charges = await asyncio.gather(
                    *(
                        ledger.charge(name, call(f"{turn}-{n}"), at())
                        for n in range(3)
                        for name in names
                    )
                )
                left = sorted({c.balance_after for c in charges})
                assert left == [20_000 - 1_000 * (turn * 3 + n) for n in (3, 2, 1)]

    asyncio.run(story())
    assert all(len(debits(database, name)) == 15 for name in names)


def test_a_cache_without_room_for_prices_still_rates(database: Database) -> None:
    """What is only read must stay loaded while a decision waits that rests on it."""
    names = [f"w{n}" for n in range(20)]

    async def story() -> None:
        async with writing(database, cache_size=1) as writer:
            ledger = await open_ledger(writer, *names)
            await asyncio.gather(*(ledger.grant(name, 10_000, "g", at()) for name in names))

            async def client(name: str) -> None:
                for n in range(10):
                    await ledger.charge(name, call(f"{n}"), at())

            await asyncio.wait_for(asyncio.gather(*map(client, names)), timeout=60)

    asyncio.run(story())
    assert all(len(debits(database, name)) == 10 for name in names)


def test_a_command_that_the_database_finds_impossible_fails_alone(database: Database) -> None:
    """A fact whose cause its stream already knows, from a command that is not known by it."""

    async def story() -> None:
        async with ledger_with(database, 10_000) as (ledger, writer):

            def impossible(account: CreditAccount) -> None:
                account.adjust(-1, "bug", "t", "grant:given", at())

            ends = await asyncio.wait_for(
                asyncio.gather(
                    ledger.charge("acme", call("u1"), at()),
                    writer.submit(Command((account_stream("acme"),), impossible)),
                    ledger.charge("acme", call("u2"), at()),
                    return_exceptions=True,
                ),
                timeout=20,
            )
            assert isinstance(ends[1], Exception)
            assert [type(end).__name__ for end in ends[::2]] == ["Charge", "Charge"]
            again = await asyncio.wait_for(ledger.charge("acme", call("u3"), at()), timeout=20)
            assert again.balance_after == 7_000

    asyncio.run(story())
    assert debits(database) == ["usage:u1", "usage:u2", "usage:u3"]


def test_an_act_beyond_all_money_fails_alone(database: Database) -> None:
    """A billion tokens at a price that no column can hold."""

    async def story() -> None:
        async with writing(database) as writer:
            ledger = await open_ledger(writer, "acme", "other")
            dear = tuple(PriceEntry(entry.model, 10**15, 10**15, 10**15) for entry in entries())
            await ledger.publish_prices(NOW, "usd", 10**6, dear, "dear", at())
            await ledger.grant("acme", 10**6, "g", at())
            huge = chat("u1", input=10**9, output=10**9)
            tiny = chat("u2", model="gpt-5.4-mini", input=0)

            ends = await asyncio.wait_for(
                asyncio.gather(
                    ledger.charge("acme", huge, at()),
                    ledger.charge("acme", tiny, at()),
                    ledger.grant("other", 5, "g", at()),
                    return_exceptions=True,
                ),
                timeout=20,
            )
            assert isinstance(ends[0], Exception)
            assert [type(end).__name__ for end in ends[1:]] == ["Charge", "Credit"]

    asyncio.run(story())
    assert [kind for _, kind, *_ in rows(database)][-1] == "UsageRecorded"


@pytest.mark.parametrize("later", range(0, 60, 5))
def test_a_payment_decided_beside_an_impossible_neighbour_still_credits(
    database: Database, later: int
) -> None:
    """It moves two streams, of which only one was in the batch that had to be taken apart."""

    async def story() -> None:
        async with ledger_with(database, 10_000) as (ledger, writer):

            def beyond_all_columns(account: CreditAccount) -> None:
                account.record(
                    Debited(
                        **account.stamp(at(), "impossible"), amount=2**70, balance_after=-(2**70)
                    )
                )

            def adjust(account: CreditAccount) -> None:
                account.adjust(-1_000, "because", "t", "adjustment:1", at())

            with pytest.raises(NotFound):  # From here on the payment's stream is loaded.
                await ledger.record_payment("nobody", 5_000, "wire-1", at())
            stream = account_stream("acme")
            first = asyncio.gather(
                writer.submit(Command((stream,), adjust)),
                writer.submit(Command((stream,), beyond_all_columns)),
                return_exceptions=True,
            )
            for _ in range(later):
                await asyncio.sleep(0)
            credit = await ledger.record_payment("acme", 5_000, "wire-1", at())
            ends = await asyncio.wait_for(first, timeout=20)

            assert isinstance(ends[1], Exception)
            assert not credit.duplicate
            assert (await ledger.account("acme")).balance == 14_000

    asyncio.run(story())
    assert [kind for _, kind, *_ in rows(database)].count("Credited") == 2


def test_the_position_of_an_act_that_wrote_nothing_is_one_that_readers_reach(
    database: Database,
) -> None:
    """Rolled back inserts leave numbers that nobody will ever see; waiting for one never ends."""

    async def story() -> None:
        async with ledger_with(database, 10_000) as (ledger, writer), writing(database) as other:
            await ledger.freeze("acme", "admin", "t", None, at())
            for _ in range(3):
                with psycopg.connect(database.conninfo()) as connection:
                    connection.execute("SELECT nextval('events_notification_id_seq')")

            for book in (writer, other):
                done = await Ledger(book).freeze("acme", "admin", "t", None, at())
                assert done.facts == ()
                with psycopg.connect(database.conninfo()) as connection:
                    last = connection.execute("SELECT max(notification_id) FROM events").fetchone()
                assert last is not None
                assert done.position <= last[0]

    asyncio.run(story())


def test_events_and_balances_are_found_by_place_and_cause(database: Database) -> None:
    async def story() -> None:
        async with ledger_with(database, 10_000) as (ledger, writer):
            stream = account_id("acme")
            charge = await ledger.charge("acme", call("u1"), at())
            free = await ledger.charge("acme", chat("u2", model="gpt-4o-mini", input=1), at())

            found = await writer.find_cause(stream, "usage:u1")
            assert found is not None
            assert isinstance(found[0].fact, Debited)
            assert await writer.find(stream, found[0].originator_version) == found
            assert found[1] == charge.position
            assert free.balance_after == 9_000
            assert await writer.balance_at(stream, found[0].originator_version + 1) == 9_000
            assert await writer.balance_at(stream, found[0].originator_version - 1) == 10_000
            assert await writer.find_cause(stream, "usage:no") is None
            assert await writer.find(uuid4(), 1) is None
            assert await writer.balance_at(uuid4(), 1) == 0

    asyncio.run(story())


def test_thousands_of_refusals_do_not_hold_up_the_loop(database: Database) -> None:
    async def story() -> float:
        async with ledger_with(database) as (ledger, _):
            loop = asyncio.get_running_loop()
            start = loop.time()
            ends = await asyncio.gather(
                *(ledger.charge("acme", call(f"u{n}"), at()) for n in range(4_000)),
                return_exceptions=True,
            )
            assert all(isinstance(end, InsufficientCredits) for end in ends)
            return loop.time() - start

    assert asyncio.run(story()) < 5


async def _until(holds: Callable[[], bool]) -> None:
    """Poll until it holds, at most ten seconds."""
    loop = asyncio.get_running_loop()
    end = loop.time() + 10
    while not holds():
        assert loop.time() < end, "it never came to hold"
        await asyncio.sleep(0.01)


def _snapshots(database: Database) -> list[tuple[int]]:
    with psycopg.connect(database.conninfo()) as connection:
        return connection.execute("SELECT originator_version FROM snapshots").fetchall()


async def _whole(database: Database) -> list[Any]:
    """Every event of the account, read by the library."""
    with LedgerApplication(database.conninfo()) as app:
        return list(app.events.get(account_id("acme")))
