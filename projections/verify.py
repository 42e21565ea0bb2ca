"""Verify: every event's hash and the whole chain made anew from the events alone, against what
the audit trail holds and against every signed checkpoint.

Nothing is kept but the last hash and the first problems, so a log of any length is verified in
the same memory. A chain finds edits of somebody who cannot make it anew; the checkpoints that
were published outside the database find all others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

from psycopg import Connection

from domain.chain import GENESIS, Checkpoint, linked
from domain.facts import Fact
from projections.audit_trail import SEALED, UNKNOWN, head, told_of, type_of
from projections.checkpoint_check import CheckpointCheck, Complaint, FailedCheckpoint
from projections.event_hash import COLUMNS, Row, hashed

CHUNK = 10_000
PROBLEMS_MAX = 100
EVENTS = f"SELECT {COLUMNS} FROM events ORDER BY notification_id"  # noqa: S608 - names of ours
OF_STREAM = f"SELECT {COLUMNS} FROM events WHERE originator_id = %s ORDER BY notification_id"  # noqa: S608
TRAIL = """
    SELECT position, uuid_send(stream), event_hash, chain_hash, version, type, actor, cause,
           correlation_id, occurred_at, recorded_at
    FROM audit_trail ORDER BY position
"""
NEWEST = "SELECT coalesce(max(notification_id), 0) FROM events"
FOLDED = f"SELECT max(position), ({NEWEST}) FROM positions"  # noqa: S608

Stored = tuple[Any, ...]
"""A row of the trail, as `TRAIL` selects it."""
Progress = Callable[[int, int], None]
"""Called with (positions verified, positions to verify)."""


class Problem(NamedTuple):
    """Where the log is not what it was. ``kind``: `event_changed`, `columns_changed` (beside the
    payload), `event_missing`, `event_inserted`, `chain_changed` (the trail's own row),
    `trail_changed` (what that row says of the event beside its hashes), `tail_missing` (read
    models have seen it). Hashes in hexadecimal; None: there is none."""

    position: int
    kind: str
    stream: UUID | None
    chained: str | None  # what the trail has
    found: str | None  # what the event gives


@dataclass
class Verdict:
    """What was found. ``position`` and ``chain_hash`` are those of the last event, made anew from
    the events; ``waiting`` events are not chained yet, ``unsealed`` ones not yet signed for."""

    stream: UUID | None
    events: int = 0
    position: int = 0
    chain_hash: bytes = GENESIS
    waiting: int = 0
    unsealed: int = 0
    problems: list[Problem] = field(default_factory=list)
    problem_count: int = 0
    failed: list[FailedCheckpoint] = field(default_factory=list)
    failed_count: int = 0
    stored: int = 0
    published: int | None = None
    sealed: int = 0  # position of the last checkpoint that holds

    @property
    def is_intact(self) -> bool:
        """Whether everything is as it was signed and chained."""
        return not self.problem_count and not self.failed_count

    @property
    def first_position(self) -> int | None:
        """The first position that differs. None where nothing does, or only checkpoints tell:
        then it is one behind ``sealed``."""
        return min((one.position for one in self.problems), default=None)

    def note(self, problem: Problem) -> None:
        """One more problem; the first hundred are kept."""
        self.problem_count += 1
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(problem)


def verify(
    connection: Connection[Any],
    published: Iterable[Checkpoint | int] | None,
    complaint: Complaint,
    *,
    stream: UUID | None = None,
    progress: Progress | None = None,
) -> Verdict:
    """Verify all events, or those of one stream against the chain of all. Writers go on
    meanwhile. The connection is in autocommit.

    ``published`` is read to its end, after the first event was.
    """
    verdict = Verdict(stream)
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        checks = CheckpointCheck(_stored(connection), published, complaint)
        _Walk(verdict, checks, head(connection).position).walk(connection, stream, progress)
        checks.end()
    row = connection.execute(NEWEST).fetchone()
    checks.newest_is(int(row[0]) if row else 0)
    _look_at_read_models(connection, verdict)
    verdict.stored, verdict.published, verdict.sealed = checks.stored, checks.published, checks.good
    verdict.failed, verdict.failed_count = checks.failed, checks.failed_count
    return verdict


class _Walk:
    """One walk over events and trail, side by side."""

    def __init__(self, verdict: Verdict, checks: CheckpointCheck, chained: int) -> None:
        self._verdict = verdict
        self._checks = checks
        self._chained = chained  # the trail's last position
        self._trail = GENESIS  # the chain's hash as the trail tells it
        self._since = 0

    def walk(
        self, connection: Connection[Any], stream: UUID | None, progress: Progress | None
    ) -> None:
        of = None if stream is None else stream.bytes
        events = _rows(connection, "events", EVENTS if of is None else OF_STREAM, stream)
        for count, (event, link) in enumerate(
            _side_by_side(events, _rows(connection, "trail", TRAIL))
        ):
            if link is not None:
                self._look_at_link(link)
            if event is not None:
                self._event(event, link)
            elif link is not None and of is not None and bytes(link[1]) != of:
                self._advance(link[0], bytes(link[2]))
            elif link is not None:
                self._note(link[0], "event_missing", link, None)
            if progress is not None and count % CHUNK == 0:
                progress(self._verdict.position, self._chained)
        if progress is not None:
            progress(self._chained, self._chained)

    def _event(self, event: Row, link: Stored | None) -> None:
        position, verdict = event[0], self._verdict
        event_hash, bare_hash, fact = hashed(event)
        verdict.events += 1
        if link is None:
            if position > self._chained:
                verdict.waiting += 1
            else:
                self._note(position, "event_inserted", None, event_hash, bytes(event[1]))
        elif bytes(link[2]) != event_hash:
            kind = "columns_changed" if bare_hash == bytes(link[2]) else "event_changed"
            self._note(position, kind, link, event_hash)
        elif not _is_told(event, fact, link):
            self._note(position, "trail_changed", link, event_hash, bytes(event[1]))
        self._advance(position, event_hash)

    def _advance(self, position: int, event_hash: bytes) -> None:
        verdict = self._verdict
        verdict.position = position
        verdict.chain_hash = linked(verdict.chain_hash, event_hash)
        good = self._checks.good
        self._checks.passed(position, verdict.chain_hash)
        verdict.unsealed = 0 if self._checks.good != good else verdict.unsealed + 1

    def _look_at_link(self, link: Stored) -> None:
        """The trail must follow from itself; else rows of it were taken away or changed."""
        if linked(self._trail, bytes(link[2])) != bytes(link[3]):
            self._note(link[0], "chain_changed", link, None)
        self._trail = bytes(link[3])

    def _note(
        self,
        position: int,
        kind: str,
        link: Stored | None,
        event_hash: bytes | None,
        stream: bytes | None = None,
    ) -> None:
        of = bytes(link[1]) if stream is None and link is not None else stream
        self._verdict.note(
            Problem(
                position,
                kind,
                UUID(bytes=of) if of else None,
                bytes(link[2]).hex() if link else None,
                event_hash.hex() if event_hash else None,
            )
        )


def _is_told(event: Row, fact: Fact | None, link: Stored) -> bool:
    """Whether the trail's row says of an event what the event says; exports and times rest on
    it."""
    if (link[1], link[4], link[5]) != (event[1], event[2], type_of(event[3])):
        return False
    return fact is None or link[6:] == told_of(fact) or link[6:] == UNKNOWN


def _side_by_side(
    events: Iterator[Row], trail: Iterator[Stored]
) -> Iterator[tuple[Row | None, Stored | None]]:
    """Both in order of position, those of the same position together."""
    event, link = next(events, None), next(trail, None)
    while event is not None or link is not None:
        if link is None or (event is not None and event[0] < link[0]):
            yield event, None
            event = next(events, None)
        elif event is None or link[0] < event[0]:
            yield None, link
            link = next(trail, None)
        else:
            yield event, link
            event, link = next(events, None), next(trail, None)


def _rows(
    connection: Connection[Any], name: str, query: str, *values: UUID | None
) -> Iterator[Any]:
    with connection.cursor(name=f"verify_{name}", binary=True) as cursor:
        cursor.itersize = CHUNK
        cursor.execute(query.encode(), [value for value in values if value is not None])
        yield from cursor


def _stored(connection: Connection[Any]) -> Iterator[Checkpoint]:
    with connection.cursor(name="verify_checkpoints", binary=True) as cursor:
        cursor.execute(f"{SEALED} ORDER BY position".encode())
        for row in cursor:
            yield Checkpoint(*row)


def _look_at_read_models(connection: Connection[Any], verdict: Verdict) -> None:
    """Read models cannot have folded what was never there. (They are no proof: whoever cuts the
    log can cut them. But few think of it.)"""
    known = connection.execute("SELECT to_regclass('positions') IS NOT NULL").fetchone()
    row = connection.execute(FOLDED).fetchone() if known and known[0] else None
    if row and row[0] and row[0] > row[1]:
        verdict.note(Problem(row[0], "tail_missing", None, None, None))
