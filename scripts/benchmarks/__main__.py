"""`scripts/bench write` and `scripts/bench http`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from adapters.postgres.embedded import EmbeddedServerError
from scripts.benchmarks import http, write
from scripts.benchmarks.ground import Ground, ground
from scripts.benchmarks.machine import machine
from scripts.benchmarks.pace import Pace, pace
from scripts.benchmarks.rows import Report
from scripts.benchmarks.table import show

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__
)

Quick = Annotated[bool, typer.Option(help="Under a minute: short turns, one round.")]
Json = Annotated[Path | None, typer.Option("--json", help="Write the rows to this file.")]
Seconds = Annotated[float | None, typer.Option(min=0.05, help="Seconds a measurement.")]
Rounds = Annotated[int | None, typer.Option(min=1, help="Rounds; the median of them counts.")]
Only = Annotated[str, typer.Option(help="Only what matches: part of a label, or a pattern.")]


@app.command("write")
def bench_write(
    quick: Quick = False,
    json: Json = None,
    seconds: Seconds = None,
    rounds: Rounds = None,
    only: Only = "",
) -> None:
    """The write path beside the floor and the library's plain save.

    Labels: "clients N on 1000", "clients N on 1", "bulk", "long", "processes N on 1000",
    "processes N on 1".
    """
    _run("write", write.measure, pace(quick, seconds, rounds, only), json)


@app.command("http")
def bench_http(
    quick: Quick = False,
    json: Json = None,
    seconds: Seconds = None,
    rounds: Rounds = None,
    only: Only = "",
) -> None:
    """POST /v1/usage beside an endpoint that does nothing; batches; and the runner.

    Labels: "usage N", "batch N", "runner catching up", "runner lag",
    "chain catching up", "chain verified".
    """
    _run("http", http.measure, pace(quick, seconds, rounds, only), json)


def _run(
    bench: str, measure: Callable[[Ground, Report, Pace], None], chosen: Pace, json: Path | None
) -> None:
    people = Console(stderr=True)
    report = Report(bench, people)
    try:
        with ground() as place:
            facts = machine(place.url, place.server.state)
            measure(place, report, chosen)
    except EmbeddedServerError as error:
        people.print(f"bench: {error}", style="red", highlight=False)
        raise typer.Exit(1) from None
    if json is not None:
        report.write(json)
    show(report, facts, _wide())
    for fault in report.wrong:
        people.print(f"WRONG: {fault}", style="red", highlight=False)
    if report.wrong:
        raise typer.Exit(1)


def _wide() -> Console:
    """A file or a pipe has no width of its own; tables need one."""
    console = Console()
    return console if console.is_terminal else Console(width=160)


if __name__ == "__main__":
    app()
