"""Chains every event after it is committed, and seals the chain with signed checkpoints.

It runs in the poster's process, on connections of its own: no writer waits for it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import structlog
from psycopg import Connection

from adapters.clock import START
from adapters.sealing import Seal, published
from adapters.settings import Settings
from domain.chain import Checkpoint
from projections import audit_trail
from projections.audit_trail import Head, Link

LEAD = "SELECT pg_try_advisory_lock(7006, 'events'::regclass::oid::int)"
CLOCK = "SELECT now FROM test_clock"
# Links that a crash of the server takes back are made again, the same.
RELAXED = "SET synchronous_commit = off"
BATCH = 5_000
POLL_S = 0.5
GATHER_S = 0.02
"""How long a batch waits for company: where much is written, batches of one would cost more."""
RECONNECT_S = 0.5

log = structlog.get_logger("daybook.audit")


def run(settings: Settings, stop: threading.Event) -> None:
    """Chain and seal until ``stop`` is set. Lost connections are made anew; what is broken
    otherwise is said and tried again."""
    while not stop.is_set():
        try:
            with opened(settings, stop) as chainer:
                if chainer is not None:
                    chainer.follow(stop)
        except psycopg.Error as error:
            log.warning("audit_lost_the_database", error=type(error).__name__)
            stop.wait(RECONNECT_S)
        except Exception:  # An alarm; the read models go on.
            log.exception("audit_failed")
            stop.wait(POLL_S * 4)


@contextmanager
def opened(settings: Settings, stop: threading.Event) -> Iterator[Chainer | None]:
    """The one chainer of the cell; None where we were asked to stop before we could be it.

    :raises SealUnusable: the key or the published file cannot be used.
    """
    conninfo = settings.database.conninfo(application_name="daybook-audit")
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(RELAXED)
        while not _holds(connection, LEAD):
            if stop.wait(POLL_S):
                yield None
                return
        # Only the leader may touch the file: it mends what a crash has left.
        sealing = settings.sealing
        seal = None if sealing is None else Seal(sealing.key, sealing.file)
        yield Chainer(connection, seal, settings)


class Chainer:
    """The leader at work. ``seal`` None: a chain without checkpoints."""

    def __init__(self, connection: Connection[Any], seal: Seal | None, settings: Settings) -> None:
        self._connection = connection
        self._seal = seal
        self._has_test_clock = settings.test_clock
        sealing = settings.sealing
        self._every = sealing.events if sealing else 0
        self._patience = timedelta(seconds=sealing.seconds if sealing else 0)
        self._head = audit_trail.head(connection)
        last = audit_trail.last_checkpoint(connection)
        if seal is not None:
            last = self._catch_up_outside(seal, last)
        self._last = last.position if last else 0
        self._last_at = last.at if last else None
        self._since = audit_trail.events_since(connection, self._last)

    def follow(self, stop: threading.Event) -> None:
        """Chain what is there and what comes; what is not sealed yet is sealed at the end."""
        self._connection.execute("LISTEN events")
        while not stop.is_set():
            if self.step():
                stop.wait(GATHER_S)
                continue
            self.seal_if_due()
            for _ in self._connection.notifies(timeout=POLL_S, stop_after=1):
                break
        while self.step():
            pass
        self.seal()

    def step(self) -> int:
        """Chain one batch; how many events it had."""
        chained = audit_trail.links(self._connection, self._head, BATCH)
        if not chained:
            return 0
        now = self._now()
        sealed = [] if self._seal is None else self._sealed(self._seal, chained, now)
        self._write(chained, sealed)
        return len(chained)

    def seal(self) -> None:
        """Sign for what is chained, if anything is that was not signed for."""
        if self._seal is not None and self._head.position > self._last:
            self._write([], [self._signed(self._seal, self._head, self._now())])

    def seal_if_due(self) -> None:
        """Sign for what is chained, if it waits long enough. Moves on with the ledger's time."""
        if self._seal is None or self._head.position <= self._last:
            return
        now = self._now()
        if self._last_at is None:
            self._last_at = now  # five minutes from the first event on
        elif now - self._last_at >= self._patience:
            self._write([], [self._signed(self._seal, self._head, now)])

    def _sealed(self, seal: Seal, chained: list[Link], now: datetime) -> list[Checkpoint]:
        """One checkpoint every so many events."""
        sealed = []
        for link in chained:
            if link.position <= self._last:
                continue  # published already, before a crash took the rows back
            self._since += 1
            if self._since >= self._every:
                head = Head(link.position, link.chain_hash)
                sealed.append(self._signed(seal, head, now))
        return sealed

    def _signed(self, seal: Seal, head: Head, now: datetime) -> Checkpoint:
        self._since, self._last, self._last_at = 0, head.position, now
        return seal.sign(head.position, head.chain_hash, now)

    def _write(self, chained: list[Link], sealed: list[Checkpoint]) -> None:
        """Rows, then what is given away, then the commit: so the table never has a checkpoint
        that was not published."""
        with self._connection.transaction():
            audit_trail.write(self._connection, chained, sealed)
            if self._seal is not None:
                self._seal.publish(sealed)
        if chained:
            self._head = Head(chained[-1].position, chained[-1].chain_hash)
        for one in sealed:
            log.info(
                "checkpoint",
                position=one.position,
                chain_hash=one.chain_hash.hex(),
                at=one.stamp,
                key_id=one.key_id,
                signature=one.signature.hex(),
            )

    def _catch_up_outside(self, seal: Seal, stored: Checkpoint | None) -> Checkpoint | None:
        """Publish what the table has and the file has not, such as on a new machine; the newest
        checkpoint of both."""
        newest = None
        if seal.file.exists():
            for one in published(seal.file):
                if isinstance(one, Checkpoint) and seal.known.complaint(one) is None:
                    newest = one
        after = newest.position if newest else 0
        missing = [
            one
            for one in audit_trail.checkpoints_after(self._connection, after)
            if seal.known.complaint(one) is None
        ]
        if missing:
            log.warning("checkpoints_published_again", count=len(missing), file=str(seal.file))
            seal.publish(missing)
        if newest is None or (stored is not None and stored.position > newest.position):
            return stored
        return newest

    def _now(self) -> datetime:
        """The ledger's time."""
        if self._has_test_clock:
            row = self._connection.execute(CLOCK).fetchone()
            now: datetime = row[0] if row is not None else START
            return now.astimezone(UTC)
        return datetime.now(UTC)


def _holds(connection: Connection[Any], query: str) -> bool:
    row = connection.execute(query).fetchone()
    return row is not None and bool(row[0])
