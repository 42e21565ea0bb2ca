"""What waits for one commit: decided commands, the rows they write and the state they assume."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol, cast
from uuid import UUID

import msgspec

from adapters.postgres import arrays
from domain.codec import encode_fact
from domain.commands import Command, Done, Stream
from domain.errors import InvalidInput
from domain.facts import Aggregate, Recorded, together

Row = tuple[UUID, int, str, bytes, str, int | None, int | None]
"""stream, version, topic, state, cause, amount, balance_after"""

Key = int
"""A stream's UUID as the number it is: hashing a UUID costs more than deciding does."""


class Answer(Protocol):
    """Where a command's end goes: a future, or a place in a bulk's list."""

    def done(self) -> bool:
        """Whether nobody waits for it any more."""
        ...

    def set_result(self, result: Done, /) -> None:
        """The command was committed."""
        ...

    def set_exception(self, exception: BaseException, /) -> None:
        """The command was refused, or failed."""
        ...


class Gathering:
    """The ends of many commands, in their order; ``whole`` is done when all are."""

    def __init__(self, count: int, whole: asyncio.Future[list[Done | BaseException]]) -> None:
        self.ends: list[Done | BaseException | None] = [None] * count
        self.left = count
        self.whole = whole
        if not count:
            whole.set_result([])

    def place(self, index: int) -> Place:
        """Where one command's end goes."""
        return Place(self, index)

    def put(self, index: int, end: Done | BaseException) -> None:
        """Take one end; the last one completes the whole."""
        self.ends[index] = end
        self.left -= 1
        if not self.left and not self.whole.done():
            self.whole.set_result(cast("list[Done | BaseException]", self.ends))


class Place(msgspec.Struct, gc=False):
    """One place in a gathering; an `Answer`."""

    gathering: Gathering
    index: int

    def done(self) -> bool:
        """Whether this end is known."""
        return self.gathering.ends[self.index] is not None

    def set_result(self, result: Done) -> None:
        """The command was committed."""
        self.gathering.put(self.index, result)

    def set_exception(self, exception: BaseException) -> None:
        """The command was refused, or failed."""
        self.gathering.put(self.index, exception)


class Waiting(msgspec.Struct, gc=False):
    """A command on its way: where its end goes, how often it decided again, what that gave."""

    command: Command
    answer: Answer
    key: tuple[Key, str] | None = None  # what makes it unique; None for one that may run twice
    attempts: int = 0
    decided: Any = None
    refusal: Exception | None = None
    facts: tuple[Recorded, ...] = ()
    rows: tuple[Row, ...] = ()
    # The same cause, asked again before the first was answered: they share its fate.
    followers: tuple[Waiting, ...] = ()

    @classmethod
    def of(cls, command: Command, answer: Answer) -> Waiting:
        """A command that has just come in."""
        cause = command.cause
        key = None if cause is None else (command.streams[0].id.int, cause)
        return cls(command, answer, key)

    def touches(self, keys: set[Key]) -> bool:
        """Whether the decision rests on one of these streams."""
        return any(s.id.int in keys for s in self.command.streams) or any(
            s.id.int in keys for s in self.command.reads
        )

    def settle(self, done: Done) -> None:
        """Answer the command, and as replays those that asked for the same."""
        if not self.answer.done():
            self.answer.set_result(done)
        if not self.followers:
            return
        again = Done(
            done.answer,
            tuple(recorded for recorded in done.facts if self._is_original(recorded)),
            done.position,
            True,
        )
        for follower in self.followers:
            follower.settle(again)

    def fail(self, error: BaseException) -> None:
        """Refuse the command, and those that asked for the same."""
        if not self.answer.done():
            self.answer.set_exception(error)
        for follower in self.followers:
            follower.fail(error)

    def _is_original(self, recorded: Recorded) -> bool:
        return recorded.fact.unique_cause() == self.command.cause


