"""What the measurements of `scripts/bench write` share: the accounts, the floor, the books."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from adapters.postgres.database import Database
from scripts.benchmarks import floor, ground
from scripts.benchmarks.books import Books
from scripts.benchmarks.charging import Charging
from scripts.benchmarks.clients import Sample, together
from scripts.benchmarks.crew import Crew
from scripts.benchmarks.ground import Ground
from scripts.benchmarks.pace import Pace
from scripts.benchmarks.rows import Report

THOUSAND = ground.names(1000)
HOT = ["hot"]
POOR = [f"poor{number}" for number in range(4)]


@dataclass(frozen=True)
class Shape:
    """Over how many processes and connections a floor's clients work."""

    processes: int
    connections: int

    def __str__(self) -> str:
        return f"{self.connections} connections, {self.processes} processes"


class Contest:
    """Everything that the measurements of `write` share."""

    def __init__(self, place: Ground, report: Report, pace: Pace) -> None:
        self.place = place
        self.report = report
        self.pace = pace
        self.ledger: Database = place.ledger("daybook_bench")
        self.fresh = [f"fresh{number}" for number in range(2 * pace.rounds + 1)]
        ground.furnish(self.ledger, [*THOUSAND, *HOT, "long", *self.fresh], POOR)
        self.floor_url = place.database("floor")
        floor.create(self.floor_url)
        self.books = Books(self.ledger.conninfo(owner=True))
        self.floor_debits = 0
        self._turn = 0
        self._shapes: dict[tuple[int, int, int | None], Shape] = {}

    def tag(self) -> str:
        """A mark that no other turn uses, for keys."""
        self._turn += 1
        return f"t{self._turn}"

    def charging(self, processes: int = 1) -> Crew:
        """Writers, one a process."""
        return Crew(Charging, self.ledger.conninfo(), processes=processes)

    def warm(self, crew: Crew, processes: int = 1) -> None:
        """Load every account in every process; neither measured nor checked."""
        for accounts in (THOUSAND, HOT):
            crew.each("touch", processes, accounts, 0, self.tag(), processes=processes)
        self.books.skip()

    def floor(self, crew: Crew, clients: int, accounts: Sequence[str], shape: Shape) -> Sample:
        """One turn of the floor."""
        return self._floor(crew, clients, accounts, shape, self.pace.seconds)

    def best_shape(
        self, crew: Crew, clients: int, accounts: Sequence[str], processes: int | None = None
    ) -> Shape:
        """Try the shapes that make sense, shortly, and take the fastest: no straw man."""
        load = (min(clients, 64), len(accounts), processes)
        if self.pace.quick and load in self._shapes:  # from 64 on it is the same
            return self._shapes[load]
        tried: dict[Shape, float] = {}
        seconds = self.pace.seconds / 3
        for shape in _shapes(clients, len(accounts), self.pace.quick, processes):
            self._floor(crew, clients, accounts, shape, 0.05)  # connect
            tried[shape] = self._floor(crew, clients, accounts, shape, seconds).per_s
        self._shapes[load] = max(tried, key=lambda shape: tried[shape])
        return self._shapes[load]

    def _floor(
        self, crew: Crew, clients: int, accounts: Sequence[str], shape: Shape, seconds: float
    ) -> Sample:
        sample = crew.run(
            "threads",
            clients,
            accounts,
            seconds,
            self.tag(),
            processes=shape.processes,
            connections=max(shape.connections // shape.processes, 1),
        )
        self.floor_debits += int(sample.facts["debits"])
        return sample

    def floor_turn(
        self, crew: Crew, task: str, clients: int, accounts: Sequence[str], **options: int
    ) -> Sample:
        """One turn of the floor's other ways, in one process."""
        sample = crew.run(task, clients, accounts, self.pace.seconds, self.tag(), **options)
        self.floor_debits += int(sample.facts["debits"])
        return sample

    def charge(self, crew: Crew, clients: int, accounts: Sequence[str]) -> Sample:
        """One turn of Daybook, and a look into its books."""
        return together(self.charge_each(crew, clients, accounts))

    def charge_each(
        self, crew: Crew, clients: int, accounts: Sequence[str], processes: int = 1
    ) -> list[Sample]:
        """As `charge`, each process by itself."""
        parts = crew.each(
            "charge", clients, accounts, self.pace.seconds, self.tag(), processes=processes
        )
        self.check(f"{clients} clients on {len(accounts)}", together(parts))
        return parts

    def check(self, label: str, sample: Sample) -> None:
        """Compare what a turn was told with what is recorded."""
        self.books.check(label, sample.facts["debits"], sample.facts["spent"])


def _shapes(clients: int, accounts: int, quick: bool, processes: int | None) -> Iterator[Shape]:
    if clients == 1:
        yield Shape(1, 1)
        return
    # On one row only one transaction goes on at a time; the next may at best stand ready.
    given = (32, 16) if accounts > 1 else (16, 4, 2, 1)
    sizes = sorted({min(size, clients) for size in given}, reverse=True)
    for size in sizes[::2] if quick else sizes:
        for count in (1, 2) if processes is None else (processes,):
            if count <= size:
                yield Shape(count, size)
