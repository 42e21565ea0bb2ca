"""The writer on a real server: what it promises to one caller and to many."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta

import psycopg
import pytest

from adapters.postgres.database import Database
from domain.account.charge import Charge
from domain.account.credit_account import CreditAccount
from domain.commands import Command
from domain.errors import (
    AlreadyVoided,
    InsufficientCredits,
    PaymentRefConflict,
    TryAgain,
    UnknownModel,
    UsageConflict,
)
from domain.identity import account_id
from domain.ledger import Ledger, account_stream
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
                    # Whoever loses to new prices ten times is told to ask again, and does.
                    while not published.is_set():
                        with suppress(TryAgain):
                            charges.append(await ledger.charge("acme", usage, at(seconds=30)))
                            break

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
