"""`daybook import`: a trace of real calls, through the HTTP API."""

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from api.client import Api
from api.commands.options import Data, Json, Key, Url, fail, instant, running_on
from api.commands.plain import plain_errors
from api.demo.importing import Import, Start, Tally, tenants
from api.demo.trace import read_trace
from api.running.deployment import state_folder
from api.running.notes import Notes
from domain.money import usd

SHOWN = 5


@plain_errors()
def import_(
    file: Annotated[
        Path, typer.Argument(help="A CSV of TIMESTAMP,ContextTokens,GeneratedTokens (UTC).")
    ],
    url: Url = None,
    key: Key = None,
    start: Annotated[
        datetime | None,
        typer.Option(
            parser=instant,
            metavar="INSTANT",
            help="When the first call happens. Default: midnight UTC, 7 days before the import.",
        ),
    ] = None,
    occurred_at: Annotated[
        str, typer.Option(help="shifted, or original (for a ledger on a test clock).")
    ] = "shifted",
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N calls.")] = None,
    verify: Annotated[
        bool, typer.Option(help="Compare the debits with the file and the price book.")
    ] = True,
    json_: Json = False,
    data: Data = None,
) -> None:
    """Load a trace over 50 workspaces, by a seeded rule. Run it again at any time: it adds only
    what is missing, so a run that was killed is finished by the next one."""
    if occurred_at not in ("shifted", "original"):
        fail("--occurred-at is shifted or original.", 2)
    state = state_folder(data)
    url, key = running_on(state, url, key)
    trace = read_trace(file, limit=limit)
    with Api(url, key) as api:
        if not api.get("/v1/billing/llm-costs")["data"]:
            fail("this deployment prices no model: start one with --catalogue faces.")
        theirs = tenants(api)
        when = Start(trace, Notes(state / "imports.json"), theirs)
        original = trace.begin if occurred_at == "original" else None
        shift = when.shift(start or original, api.now())
        work = Import(api, trace, shift, theirs.ids)
        with _progress() as progress:
            task = progress.add_task(f"{len(trace.calls):,} calls", total=len(trace.calls))
            tally = work.run(lambda done: progress.advance(task, done))
    _report(tally, len(trace.calls), verify, json_)
    when.keep(shift)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def _report(tally: Tally, calls: int, verify: bool, json_: bool) -> None:
    equal = tally.debits == tally.expected
    if json_:
        result = {
            "calls": calls,
            "new": tally.new,
            "already_there": tally.known,
            "refused": len(tally.refused),
            "debits_micros": tally.debits,
            "computed_micros": tally.expected,
            "equal": equal,
        }
        print(json.dumps(result))
    else:
        print(f"{calls:,} calls: {tally.new:,} new, {tally.known:,} already there")
        print(f"debits    {usd(tally.debits)} USD")
        if verify:
            print(f"computed  {usd(tally.expected)} USD, from the file and the price book")
    if tally.refused:
        for line in tally.refused[:SHOWN]:
            typer.echo(f"daybook: {line}", err=True)
        hint = ""
        if any("usage_event_conflict" in line for line in tally.refused):
            hint = ": the file was imported with another --start or --occurred-at"
        fail(f"{len(tally.refused):,} calls were refused{hint}.")
    if verify and not equal:
        fail(f"the debits differ by {tally.debits - tally.expected} µ from what was computed.")
