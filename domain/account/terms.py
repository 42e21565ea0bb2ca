"""Terms by the instant since when they are in force: what usage of a moment ago was agreed to."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, TypeVar

KEPT = timedelta(days=400)
"""How long former terms are remembered: longer than any catalogue lets usage be late."""
T = TypeVar("T", bound=tuple[Any, ...])


def in_force(history: tuple[T, ...], moment: datetime) -> T | None:
    """The entry in force at an instant, each being (since when, …); None before the first."""
    found = None
    for entry in history:
        if entry[0] > moment:
            break
        found = entry
    return found


def kept(history: tuple[T, ...], now: datetime) -> tuple[T, ...]:
    """What came into force not too long ago, and what was in force when that begins: older terms
    decide nothing any more."""
    floor = now - KEPT
    older = [entry for entry in history if entry[0] <= floor]
    return (*older[-1:], *(entry for entry in history if entry[0] > floor))
