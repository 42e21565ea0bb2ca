"""Checkpoints: what is done to them is found, and what they find that nothing else does."""

from __future__ import annotations

import threading
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import psycopg
import pytest

from adapters.postgres.database import Database
from adapters.sealing import Seal, public_file, published
from adapters.settings import Sealing
from api.auditing import chaining
from domain.chain import Checkpoint
from projections import audit_trail
from tests.api.auditing.sealed import (
    chain,
    sealing_in,
    settings_with,
    signed,
    tamper,
    verdict,
)
from tests.projections.stories import hours_of_calls, newest, post, rows, write


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("chain_hash = sha256('x')", "its signature is not of what it says"),
        ("signature = sha512('x')", "its signature is not of what it says"),
        ("at = at + interval '1 second'", "its signature is not of what it says"),
        ("key_id = 'other'", "signed by a key that is not known here (other)"),
        ("position = position - 1", "its signature is not of what it says"),
    ],
)
def test_a_changed_row_of_the_checkpoints_is_found(
    book: Database, sealing: Sealing, change: str, why: str
) -> None:
    third = signed(book)[2]
    tamper(book, f"UPDATE audit_checkpoints SET {change} WHERE position = {third}")

    found = verdict(book, sealing)

    assert found.problems == []
    assert [(one.where, one.reason) for one in found.failed] == [("table", why)]
    assert found.failed[0].position in (third, third - 1)


def test_a_lost_file_of_checkpoints_is_found(book: Database, sealing: Sealing) -> None:
    sealing.file.unlink()

    found = verdict(book, sealing)

    assert not found.is_intact
    assert (found.published, found.sealed) == (0, 0)
    assert {one.reason for one in found.failed} == {"it was not published"}
    assert [one.position for one in found.failed] == signed(book)


def test_a_line_taken_out_of_the_file_and_a_line_that_is_none_are_found(
    book: Database, sealing: Sealing
) -> None:
    lines = sealing.file.read_bytes().splitlines(keepends=True)
    sealing.file.write_bytes(b"".join([*lines[:1], b"{}\n", *lines[2:]]))

    found = verdict(book, sealing)

    assert [one.reason for one in found.failed] == [
        "line 2 is no checkpoint",
        "it was not published",
    ]


def test_a_log_cut_off_after_the_last_checkpoint_is_missed_by_the_trail(
    book: Database, sealing: Sealing
) -> None:
    """Not signed for yet, but chained: whoever cuts the events has to cut the trail too."""
    write(book, lambda ledger: hours_of_calls(ledger, ["acme"], 3))
    chain(book)
    last = max(signed(book))
    tamper(book, f"DELETE FROM events WHERE notification_id > {last}")

    found = verdict(book, sealing)

    assert found.first_position is not None
    assert found.first_position > last
    assert {one.kind for one in found.problems} == {"event_missing"}


def test_a_log_cut_off_with_its_trail_is_missed_by_the_read_models(
    book: Database, sealing: Sealing
) -> None:
    last = max(signed(book))
    write(book, lambda ledger: hours_of_calls(ledger, ["acme"], 3))
    chain(book)
    newest = post(book)
    cut = [
        f"DELETE FROM events WHERE notification_id > {last}",
        f"DELETE FROM audit_trail WHERE position > {last}",
    ]
    tamper(book, *cut)

    found = verdict(book, sealing)

    assert [(one.position, one.kind) for one in found.problems] == [(newest, "tail_missing")]


def test_a_log_cut_off_before_a_checkpoint_is_found_by_what_was_published(
    book: Database, sealing: Sealing
) -> None:
    keep, *gone = signed(book)[-3:]
    tamper(
        book,
        f"DELETE FROM events WHERE notification_id > {keep}",
        f"DELETE FROM audit_trail WHERE position > {keep}",
        f"DELETE FROM audit_checkpoints WHERE position > {keep}",
    )

    found = verdict(book, sealing)

    assert found.problems == []
    assert [(one.position, one.where) for one in found.failed] == [(p, "published") for p in gone]
    assert {one.reason for one in found.failed} == {"there is no event at its position"}


@pytest.mark.parametrize("table", ["events", "audit_trail", "audit_checkpoints"])
@pytest.mark.parametrize("statement", ["UPDATE {} SET {} = {}", "DELETE FROM {}", "TRUNCATE {}"])
@pytest.mark.parametrize("owner", [False, True])
def test_neither_the_runtime_nor_the_owner_may_change_what_binds_the_log(
    book: Database, table: str, statement: str, owner: bool
) -> None:
    column = "notification_id" if table == "events" else "position"
    before = rows(book, f"SELECT count(*) FROM {table}")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        rows(book, statement.format(table, column, column), owner=owner)
    assert rows(book, f"SELECT count(*) FROM {table}") == before


