"""Checkpoints against the chain as it is made anew: those of the table, and those published
outside the database. The second kind is what binds whoever can change the first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from domain.chain import Checkpoint

FAILED_MAX = 100
STORED, PUBLISHED = "table", "published"

Complaint = Callable[[Checkpoint], str | None]
"""What is wrong with a signature; None: nothing."""


class FailedCheckpoint(NamedTuple):
    """A checkpoint that does not hold. ``where``: `table` or `published`."""

    position: int
    where: str
    reason: str


class Source:
    """Checkpoints of one place, in the order in which they stand there: of rising position."""

    def __init__(self, where: str, found: Iterable[Checkpoint | int]) -> None:
        self.where = where
        self.count = 0
        self.last = 0
        self._found = iter(found)
        self._next = next(self._found, None)

    def upto(self, position: int | None) -> Iterator[Checkpoint | int]:
        """Take what stands at or before a position (None: the rest), and what is no checkpoint."""
        while self._next is not None:
            one = self._next
            if isinstance(one, Checkpoint):
                if position is not None and one.position > position:
                    return
                self.count += 1
            self._next = next(self._found, None)
            yield one


class CheckpointCheck:
    """Told of each event as the chain passes it, it judges the checkpoints on the way.

    ``published`` is None where nothing is published outside.
    """

    def __init__(
        self,
        stored: Iterable[Checkpoint],
        published: Iterable[Checkpoint | int] | None,
        complaint: Complaint,
    ) -> None:
        self._stored = Source(STORED, stored)
        self._published = None if published is None else Source(PUBLISHED, published)
        self._complaint = complaint
        self._newer: list[Checkpoint] = []
        self.failed: list[FailedCheckpoint] = []
        self.failed_count = 0
        self.good = 0
        """The position of the last checkpoint that holds."""

    @property
    def stored(self) -> int:
        """How many the table has."""
        return self._stored.count

    @property
    def published(self) -> int | None:
        """How many were published; None where none are."""
        return None if self._published is None else self._published.count

    def passed(self, position: int, chain_hash: bytes) -> None:
        """The chain has come to an event: judge what stands up to there."""
        outside = None
        if self._published is not None:
            outside = [
                one
                for one in self._published.upto(position)
                if self._holds(self._published, one, position, chain_hash)
            ]
        for one in self._stored.upto(position):
            if not self._holds(self._stored, one, position, chain_hash):
                continue
            if outside is not None and one not in outside:
                self._fail(position, STORED, "it was not published")
            elif outside is None or self.good < position:
                self.good = position
        if outside and self.good < position:
            self.good = position

    def end(self) -> None:
        """The last event was passed: what the table still has is of events that are gone."""
        for one in self._stored.upto(None):
            assert isinstance(one, Checkpoint)
            self._fail(one.position, STORED, "there is no event at its position")
        if self._published is not None:
            for newer in self._published.upto(None):
                if isinstance(newer, int):
                    self._fail(0, PUBLISHED, f"line {newer} is no checkpoint")
                elif len(self._newer) < FAILED_MAX:
                    self._newer.append(newer)

    def newest_is(self, position: int) -> None:
        """The log has events up to here by now: what was published beyond is of none."""
        for one in self._newer:
            if one.position > position:
                self._fail(one.position, PUBLISHED, "there is no event at its position")

    def _holds(
        self, source: Source, one: Checkpoint | int, position: int, chain_hash: bytes
    ) -> bool:
        if isinstance(one, int):
            self._fail(position, source.where, f"line {one} is no checkpoint")
            return False
        complaint = self._complaint(one)
        if complaint is None and one.position < source.last:
            complaint = "it stands out of order"
        source.last = max(source.last, one.position)
        if complaint is None and one.position != position:
            complaint = "there is no event at its position"
        if complaint is None and one.chain_hash != chain_hash:
            complaint = "the events before it are not those that it was signed for"
        if complaint is not None:
            self._fail(one.position, source.where, complaint)
        return complaint is None

    def _fail(self, position: int, where: str, reason: str) -> None:
        self.failed_count += 1
        if len(self.failed) < FAILED_MAX:
            self.failed.append(FailedCheckpoint(position, where, reason))
