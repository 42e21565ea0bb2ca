"""The runner posts everything, once, in order, whatever is killed and whatever is poisoned."""

import random
import threading
from collections.abc import Sequence
from typing import Any

import psycopg
import pytest
import structlog
from psycopg import AsyncConnection
from structlog.testing import LogCapture

from adapters.postgres.database import Database
from domain.account.usage_facts import Debited
from domain.ledger import Ledger
from projections import positions, tables
from projections.balances import Balances
from projections.models import MODELS
from projections.posting import Overtaken
from projections.posting import post as post_changes
from projections.read_model import Changes, Posted, ReadModel
from projections.runner import Runner
from projections.usage_events import UsageEvents
from projections.workspaces import Workspaces
from tests.domain.given import USD, at, call
from tests.projections.stories import (
    ask,
    differences,
    dump,
    everything,
    following,
    hours_of_calls,
    newest,
    post,
    rebuilt,
    rows,
    running,
    stands,
    until,
    write,
    writing_ahead,
)

NAMES = [model.name for model in MODELS]


def test_everything_is_posted_and_again_changes_nothing(database: Database) -> None:
    write(database, everything)
    assert post(database) == newest(database) == stands(database)
    once = dump(database)
    assert all(once.values()), "some table is empty: the story does not reach it"
    assert post(database) == newest(database)
    assert dump(database) == once
    assert differences(database) == []


