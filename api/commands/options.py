"""Options that several commands share, and values that they read."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from api.running.notes import Notes

DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        "--database-url", help="The ledger. Default: DATABASE_URL, else that of the last run."
    ),
]
Data = Annotated[
    Path | None, typer.Option("--data", help="The folder of the embedded server.", metavar="DIR")
]
Url = Annotated[
    str | None, typer.Option(envvar="DAYBOOK_URL", help="The API. Default: that of the last run.")
]
Key = Annotated[
    str | None,
    typer.Option(envvar="DAYBOOK_KEY", help="An admin service key. Default: the last run's."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def instant(text: str) -> datetime:
    """An RFC 3339 instant as UTC; a date alone is its midnight UTC."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is not an instant such as 2026-06-01T12:00:00Z"
        ) from None
    if at.tzinfo is None:
        if len(text) > len("2026-06-01"):
            raise typer.BadParameter(f"{text!r} names no time zone: add Z for UTC")
        at = at.replace(tzinfo=UTC)
    return at.astimezone(UTC)


def fail(message: str, code: int = 1) -> NoReturn:
    """End the command with one plain line."""
    typer.echo(f"daybook: {message}", err=True)
    raise typer.Exit(code)


def running_on(state: Path, url: str | None, key: str | None) -> tuple[str, str]:
    """The address and key that were given, else those of the last run on the state folder."""
    last = Notes(state / "last.json").read()
    own = Notes(state / str(last.get("notes", ""))).read()
    url = url or last.get("url")
    # The remembered key is for the remembered deployment only: it is sent to nobody else.
    if key is None and url == last.get("url"):
        key = own.get("admin_key")
    if not url:
        fail(f"no Daybook has run on {state}: start scripts/run, or give --url and --key.")
    if not key:
        fail("an admin service key is needed: give --key or DAYBOOK_KEY.")
    return url, key


def show(table: Table) -> None:
    """Print a table; into a pipe or a file as wide as it needs to be, so that nothing is cut."""
    console = Console()
    console.print(table) if console.is_terminal else Console(width=250).print(table)
