"""The writer on a real server: what it promises to one caller and to many."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from adapters.postgres.application import LedgerApplication
from adapters.postgres.database import Database
from domain.account_facts import Debited
from domain.charge import Charge
from domain.commands import Command
from domain.credit_account import CreditAccount
from domain.errors import (
    AlreadyVoided,
    Busy,
    InsufficientCredits,
    PaymentRefConflict,
    UnknownModel,
    UsageConflict,
)
from domain.facts import project
from domain.identity import account_id
from domain.ledger import Ledger, account_stream
from domain.price_book import PriceEntry
from tests.adapters.postgres.writing import debits, ledger_with, rows, writing
from tests.domain.given import NOW, at, call, chat, entries, open_ledger


def test_an_answer_comes_after_the_commit_and_names_its_position(database: Database) -> None:
    async def story() -> None:
        async with ledger_with(database, 5_000) as (ledger, _):
            charge = await ledger.charge("acme", call("u1"), at())

            with psycopg.connect(database.conninfo()) as connection:
                found = connection.execute(
                    "SELECT cause, balance_after FROM events WHERE notification_id = %s",
                    [charge.position],
                ).fetchone()
            assert found == ("usage:u1", charge.balance_after) == ("usage:u1", 4_000)

    asyncio.run(story())


def test_many_callers_share_commits_and_each_gets_its_own_position(database: Database) -> None:
    async def story() -> None:
        async with ledger_with(database, 1_000_000) as (ledger, writer):
            before = writer.batches
            charges = await asyncio.gather(
                *(ledger.charge("acme", call(f"u{n}"), at()) for n in range(300))
            )

            assert writer.batches - before < 100
            assert [c.balance_after for c in charges] == [
                1_000_000 - 1_000 * n for n in range(1, 301)
            ]
            assert len({c.position for c in charges}) == 300
            found = [await writer.find_cause(account_id("acme"), f"usage:u{n}") for n in range(300)]
            assert [f and f[1] for f in found] == [c.position for c in charges]

    asyncio.run(story())


@pytest.mark.scenario("S10")
def test_the_last_cent_is_spent_once_by_two_writers(database: Database) -> None:
    """Two hundred times, eight calls at once through two writers that do not know each other."""

    async def story() -> None:
        async with ledger_with(database) as (one, _), writing(database) as other:
            two = Ledger(other)
            for turn in range(200):
                await one.grant("acme", 10_000, f"turn-{turn}", at())
                ends = await asyncio.gather(
                    *(
                        (one, two)[n % 2].charge("acme", call(f"{turn}-{n}", 10_000), at())
                        for n in range(8)
                    ),
                    return_exceptions=True,
                )
                accepted = [end for end in ends if not isinstance(end, BaseException)]
                refused = [end for end in ends if isinstance(end, InsufficientCredits)]
                assert (len(accepted), len(refused)) == (1, 7)
                assert accepted[0].balance_after == 0

    asyncio.run(story())
    assert len(debits(database)) == 200


@pytest.mark.scenario("S08")
def test_a_refusal_is_decided_on_what_is_committed_now(database: Database) -> None:
    """A knows an empty account; B credits it; A must not refuse. B spends it; A must refuse."""

    async def story() -> None:
        async with ledger_with(database) as (a, _), writing(database) as writer_b:
            b = Ledger(writer_b)
            with pytest.raises(InsufficientCredits):
                await a.charge("acme", call("u1"), at())
            await b.grant("acme", 2_000, "g1", at())

            charge = await a.charge("acme", call("u2"), at())
            assert charge.balance_after == 1_000

            await b.charge("acme", call("u3"), at())
            with pytest.raises(InsufficientCredits) as refused:
                await a.charge("acme", call("u4"), at())
            assert refused.value.balance == 0

    asyncio.run(story())
    assert debits(database) == ["usage:u2", "usage:u3"]


@pytest.mark.scenario("S18")
def test_the_same_act_again_gets_the_same_answer_also_when_nothing_is_left(
    database: Database,
) -> None:
    async def story() -> None:
        async with ledger_with(database, 1_000) as (ledger, _), writing(database) as other:
            first = await ledger.charge("acme", call("u1"), at())
            assert first.balance_after == 0

            for who in (ledger, ledger, Ledger(other), Ledger(other)):
                again = await who.charge("acme", call("u1"), at(hours=1))
                assert again == first._replace(replayed=True)

    asyncio.run(story())
    assert debits(database) == ["usage:u1"]


@pytest.mark.scenario("S18")
def test_the_same_act_twice_at_once_is_charged_once(database: Database) -> None:
    async def story() -> None:
        async with ledger_with(database, 1_500) as (ledger, _), writing(database) as other:
            askers = [ledger, ledger, Ledger(other), ledger, Ledger(other), ledger]
            charges = await asyncio.gather(*(a.charge("acme", call("u1"), at()) for a in askers))

            assert all(c._replace(replayed=True) == charges[-1] for c in charges)
            assert sorted(c.replayed for c in charges) == [False] + [True] * 5

    asyncio.run(story())
    assert debits(database) == ["usage:u1"]


@pytest.mark.scenario("S19")
def test_another_act_under_a_known_id_is_a_conflict(database: Database) -> None:
    async def story() -> None:
        async with ledger_with(database, 100_000) as (ledger, _):
            await ledger.charge("acme", chat("u1", input=12_345, output=678), at())

            with pytest.raises(UsageConflict):
                await ledger.charge("acme", chat("u1", input=12_345, output=679), at())
            ends = await asyncio.gather(
                ledger.charge("acme", chat("u2", input=1), at()),
                ledger.charge("acme", chat("u2", input=2), at()),
                return_exceptions=True,
            )
            assert [type(end).__name__ for end in ends] == ["Charge", "UsageConflict"]

    asyncio.run(story())
    assert debits(database) == ["usage:u1", "usage:u2"]


@pytest.mark.scenario("S18")
def test_a_correct_act_is_not_refused_for_a_wrong_one_of_the_same_id(database: Database) -> None:
    """The first had no price and was refused, so the id was never used."""

    async def story() -> None:
        async with ledger_with(database, 10_000) as (ledger, _):
            ends = await asyncio.gather(
                ledger.charge("acme", chat("u1", model="gpt-9", input=1), at()),
                ledger.charge("acme", call("u1"), at()),
                return_exceptions=True,
            )
            assert isinstance(ends[0], UnknownModel)
            assert not isinstance(ends[1], BaseException), ends[1]
            assert ends[1].balance_after == 9_000

    asyncio.run(story())
    assert debits(database) == ["usage:u1"]


def test_a_refused_command_leaves_no_trace_even_after_it_recorded_something(
    database: Database,
) -> None:
    """A charge on an expired grant first records the expiry, and then refuses."""

    async def story() -> None:
        async with ledger_with(database) as (ledger, writer):
            end = NOW + timedelta(days=1)
            await ledger.grant("acme", 5_000, "g1", at(), expires_at=end)
            before = await writer.fresh(account_stream("acme"))

            ends = await asyncio.gather(
                *(ledger.charge("acme", call(f"u{n}"), at(days=2)) for n in range(3)),
                ledger.charge("acme", call("in-time"), at()),
                return_exceptions=True,
            )

            assert [type(e).__name__ for e in ends] == [*["InsufficientCredits"] * 3, "Charge"]
            assert (await writer.fresh(account_stream("acme"))).version == before.version + 1
            assert (await ledger.charge("acme", call("u9"), at())).balance_after == 3_000

    asyncio.run(story())
    assert [kind for _, kind, *_ in rows(database)][-3:] == ["Credited", "Debited", "Debited"]
    assert len(debits(database)) == 2


def test_a_refusal_takes_back_what_it_recorded_between_others(database: Database) -> None:
    """Within one batch: accepted, refused after recording, accepted."""

    async def story() -> None:
        async with ledger_with(database, 10_000) as (ledger, writer):
            stream = account_stream("acme")

            def record_then_refuse(account: CreditAccount) -> None:
                account.adjust(-5_000, "no", "t", "adjustment:never", at())
                raise UsageConflict("no")

            ends = await asyncio.gather(
                ledger.charge("acme", call("u1"), at()),
                writer.submit(Command((stream,), record_then_refuse)),
                ledger.charge("acme", call("u2"), at()),
                return_exceptions=True,
            )
            assert [type(e).__name__ for e in ends] == ["Charge", "UsageConflict", "Charge"]
            assert ends[2].balance_after == 8_000

    asyncio.run(story())
    assert debits(database) == ["usage:u1", "usage:u2"]


@pytest.mark.scenario("S07")
def test_prices_published_elsewhere_are_seen_by_the_next_charge(database: Database) -> None:
    async def story() -> None:
        async with ledger_with(database, 100_000_000) as (ledger, _), writing(database) as other:
            million = 10**6
            first = await ledger.charge("acme", chat("u1", input=million), at())
            soon = NOW + timedelta(seconds=1)
            await Ledger(other).publish_prices(soon, "usd", 0, entries(2_000_000), "v2", at())

            second = await ledger.charge("acme", chat("u2", input=million), at(soon))

            assert first.rated is not None
            assert second.rated is not None
            assert (first.rated.total, second.rated.total) == (3_000_000, 2_000_000)
            assert second.balance_after == 95_000_000

    asyncio.run(story())
    assert len(debits(database)) == 2


@pytest.mark.scenario("S07")
def test_prices_published_elsewhere_under_load_break_no_chain(database: Database) -> None:
    """Charges that were decided on old prices decide again, on the account as it is then."""

    async def story() -> None:
        async with ledger_with(database, 10**12) as (ledger, writer), writing(database) as other:
            published = asyncio.Event()
            charges: list[Charge] = []

            async def client(name: int) -> None:
                while not published.is_set():
                    usage = chat(f"{len(charges)}-{name}", input=10**6)
                    charges.append(await ledger.charge("acme", usage, at(seconds=30)))

            async def publisher() -> None:
                for n in range(1, 21):
                    start = NOW + timedelta(seconds=n)
                    new = entries((1 + n % 3) * 10**6)
                    await Ledger(other).publish_prices(start, "usd", 0, new, f"p{n}", at())
                published.set()

            await asyncio.gather(publisher(), *(client(name) for name in range(20)))
            assert writer.conflicts, "no charge was decided on old prices, so this shows nothing"
            spent = sum(c.rated.total for c in charges if c.rated)
            assert (await ledger.account("acme")).balance == 10**12 - spent
            count.append(len(charges))

    count: list[int] = []
    asyncio.run(story())
    assert len(debits(database)) == count[0]


@pytest.mark.scenario("S32")
def test_one_payment_credits_one_workspace_once(database: Database) -> None:
    async def story() -> None:
        async with ledger_with(database) as (ledger, _), writing(database) as other:
            await open_ledger(other, "rival")
            two = Ledger(other)
            for turn in range(30):
                ref = f"wire-{turn}"
                ends = await asyncio.gather(
                    ledger.record_payment("acme", 1_000, ref, at()),
                    two.record_payment("rival", 1_000, ref, at()),
                    two.record_payment("acme", 1_000, ref, at()),
                    ledger.record_payment("rival", 1_000, ref, at()),
                    return_exceptions=True,
                )
                conflicts = [e for e in ends if isinstance(e, PaymentRefConflict)]
                credits = [e for e in ends if not isinstance(e, BaseException)]
                assert (len(conflicts), len(credits)) == (2, 2), ends
                assert sorted(c.duplicate for c in credits) == [False, True]

            with pytest.raises(PaymentRefConflict):
                await ledger.record_payment("acme", 2_000, "wire-0", at())
            both = [(await ledger.account(w)).balance for w in ("acme", "rival")]
            assert sum(both) == 30_000

    asyncio.run(story())
    kinds = [kind for w in ("acme", "rival") for _, kind, *_ in rows(database, w)]
    assert kinds.count("Credited") == 30


@pytest.mark.scenario("G05")
def test_a_usage_is_voided_once_by_whatever_name(database: Database) -> None:
    async def story() -> None:
        async with ledger_with(database, 5_000) as (ledger, _), writing(database) as other:
            charge = await ledger.charge("acme", call("u1"), at())
            assert charge.usage_id is not None

            ends = await asyncio.gather(
                ledger.void("acme", charge.usage_id, at()),
                ledger.void("acme", charge.usage_id, at()),
                Ledger(other).void("acme", charge.usage_id, at()),
                return_exceptions=True,
            )
            assert sorted(type(e).__name__ for e in ends) == [
                "AlreadyVoided",
                "AlreadyVoided",
                "Done",
            ]
            with pytest.raises(AlreadyVoided):
                await ledger.void("acme", charge.usage_id, at())
            assert (await ledger.account("acme")).balance == 5_000

    asyncio.run(story())
    assert [kind for _, kind, *_ in rows(database)][-2:] == ["Debited", "UsageVoided"]


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


def test_a_long_account_loads_from_a_snapshot_and_its_tail(database: Database) -> None:
    async def story() -> None:
        async with ledger_with(database, 10**9, snapshot_every=100) as (ledger, writer):
            await asyncio.gather(*(ledger.charge("acme", call(f"u{n}"), at()) for n in range(450)))
            full = await writer.fresh(account_stream("acme"))
        await _until(lambda: bool(_snapshots(database)))

        async with writing(database) as cold:
            loaded = await cold.fresh(account_stream("acme"))
            charge = await Ledger(cold).charge("acme", call("next"), at())
        folded = project(None, await _whole(database))
        assert loaded == full
        assert folded is not None
        assert isinstance(folded, CreditAccount)
        assert charge.balance_after == folded.balance == 10**9 - 451_000

    asyncio.run(story())
    assert len(debits(database)) == 451


def test_a_snapshot_is_used_at_all(database: Database) -> None:
    """The control: a snapshot that lies is believed, so the test above did load from one."""

    async def story() -> None:
        async with ledger_with(database, 10**6, snapshot_every=100) as (ledger, _):
            await asyncio.gather(*(ledger.charge("acme", call(f"u{n}"), at()) for n in range(150)))
        await _until(lambda: bool(_snapshots(database)))
        with psycopg.connect(database.conninfo(owner=True)) as connection:
            connection.execute("""
                UPDATE snapshots SET state = convert_to(replace(
                    convert_from(state, 'UTF8'), '"workspace_id":"acme"', '"workspace_id":"liar"'
                ), 'UTF8')
            """)
        async with writing(database) as cold:
            account = await cold.fresh(account_stream("acme"))
            assert isinstance(account, CreditAccount)
            assert account.workspace_id == "liar"

    asyncio.run(story())


@pytest.mark.parametrize(
    ("topic", "state"),
    [
        (None, b"not json"),
        (None, b"[]"),
        (None, b'{"version": "seven"}'),
        (None, b"\xff\xfe"),
        (None, b"{}"),
        ("domain.no_such_module:Nothing", b"{}"),
        ("no_such_package:Nothing", b"{}"),
        ("domain.wallet:Grant", b'{"grant_id":"g1","remaining":5}'),
        ("domain.wallet", b"{}"),
    ],
)
def test_a_corrupt_snapshot_is_passed_over(
    database: Database, topic: str | None, state: bytes
) -> None:
    async def story() -> None:
        async with ledger_with(database, 10**6, snapshot_every=10) as (ledger, _):
            await asyncio.gather(*(ledger.charge("acme", call(f"u{n}"), at()) for n in range(50)))
        await _until(lambda: bool(_snapshots(database)))
        with psycopg.connect(database.conninfo(owner=True)) as connection:
            connection.execute(
                "UPDATE snapshots SET topic = coalesce(%s, topic), state = %s", [topic, state]
            )

        async with writing(database) as cold:
            charge = await Ledger(cold).charge("acme", call("next"), at())
            assert charge.balance_after == 10**6 - 51_000

    asyncio.run(story())
    assert len(debits(database)) == 51


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
