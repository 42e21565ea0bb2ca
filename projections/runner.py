"""The runner: posts every event from the book to the read models, in order, exactly once.

One a cell: a session lock says who runs, and it is held by the very connection that writes, so
who lost it cannot write either. While one batch is being written, the next is read and folded.
"""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
import structlog
from psycopg import Connection

from projections.feed import Batch, Feed
from projections.models import MODELS
from projections.posting import Overtaken, post, post_idle
from projections.read_model import Changes, ReadModel
from projections.rebuild import rebuild
from projections.tables import create_all

log = structlog.get_logger()

LEAD = "SELECT pg_try_advisory_lock(7003, 'events'::regclass::oid::int)"
# Rows that a crash of the server takes back are folded again: their position goes with them.
RELAXED = "SET synchronous_commit = off"
STOPPED = "UPDATE positions SET error = %s WHERE model = %s AND position = %s"

SMALL = 500
LARGE = 20_000
POLL_S = 0.25


@dataclass(slots=True)
class Reader:
    """One model on its way through the book. ``folded`` runs ahead of ``posted`` by the batch
    that is being written; ``limit`` shrinks after an error, to find the event that it is."""

    model: ReadModel
    posted: int
    folded: int
    limit: int = SMALL
    stopped: bool = False


@dataclass(slots=True)
class Folded:
    """What one batch asks of one model."""

    reader: Reader
    changes: Changes
    before: int
    upto: int
    size: int  # events of the batch, any kind


class Runner:
    """Keeps the read models of one cell. Use `run` in a process of its own."""

    def __init__(
        self,
        conninfo: str,
        models: Sequence[type[ReadModel]] = MODELS,
        *,
        poll: float = POLL_S,
    ) -> None:
        self._conninfo = conninfo
        self._models = models
        self._poll = poll

    def run(self, stop: threading.Event) -> None:
        """Lead, or wait to lead, until ``stop`` is set. Lost connections are made anew."""
        while not stop.is_set():
            try:
                with self._lead(stop) as post_office:
                    if post_office is not None:
                        post_office.follow(stop)
            except (psycopg.OperationalError, Overtaken) as error:
                log.warning("runner interrupted", error=_text(error))
                stop.wait(self._poll)

    def run_until_caught_up(self) -> int:
        """Post everything committed so far, waiting to lead if another runner does; the position
        that every model contains which did not stop."""
        with self._lead(threading.Event()) as post_office:
            assert post_office is not None
            return post_office.catch_up()

    @contextmanager
    def _lead(self, stop: threading.Event) -> Iterator[PostOffice | None]:
        """Become the cell's one runner; None if asked to stop before that."""
        with (
            _brisk(),
            psycopg.connect(self._conninfo, autocommit=True) as writing,
            psycopg.connect(self._conninfo, autocommit=True) as reading,
        ):
            create_all(writing, self._models)
            writing.execute(RELAXED)
            while not _true(writing, LEAD):
                if stop.wait(self._poll):
                    yield None
                    return
            for model in self._models:
                if not _is_whole(writing, model):
                    log.warning("read model has other tables: rebuilding", model=model.name)
                    rebuild(self._conninfo, model)
            with closing(PostOffice(writing, reading, self._models, self._poll)) as office:
                yield office


