"""Whatever is done to the log behind our back, `verify` finds it, and says where."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from adapters.postgres.database import Database
from adapters.settings import Sealing
from domain.identity import account_id
from tests.api.auditing.sealed import PAYLOAD, a_debit, chain, sealing_in, signed, tamper, verdict
from tests.projections.stories import rows

AFTER_REWRITING = "UPDATE audit_trail SET event_hash = '{hash}' WHERE position = {position}"


@pytest.mark.scenario("S100")
def test_a_changed_amount_is_named_and_the_checkpoints_after_it_fail(
    book: Database, sealing: Sealing
) -> None:
    position = a_debit(book)
    with psycopg.connect(book.conninfo(owner=True), autocommit=True) as connection:
        connection.execute("ALTER TABLE events DISABLE TRIGGER ALL")
        connection.execute(PAYLOAD.format(position=position).encode())
        connection.execute("ALTER TABLE events ENABLE TRIGGER ALL")

    found = verdict(book, sealing)

    assert found.first_position == position
    assert [(one.position, one.kind) for one in found.problems] == [(position, "event_changed")]
    assert found.problems[0].stream in (account_id("acme"), account_id("other"))
    before = [one for one in signed(book) if one < position]
    after = [one for one in signed(book) if one >= position]
    assert before
    assert after
    assert [one.position for one in found.failed if one.where == "table"] == after
    assert [one.position for one in found.failed if one.where == "published"] == after
    assert found.sealed == before[-1]


@pytest.mark.scenario("S100")
@pytest.mark.parametrize(
    "column",
    ["amount = amount - 1", "balance_after = 0", "kind = 'Credited'", "cause = 'usage:other'"],
)
def test_a_changed_column_beside_the_payload_is_named_too(
    book: Database, sealing: Sealing, column: str
) -> None:
    position = a_debit(book)
    tamper(book, f"UPDATE events SET {column} WHERE notification_id = {position}")

    found = verdict(book, sealing)

    assert [(one.position, one.kind) for one in found.problems] == [(position, "columns_changed")]
    assert {one.position for one in found.failed} == {p for p in signed(book) if p >= position}


@pytest.mark.parametrize(
    "change",
    [
        "topic = 'domain:Credited'",
        "topic = 'else:Debited'",
        "originator_version = originator_version + 1000",
        "originator_id = gen_random_uuid()",
        "state = 'not JSON'",
        "state = convert_to('{}', 'UTF8')",
    ],
)
def test_whatever_of_an_event_is_changed_its_position_is_named(
    book: Database, sealing: Sealing, change: str
) -> None:
    position = a_debit(book)
    tamper(book, f"UPDATE events SET {change} WHERE notification_id = {position}")

    found = verdict(book, sealing)

    assert found.first_position == position
    assert found.problem_count == 1
    assert {one.position for one in found.failed} == {p for p in signed(book) if p >= position}


@pytest.mark.scenario("S100")
@pytest.mark.parametrize(
    "change",
    [
        "stream = gen_random_uuid()",
        "version = version + 1",
        "type = 'Credited'",
        "actor = 'admin:somebody'",
        "cause = 'usage:other'",
        "correlation_id = 'other'",
        "occurred_at = occurred_at + interval '1 day'",
        "recorded_at = recorded_at - interval '1 microsecond'",
        "recorded_at = NULL",
    ],
)
def test_whatever_of_a_row_of_the_trail_is_changed_its_position_is_named(
    book: Database, sealing: Sealing, change: str
) -> None:
    position = a_debit(book)
    tamper(book, f"UPDATE audit_trail SET {change} WHERE position = {position}")

    found = verdict(book, sealing)

    assert [(one.position, one.kind) for one in found.problems] == [(position, "trail_changed")]
    assert found.problems[0].stream in (account_id("acme"), account_id("other"))
    assert not found.failed


def test_a_row_of_the_trail_that_an_older_release_could_not_fill_is_no_problem(
    book: Database, sealing: Sealing
) -> None:
    names = ("actor", "cause", "correlation_id", "occurred_at", "recorded_at")
    unknown = ", ".join(f"{name} = NULL" for name in names)
    tamper(book, f"UPDATE audit_trail SET {unknown} WHERE position = {a_debit(book)}")

    assert verdict(book, sealing).is_intact


def test_a_deleted_event_is_missing(book: Database, sealing: Sealing) -> None:
    position = a_debit(book)
    tamper(book, f"DELETE FROM events WHERE notification_id = {position}")

    found = verdict(book, sealing)

    assert [(one.position, one.kind) for one in found.problems] == [(position, "event_missing")]
    assert {one.position for one in found.failed} == {p for p in signed(book) if p >= position}


def test_an_event_deleted_with_its_row_of_the_trail_breaks_the_chain_behind_it(
    book: Database, sealing: Sealing
) -> None:
    position = a_debit(book)
    tamper(
        book,
        f"DELETE FROM events WHERE notification_id = {position}",
        f"DELETE FROM audit_trail WHERE position = {position}",
    )

    found = verdict(book, sealing)

    assert (found.first_position, found.problems[0].kind) == (position + 1, "chain_changed")
    assert found.failed


def test_an_event_put_in_between_is_named(book: Database, sealing: Sealing) -> None:
    position = a_debit(book)
    tamper(
        book,
        f"UPDATE events SET notification_id = -notification_id WHERE notification_id = {position}",
    )
    found = verdict(book, sealing)
    kinds = {(one.position, one.kind) for one in found.problems}
    assert kinds == {(-position, "event_inserted"), (position, "event_missing")}
    assert found.failed


def test_two_events_that_changed_places_are_both_named(book: Database, sealing: Sealing) -> None:
    first, second = a_debit(book), a_debit(book, 1)
    tamper(
        book,
        f"UPDATE events SET notification_id = -1 WHERE notification_id = {first}",
        f"UPDATE events SET notification_id = {first} WHERE notification_id = {second}",
        f"UPDATE events SET notification_id = {second} WHERE notification_id = -1",
    )

    found = verdict(book, sealing)

    assert [one.position for one in found.problems] == [first, second]
    assert found.first_position == first


def test_a_changed_event_whose_row_of_the_trail_was_changed_too_breaks_the_chain(
    book: Database, sealing: Sealing
) -> None:
    position = a_debit(book)
    tamper(book, PAYLOAD.format(position=position))
    told = verdict(book, sealing).problems[0].found
    tamper(book, AFTER_REWRITING.format(hash=f"\\x{told}", position=position))

    found = verdict(book, sealing)

    assert (found.first_position, found.problems[0].kind) == (position, "chain_changed")
    assert found.failed


def rewrite_the_trail(database: Database) -> None:
    """The whole chain anew, as whoever has the code and a superuser's rights can."""
    tamper(database, "DELETE FROM audit_trail")
    chain(database)


