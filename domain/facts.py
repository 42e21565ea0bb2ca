"""Facts, their place in a stream, and the aggregates that fold them.

A `Fact` is what happened, in the words of the field, with when it was recorded, why (`cause`)
and by whom. `Recorded` puts it at its place: stream and version. An `Aggregate` is the fold of
one stream; its decisions record new facts, which wait in `collect_events` until they are
committed. All three satisfy the protocols of the `eventsourcing` library.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, ClassVar, Self
from uuid import UUID

import msgspec

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Context(msgspec.Struct, frozen=True, gc=False):
    """Who asks and when; the only way in which time enters the domain."""

    now: datetime  # UTC
    actor: str = "system"  # "service:key_1", "admin:key_2", "stripe", "system"
    correlation_id: str | None = None


class Fact(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Something that happened. Facts replay for ever, so `apply` never refuses.

    ``recorded_at`` never decreases within a stream. ``cause`` is unique within a stream for ever:
    the same cause cannot make anything happen twice.

    Values of the domain never form cycles, so the garbage collector need not look at them
    (``gc=False``): its pauses would be most of the slowest answers.
    """

    recorded_at: datetime
    cause: str = ""
    actor: str = "system"
    correlation_id: str | None = None

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


class Aggregate:
    """The state of one stream. Subclasses list their facts and keep their state small.

    State lives in `__slots__`; `clone` copies one level of it, so values inside must be
    immutable. The writer clones before it decides: what it caches is committed state only.
    """

    __slots__ = ("_pending", "id", "recorded_at", "version")
    category: ClassVar[str] = ""
    facts: ClassVar[tuple[type[Fact], ...]] = ()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for fact in cls.facts:
            _OWNERS[fact] = cls

    def __init__(self, id: UUID) -> None:
        self.id = id
        self.version = 0
        self.recorded_at = EPOCH
        self._pending: list[Recorded] = []

    def fold(self, fact: Fact, version: int) -> None:
        """Take in one committed fact."""
        fact.apply(self)
        self.version = version
        self.recorded_at = fact.recorded_at

    def record(self, fact: Fact) -> None:
        """Decide that this happened: fold it and keep it for the commit."""
        self.fold(fact, self.version + 1)
        self._pending.append(Recorded(self.id, self.version, fact))

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
        pending, self._pending = self._pending, []
        return pending

    def clone(self) -> Self:
        """An independent copy of the state, without pending facts."""
        copy = object.__new__(type(self))
        for name in _slots(type(self)):
            value = getattr(self, name)
            kind = type(value)
            if kind is dict or kind is list or kind is set:
                value = value.copy()
            setattr(copy, name, value)
        copy._pending = []
        return copy

    def snapshot(self) -> msgspec.Struct | None:
        """The whole state as one value, or None for aggregates whose streams stay short."""
        return None

    def restore(self, snapshot: Any) -> Self:
        """Take over the state of a snapshot; the caller sets the version."""
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        """The whole state by name, for snapshots, auditors and tests."""
        return {
            name: getattr(self, name)
            for name in _slots(type(self))
            if name not in ("_pending", "id", "version")
        }


def _slots(cls: type) -> tuple[str, ...]:
    names = _SLOTS.get(cls)
    if names is None:
        names = tuple(
            dict.fromkeys(
                n for base in reversed(cls.__mro__) for n in getattr(base, "__slots__", ())
            )
        )
        _SLOTS[cls] = names
    return names


_SLOTS: dict[type, tuple[str, ...]] = {}


def project(aggregate: Aggregate | None, events: Iterable[Recorded]) -> Aggregate | None:
    """Fold recorded events in order, from nothing or from an earlier state."""
    for event in events:
        aggregate = event.mutate(aggregate)
    return aggregate
