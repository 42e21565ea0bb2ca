"""The writer's desk: committed state, the batch in flight, and the one being decided. No I/O.

Commands decide on the state that the batch in flight will leave behind. If that batch does not
go through as it was decided, what rests on it decides again; what does not is kept as it is.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from uuid import UUID

from adapters.postgres.batch import Answer, Batch, Key, Waiting
from adapters.postgres.streams import Found
from domain.commands import Command, Done
from domain.errors import Busy, ConcurrencyConflict
from domain.facts import Aggregate

ATTEMPTS = 10
HOT_SECONDS = 1.0
OTHERS_SECONDS = 5.0


class Desk:
    """Decides commands in order and answers them when their batch has ended."""

    def __init__(self, cache_size: int, queue_limit: int, wake: Callable[[], None]) -> None:
        self.wake = wake  # called when there is work that nobody submitted
        self.cache: OrderedDict[Key, Aggregate] = OrderedDict()
        self.open = Batch()
        self.in_flight: Batch | None = None
        self.cold: list[Waiting] = []
        self.count = 0
        self._cache_size = cache_size
        self._queue_limit = queue_limit
        self._asked: dict[tuple[Key, str], Waiting] = {}
        self._others_until = time.monotonic()
        self._lost_until: dict[Key, float] = {}  # streams that others were faster with
        self._hot_until: dict[Key, float] = {}

    # -- taking commands ----------------------------------------------------------------------

    def take(self, command: Command, answer: Answer) -> None:
        """Decide a command, or put it aside until its streams are loaded.

        :raises Busy: the queue is full.
        """
        if self.count >= self._queue_limit:
            raise Busy()
        self.count += 1
        item = Waiting.of(command, answer)
        key = item.key
        if key is not None:
            first = self._asked.get(key)
            if first is not None:
                first.followers = (*first.followers, item)
                return
            self._asked[key] = item
        self.decide(item)

    def decide(self, item: Waiting) -> None:
        """Decide on the open batch, or note that a stream is missing."""
        try:
            self.open.decide(item, self._before_open)
        except KeyError:
            self.cold.append(item)

    def _before_open(self, key: Key) -> Aggregate:
        """The state that the batch in flight leaves behind, if it commits."""
        batch = self.in_flight
        if batch is not None:
            aggregate = batch.state.get(key)
            if aggregate is not None:
                return aggregate
        return self.cache[key]

    def committed(self, key: Key) -> Aggregate:
        """The newest state that the database is known to hold."""
        return self.cache[key]

    def next_batch(self) -> Batch:
        """Close the open batch; it is in flight from here on."""
        batch = self.in_flight = self.open
        self.open = Batch()
        return batch

    # -- ending commands ----------------------------------------------------------------------

    def settle(self, batch: Batch, last: int, snapshot_every: int) -> list[Aggregate]:
        """The batch is committed with ``last`` as its last position: its state is the state,
        and everybody is answered. Returns the aggregates that are due for a snapshot."""
        due: list[Aggregate] = []
        for key, aggregate in batch.state.items():
            before = self.cache.get(key)
            self.cache[key] = aggregate
            self.cache.move_to_end(key)
            step = aggregate.version // snapshot_every
            if before is not None and step > before.version // snapshot_every:
                due.append(aggregate)
        position = last - sum(len(item.rows) for item in batch.waiting)
        answers: list[tuple[Waiting, int]] = []
        for item in batch.waiting:
            self.finish(item, item.refusal is None)
            position += len(item.rows)
            answers.append((item, position))
        if self.open.waiting:
            self._answer(answers)
            return due
        # Everybody waited for this batch. Half of them are answered first, so that what they
        # ask next is on its way to the database while the other half decides.
        half = len(answers) // 2
        self._answer(answers[:half])
        asyncio.get_running_loop().call_soon(self._answer, answers[half:])
        return due

    def _answer(self, answers: list[tuple[Waiting, int]]) -> None:
        for item, position in answers:
            if item.refusal is not None:
                self.refuse(item, item.refusal)
            else:
                item.settle(Done(item.decided, item.facts, position, False))

    def refuse(self, item: Waiting, refusal: Exception) -> None:
        """Answer one command with no; those that asked under the same cause meanwhile may have
        asked for something else, so the next of them decides for itself."""
        followers, item.followers = item.followers, ()
        item.fail(refusal)
        if followers:
            first = followers[0]
            first.followers = followers[1:]
            key = first.key
            assert key is not None
            self._asked[key] = first
            self.decide(first)
            self.wake()

    def finish(self, item: Waiting, followers: bool = True) -> None:
        """The command waits no longer, nor do those that share its fate."""
        self.count -= 1 + (len(item.followers) if followers else 0)
        key = item.key
        if key is not None and (followers or not item.followers):
            self._asked.pop(key, None)

    def fail(self, items: Iterable[Waiting], error: BaseException) -> None:
        """Refuse commands whose end nobody can promise any more."""
        for item in items:
            if not item.answer.done():
                self.finish(item)
                item.fail(error)

    def give_up(self, error: BaseException) -> None:
        """Answer everybody with an error, and trust no cached state: it may be behind an
        outcome that nobody saw."""
        in_flight = self.in_flight.waiting if self.in_flight is not None else []
        batch, self.open = self.open, Batch()
        self.fail((*in_flight, *batch.waiting), error)
        self.in_flight = None
        self.cache.clear()

    # -- deciding again -----------------------------------------------------------------------

    def known(self, batch: Batch) -> dict[Key, Aggregate]:
        """Copies of the committed state of every stream that a batch rests on."""
        return {
            stream.id.int: self.cache[stream.id.int].clone()
            for item in batch.waiting
            for stream in (*item.command.streams, *item.command.reads)
        }

    def again(
        self,
        batch: Batch,
        found: dict[tuple[Key, str], Found],
        newer: dict[Key, Aggregate],
        moved: set[Key],
        contended: bool,
    ) -> Batch:
        """Answer what turned out to be recorded, take in what others wrote, and let only the
        commands that rest on it decide again. Returns what is left to commit; the same batch
        where there was nothing new.

        ``newer`` holds the streams as the database has them, of which ``moved`` have moved on;
        ``contended`` says that another process wrote them, so that turns be taken for a while.
        """
        if not found and not moved:
            return batch
        for key in moved:
            self.cache[key] = newer[key]
        if contended:
            self._note_others(key for key in moved if key in batch.state)
        rest = self._answer_found(batch, found, moved, maybe_ours=not contended)
        _spread(moved, [*rest, *self.open.waiting])
        left = self.in_flight = Batch()
        left.state = {key: a for key, a in batch.state.items() if key not in moved}
        for item in rest:
            if not item.touches(moved):
                left.waiting.append(item)
            elif item.attempts >= ATTEMPTS:
                self.fail((item,), ConcurrencyConflict())
            else:
                item.attempts += 1
                left.decide(item, self.committed)
        self.decide_open_again(moved)
        return left

    def _answer_found(
        self,
        batch: Batch,
        found: dict[tuple[Key, str], Found],
        moved: set[Key],
        *,
        maybe_ours: bool,
    ) -> list[Waiting]:
        """Answer the commands whose cause is recorded; returns the others. ``maybe_ours`` says
        that the batch may have been committed unseen: what was refused never was, even if
        another process recorded the very same bytes at the same place."""
        rest: list[Waiting] = []
        for item in batch.waiting:
            event = found.get(item.key) if item.key is not None else None
            if event is None:
                rest.append(item)
                continue
            moved.update(stream.id.int for stream in item.command.streams)
            self.finish(item)
            place = (event.recorded.originator_id, event.recorded.originator_version)
            ours = next((row for row in item.rows if row[:2] == place), None)
            if maybe_ours and ours is not None and ours[3] == event.state:
                # Our own commit, whose acknowledgement was lost on the way.
                behind = len(item.rows) - 1 - item.rows.index(ours)
                item.settle(Done(item.decided, item.facts, event.position + behind, False))
            else:
                item.settle(Done(None, (event.recorded,), event.position, True))
        return rest

    def decide_open_again(self, moved: set[Key]) -> None:
        """What was decided meanwhile on state that will not come to be decides again too."""
        before, self.open = self.open, Batch()
        _spread(moved, before.waiting)
        self.open.state = {key: a for key, a in before.state.items() if key not in moved}
        for item in before.waiting:
            if item.touches(moved):
                self.decide(item)
            else:
                self.open.waiting.append(item)

    def drop(self, batch: Batch, error: BaseException) -> None:
        """A batch the database finds impossible: its commands fail, nothing of it happened."""
        for item in batch.waiting:
            self.finish(item)
            item.fail(error)
        gone = set(batch.state)
        batch.state = {}
        self.decide_open_again(gone)

    # -- taking turns, and the cache ----------------------------------------------------------

    def _note_others(self, keys: Iterable[Key]) -> None:
        """Other processes write too. At first it is enough to look before the next commits;
        for a stream that was lost again within a second, processes have to take turns."""
        now = time.monotonic()
        if now < self._others_until:
            self._lost_until = {
                key: at for key, at in self._lost_until.items() if at > now - HOT_SECONDS
            }
            for key in keys:
                if key in self._lost_until:
                    self.heat(key)
                self._lost_until[key] = now
        self._others_until = now + OTHERS_SECONDS

    def heat(self, key: Key) -> None:
        """Several processes race for this stream: take turns for a while."""
        self._hot_until[key] = time.monotonic() + HOT_SECONDS

    def hot(self, batch: Batch) -> list[UUID]:
        """The batch's streams that several processes raced for just now, in one fixed order."""
        if not self._hot_until:
            return []
        now = time.monotonic()
        self._hot_until = {key: until for key, until in self._hot_until.items() if until > now}
        return sorted(a.id for key, a in batch.state.items() if key in self._hot_until)

    def stale(self, batch: Batch) -> dict[Key, Aggregate]:
        """Copies of the batch's streams as last seen, while other processes may have written
        them since; nothing where this process writes alone."""
        if time.monotonic() > self._others_until:
            return {}
        return {key: self.cache[key].clone() for key in batch.state}

    def shrink(self) -> None:
        """Forget the longest unused streams beyond the cache's bound."""
        excess = len(self.cache) - self._cache_size
        if excess <= 0:
            return
        needed = {
            stream.id.int
            for item in self.open.waiting
            for stream in (*item.command.streams, *item.command.reads)
        }
        idle = [key for key in self.cache if key not in needed]
        for key in idle[:excess]:
            del self.cache[key]


def _spread(moved: set[Key], items: list[Waiting]) -> None:
    """A command that decides again carries the need to all the streams it moves: their state
    holds its first decision, and so does whatever was decided after it."""
    before = -1
    while before != len(moved):
        before = len(moved)
        for item in items:
            if item.touches(moved):
                moved.update(stream.id.int for stream in item.command.streams)
