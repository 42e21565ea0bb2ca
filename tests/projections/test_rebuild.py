"""A read model is made anew beside the live one, and is the same."""

import threading
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection

from adapters.postgres.database import Database
from domain.ledger import Ledger
from projections import tables
from projections.models import MODELS
from projections.rebuild import rebuild
from projections.workspaces import Workspaces
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
    stands,
    until,
    write,
)

NAMES = [model.name for model in MODELS]


@pytest.mark.scenario("S103")
def test_a_rebuild_gives_the_same_bytes_and_shows_its_progress(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projections.rebuild.BATCH", 50)
    monkeypatch.setattr("projections.rebuild.NEAR", 100)
    write(database, everything)
    write(database, lambda ledger: hours_of_calls(ledger, ["acme"], 300))
    post(database)
    before = dump(database)
    for model in MODELS:
        steps: list[tuple[int, int]] = []
        keep: Any = lambda *step, into=steps: into.append(step)  # noqa: E731
        assert rebuild(database.conninfo(), model, keep) == newest(database)
        assert steps == sorted(steps)
        assert steps[-1] == (newest(database), newest(database))
        assert len(steps) > 5
    assert dump(database) == before
    names = rows(database, "SELECT relname FROM pg_class WHERE relname LIKE '%%rebuild%%'")
    assert names == []
    write(database, lambda ledger: hours_of_calls(ledger, ["acme"], 50, tag="after"))
    post(database)
    assert differences(database) == []


def test_a_rebuild_repairs_what_was_tampered_with(database: Database) -> None:
    write(database, everything)
    post(database)
    before = dump(database)
    for statement in (
        "UPDATE balances SET balance = balance + 1",
        "DELETE FROM usage_events WHERE meter = 'interview'",
        "UPDATE usage_hourly SET total_cost = 0",
        "DELETE FROM expiries",
        "UPDATE workspaces SET name = 'x'",
    ):
        rows(database, statement)
    assert dump(database) != before
    assert rebuilt(database) == before


@pytest.mark.scenario("S103")
def test_models_are_rebuilt_while_writing_and_reading_go_on(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projections.rebuild.BATCH", 200)
    monkeypatch.setattr("projections.rebuild.NEAR", 100)
    write(database, everything)
    post(database)
    over = threading.Event()
    read: list[int] = []
    failures: list[BaseException] = []

    def reads() -> None:
        async def look(connection: AsyncConnection) -> None:
            while not over.is_set():
                for table in ("balances", "usage_events", "usage_hourly"):
                    cursor = await connection.execute(f"SELECT count(*) FROM {table}".encode())
                    row = await cursor.fetchone()
                    assert row is not None and row[0] > 0, f"{table} was seen empty"
                    read.append(row[0])

        try:
            ask(database, look)
        except BaseException as error:
            failures.append(error)

    async def story(ledger: Ledger) -> None:
        number = 0
        while not over.is_set():
            await hours_of_calls(ledger, ["acme"], 100, number, f"r{number}-")
            number += 1

    threads = [
        threading.Thread(target=reads),
        threading.Thread(target=write, args=(database, story)),
    ]
    with following(database):
        for thread in threads:
            thread.start()
        try:
            until(lambda: newest(database) > 400)
            for model in MODELS:
                rebuild(database.conninfo(), model)
        finally:
            over.set()
            for thread in threads:
                thread.join()
        until(lambda: stands(database) == newest(database))
    assert not failures
    assert len(read) > 10
    assert differences(database) == []
    lived = dump(database)
    assert rebuilt(database) == lived


def test_a_model_whose_tables_changed_is_rebuilt_at_the_start(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(database, everything)
    post(database)
    wider = {"workspaces": Workspaces.tables["workspaces"].replace("name text", "name varchar(90)")}
    monkeypatch.setattr(Workspaces, "tables", wider)
    before = dump(database)
    post(database)
    ((kind,),) = rows(
        database,
        "SELECT format_type(atttypid, atttypmod) FROM pg_attribute"
        " WHERE attrelid = 'workspaces'::regclass AND attname = 'name'",
    )
    assert kind == "character varying(90)"
    assert dump(database) == before


def test_tables_that_were_dropped_are_filled_again(database: Database) -> None:
    write(database, everything)
    post(database)
    before = dump(database)
    rows(database, "DROP TABLE balances, usage_labels, workspaces")
    assert post(database) == newest(database)
    assert dump(database) == before
    every = [table for model in MODELS for table in model.tables]
    rows(database, f"DROP TABLE positions, {', '.join(every)}")
    assert post(database) == newest(database)
    assert dump(database) == before


def test_tables_are_made_by_many_at_once(database: Database) -> None:
    ready, failures = threading.Barrier(6), []

    def make() -> None:
        try:
            with psycopg.connect(database.conninfo(), autocommit=True) as connection:
                ready.wait(20)
                tables.create_all(connection)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=make) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(rows(database, "SELECT model FROM positions")) == len(MODELS)
