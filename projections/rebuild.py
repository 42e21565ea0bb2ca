"""Builds one read model anew beside the live one, and swaps them when it has caught up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
from psycopg import Connection

from projections.feed import Feed
from projections.read_model import ReadModel
from projections.tables import create_all

SUFFIX = "_rebuild"
BATCH = 20_000
NEAR = 2_000
"""Events behind the live model at which the rest is folded under its lock."""
ROUNDS = 20

ONE_AT_A_TIME = "SELECT pg_advisory_lock(7005, hashtext(%s))"
LIVE = "SELECT position FROM positions WHERE model = %s"
BEHIND = """
    SELECT count(*) FROM (SELECT FROM events WHERE notification_id > %s AND notification_id <= %s
                          LIMIT %s) behind
"""
INDEXES = "SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = %s::regclass"
DONE = "UPDATE positions SET shape = %s, error = NULL WHERE model = %s"

Progress = Callable[[int, int], None]
"""Called with (positions folded, positions to fold)."""


class CannotFold(RuntimeError):
    """An event cannot be read: the rebuild gave up and the live model is untouched."""


def rebuild(conninfo: str, model: type[ReadModel], progress: Progress | None = None) -> int:
    """Fold the model from the first event on and put it in the live one's place.

    Readers and the runner go on meanwhile; the swap holds them up for a moment. The answer is
    the position at which the new rows took over: where the live ones stood.
    """
    with psycopg.connect(conninfo, autocommit=True) as connection:
        create_all(connection, (model,))
        connection.execute("SET synchronous_commit = off")
        connection.execute("SET client_min_messages = warning")
        connection.execute(ONE_AT_A_TIME, (model.name,))
        beside = model(SUFFIX)
        beside.drop(connection)
        beside.create(connection)
        at = _near(connection, beside, progress)
        with connection.transaction():
            # The lock that every posting takes first: the live position stands still from here.
            live = _live(connection, model.name, lock=True)
            _fold(connection, beside, at, live, progress)
            _swap(connection, model, beside)
            connection.execute(DONE, (model.shape(), model.name))
        connection.execute("SET synchronous_commit = on")
        if progress is not None:
            progress(live, live)
        return live


def _near(connection: Connection[Any], beside: ReadModel, progress: Progress | None) -> int:
    """Fold without any lock until little is left, or it stops becoming less; the position
    reached."""
    at = 0
    for _ in range(ROUNDS):
        live = _live(connection, beside.name)
        behind = connection.execute(BEHIND, (at, live, NEAR)).fetchone()
        if behind is None or behind[0] < NEAR:
            break
        at = _fold(connection, beside, at, live, progress)
    return at


def _fold(
    connection: Connection[Any], beside: ReadModel, at: int, upto: int, progress: Progress | None
) -> int:
    """Fold the events in (at, upto]; the position reached, which is ``upto``."""
    feed = Feed(connection)
    while at < upto:
        rows = [row for row in feed.read(at, BATCH) if row[0] <= upto]
        if not rows:
            break
        batch = feed.fold(rows, [beside])
        for error in batch.errors.values():
            raise CannotFold(f"an event up to {batch.upto} cannot be read") from error
        changes = batch.changes[beside.name]
        if any(changes):
            with connection.transaction():
                beside.write(connection, changes)
        at = batch.upto
        if progress is not None:
            progress(at, upto)
    return upto


def _live(connection: Connection[Any], name: str, *, lock: bool = False) -> int:
    query = LIVE + (" FOR UPDATE" if lock else "")
    row = connection.execute(query.encode(), (name,)).fetchone()
    assert row is not None
    return int(row[0])


def _swap(connection: Connection[Any], model: type[ReadModel], beside: ReadModel) -> None:
    model().drop(connection)
    for table in model.tables:
        new = table + beside.suffix
        for (index,) in connection.execute(INDEXES, (new,)).fetchall():
            renamed = index.replace(new, table, 1)
            connection.execute(f"ALTER INDEX {index} RENAME TO {renamed}".encode())
        connection.execute(f"ALTER TABLE {new} RENAME TO {table}".encode())
