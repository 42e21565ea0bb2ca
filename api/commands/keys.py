"""`daybook keys`: make, list and revoke API keys."""

import json
from datetime import UTC, datetime
from typing import Annotated

import psycopg
import typer
from rich.table import Table

from adapters.postgres import keys
from api.commands.options import Data, DatabaseUrl, Json, fail, show
from api.commands.plain import plain_errors
from api.commands.tenants import find_tenant
from api.running.deployment import database_for

app = typer.Typer(help="API keys; only their hashes are stored.", no_args_is_help=True)


@app.command("create")
@plain_errors()
def create(
    scope: Annotated[
        list[str], typer.Option("--scope", help=f"Any of {', '.join(keys.SCOPES)}; repeatable.")
    ],
    workspace: Annotated[
        str | None, typer.Option("--workspace", help="The one workspace that it acts for.")
    ] = None,
    service: Annotated[bool, typer.Option("--service", help="It acts for every one.")] = False,
    name: Annotated[str | None, typer.Option("--name", help="What people call it.")] = None,
    json_: Json = False,
    database_url: DatabaseUrl = None,
    data: Data = None,
) -> None:
    """Make a key and print it. It is shown this once; nobody can read it again."""
    if service == (workspace is not None):
        fail("a key is for one workspace (--workspace ID) or for all (--service): say which.", 2)
    unknown = sorted(set(scope) - set(keys.SCOPES))
    if unknown:
        fail(f"there is no scope {unknown[0]!r}: use some of {', '.join(keys.SCOPES)}.", 2)
    with (
        database_for(database_url, data) as database,
        psycopg.connect(database.conninfo(), autocommit=True) as connection,
    ):
        id = find_tenant(connection, workspace).workspace_id if workspace else None
        made, key = keys.create(
            connection, scopes=scope, workspace_id=id, name=name, now=datetime.now(UTC)
        )
    if json_:
        print(json.dumps({"key_id": made.key_id, "key": key, "workspace_id": id}))
    else:
        typer.echo(f"{made.key_id} is stored as a hash; the key is shown this once:", err=True)
        print(key)


@app.command("list")
@plain_errors()
def list_(json_: Json = False, database_url: DatabaseUrl = None, data: Data = None) -> None:
    """List all keys, the revoked ones too."""
    with (
        database_for(database_url, data) as database,
        psycopg.connect(database.conninfo(), autocommit=True) as connection,
    ):
        found = keys.every(connection)
    rows = [
        {
            "key_id": key.key_id,
            "name": key.name,
            "workspace_id": key.workspace_id,
            "scopes": sorted(key.scopes),
            "created_at": key.created_at.astimezone(UTC).isoformat(timespec="seconds"),
            "revoked_at": key.revoked_at
            and key.revoked_at.astimezone(UTC).isoformat(timespec="seconds"),
        }
        for key in found
    ]
    if json_:
        print(json.dumps(rows))
        return
    table = Table("key", "name", "workspace", "scopes", "created", "revoked")
    for row in rows:
        scopes = " ".join(row["scopes"] or ())
        workspace = row["workspace_id"] or "every one"
        table.add_row(
            *(str(row["key_id"]), str(row["name"] or ""), str(workspace), scopes),
            *(str(row["created_at"]), str(row["revoked_at"] or "")),
        )
    show(table)


@app.command("revoke")
@plain_errors()
def revoke(
    key_id: Annotated[str, typer.Argument(help="As `daybook keys list` shows it.")],
    database_url: DatabaseUrl = None,
    data: Data = None,
) -> None:
    """Refuse a key from now on; every process knows within 5 seconds."""
    with (
        database_for(database_url, data) as database,
        psycopg.connect(database.conninfo(), autocommit=True) as connection,
    ):
        known = next((key for key in keys.every(connection) if key.key_id == key_id), None)
        if known is None:
            fail(f"there is no key {key_id}: `daybook keys list` shows them.")
        if known.revoked_at is not None:
            print(f"{key_id} was revoked before.")
            return
        keys.revoke(connection, key_id, datetime.now(UTC))
    print(f"{key_id} is revoked.")
