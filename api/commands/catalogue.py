"""`daybook catalogue`: check a catalogue, publish it, and bring subscribers to it."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from adapters import catalogues
from api.client import Api
from api.commands.options import Data, Json, Key, Url, running_on, show
from api.commands.plain import plain_errors
from api.running.deployment import state_folder

app = typer.Typer(help="What is sold.", no_args_is_help=True)
Document = Annotated[str, typer.Argument(metavar="FILE", help="YAML, or faces or flarex.")]


@app.callback()
def catalogue() -> None:
    """What is sold."""


@app.command()
@plain_errors()
def validate(file: Document) -> None:
    """Say whether a catalogue is one, or name the line and the field that are wrong."""
    checked, digest = catalogues.load(file)
    print(
        f"{file}: the catalogue {checked.catalogue} is valid: {len(checked.plans)} plans,"
        f" {len(checked.meters)} meters, content {digest[:12]}."
    )


@app.command()
@plain_errors()
def publish(
    file: Document,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say whether it would be taken.")
    ] = False,
    url: Url = None,
    key: Key = None,
    data: Data = None,
) -> None:
    """Put a catalogue in force on a running deployment. Subscribers keep what they have."""
    catalogues.load(file)  # Errors name the file, not the request.
    folder = catalogues.FOLDER / f"{file}.yaml"
    path = folder if file.isidentifier() and folder.is_file() else Path(file)
    with Api(*running_on(state_folder(data), url, key)) as api:
        body = {"document": path.read_text(encoding="utf-8"), "dry_run": dry_run}
        done = api.post("/v1/admin/catalogue", body)
    said = "would be taken; in force is" if dry_run else "is in force as"
    print(f"{file} {said} version {done['version']} of the catalogue {done['catalogue']}.")


@app.command()
@plain_errors()
def migrate(
    plan: Annotated[str, typer.Argument(help="The plan whose subscribers are meant.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list what would change.")
    ] = False,
    workspace: Annotated[
        list[str] | None, typer.Option(help="Only this workspace; may be repeated.")
    ] = None,
    json_: Json = False,
    url: Url = None,
    key: Key = None,
    data: Data = None,
) -> None:
    """Bring a plan's subscribers to the version in force, each when its cycle closes."""
    with Api(*running_on(state_folder(data), url, key)) as api:
        body = {"dry_run": dry_run, "workspace_ids": workspace or None}
        done = api.post(f"/v1/admin/plans/{plan}/migrate", body)
    if json_:
        print(json.dumps(done, default=str))
        return
    if not done["data"]:
        print(f"Every subscriber of {plan} has version {done['to_version']} already.")
        return
    table = Table("workspace", "from", "to", "outcome", "when", "changes")
    for step in done["data"]:
        when = step["effective_at"] or step["reason"]
        table.add_row(
            step["workspace_id"],
            str(step["from_version"]),
            str(step["to_version"]),
            step["outcome"].replace("_", " "),
            when,
            "; ".join(map(_said, step["changes"])) or "nothing a subscriber would notice",
        )
    show(table)


def _said(change: dict[str, Any]) -> str:
    return f"{change['field']}: {change['before']} -> {change['after']}"
