"""The book of original entry in memory: the use cases run on it, one after the other.

It keeps the promises of the one on PostgreSQL: decisions are taken on committed state, a refusal
leaves nothing, a cause happens once in its stream, and several streams move together.
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar
from uuid import UUID

from domain.account.credit_account import CreditAccount
from domain.commands import Command, Done, Stream
from domain.facts import Aggregate, Recorded, project, together

T = TypeVar("T")


def run(asked: Coroutine[Any, Any, T]) -> T:
    """The answer of a use case: on a book in memory there is nothing to wait for."""
    try:
        asked.send(None)
    except StopIteration as done:
        answer: T = done.value
        return answer
    raise AssertionError("it waits for something")


class MemoryBook:
    """Every stream's events and its folded state."""

    def __init__(self) -> None:
        self.states: dict[UUID, Aggregate] = {}
        self.events: list[Recorded] = []
        self.causes: dict[tuple[UUID, str], Recorded] = {}

    @property
    def position(self) -> int:
        """How many events there are."""
        return len(self.events)

    async def submit(self, command: Command) -> Done:
        """Decide and commit."""
        first = self.causes.get((command.streams[0].id, command.cause or ""))
        if first is not None:
            return Done(None, (first,), self.events.index(first) + 1, True)
        moved = [self._copy(stream) for stream in command.streams]
        facts = together(moved)
        answer = command.decide(*moved, *(self._copy(stream) for stream in command.reads))
        for aggregate in moved:
            aggregate.pending = []
        named = [(event.originator_id, event.fact.unique_cause()) for event in facts]
        twice = [cause for cause in named if cause in self.causes or named.count(cause) > 1]
        assert not twice, f"the unique index on causes would refuse {twice}, for ever"
        for event, cause in zip(facts, named, strict=True):
            self.causes[cause] = event
        self.events += facts
        self.states |= {aggregate.id: aggregate for aggregate in moved}
        return Done(answer, tuple(facts), self.position, False)

    async def submit_all(self, commands: Sequence[Command]) -> list[Done | BaseException]:
        """Each command for itself."""
        ends: list[Done | BaseException] = []
        for command in commands:
            try:
                ends.append(await self.submit(command))
            except Exception as refused:
                ends.append(refused)
        return ends

    async def fresh(self, stream: Stream) -> Aggregate:
        """A stream's state."""
        return self._copy(stream)

    async def find(self, stream: UUID, version: int) -> tuple[Recorded, int] | None:
        """The event at a place."""
        for position, event in enumerate(self.events, 1):
            if (event.originator_id, event.originator_version) == (stream, version):
                return event, position
        return None

    async def find_cause(self, stream: UUID, cause: str) -> tuple[Recorded, int] | None:
        """The event of a cause."""
        event = self.causes.get((stream, cause))
        return (event, self.events.index(event) + 1) if event else None

    async def balance_at(self, stream: UUID, version: int) -> int:
        """An account's balance right after one of its events."""
        events = [e for e in self.stream(stream) if e.originator_version <= version]
        account = project(None, events)
        assert isinstance(account, CreditAccount)
        return account.balance

    def stream(self, id: UUID) -> list[Recorded]:
        """One stream's events, oldest first."""
        return [event for event in self.events if event.originator_id == id]

    def _copy(self, stream: Stream) -> Aggregate:
        known = self.states.get(stream.id)
        return known.clone() if known is not None else stream.kind(stream.id)