def test_the_published_file_is_what_the_table_has(book: Database, sealing: Sealing) -> None:
    with psycopg.connect(book.conninfo(), autocommit=True) as connection:
        stored = audit_trail.checkpoints_after(connection, 0)
    assert list(published(sealing.file)) == stored
    assert len(stored) == len(rows(book, "SELECT 1 FROM events")) // 10 + 1
    assert {one.key_id for one in stored} == {
        sha256(Seal(sealing.key, sealing.file).public.raw).hexdigest()[:16]
    }
    assert all(isinstance(one, Checkpoint) for one in stored)


def test_the_key_is_for_its_owner_only_and_stays(book: Database, sealing: Sealing) -> None:
    before = sealing.key.read_bytes()
    assert sealing.key.stat().st_mode & 0o777 == 0o600
    assert before.startswith(b"-----BEGIN PRIVATE KEY-----")
    Seal(sealing.key, sealing.file)
    assert sealing.key.read_bytes() == before
    assert public_file(sealing.key).read_text().count("BEGIN PUBLIC KEY") == 1


def test_after_a_new_key_the_checkpoints_of_the_old_one_are_still_believed(
    book: Database, sealing: Sealing
) -> None:
    sealing.key.unlink()
    write(book, lambda ledger: hours_of_calls(ledger, ["acme"], 3))
    chain(book, sealing, seal=True)

    found = verdict(book, sealing)

    assert found.is_intact
    assert found.sealed == found.position
    assert len({row[0] for row in rows(book, "SELECT key_id FROM audit_checkpoints")}) == 2


def test_a_line_that_was_cut_off_by_a_crash_is_taken_back(book: Database, sealing: Sealing) -> None:
    with sealing.file.open("ab") as file:
        file.write(b'{"at":"2026-06-01T00:00:0')
    assert not verdict(book, sealing).is_intact
    chain(book, sealing)
    assert verdict(book, sealing).is_intact


def test_on_a_new_machine_what_was_signed_is_published_again(
    book: Database, sealing: Sealing
) -> None:
    before = sealing.file.read_bytes()
    sealing.file.unlink()
    chain(book, sealing)
    assert sealing.file.read_bytes() == before


def test_a_forged_row_of_the_table_is_never_published(book: Database, sealing: Sealing) -> None:
    tamper(
        book,
        "INSERT INTO audit_checkpoints SELECT position + 1, chain_hash, at, key_id, signature"
        " FROM audit_checkpoints ORDER BY position DESC LIMIT 1",
    )
    before = sealing.file.read_bytes()
    chain(book, sealing)
    assert sealing.file.read_bytes() == before
    assert not verdict(book, sealing).is_intact


def test_a_chain_that_a_crash_took_back_is_made_again_and_not_signed_for_twice(
    book: Database, sealing: Sealing
) -> None:
    """The rows are committed without waiting for the disk; what was published stays."""
    positions = signed(book)
    trail = rows(book, "SELECT * FROM audit_trail ORDER BY position")
    tamper(
        book,
        f"DELETE FROM audit_trail WHERE position > {positions[1]}",
        f"DELETE FROM audit_checkpoints WHERE position > {positions[1]}",
    )
    before = sealing.file.read_bytes()

    chain(book, sealing, seal=True)

    assert sealing.file.read_bytes() == before
    assert rows(book, "SELECT * FROM audit_trail ORDER BY position") == trail
    assert verdict(book, sealing).is_intact


def test_where_little_happens_it_is_signed_for_after_five_minutes(
    database: Database, tmp_path: Path
) -> None:
    sealing = sealing_in(tmp_path, events=1_000)
    settings = replace(settings_with(database, sealing), test_clock=True)
    write(database, lambda ledger: hours_of_calls(ledger, ["acme"], 3))
    rows(database, "INSERT INTO test_clock VALUES (true, '2026-06-01T00:00:00Z')")
    with chaining.opened(settings, threading.Event()) as chainer:
        assert chainer is not None
        assert chainer.step()
        chainer.seal_if_due()
        assert signed(database) == []
        rows(database, "UPDATE test_clock SET now = '2026-06-01T00:04:59Z'")
        chainer.seal_if_due()
        assert signed(database) == []
        rows(database, "UPDATE test_clock SET now = '2026-06-01T00:05:00Z'")
        chainer.seal_if_due()
        assert signed(database) == [newest(database)]
        chainer.seal_if_due()
    assert len(signed(database)) == 1
