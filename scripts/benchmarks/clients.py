"""What a contestant is asked to do for a while, and what came of it."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


def no_waits(given: Iterable[float] = ()) -> array[float]:
    """Seconds, kept small: a run has millions of them."""
    return array("d", given)


@dataclass(frozen=True)
class Order:
    """Work for one process: so many clients, each with one request under way at a time.

    ``accounts`` are the names to draw from; times are seconds of the monotonic clock, which all
    processes of a machine share.
    """

    task: str
    clients: int
    accounts: Sequence[str]
    begin: float
    seconds: float
    tag: str
    options: dict[str, int] = field(default_factory=dict)

    @property
    def end(self) -> float:
        """After this no client asks again; what is under way is finished and counted."""
        return self.begin + self.seconds


@dataclass
class Sample:
    """What came of an order: acts that were answered, and how long each request took."""

    acts: int
    ended: float  # when the last answer came, by the monotonic clock
    waits: array[float]  # seconds, one a request
    facts: dict[str, float] = field(default_factory=dict)
    began: float = 0.0

    @property
    def per_s(self) -> float:
        """Acts a second."""
        return self.acts / max(self.ended - self.began, 1e-9)

    def quantile_ms(self, part: float) -> float:
        """The wait in ms that this part of the requests did not exceed."""
        ranked = sorted(self.waits)
        return ranked[min(len(ranked) - 1, int(len(ranked) * part))] * 1e3 if ranked else 0.0


def together(samples: Iterable[Sample]) -> Sample:
    """Several processes' samples of one order as one; their facts are added up."""
    parts = list(samples)
    whole = Sample(
        sum(part.acts for part in parts),
        max(part.ended for part in parts),
        no_waits(),
        began=min(part.began for part in parts),
    )
    for part in parts:
        whole.waits.extend(part.waits)
        for name, value in part.facts.items():
            whole.facts[name] = whole.facts.get(name, 0) + value
    return whole