class PostOffice:
    """The leader at work, on two connections: one writes, the other reads and listens."""

    def __init__(
        self,
        writing: Connection[Any],
        reading: Connection[Any],
        models: Sequence[type[ReadModel]],
        poll: float,
    ) -> None:
        self._writing = writing
        self._reading = reading
        self._poll = poll
        self._feed = Feed(reading)
        self._scribe = ThreadPoolExecutor(1, thread_name_prefix="posting")
        self._in_flight: Future[list[tuple[Folded, Exception]]] | None = None
        stands = dict(writing.execute("SELECT model, position FROM positions").fetchall())
        self._readers = [
            Reader(model(), stands[model.name], stands[model.name]) for model in models
        ]

    def close(self) -> None:
        """Let the posting in flight end; then nothing of ours runs any more."""
        self._scribe.shutdown(wait=True)

    def follow(self, stop: threading.Event) -> None:
        """Post what is there and what comes, until ``stop`` is set."""
        self._reading.execute("LISTEN events")
        while not stop.is_set():
            if not self._round():
                self._wait_for_news(stop)

    def _wait_for_news(self, stop: threading.Event) -> None:
        """Until something is committed, or for so long: an event that was committed between the
        last read and LISTEN notifies nobody."""
        end = time.monotonic() + self._poll
        while not stop.is_set() and (left := end - time.monotonic()) > 0:
            for _ in self._reading.notifies(timeout=min(left, POLL_S), stop_after=1):
                return

    def catch_up(self) -> int:
        """Post until nothing is left; the position reached."""
        while self._round():
            pass
        return min((r.posted for r in self._readers if not r.stopped), default=0)

    def _round(self) -> bool:
        """One batch for each group of models that stand together; False when all had none."""
        active = [reader for reader in self._readers if not reader.stopped]
        worked = False
        for place in sorted({(reader.folded, reader.limit) for reader in active}):
            group = [r for r in active if (r.folded, r.limit) == place]
            worked = self._one_batch(group, *place) or worked
        if not worked:
            # The last posting may yet find an error, and then there is more to do.
            return self._wait_for_posting()
        return True

    def _one_batch(self, group: Sequence[Reader], after: int, limit: int) -> bool:
        rows = self._feed.read(after, limit)
        if not rows:
            for reader in group:
                reader.limit = SMALL
            return False
        batch = self._feed.fold(rows, [reader.model for reader in group])
        folded = [part for r in group if (part := self._part(r, batch, after)) is not None]
        self._wait_for_posting()
        self._in_flight = self._scribe.submit(self._post, folded)
        return True

    def _part(self, reader: Reader, batch: Batch, after: int) -> Folded | None:
        name = reader.model.name
        if name in batch.errors:
            self._wait_for_posting()
            if reader.posted == after:
                self._trouble(reader, batch.upto, batch.size, batch.errors[name])
            return None
        reader.folded = batch.upto
        reader.limit = min(batch.size * 2, LARGE) if batch.size == reader.limit else SMALL
        return Folded(reader, batch.changes[name], after, batch.upto, batch.size)

    def _post(self, parts: Sequence[Folded]) -> list[tuple[Folded, Exception]]:
        """Write what was folded, each model by itself; the parts that could not be written."""
        # What was folded behind a part that failed must not be written.
        parts = [part for part in parts if part.reader.posted == part.before]
        failed: list[tuple[Folded, Exception]] = []
        for part in parts:
            if not any(part.changes):
                continue
            try:
                post(self._writing, part.reader.model, part.changes, part.before, part.upto)
                part.reader.posted = part.upto
            except (psycopg.OperationalError, Overtaken):
                raise
            except Exception as error:
                failed.append((part, error))
        idle = [part for part in parts if not any(part.changes)]
        if idle:
            post_idle(self._writing, [p.reader.model for p in idle], idle[0].before, idle[0].upto)
            for part in idle:
                part.reader.posted = part.upto
        if parts:
            self._writing.execute("SELECT pg_notify('posted', %s)", (str(parts[0].upto),))
        return failed

    def _wait_for_posting(self) -> bool:
        """Let the posting in flight end, and look after those it failed for; whether it did."""
        posting, self._in_flight = self._in_flight, None
        failed = posting.result() if posting is not None else []
        for part, error in failed:
            self._trouble(part.reader, part.upto, part.size, error)
        return bool(failed)

    def _trouble(self, reader: Reader, position: int, size: int, error: Exception) -> None:
        """Go back to what is posted and take smaller steps, until the one event is found that
        this model cannot take. It stops there, alone; a restart tries again."""
        reader.folded = reader.posted
        if size > 1:
            reader.limit = max(size // 8, 1)
            return
        reader.stopped = True
        name = reader.model.name
        log.error("read model stopped", model=name, position=position, error=_text(error))
        self._writing.execute(
            STOPPED, (f"at position {position}: {_text(error)}", name, reader.posted)
        )


@contextmanager
def _brisk() -> Iterator[None]:
    """Tune the interpreter for two threads that pass batches of many small objects: one waits
    for the other's turn at most a fifth of a millisecond, and facts, which hold no cycles, are
    not searched for them again and again. (Measured: half as many events a second without.)"""
    interval, thresholds = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(0.0002)
    gc.set_threshold(100_000, 20, 100)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
        gc.set_threshold(*thresholds)


def _true(connection: Connection[Any], query: str) -> bool:
    row = connection.execute(query.encode()).fetchone()
    return row is not None and bool(row[0])


def _is_whole(connection: Connection[Any], model: type[ReadModel]) -> bool:
    """Whether the model's tables are there, and of the shape that this code writes."""
    row = connection.execute(
        "SELECT shape, (SELECT bool_and(to_regclass(t) IS NOT NULL) FROM unnest(%s::text[]) t)"
        " FROM positions WHERE model = %s",
        (list(model.tables), model.name),
    ).fetchone()
    return row == (model.shape(), True)


def _text(error: Exception) -> str:
    # The first line: a database's DETAIL can hold what the row holds.
    return f"{type(error).__name__}: {error}".partition("\n")[0]
