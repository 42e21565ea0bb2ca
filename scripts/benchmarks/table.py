"""The report for people: the machine, the rows, and the aims."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from scripts.benchmarks.aims import aims
from scripts.benchmarks.rows import Report


def show(report: Report, machine: dict[str, str], console: Console) -> None:
    """Print everything. Figures are medians over the rounds."""
    facts = Table(title="Machine", show_header=False, title_justify="left")
    for name, value in machine.items():
        facts.add_row(name, value)
    console.print(facts)
    console.print(_rows(report))
    if aims(report):
        console.print(_aims(report))


def _rows(report: Report) -> Table:
    table = Table(title=f"scripts/bench {report.bench}", title_justify="left")
    table.add_column("case", no_wrap=True)
    numbers = ("clients", "accounts", "processes", "per s", "p50 ms", "p99 ms", "× floor")
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("note", style="dim", no_wrap=True)
    for row in report.rows:
        floor = report.floor_of(row)
        table.add_row(
            row.case,
            str(row.clients),
            f"{row.accounts:,}",
            str(row.processes),
            f"{row.per_s:,.0f}",
            f"{row.p50_ms:.2f}",
            f"{row.p99_ms:.2f}",
            f"{row.per_s / floor.per_s:.2f}" if floor and floor.per_s else "",
            row.note,
        )
    return table


def _aims(report: Report) -> Table:
    table = Table(title="What Daybook aims at", title_justify="left")
    table.add_column("aim", no_wrap=True)
    table.add_column("wanted", justify="right")
    table.add_column("measured", justify="right")
    table.add_column("")
    for aim in aims(report):
        digits = ",.0f" if aim.unit == "/s" else ".2f"
        table.add_row(
            aim.what,
            f"{'≤' if aim.most else '≥'} {aim.bound:{digits}}{aim.unit}",
            f"{aim.value:{digits}}{aim.unit}",
            "[green]met[/green]" if aim.met else "[red]missed[/red]",
        )
    return table
