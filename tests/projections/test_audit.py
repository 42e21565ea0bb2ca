"""The auditor: replays equal what was, and compare finds whatever differs."""

from datetime import timedelta
from typing import Any

import psycopg
import pytest
from eventsourcing.utils import get_topic

from adapters.postgres.database import Database
from domain.account.credit_account import CreditAccount
from domain.identity import account_id
from domain.ledger import Ledger
from projections.compare import Difference, compare
from projections.replay import Replayed, events, replay
from tests.domain.given import NOW, USD, at, call
from tests.projections.stories import everything, hours_of_calls, newest, post, rows, write


def differences(database: Database, progress: Any = None) -> list[Difference]:
    with psycopg.connect(database.conninfo(), autocommit=True) as connection:
        return compare(connection, progress)


def replayed(database: Database, name: str = "acme", **when: Any) -> Replayed:
    with psycopg.connect(database.conninfo(), autocommit=True) as connection:
        return replay(connection, name, **when)


def history(database: Database, name: str = "acme", **when: Any) -> list[Any]:
    with psycopg.connect(database.conninfo(), autocommit=True) as connection:
        return list(events(connection, account_id(name), **when))


@pytest.mark.scenario("S98")
def test_replay_at_every_event_equals_the_balance_after_it(database: Database) -> None:
    async def story(ledger: Ledger) -> Any:
        await everything(ledger)
        return await ledger.account("acme")

    account = write(database, story)
    past = history(database)
    moves = [event for event in past if event.balance_after is not None]
    assert len(moves) > 10
    for event in moves:
        state = replayed(database, position=event.position)
        assert state.balance == event.balance_after
        assert (state.position, state.version) == (event.position, event.version)
        assert sum(grant.remaining for grant in state.grants) - state.debt == state.balance
    now = replayed(database)
    assert now.account.state() == account.state()
    assert now.version == account.version == len(past)
    assert now.recorded_at == past[-1].recorded_at
    assert [event.version for event in past] == list(range(1, len(past) + 1))


def test_replay_at_an_instant_contains_what_was_recorded_until_then(database: Database) -> None:
    async def story(ledger: Ledger) -> None:
        await ledger.grant("acme", USD, "a", at())
        for number in range(3):  # Three at one instant: position breaks the tie.
            await ledger.charge("acme", call(f"u{number}"), at(minutes=5))
        await ledger.charge("acme", call("later"), at(minutes=10))

    write(database, story)
    five = NOW + timedelta(minutes=5)
    assert replayed(database, at=five - timedelta(microseconds=1)).balance == USD
    assert replayed(database, at=five).balance == USD - 3_000
    assert replayed(database, at=five + timedelta(minutes=4)).balance == USD - 3_000
    assert replayed(database, at=five + timedelta(minutes=5)).balance == USD - 4_000
    tied = [event for event in history(database) if event.recorded_at == five]
    assert replayed(database, at=five, position=tied[0].position).balance == USD - 1_000
    before = replayed(database, at=NOW - timedelta(days=1))
    assert (before.version, before.position, before.balance) == (0, 0, 0)
    assert replayed(database, "nobody").version == 0


