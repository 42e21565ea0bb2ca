"""The rows of a report: one case, measured several times, and the median of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from rich.console import Console

from scripts.benchmarks.clients import Sample

KEYS = ("bench", "case", "clients", "accounts", "processes", "per_s", "p50_ms", "p99_ms")
NOT_COMPARED = ("floor", "bulk floor", "nothing", "daybook, least lucky process")


@dataclass(frozen=True)
class Row:
    """One case. ``clients`` wait at once in all, over ``processes`` of theirs; ``per_s`` acts."""

    bench: str
    case: str
    clients: int
    accounts: int
    processes: int
    per_s: float
    p50_ms: float
    p99_ms: float
    note: str = ""


class Report:
    """Collects rows, and tells a waiting person about each."""

    def __init__(self, bench: str, console: Console) -> None:
        self.bench = bench
        self.rows: list[Row] = []
        self.wrong: list[str] = []
        self._console = console

    def say(self, text: str) -> None:
        """A word about what happens now."""
        self._console.print(f"[dim]{text}[/dim]", highlight=False)

    def add(
        self,
        case: str,
        samples: Sequence[Sample],
        *,
        clients: int,
        accounts: int,
        processes: int = 1,
        note: str = "",
    ) -> Row:
        """The median of a case's rounds, of each figure by itself."""
        row = Row(
            self.bench,
            case,
            clients,
            accounts,
            processes,
            round(median(sample.per_s for sample in samples), 1),
            round(median(sample.quantile_ms(0.5) for sample in samples), 3),
            round(median(sample.quantile_ms(0.99) for sample in samples), 3),
            note,
        )
        self.rows.append(row)
        self._console.print(
            f"[dim]  {case}, {clients} on {accounts}: {row.per_s:,.0f}/s, p50 {row.p50_ms:.2f} ms,"
            f" p99 {row.p99_ms:.2f} ms  {note}[/dim]",
            highlight=False,
            soft_wrap=True,
        )
        return row

    def find(self, case: str, **values: int) -> Row | None:
        """The fastest row of a case with these values."""
        found = [
            row
            for row in self.rows
            if row.case == case and all(getattr(row, name) == v for name, v in values.items())
        ]
        return max(found, key=lambda row: row.per_s, default=None)

    def floor_of(self, row: Row) -> Row | None:
        """The floor's row that a row is to be compared with: the one that took turns with it, or
        else the last of the same load before it."""
        if row.case in NOT_COMPARED:
            return None
        before = self.rows[: self.rows.index(row)]
        if row.bench == "http":
            same = [r for r in before if r.clients == row.clients and row.case == "usage"]
            return next((r for r in reversed(same) if r.case == "nothing"), None)
        case = "bulk floor" if row.case.startswith("bulk") else "floor"
        same = [r for r in before if (r.clients, r.accounts) == (row.clients, row.accounts)]
        return next((r for r in reversed(same) if r.case == case), None)

    def write(self, path: Path) -> None:
        """The rows as a JSON list, with the keys that the README names."""
        rows = [{key: asdict(row)[key] for key in KEYS} for row in self.rows]
        path.write_text(json.dumps(rows, indent=1) + "\n")


def in_turn(rounds: int, *turns: Callable[[int], Sample]) -> list[list[Sample]]:
    """Let contestants take turns, round after round: what slows the machine slows all of them.
    Each is told the round's number; returns each one's samples."""
    samples: list[list[Sample]] = [[] for _ in turns]
    for number in range(rounds):
        for turn, kept in zip(turns, samples, strict=True):
            kept.append(turn(number))
    return samples
