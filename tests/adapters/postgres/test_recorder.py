"""The library's own test cases on our recorder, and the library beside the writer on one table."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any
from unittest import SkipTest
from uuid import uuid4

import psycopg
import pytest
from eventsourcing.application import AggregateNotFoundError
from eventsourcing.persistence import (
    AggregateRecorder,
    IntegrityError,
    OperationalError,
    ProgrammingError,
    StoredEvent,
)

from adapters.postgres.application import LedgerApplication
from adapters.postgres.database import Database
from adapters.postgres.recorder import CellDatastore, EventRecorder
from adapters.postgres.writer import Writer
from domain.account.credit_account import CreditAccount
from domain.account.credit_facts import Credited
from domain.account.usage_facts import Debited
from domain.facts import project
from domain.identity import account_id
from tests.adapters.postgres.library_cases import (
    AggregateRecorderTestCase,
    ApplicationRecorderTestCase,
    NonInterleavingNotificationIDsBaseCase,
)
from tests.adapters.postgres.writing import ROOT
from tests.domain.given import NOW, USD, at, call, faces, open_ledger, prices


class OnOurTable:
    """Gives the library's cases a fresh ledger."""

    datastore: CellDatastore

    @pytest.fixture(autouse=True)
    def _ledger(self, database: Database) -> Iterator[None]:
        with CellDatastore(database.conninfo()) as self.datastore:
            yield

    def create_recorder(self) -> Any:
        recorder = EventRecorder(self.datastore)
        recorder.create_table()
        return recorder


class TestApplicationRecorder(OnOurTable, ApplicationRecorderTestCase[EventRecorder]):
    """The library's case of a recorder with positions."""

    def test_insert_subscribe(self) -> None:
        self.optional_test_insert_subscribe()

    def test_performance(self) -> None:
        raise SkipTest("prints figures; the benchmarks are ours")

    def test_concurrent_throughput(self) -> None:
        raise SkipTest("prints figures; the benchmarks are ours")


class TestPositionsDoNotInterleave(OnOurTable, NonInterleavingNotificationIDsBaseCase):
    """The library's case of two large inserts at once."""


class WithoutPositions(EventRecorder):
    """Answers as recorders do that number nothing, which is all that the case below minds."""

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> None:
        super().insert_events(stored_events, **kwargs)


class TestAggregateRecorder(OnOurTable, AggregateRecorderTestCase):
    """The library's case of one stream, atomic and without overwriting."""

    def create_recorder(self) -> AggregateRecorder:
        return WithoutPositions(self.datastore)

    def test_performance(self) -> None:
        raise SkipTest("prints figures; the benchmarks are ours")


@pytest.fixture
def app(database: Database) -> Iterator[LedgerApplication]:
    with LedgerApplication(database.conninfo()) as application:
        yield application


