"""How long and how often things are measured, and which of them."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatch


@dataclass(frozen=True)
class Pace:
    """``seconds`` a measurement, ``rounds`` of it; ``quick`` makes what is prepared smaller."""

    seconds: float
    rounds: int
    quick: bool
    only: str = ""

    def wants(self, label: str) -> bool:
        """Whether the measurements of this label were asked for."""
        return fnmatch(label, f"*{self.only}*")


def pace(quick: bool, seconds: float | None, rounds: int | None, only: str) -> Pace:
    """What was asked for, with the defaults of a quick or a full run."""
    return Pace(seconds or (0.25 if quick else 1.5), rounds or (1 if quick else 3), quick, only)
