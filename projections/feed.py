"""Reads the book in order, decodes each event once, and lets every model fold it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from eventsourcing.utils import TopicError
from psycopg import Connection

from domain.codec import decode_fact, kind_of
from projections.read_model import Changes, Posted, ReadModel

READ = """
    SELECT notification_id, uuid_send(originator_id), originator_version, topic, state FROM events
    WHERE notification_id > %b ORDER BY notification_id LIMIT %b
"""
Row = tuple[int, bytes, int, str, bytes]
REMEMBERED = 100_000


CHUNK = 1_000
"""Facts in memory at a time: what is folded while it is in the processor's cache costs about
a quarter less than 20,000 at once."""


class Batch(NamedTuple):
    """What events up to a position ask of each model, or why a model cannot take them."""

    upto: int
    size: int  # events of any kind
    changes: dict[str, Changes]
    errors: dict[str, Exception]


class Feed:
    """Hands out what is posted to the models that asked for it."""

    def __init__(self, connection: Connection[Any]) -> None:
        self._connection = connection
        self._kinds: dict[str, type | None] = {}
        self._streams: dict[bytes, UUID] = {}

    def read(self, after: int, limit: int) -> list[Row]:
        """The next events behind a position, at most ``limit``."""
        return self._connection.execute(READ, (after, limit), prepare=True, binary=True).fetchall()

    def fold(self, rows: Sequence[Row], models: Sequence[ReadModel]) -> Batch:
        """Decode once what any of the models asks for, and let each fold what it asks for."""
        changes = {model.name: model.nothing() for model in models}
        errors: dict[str, Exception] = {}
        for start in range(0, len(rows), CHUNK):
            inboxes = self._sort(rows[start : start + CHUNK], models, errors)
            for model in models:
                inbox = inboxes[model.name]
                if inbox and model.name not in errors:
                    try:
                        model.fold(inbox, changes[model.name])
                    except Exception as error:
                        errors[model.name] = error
        return Batch(rows[-1][0], len(rows), changes, errors)

    def _sort(
        self, rows: Sequence[Row], models: Sequence[ReadModel], errors: dict[str, Exception]
    ) -> dict[str, list[Posted]]:
        inboxes: dict[str, list[Posted]] = {model.name: [] for model in models}
        wanted: dict[str, tuple[list[Posted], ...]] = {}
        streams = self._streams
        for position, stream, version, topic, state in rows:
            asking = wanted.get(topic)
            if asking is None:
                kind = self._kind(topic)
                asking = wanted[topic] = tuple(
                    inboxes[model.name] for model in models if kind in model.facts
                )
            if not asking:
                continue
            try:
                fact = decode_fact(topic, state)
            except Exception as error:
                kind = self._kind(topic)
                errors |= {model.name: error for model in models if kind in model.facts}
                continue
            posted = (position, streams.get(stream) or self._stream(stream), version, fact)
            for inbox in asking:
                inbox.append(posted)
        return inboxes

    def _stream(self, raw: bytes) -> UUID:
        # Made once a stream: psycopg would make one an event.
        if len(self._streams) >= REMEMBERED:
            self._streams.clear()
        stream = self._streams[raw] = UUID(bytes=raw)
        return stream

    def _kind(self, topic: str) -> type | None:
        """The type a topic names, old names included; None for what this code does not know."""
        if topic not in self._kinds:
            try:
                self._kinds[topic] = kind_of(topic)
            except TopicError:
                self._kinds[topic] = None
        return self._kinds[topic]