class Batch:
    """Commands decided in order on tentative state, ready to be committed together."""

    __slots__ = ("_read", "_reads", "state", "waiting")

    def __init__(self) -> None:
        self.waiting: list[Waiting] = []
        self.state: dict[Key, Aggregate] = {}
        # Most commands read the same streams, which no command of the batch writes.
        self._reads: tuple[Stream, ...] | None = None
        self._read: list[Aggregate] = []

    def decide(self, item: Waiting, base: Callable[[Key], Aggregate]) -> None:
        """Let a command decide on this batch's state; a refusal leaves no trace in it.

        ``base`` gives the state before this batch; it is cloned before anything changes.

        :raises KeyError: by ``base``, for a stream that is not loaded; nothing was decided.
        """
        command = item.command
        state = self.state
        own: list[Aggregate] = []
        for stream in command.streams:
            key = stream.id.int
            aggregate = state.get(key)
            if aggregate is None:
                aggregate = state[key] = base(key).clone()
                self._reads = None
            own.append(aggregate)
        before = [aggregate.version for aggregate in own]
        if command.reads is not self._reads:
            self._read = [state.get(s.id.int) or base(s.id.int) for s in command.reads]
            self._reads = command.reads
        item.refusal = None
        facts = together(own)
        try:
            item.decided = command.decide(*own, *self._read)
            item.rows = tuple([row_of(recorded) for recorded in facts])
            item.facts = tuple(facts)
        except Exception as error:
            item.refusal = error
            item.facts = ()
            item.rows = ()
            for aggregate, version in zip(own, before, strict=True):
                if aggregate.version != version:
                    self._restore(aggregate, base)
        finally:
            for aggregate in own:
                aggregate.pending = []
        self.waiting.append(item)

    def _restore(self, touched: Aggregate, base: Callable[[Key], Aggregate]) -> None:
        """Undo what a refused decision recorded before it refused."""
        key = touched.id.int
        aggregate = self.state[key] = base(key).clone()
        for item in self.waiting:
            for recorded in item.facts:
                if recorded.originator_id == touched.id:
                    aggregate.fold(recorded.fact, recorded.originator_version)

    def arguments(self, base: Callable[[Key], Aggregate]) -> tuple[bytes, ...]:
        """The eleven arrays of `append_events`, packed."""
        rows = [row for item in self.waiting for row in item.rows]
        written = {row[0].int for row in rows}
        guards: dict[UUID, int] = {}
        refused_ids: list[UUID] = []
        refused_causes: list[str] = []
        seen: set[int] = set()  # most commands share one tuple of reads
        for item in self.waiting:
            command = item.command
            if id(command.reads) not in seen:
                seen.add(id(command.reads))
                for stream in command.reads:
                    if stream.id.int not in written:
                        guards[stream.id] = base(stream.id.int).version
            if item.rows:
                continue
            for stream in command.streams:
                if stream.id.int not in written:
                    guards[stream.id] = base(stream.id.int).version
            if command.cause is not None:
                refused_ids.append(command.streams[0].id)
                refused_causes.append(command.cause)
        return (
            *_packed(rows),
            arrays.uuids(list(guards)),
            arrays.bigints(list(guards.values())),
            arrays.uuids(refused_ids),
            arrays.texts(refused_causes),
        )


def _packed(rows: list[Row]) -> tuple[bytes, ...]:
    ids, versions, topics, states, causes, amounts, balances = (
        zip(*rows, strict=True) if rows else ((),) * 7
    )
    return (
        arrays.uuids(ids),
        arrays.bigints(versions),
        arrays.texts(topics),
        arrays.byteas(states),
        arrays.texts(causes),
        arrays.bigints(amounts),
        arrays.bigints(balances),
    )


NOTHING_MOVED = (None, None)


def row_of(recorded: Recorded) -> Row:
    """The columns of one event."""
    fact = recorded.fact
    amount, balance_after = fact.wallet_move() or NOTHING_MOVED
    cause = fact.unique_cause()
    if "\0" in cause:
        raise InvalidInput(("event_id",), "must not contain a NUL character")
    return (
        recorded.originator_id,
        recorded.originator_version,
        fact.TOPIC,
        encode_fact(fact),
        cause,
        amount,
        balance_after,
    )