def test_without_migrations_the_recorder_says_so(empty_database: Database) -> None:
    with psycopg.connect(empty_database.owner_url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA main")
        connection.execute("GRANT USAGE ON SCHEMA main TO daybook_runtime")

    with (
        CellDatastore(empty_database.conninfo(owner=True)) as datastore,
        pytest.raises(ProgrammingError, match="migrations"),
    ):
        EventRecorder(datastore).create_table()


def test_an_insert_whose_answer_is_lost_is_not_sent_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    execute = psycopg.Cursor.execute

    def lose_the_answer(self: Any, query: Any, *args: Any, **options: Any) -> Any:
        done = execute(self, query, *args, **options)
        if "append_events" in str(query):
            sent.append(str(query))
            raise psycopg.OperationalError("server closed the connection unexpectedly")
        return done

    event = StoredEvent(uuid4(), 1, "topic", b"{}")
    with CellDatastore(database.conninfo()) as datastore:
        recorder = EventRecorder(datastore)
        monkeypatch.setattr(psycopg.Cursor, "execute", lose_the_answer)
        with pytest.raises(OperationalError):
            recorder.insert_events([event])
        monkeypatch.undo()

        assert len(sent) == 1
        assert recorder.select_events(event.originator_id) == [event]


def test_our_facts_carry_their_typed_columns_and_foreign_topics_carry_none(
    database: Database, app: LedgerApplication
) -> None:
    account = CreditAccount(account_id("acme"))
    account.credit(5 * USD, "promo", "grant:1", at())
    app.save(account)
    app.recorder.insert_events([StoredEvent(uuid4(), 1, "elsewhere:Thing", b"\x00raw")])

    with psycopg.connect(database.conninfo()) as connection:
        rows = connection.execute(
            "SELECT cause, kind, amount, balance_after FROM events ORDER BY notification_id"
        ).fetchall()
    assert rows == [
        ("grant:1", "Credited", 5 * USD, 5 * USD),
        (None, "Thing", None, None),
    ]


def test_a_cause_happens_once_also_through_the_library(app: LedgerApplication) -> None:
    account = CreditAccount(account_id("acme"))
    account.credit(5, "promo", "grant:1", at())
    app.save(account)
    account.credit(5, "promo", "grant:1", at())

    with pytest.raises(IntegrityError):
        app.save(account)


def test_several_aggregates_commit_together_or_not_at_all(app: LedgerApplication) -> None:
    first, second = (CreditAccount(account_id(name)) for name in ("a", "b"))
    first.credit(5, "promo", "grant:1", at())
    app.save(first)
    rival = CreditAccount(account_id("a"))
    rival.credit(7, "promo", "grant:2", at())
    second.credit(9, "promo", "grant:3", at())

    with pytest.raises(IntegrityError):
        app.save(second, rival)

    with pytest.raises(AggregateNotFoundError):
        app.repository.get(account_id("b"))


def test_the_library_and_the_writer_take_turns_on_one_stream(
    database: Database, app: LedgerApplication
) -> None:
    """The library debits an account behind the writer's back, twice, and nobody is mistaken."""
    stream = account_id("acme")

    def debit_through_the_library(event_id: str) -> None:
        account: CreditAccount = app.repository.get(stream)
        account.charge(call(event_id), faces(), prices(), at())
        app.save(account)

    async def story() -> None:
        writer = Writer(database.conninfo())
        await writer.start()
        try:
            ledger = await open_ledger(writer, "acme")
            await ledger.grant("acme", 5_000, "g", at())
            for turn in range(2):
                await asyncio.to_thread(debit_through_the_library, f"library-{turn}")
                charge = await ledger.charge("acme", call(f"ours-{turn}"), at())
                assert charge.balance_after == 5_000 - 1_000 * (2 * turn + 2)
        finally:
            await writer.stop()

    asyncio.run(story())

    account: CreditAccount = app.repository.get(stream)
    assert account.balance == 1_000
    versions = [event.originator_version for event in app.events.get(stream)]
    assert versions == list(range(1, account.version + 1))


def test_an_auditor_needs_to_import_nothing_else() -> None:
    """In a process of its own, where no other test has imported the aggregates."""
    script = (
        "import adapters.postgres.application, domain.facts, domain.account.usage_facts as a;"
        "print(domain.facts.aggregate_class(a.Debited).__name__)"
    )

    said = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert said.stdout == "CreditAccount\n"


def test_the_repository_goes_back_to_any_version(app: LedgerApplication) -> None:
    account = CreditAccount(account_id("acme"))
    for turn in range(3):
        account.credit(10, "promo", f"grant:{turn}", at(NOW, minutes=turn))
    recordings = app.save(account)

    then = app.repository.get(account.id, version=2, projector_func=project)

    assert [r.notification.id for r in recordings] == [1, 2, 3]
    assert isinstance(then, CreditAccount)
    assert (then.balance, then.version, then.recorded_at) == (20, 2, at(NOW, minutes=1).now)


def test_the_notification_log_reads_what_the_writer_wrote(
    database: Database, app: LedgerApplication
) -> None:
    async def story() -> CreditAccount:
        writer = Writer(database.conninfo())
        await writer.start()
        try:
            ledger = await open_ledger(writer, "acme")
            await ledger.grant("acme", 5_000, "g", at())
            await ledger.charge("acme", call("u1"), at())
            return await ledger.account("acme")
        finally:
            await writer.stop()

    account = asyncio.run(story())

    log = app.notification_log.select(start=None, limit=100)
    facts: list[Any] = [app.mapper.to_domain_event(notification) for notification in log]
    assert [n.id for n in log] == sorted(n.id for n in log)
    assert isinstance(facts[-2].fact, Credited)
    assert isinstance(facts[-1].fact, Debited)
    folded = project(None, (e for e in facts if e.originator_id == account.id))
    assert folded == account == app.repository.get(account.id)
