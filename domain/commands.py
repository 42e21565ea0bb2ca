"""What the use cases hand to the writer, and what they get back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, Protocol
from uuid import UUID

import msgspec

from domain.facts import Aggregate, Recorded


class Stream(NamedTuple):
    """One stream and the aggregate that folds it."""

    kind: type[Aggregate]
    id: UUID


class Command(msgspec.Struct, frozen=True, gc=False):
    """A decision to take on fresh state, exactly once.

    ``decide`` is called with the aggregates of ``streams``, then of ``reads``; it records facts
    on the former or refuses, and may be called again if others moved the streams meanwhile.
    ``cause`` is the cause of the fact, in the first stream, by which a retry finds it.
    """

    streams: tuple[Stream, ...]
    decide: Callable[..., Any]
    cause: str | None = None
    reads: tuple[Stream, ...] = ()


class Done(NamedTuple):
    """A command's committed end. For a replay, ``facts`` holds the event of the first time."""

    answer: Any
    facts: tuple[Recorded, ...]
    position: int
    replayed: bool


class Book(Protocol):
    """The book of original entry, as the use cases see it (`adapters/postgres/writer.py`)."""

    def submit(self, command: Command) -> Awaitable[Done]:
        """Decide, commit and answer; raises the decision's refusal, or `TryAgain`."""
        ...

    async def submit_all(self, commands: Sequence[Command]) -> list[Done | BaseException]:
        """Decide many commands in order and commit them in few transactions."""
        ...

    async def fresh(self, stream: Stream) -> Aggregate:
        """The stream's state as committed now."""
        ...

    async def find(self, stream: UUID, version: int) -> tuple[Recorded, int] | None:
        """The event at a place and its position."""
        ...

    async def find_cause(self, stream: UUID, cause: str) -> tuple[Recorded, int] | None:
        """The event of a cause and its position."""
        ...

    async def balance_at(self, stream: UUID, version: int) -> int:
        """The wallet balance in µ right after an event of an account's stream."""
        ...
