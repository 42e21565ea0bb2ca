"""`daybook replay`, `compare` and `rebuild`: the auditor's commands."""

import json
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Any

import msgspec
import psycopg
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from api.commands.options import Data, DatabaseUrl, Json, fail, instant, show
from api.commands.plain import plain_errors
from api.commands.tenants import Tenant, find_tenant
from api.running.deployment import database_for
from domain.identity import account_id
from domain.money import usd
from projections import replay as past
from projections.compare import Difference
from projections.compare import compare as differences_of
from projections.models import MODELS
from projections.rebuild import rebuild as rebuild_model
from projections.tables import create_all

EVENTS_SHOWN = 20


@plain_errors()
def replay(
    workspace: Annotated[str, typer.Argument(help="Its id or name.")],
    position: Annotated[
        int | None, typer.Option(min=0, help="As after this event of the ledger.")
    ] = None,
    at: Annotated[
        datetime | None,
        typer.Option(parser=instant, metavar="INSTANT", help="As it was recorded then."),
    ] = None,
    events: Annotated[
        int, typer.Option(min=0, help="How many of the last events behind it to show.")
    ] = EVENTS_SHOWN,
    json_: Json = False,
    database_url: DatabaseUrl = None,
    data: Data = None,
) -> None:
    """Show an account as it was, and the events behind it: folded from the events alone, without
    snapshots or read models."""
    if position is not None and at is not None:
        fail("give --position or --at, not both.", 2)
    with (
        database_for(database_url, data) as database,
        psycopg.connect(database.conninfo(), autocommit=True) as connection,
    ):
        tenant = find_tenant(connection, workspace)
        id = tenant.workspace_id
        state = past.replay(connection, id, position=position, at=at)
        behind = past.events(connection, account_id(id), position=state.position)
        last = list(deque(behind, maxlen=events)) if events else []
    if not state.version:
        fail(f"{tenant.name} ({id}) did not exist yet.")
    if json_:
        print(msgspec.json.encode(_plain(state, last)).decode())
    else:
        _print(tenant, state, last)


def _plain(state: past.Replayed, last: list[past.PastEvent]) -> dict[str, Any]:
    account = state.account
    return {
        "workspace_id": state.workspace_id,
        "as_of_position": state.position,
        "version": state.version,
        "recorded_at": state.recorded_at,
        "balance_micros": state.balance,
        "debt_micros": state.debt,
        "is_frozen": account.is_frozen,
        "plan": account.plan,
        "grants": state.grants,
        "state": account.snapshot(),
        "events": [
            {
                "position": event.position,
                "version": event.version,
                "recorded_at": event.recorded_at,
                "kind": event.kind,
                "cause": event.cause,
                "amount_micros": event.amount,
                "balance_after_micros": event.balance_after,
                "data": event.fact,
            }
            for event in last
        ],
    }


def _print(tenant: Tenant, state: past.Replayed, last: list[past.PastEvent]) -> None:
    account = state.account
    print(f"{tenant.name} ({tenant.workspace_id}), plan {account.plan}")
    recorded = state.recorded_at.isoformat() if state.recorded_at else ""
    print(f"as of position {state.position}, version {state.version}, recorded at {recorded}")
    frozen = "  FROZEN" if account.is_frozen else ""
    print(f"balance  {usd(state.balance)} {account.currency.upper()}{frozen}")
    for grant in state.grants:
        until = f", until {grant.expires_at.isoformat()}" if grant.expires_at else ""
        print(f"  {grant.grant_id}: {usd(grant.remaining)} {grant.category}{until}")
    if state.debt:
        print(f"  debt: {usd(state.debt)}")
    if not last:
        return
    table = Table(title=f"the last {len(last)} of {state.version} events", title_justify="left")
    for name in ("position", "version"):
        table.add_column(name, justify="right")
    for name in ("recorded at", "event", "cause"):
        table.add_column(name)
    for name in ("amount", "balance after"):
        table.add_column(name, justify="right")
    for event in last:
        table.add_row(
            *(f"{event.position}", f"{event.version}", f"{event.recorded_at:%Y-%m-%d %H:%M:%S.%f}"),
            *(event.kind, event.cause, _usd(event.amount), _usd(event.balance_after)),
        )
    show(table)


def _usd(micros: int | None) -> str:
    return "" if micros is None else str(usd(micros))


@plain_errors()
def compare(json_: Json = False, database_url: DatabaseUrl = None, data: Data = None) -> None:
    """Fold every event anew and list where the read models differ. Exit code 1 if they do."""
    with (
        database_for(database_url, data) as database,
        psycopg.connect(database.conninfo(), autocommit=True) as connection,
    ):
        create_all(connection)
        with progress_bar("folding") as report:
            found = differences_of(connection, report)
        positions: dict[str, int] = dict(
            connection.execute("SELECT model, position FROM positions ORDER BY 1").fetchall()
        )
    if json_:
        rows = [difference._asdict() for difference in found]
        print(json.dumps({"differences": rows, "positions": positions}, default=str))
    elif found:
        _show_differences(found)
    else:
        print(f"No differences, up to position {max(positions.values(), default=0)}.")
    if found:
        fail(
            f"{len(found):,} differences: `daybook rebuild` makes the read models anew from the "
            "events."
        )


def _show_differences(found: list[Difference]) -> None:
    table = Table("workspace", "field", "projected", "replayed")
    for difference in found:
        table.add_row(*map(str, difference))
    show(table)


@plain_errors()
def rebuild(
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MODEL]...", help="Default: all of them."),
    ] = None,
    database_url: DatabaseUrl = None,
    data: Data = None,
) -> None:
    """Build read models anew from the events, beside the live ones, and swap them in."""
    known = {model.name: model for model in MODELS}
    for name in models or ():
        if name not in known:
            fail(f"there is no read model {name!r}: {', '.join(known)}.", 2)
    with database_for(database_url, data) as database:
        for name in models or known:
            with progress_bar(name) as report:
                position = rebuild_model(database.conninfo(), known[name], report)
            print(f"{name}: rebuilt up to position {position}")


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr that is told (done, all)."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task(what, total=None)

        def report(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        yield report