def test_batches_of_any_size_give_the_same_rows(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(database, everything)
    with monkeypatch.context() as patch:
        patch.setattr("projections.runner.SMALL", 1)
        patch.setattr("projections.runner.LARGE", 1)
        post(database)
    by_one = dump(database)
    assert rebuilt(database) == by_one


def test_a_running_runner_posts_what_is_written_at_once(database: Database) -> None:
    """It polls once an hour here: only NOTIFY can have told it."""

    async def story(ledger: Ledger) -> None:
        await ledger.grant("acme", 50 * USD, "a", at())
        async with await AsyncConnection.connect(
            database.conninfo(), autocommit=True
        ) as connection:
            for number in range(30):
                charge = await ledger.charge("acme", call(f"u{number}"), at())
                assert await positions.reach(connection, charge.position, NAMES, 60)

    with following(database, poll=3_600):
        until(lambda: rows(database, "SELECT to_regclass('positions')")[0][0])
        write(database, story)


def test_posted_positions_are_announced(database: Database) -> None:
    write(database, everything)
    with psycopg.connect(database.conninfo(), autocommit=True) as connection:
        connection.execute("LISTEN posted")
        post(database)
        heard = [n.payload for n in connection.notifies(timeout=0.2)]
    assert heard[-1] == str(newest(database))


def test_an_event_between_the_first_read_and_listen_is_posted(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gap that a subscription has which reads, then listens, then waits for news."""
    from projections import runner

    read_all = runner.PostOffice.follow
    late = threading.Event()

    def follow(self: Any, stop: threading.Event) -> None:
        self.catch_up()
        write(database, lambda ledger: ledger.grant("acme", USD, "late", at()))
        late.set()
        read_all(self, stop)

    write(database, everything)
    monkeypatch.setattr(runner.PostOffice, "follow", follow)
    with following(database):
        assert late.wait(20)
        until(lambda: stands(database) == newest(database))


def test_a_notification_that_was_lost_is_made_up_for_by_the_poll(database: Database) -> None:
    """Another way into the table than the writer's does not notify."""
    write(database, everything)
    with following(database):
        until(lambda: stands(database) == newest(database))
        rows(
            database,
            "INSERT INTO events (originator_id, originator_version, topic, state)"
            " VALUES (gen_random_uuid(), 1, 'nothing:Known', '{}')",
            owner=True,
        )
        until(lambda: stands(database) == newest(database))


def test_kinds_that_nobody_knows_are_passed_over(database: Database) -> None:
    rows(
        database,
        "INSERT INTO events (originator_id, originator_version, topic, state)"
        " SELECT gen_random_uuid(), 1, 'nothing:Known', 'no JSON' FROM generate_series(1, 2000)",
        owner=True,
    )
    write(database, everything)
    assert post(database) == newest(database)
    assert differences(database) == []


class PoisonedWorkspaces(Workspaces):
    """Cannot take one workspace."""

    def fold(self, events: Sequence[Posted], changes: Changes) -> None:
        super().fold(events, changes)
        if any(row[0] == "poison" for row in changes[0]):
            raise ValueError("this workspace is poison")


@pytest.mark.parametrize("kind", ["fold", "write", "decode"])
def test_a_poisoned_event_stops_its_own_model_only_and_loudly(
    database: Database, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    alarms = LogCapture()
    loud = structlog.wrap_logger(structlog.PrintLogger(), processors=[alarms])
    monkeypatch.setattr("projections.runner.log", loud)
    models: list[type[ReadModel]] = list(MODELS)
    write(database, everything, "acme", "other")
    write(database, lambda ledger: hours_of_calls(ledger, ["acme"], 30), "poison")
    position, stopped = poison(database, kind)
    if kind == "fold":
        models[models.index(Workspaces)] = PoisonedWorkspaces
    with following(database, models=models):
        others = [name for name in NAMES if name not in stopped]
        until(lambda: stands(database, *others) == newest(database))
        until(
            lambda: (
                rows(database, "SELECT 1 FROM positions WHERE error IS NOT NULL")
                == [(1,)] * len(stopped)
            )
        )
        write(database, lambda ledger: ledger.grant("other", USD, "on", at(hours=3)), "other")
        until(lambda: stands(database, *others) == newest(database))
    for name in stopped:
        ((at_position, error),) = rows(
            database, "SELECT position, error FROM positions WHERE model = %s", name
        )
        assert at_position < position
        assert f"position {position}" in error
        assert not rows(
            database,
            "SELECT 1 FROM events WHERE notification_id > %s AND notification_id < %s",
            *(at_position, position),
        ), "it stopped before the event that it cannot take"
    assert "read model stopped" in {entry["event"] for entry in alarms.entries}
    lag = ask(database, positions.lag)
    assert {name for name, (behind, error) in lag.items() if behind and error} == set(stopped)

    cure(database, kind, position)
    assert post(database) == newest(database)
    assert {error for _, error in ask(database, positions.lag).values()} == {None}
    assert differences(database) == []


def poison(database: Database, kind: str) -> tuple[int, list[str]]:
    """Make one event of the book bad; its position, and the models that cannot take it."""
    if kind == "fold":
        query = "SELECT notification_id FROM events WHERE state::text <> '' AND cause = %s"
        created = rows(database, f"{query} AND kind = 'WorkspaceCreated'", "workspace:poison")
        return int(created[0][0]), ["workspaces"]
    ((position,),) = rows(
        database,
        "SELECT notification_id FROM events WHERE kind = 'Debited' ORDER BY 1 OFFSET 7 LIMIT 1",
    )
    if kind == "decode":
        spoil(database, position, "convert_to('spoilt' || convert_from(state, 'UTF8'), 'UTF8')")
        return int(position), [model.name for model in MODELS if Debited in model.facts]
    # Within the fact everything is right; the table refuses it.
    with psycopg.connect(database.conninfo(), autocommit=True) as connection:
        tables.create_all(connection)
        connection.execute(
            b"ALTER TABLE usage_events ADD CONSTRAINT poison CHECK (position <> %d)" % position
        )
    return int(position), ["usage_events"]


def cure(database: Database, kind: str, position: int) -> None:
    """Make it good again; where the code was wrong, the right code is used from here on."""
    if kind == "decode":
        spoil(database, position, "substr(state, 7)")
    if kind == "write":
        rows(database, "ALTER TABLE usage_events DROP CONSTRAINT poison")


def spoil(database: Database, position: int, state: str) -> None:
    """Change an event, as only the owner can, and only by taking the guard away."""
    with psycopg.connect(database.conninfo(owner=True)) as connection:
        connection.execute("ALTER TABLE events DISABLE TRIGGER events_never_change")
        connection.execute(
            f"UPDATE events SET state = {state} WHERE notification_id = %s".encode(), [position]
        )
        connection.execute("ALTER TABLE events ENABLE TRIGGER events_never_change")


def test_a_second_runner_waits_and_takes_over_when_the_first_dies(database: Database) -> None:
    leaders = (
        "SELECT pid, application_name FROM pg_locks JOIN pg_stat_activity USING (pid)"
        " WHERE locktype = 'advisory' AND classid = 7003 AND granted"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    write(database, everything)
    with running(database) as first, following(database):
        until(lambda: stands(database) == newest(database))
        leader = until(lambda: rows(database, leaders))
        assert len(leader) == 1
        first.kill()
        write(database, lambda ledger: ledger.grant("acme", USD, "more", at(hours=3)))
        until(lambda: stands(database) == newest(database))
        assert len(rows(database, leaders)) == 1
    assert differences(database) == []


def test_who_was_overtaken_writes_nothing(database: Database) -> None:
    write(database, everything)
    post(database)
    before = dump(database)
    account, position = rows(database, "SELECT stream, last_position FROM balances")[0]
    changes: Any = ([], {account.int: [1, 0, 0, 0, 0, None, position]}, [], {})
    with psycopg.connect(database.conninfo(), autocommit=True) as connection:
        with pytest.raises(Overtaken):
            post_changes(connection, Balances(), changes, position - 1, position)
        assert dump(database) == before
        # The control: from where it does stand, the same changes are written.
        post_changes(connection, Balances(), changes, newest(database), newest(database))
    assert dump(database) != before


@pytest.mark.scenario("S105")
@pytest.mark.parametrize("kills", [10, pytest.param(50, marks=pytest.mark.slow)])
def test_read_models_survive_kills_of_the_runner(database: Database, kills: int) -> None:
    names, luck = ["acme", "other", "third"], random.Random(5)
    write(database, everything, *names)
    interrupted = 0
    with writing_ahead(database, stands, *names) as ended:
        for _ in range(kills):
            with running(database) as process:
                begun = stands(database)
                until(lambda b=begun: stands(database) > b)  # type: ignore[misc]
                ended.wait(luck.random() * 0.05)
                process.kill()
                interrupted += stands(database) < newest(database)
    assert interrupted > kills // 3, "it was hardly ever killed at work"
    post(database)
    assert differences(database) == []
    survived = dump(database)
    assert rebuilt(database) == survived


def test_the_itemised_model_alone_can_be_kept(database: Database) -> None:
    """A model that comes later catches up on its own while the others are where they are."""
    write(database, everything)
    Runner(database.conninfo(), [UsageEvents]).run_until_caught_up()
    assert rows(database, "SELECT model FROM positions") == [("usage_events",)]
    write(database, lambda ledger: hours_of_calls(ledger, ["acme"], 30))
    post(database)
    assert differences(database) == []


def test_the_runner_goes_on_after_its_connections_were_cut(database: Database) -> None:
    write(database, everything)
    with following(database):
        until(lambda: stands(database) == newest(database))
        rows(
            database,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()",
            owner=True,
        )
        write(database, lambda ledger: ledger.grant("acme", USD, "more", at(hours=3)))
        until(lambda: stands(database) == newest(database))
    assert differences(database) == []