def test_replay_shows_a_promotion_that_has_ended_since(database: Database) -> None:
    """The second half of scenario G02."""
    end = NOW + timedelta(days=9)

    async def story(ledger: Ledger) -> None:
        await ledger.grant("acme", USD, "paid", at(), category="paid")
        await ledger.grant("acme", USD // 2, "promo", at(), expires_at=end)
        await ledger.charge("acme", call("u1", 200_000), at())
        await ledger.charge("acme", call("u2", 1_000), at(end))

    write(database, story)
    shown = {grant.category: grant.remaining for grant in replayed(database, at=NOW).grants}
    assert shown == {"paid": USD, "promotional": 300_000}
    assert [grant.remaining for grant in replayed(database).grants] == [USD - 1_000]


def test_replay_does_not_trust_snapshots(database: Database) -> None:
    write(database, everything)
    honest = replayed(database)
    rows(
        database,
        "INSERT INTO snapshots VALUES (%s, %s, %s, '{}')",
        *(account_id("acme"), honest.version, get_topic(CreditAccount)),
    )
    assert replayed(database).account.state() == honest.account.state()


@pytest.mark.scenario("S98")
def test_compare_is_empty_after_many_random_calls_and_shows_its_progress(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projections.compare.CHUNK", 100)
    names = ["acme", "other", "third"]

    async def story(ledger: Ledger) -> None:
        for name in names:
            await everything(ledger, name)
        await hours_of_calls(ledger, names, 1_000)

    write(database, story, *names, markup_bps=500)
    post(database)
    steps: list[tuple[int, int]] = []
    assert differences(database, lambda *step: steps.append(step)) == []
    assert steps == sorted(steps)
    assert steps[-1] == (newest(database), newest(database))
    for name in names:
        *_, last = (e for e in history(database, name) if e.balance_after is not None)
        assert replayed(database, name).balance == last.balance_after


def test_models_are_compared_where_they_stand(database: Database) -> None:
    """In the middle of a batch one model is ahead of the other."""
    from projections.balances import Balances
    from projections.runner import Runner
    from projections.usage_hourly import UsageHourly

    write(database, everything)
    Runner(database.conninfo(), [Balances]).run_until_caught_up()
    write(database, lambda ledger: hours_of_calls(ledger, ["acme"], 30, tag="1"))
    Runner(database.conninfo(), [UsageHourly]).run_until_caught_up()
    write(database, lambda ledger: hours_of_calls(ledger, ["acme"], 30, tag="2"))
    assert differences_with_all_tables(database) == []
    post(database)
    write(database, lambda ledger: hours_of_calls(ledger, ["acme"], 30, tag="3"))
    assert differences(database) == []


def differences_with_all_tables(database: Database) -> list[Difference]:
    from projections.tables import create_all

    with psycopg.connect(database.conninfo(), autocommit=True) as connection:
        create_all(connection)
        return compare(connection)


TAMPERED = {
    "balance": ("UPDATE balances SET balance = balance + 1", "balance"),
    "frozen": ("UPDATE balances SET is_frozen = true", "is_frozen"),
    "reasons": ("UPDATE balances SET freeze_reasons = '{admin:x}'", "freeze_reasons"),
    "credited": ("UPDATE balances SET credited = credited - 1", "credited"),
    "debited": ("UPDATE balances SET debited = debited - 1", "debited"),
    "expired": ("UPDATE balances SET expired = 0", "expired"),
    "voided": ("UPDATE balances SET voided = 0", "voided"),
    "plan": ("UPDATE balances SET plan_id = 'pro'", "plan_id"),
    "a balance is gone": ("DELETE FROM balances", "workspace_id"),
    "hourly": ("UPDATE usage_hourly SET total_cost = total_cost + 1", "total_cost"),
    "an hour is gone": ("DELETE FROM usage_hourly WHERE total_cost > 0", "request_count"),
    "a label": ("UPDATE usage_labels SET llm_model = 'x'", "request_count"),
    "an act's cost": ("UPDATE usage_events SET wallet = wallet + 1", "wallet"),
    "an act is gone": ("DELETE FROM usage_events WHERE voided_at IS NULL", "acts"),
    "an act's label": ("UPDATE usage_events SET bot_id = 'x'", "acts"),
    "a void is forgotten": ("UPDATE usage_events SET voided_at = NULL", "acts"),
}


@pytest.mark.parametrize("what", TAMPERED)
def test_compare_finds_a_tampered_row(database: Database, what: str) -> None:
    statement, field = TAMPERED[what]
    write(database, everything)
    post(database)
    assert differences(database) == []
    rows(database, statement)
    found = differences(database)
    assert found
    assert {difference.workspace for difference in found} == {"acme"}
    assert any(difference.field.endswith(field) for difference in found)
    assert all(difference.projected != difference.replayed for difference in found)


FALSIFIED = {
    "amount": "amount = amount - 1",
    "balance_after": "balance_after = balance_after + 1",
    "kind": "kind = 'Credited'",
    "cause": "cause = 'usage:other'",
    "version": "originator_version = 1000",
    "state": (
        "state = convert_to(regexp_replace(convert_from(state, 'UTF8'),"
        " '\"amount\":', '\"amount\":1'), 'UTF8')"
    ),
}


@pytest.mark.parametrize("column", FALSIFIED)
def test_compare_finds_a_falsified_event(database: Database, column: str) -> None:
    write(database, everything)
    post(database)
    ((position,),) = rows(
        database, "SELECT min(notification_id) FROM events WHERE kind = 'Debited'"
    )
    with psycopg.connect(database.conninfo(owner=True)) as connection:
        connection.execute("ALTER TABLE events DISABLE TRIGGER events_never_change")
        update = f"UPDATE events SET {FALSIFIED[column]} WHERE notification_id = %s"
        connection.execute(update.encode(), [position])
        connection.execute("ALTER TABLE events ENABLE TRIGGER events_never_change")
    found = differences(database)
    assert f"event {position}" in found[0].field
    assert found[0].workspace == "acme"
