"""Several operating-system processes that write one ledger at once."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import psycopg
import pytest

from adapters.postgres.database import Database
from domain.ledger import Ledger
from tests.adapters.postgres.writing import Process, debits, ledger_with, writing
from tests.domain.given import at, call, open_ledger


def given(database: Database, micros: int, *others: str) -> None:
    """A ledger in which `acme`, and these others, have this much."""

    async def story() -> None:
        async with ledger_with(database, micros) as (_, writer):
            ledger = await open_ledger(writer, *others)
            await asyncio.gather(*(ledger.grant(name, micros, "given", at()) for name in others))

    asyncio.run(story())


def together(database: Database, *instructions: dict[str, Any]) -> list[dict[str, Any]]:
    """Let processes begin at once; returns what each was told."""
    urls = [database.owner_url, database.runtime_url]
    with ExitStack() as stack:
        fellows = [stack.enter_context(Process(urls=urls, **each)) for each in instructions]
        for fellow in fellows:
            fellow.hear()
        for fellow in fellows:
            fellow.go()
        return [fellow.hear() for fellow in fellows]


@pytest.mark.scenario("S10")
def test_four_processes_spend_exactly_what_there_is(database: Database) -> None:
    """1 000 units of 1 000 µ, and 1 600 calls that each want one."""
    given(database, 1_000_000)

    told = together(
        database, *({"task": "spend", "name": f"p{n}", "acts": 400, "tasks": 16} for n in range(4))
    )

    accepted = [id for each in told for id in each["accepted"]]
    assert len(accepted) == len(set(accepted)) == 1_000
    assert sum(each["refused"] for each in told) == 600
    assert sorted(debits(database)) == sorted(f"usage:{id}" for id in accepted)
    assert sum(each["conflicts"] for each in told), "they never met, so this shows nothing"
    with psycopg.connect(database.conninfo()) as connection:
        lowest = connection.execute("SELECT min(balance_after) FROM events").fetchone()
    assert lowest == (0,)


def test_eight_processes_may_prepare_and_start_at_once(empty_database: Database) -> None:
    told = together(empty_database, *({"task": "start", "name": f"p{n}"} for n in range(8)))

    assert told == [{"balance": 0}] * 8
    with psycopg.connect(empty_database.conninfo()) as connection:
        kinds: dict[str, int] = dict(
            connection.execute("SELECT kind, count(*) FROM events GROUP BY kind").fetchall()
        )
    assert kinds["WorkspaceCreated"] == 9
    assert kinds["CatalogueVersionPublished"] == kinds["PriceBookVersionPublished"] == 1


def test_of_two_processes_on_one_account_neither_starves(database: Database) -> None:
    given(database, 10**12)

    told = together(
        database, *({"task": "spend", "name": f"p{n}", "seconds": 4, "tasks": 16} for n in range(2))
    )

    counts = [len(each["accepted"]) for each in told]
    assert sum(counts) == len(debits(database))
    assert min(counts) >= 0.2 * sum(counts), counts


class Reader(threading.Thread):
    """Follows positions while others write, as the runner does: from the last one it saw on."""

    def __init__(self, database: Database, table: str = "events") -> None:
        super().__init__(daemon=True)
        self._conninfo = database.conninfo(owner=True)
        self._query = (
            f"SELECT notification_id, originator_id, originator_version FROM {table}"
            " WHERE notification_id > %s ORDER BY notification_id LIMIT 500"
        )
        self.seen: list[tuple[int, Any, int]] = []
        self.reads = 0
        self._over = threading.Event()

    def run(self) -> None:
        with psycopg.connect(self._conninfo, autocommit=True) as connection:
            last = 0
            while True:
                over = self._over.is_set()
                rows = connection.execute(self._query, [last]).fetchall()
                self.reads += 1
                if rows:
                    self.seen += rows
                    last = rows[-1][0]
                elif over:
                    return

    def finish(self) -> None:
        self._over.set()
        self.join(30)


@contextmanager
def following(database: Database, table: str = "events") -> Iterator[Reader]:
    reader = Reader(database, table)
    reader.start()
    try:
        yield reader
    finally:
        reader.finish()


def positions(database: Database, table: str = "events") -> list[int]:
    with psycopg.connect(database.conninfo(owner=True)) as connection:
        query = f"SELECT notification_id FROM {table} ORDER BY 1"
        return [row[0] for row in connection.execute(query)]


def test_a_live_reader_misses_nothing_of_four_processes(database: Database) -> None:
    others = [f"w{n}" for n in range(8)]
    given(database, 10**12, *others)

    with following(database) as reader:
        told = together(
            database,
            *(
                {
                    "task": "spend",
                    "name": f"p{n}",
                    "acts": 1_000,
                    "tasks": 8,
                    "accounts": ["acme", *others],
                }
                for n in range(4)
            ),
        )

    assert sum(len(each["accepted"]) for each in told) == 4_000
    assert reader.reads > 50, "it hardly looked while they wrote, so this shows nothing"
    assert [row[0] for row in reader.seen] == positions(database)
    versions: Counter[Any] = Counter()
    for _, stream, version in reader.seen:
        versions[stream] += 1
        assert version == versions[stream], "a stream's events came out of order"


def test_a_live_reader_misses_events_whose_ids_were_drawn_outside_the_lock(
    database: Database,
) -> None:
    """The control: the same reader, and writers that do what a plain insert does."""
    with psycopg.connect(database.conninfo(owner=True), autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE unlocked (notification_id bigserial PRIMARY KEY,"
            " originator_id uuid DEFAULT gen_random_uuid(), originator_version bigint DEFAULT 1)"
        )

    def insert_slowly() -> None:
        with psycopg.connect(database.conninfo(owner=True)) as connection:
            end = time.monotonic() + 2
            while time.monotonic() < end:
                with connection.transaction():
                    # A few statements between drawing the id and the commit.
                    for _ in range(3):
                        connection.execute("INSERT INTO unlocked DEFAULT VALUES")

    with following(database, "unlocked") as reader:
        writers = [threading.Thread(target=insert_slowly) for _ in range(4)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()

    missed = set(positions(database, "unlocked")) - {row[0] for row in reader.seen}
    assert missed, "the reader cannot see the fault that it looks for"


def test_of_two_processes_that_write_the_same_bytes_one_is_told_it_was_a_replay(
    database: Database,
) -> None:
    """On a clock that stands still both decide the very same event for the same place."""

    async def story() -> None:
        async with ledger_with(database, 10**6) as (ledger, _), writing(database) as other:
            two = Ledger(other)
            for turn in range(60):
                act = call(f"u{turn}")
                ends = await asyncio.gather(
                    ledger.charge("acme", act, at()), two.charge("acme", act, at())
                )
                assert sorted(end.replayed for end in ends) == [False, True], turn

    asyncio.run(story())