@pytest.mark.scenario("S100")
def test_a_chain_made_anew_over_a_changed_event_is_found_by_checkpoints_alone(
    book: Database, sealing: Sealing
) -> None:
    position = a_debit(book)
    tamper(book, PAYLOAD.format(position=position))
    rewrite_the_trail(book)

    found = verdict(book, sealing)

    assert found.problems == []
    assert not found.is_intact
    assert {one.position for one in found.failed} == {p for p in signed(book) if p >= position}
    assert found.sealed < position <= found.failed[0].position


def test_even_without_its_checkpoints_the_published_ones_find_it(
    book: Database, sealing: Sealing
) -> None:
    position = a_debit(book)
    all_signed = signed(book)
    tamper(book, PAYLOAD.format(position=position), "DELETE FROM audit_checkpoints")
    rewrite_the_trail(book)

    found = verdict(book, sealing)

    assert (found.stored, found.published) == (0, len(all_signed))
    assert {one.where for one in found.failed} == {"published"}
    assert [one.position for one in found.failed] == [p for p in all_signed if p >= position]


def test_checkpoints_signed_with_another_key_are_not_believed(
    book: Database, sealing: Sealing, tmp_path: Path
) -> None:
    """An administrator of the database can make a chain and sign it, but not with our key."""
    position = a_debit(book)
    tamper(
        book,
        PAYLOAD.format(position=position),
        "DELETE FROM audit_trail",
        "DELETE FROM audit_checkpoints",
    )
    (tmp_path / "theirs").mkdir()
    chain(book, sealing_in(tmp_path / "theirs"), seal=True)

    found = verdict(book, sealing)

    assert any("not known here" in one.reason for one in found.failed if one.where == "table")
    assert any(one.where == "published" for one in found.failed)


def test_one_stream_is_verified_against_the_chain_of_all(book: Database, sealing: Sealing) -> None:
    position = a_debit(book)
    ((stream,),) = rows(
        book, "SELECT originator_id FROM events WHERE notification_id = %s", position
    )
    (other,) = {account_id("acme"), account_id("other")} - {stream}
    whole = verdict(book, sealing)
    clean = verdict(book, sealing, stream=stream)
    assert clean.is_intact
    assert (clean.chain_hash, clean.sealed) == (whole.chain_hash, whole.sealed)
    assert clean.events < whole.events

    tamper(book, PAYLOAD.format(position=position))

    found = verdict(book, sealing, stream=stream)
    assert found.first_position == position
    assert {one.position for one in found.failed} == {p for p in signed(book) if p >= position}
    assert verdict(book, sealing, stream=other).is_intact
    tamper(book, f"DELETE FROM events WHERE notification_id = {position}")
    assert verdict(book, sealing, stream=stream).problems[0].kind == "event_missing"
