"""What an auditor takes along: the audit trail, the usage and the journal, row by row.

Each is read in one snapshot, in order of position, and never held as a whole. Times are half-open,
[since, until), of when facts were recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from eventsourcing.utils import TopicError
from psycopg import Connection

from domain.codec import decode_fact
from domain.identity import usage_id
from projections import usage_events
from projections.journal import FOLDS, Entry, entry
from projections.surroundings import FromTheBook

CHUNK = 5_000
Kind = Literal["int", "text", "time", "flag"]
KINDS: dict[str, Kind] = {
    **dict.fromkeys(("int2", "int4", "int8"), "int"),
    "timestamptz": "time",
    "bool": "flag",
}
"""What columns of the database are; others are text."""

WHERE = """
    WHERE position > %(after)s AND position <= %(upto)s
      AND (%(since)s::timestamptz IS NULL OR recorded_at >= %(since)s)
      AND (%(until)s::timestamptz IS NULL OR recorded_at < %(until)s)
      AND (%(streams)s::uuid[] IS NULL OR stream = ANY(%(streams)s::uuid[]))
    ORDER BY position
"""
TRAIL = f"""
    SELECT position, stream::text, version, type, actor, cause, correlation_id, occurred_at,
           recorded_at, encode(event_hash, 'hex') AS event_hash,
           encode(chain_hash, 'hex') AS chain_hash
    FROM audit_trail {WHERE}
"""  # noqa: S608 - names of ours
USAGE = f"""
    SELECT {", ".join(name for name in usage_events.COLUMNS)}, voided_at,
           (SELECT workspace_id FROM balances b WHERE b.stream = usage_events.stream)
    FROM usage_events {WHERE}
"""  # noqa: S608
EVENTS = """
    SELECT notification_id, originator_id, originator_version, topic, state FROM events
    WHERE notification_id > %(after)s AND notification_id <= %(upto)s AND kind = ANY(%(kinds)s)
      AND (%(streams)s::uuid[] IS NULL OR originator_id = ANY(%(streams)s::uuid[]))
    ORDER BY notification_id
"""
JOURNAL: tuple[tuple[str, Kind], ...] = (
    ("position", "int"),
    ("line", "int"),
    ("recorded_at", "time"),
    ("type", "text"),
    ("workspace_id", "text"),
    ("account", "text"),
    ("unit", "text"),
    ("debit", "int"),  # µ where the unit is money
    ("credit", "int"),
    ("event_id", "text"),
    ("usage_id", "text"),
)


@dataclass(frozen=True)
class Window:
    """Which facts: positions in (after, upto], times in [since, until), of these streams."""

    after: int = 0
    upto: int = 2**62
    since: datetime | None = None
    until: datetime | None = None
    streams: Sequence[UUID] | None = None  # None: all

    @property
    def values(self) -> dict[str, Any]:
        """As the statements call them."""
        streams = None if self.streams is None else list(self.streams)
        return {**vars(self), "streams": streams}

    def holds(self, at: datetime) -> bool:
        """Whether a time is in it."""
        return (self.since is None or at >= self.since) and (self.until is None or at < self.until)


@dataclass(frozen=True)
class Rows:
    """Columns, and rows as they come."""

    columns: tuple[tuple[str, Kind], ...]
    rows: Iterator[tuple[Any, ...]]


def audit_trail(connection: Connection[Any], window: Window) -> Rows:
    """Every event with its hashes."""
    return _selected(connection, TRAIL, window)


def usage(connection: Connection[Any], window: Window) -> Rows:
    """Every metered act, with who paid, and its usage_id."""
    found = _selected(connection, USAGE, window)
    names = [name for name, _ in found.columns]
    stream, version = names.index("stream"), names.index("version")
    rows = ((usage_id(UUID(row[stream]), row[version]), *row) for row in found.rows)
    return Rows((("usage_id", "text"), *found.columns), rows)


def journal(connection: Connection[Any], window: Window) -> Rows:
    """The journal, a row a posting."""
    return Rows(JOURNAL, _lines(entries(connection, window)))


TABLES: dict[str, Callable[[Connection[Any], Window], Rows]] = {
    "journal": journal,
    "audit_trail": audit_trail,
    "usage_events": usage,
}


def entries(connection: Connection[Any], window: Window) -> Iterator[Entry]:
    """The journal's entries. The connection is in a transaction of one snapshot."""
    around = FromTheBook(connection)
    values = {**window.values, "kinds": [kind.__name__ for kind in FOLDS]}
    with connection.cursor(name="export_events", binary=True) as cursor:
        cursor.itersize = CHUNK
        cursor.execute(EVENTS, values)
        for position, stream, version, topic, state in cursor:
            try:
                fact = decode_fact(topic, state)
            except TopicError:
                continue
            if window.holds(fact.recorded_at):
                made = entry(position, stream, version, fact, around)
                if made is not None:
                    yield made


def _lines(made: Iterator[Entry]) -> Iterator[tuple[Any, ...]]:
    for one in made:
        for line, posting in enumerate(one.postings, start=1):
            yield (
                *(one.position, line, one.at, one.type, one.workspace_id),
                *(posting.account, posting.unit),
                *(max(posting.amount, 0), max(-posting.amount, 0)),
                *(one.event_id, one.usage_id),
            )


def _selected(connection: Connection[Any], query: str, window: Window) -> Rows:
    cursor = connection.cursor(name="export_rows")
    cursor.itersize = CHUNK
    cursor.execute(query.encode(), window.values)
    types = connection.adapters.types
    columns = []
    for column in cursor.description or ():
        known = types.get(column.type_code)
        columns.append((column.name, KINDS.get(known.name, "text") if known else "text"))
    return Rows(tuple(columns), _plain(cursor))


def _plain(cursor: Any) -> Iterator[tuple[Any, ...]]:
    with cursor:
        for row in cursor:
            yield tuple(str(value) if isinstance(value, UUID) else value for value in row)
