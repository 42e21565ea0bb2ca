"""Facts, their place in a stream, and the aggregates that fold them.

A `Fact` is what happened, in the words of the field, with when it was recorded, why (`cause`)
and by whom. `Recorded` puts it at its place: stream and version. An `Aggregate` is the fold of
one stream; its decisions record new facts, which wait in `collect_events` until they are
committed. All three satisfy the protocols of the `eventsourcing` library.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, Self
from uuid import UUID

import msgspec

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Context(msgspec.Struct, frozen=True, gc=False):
    """Who asks and when; the only way in which time enters the domain."""

    now: datetime  # UTC
    actor: str = "system"  # "key_1", "admin:key_2", "stripe", "system"
    correlation_id: str | None = None


class Fact(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Something that happened. Facts replay for ever, so `apply` never refuses.

    ``recorded_at`` never decreases within a stream. ``cause`` is unique within a stream for ever:
    the same cause cannot make anything happen twice.

    Values of the domain never form cycles, so the garbage collector need not look at them
    (``gc=False``): its pauses would be most of the slowest answers. Stored names are short
    where every event carries them: `at` is ``recorded_at``.
    """

    TOPIC: ClassVar[str]
    """What the library stores as the type's name, see `domain/codec.py`."""

    recorded_at: datetime = msgspec.field(name="at")
    cause: str = ""
    actor: str = "system"  # a key's id, "admin:" and a key's id, "stripe", "system"
    correlation_id: str | None = None

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.TOPIC = f"domain:{cls.__name__}"

    def unique_cause(self) -> str:
        """Why it happened, as the event table's unique index knows it."""
        return self.cause

    def wallet_move(self) -> tuple[int, int] | None:
        """(signed µ, balance after) of a fact that moved wallet money, else None."""
        return None

    def apply(self, aggregate: Any) -> None:
        """Change the aggregate's state. Never refuses, never looks at a clock."""
        raise NotImplementedError


class Recorded(msgspec.Struct, frozen=True, gc=False):
    """A fact at its place in the book. ``originator_id`` and ``originator_version`` as the
    library calls stream and version."""

    originator_id: UUID
    originator_version: int
    fact: Fact

    def mutate(self, aggregate: Aggregate | None) -> Aggregate:
        """Fold this fact into the aggregate, starting one when there is none yet."""
        if aggregate is None:
            aggregate = aggregate_class(type(self.fact))(self.originator_id)
        aggregate.fold(self.fact, self.originator_version)
        return aggregate


_OWNERS: dict[type[Fact], type[Aggregate]] = {}


def aggregate_class(fact: type[Fact]) -> type[Aggregate]:
    """The aggregate whose streams hold facts of this type."""
    return _OWNERS[fact]


class Aggregate(msgspec.Struct, omit_defaults=True, gc=False):
    """The state of one stream. Subclasses list their facts and keep their state small.

    Every field holds an immutable value (facts replace tuples and dicts, they never change them
    in place), so that `clone` is one shallow copy: the writer clones before it decides, and
    what it caches is committed state only.
    """

    category: ClassVar[str] = ""
    facts: ClassVar[tuple[type[Fact], ...]] = ()

    id: UUID
    version: int = 0
    recorded_at: datetime = EPOCH
    pending: list[Recorded] = []

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for fact in cls.facts:
            _OWNERS[fact] = cls

    def fold(self, fact: Fact, version: int) -> None:
        """Take in one committed fact."""
        fact.apply(self)
        self.version = version
        self.recorded_at = fact.recorded_at

    def record(self, fact: Fact) -> None:
        """Decide that this happened: fold it and keep it for the commit."""
        self.fold(fact, self.version + 1)
        self.pending.append(Recorded(self.id, self.version, fact))

    def moment(self, context: Context) -> datetime:
        """When a fact decided now is recorded: never before the stream's last one."""
        return context.now if context.now >= self.recorded_at else self.recorded_at

    def stamp(self, context: Context, cause: str) -> dict[str, Any]:
        """The metadata of a fact that is decided now."""
        return {
            "recorded_at": self.moment(context),
            "cause": cause,
            "actor": context.actor,
            "correlation_id": context.correlation_id,
        }

    def collect_events(self) -> list[Recorded]:
        """Hand over what was decided and is not yet committed."""
        pending, self.pending = self.pending, []
        return pending

    def clone(self) -> Self:
        """An independent copy of the state, without pending facts."""
        twin: Self = self.__copy__()  # type: ignore[attr-defined]  # msgspec's own
        twin.pending = []
        return twin

    def snapshot(self) -> bytes:
        """The whole state as JSON: a short cut for loading, never a source of truth."""
        return msgspec.json.encode(self.clone() if self.pending else self)

    def state(self) -> dict[str, Any]:
        """The state as plain JSON values, for auditors and tests."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        for name in ("id", "version", "pending"):
            values.pop(name, None)
        return values


def together(aggregates: Sequence[Aggregate]) -> list[Recorded]:
    """One list for what all of them decide from here on, in the order in which it is decided:
    so it is stored, and whoever reads the log sees a cycle closed before the next one opens."""
    decided: list[Recorded] = []
    for aggregate in aggregates:
        aggregate.pending = decided
    return decided


def project(aggregate: Aggregate | None, events: Iterable[Recorded]) -> Aggregate | None:
    """Fold recorded events in order, from nothing or from an earlier state."""
    for event in events:
        aggregate = event.mutate(aggregate)
    return aggregate
