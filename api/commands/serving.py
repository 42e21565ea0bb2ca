"""`daybook serve`."""

import os
import threading
from pathlib import Path
from typing import Annotated

import typer

from api.commands.plain import plain_errors
from api.run import Options, started
from api.serve import say, stopping


@plain_errors()
def serve(
    catalogue: Annotated[
        str, typer.Option(envvar="BILLING_CATALOGUE", help="faces, flarex, or a YAML file.")
    ] = "faces",
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Default: 8440, or a free one.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="HTTP processes.")] = 1,
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The folder of the embedded server.")
    ] = None,
    test_clock: Annotated[bool, typer.Option("--test-clock", help="Serve /v1/test/clock.")] = False,
) -> None:
    """Serve the API on DATABASE_URL, or on an embedded server; until SIGTERM.

    With DAYBOOK_OWNER_URL, tables are made by that login, and DATABASE_URL only serves.
    """
    log = os.environ.get("DAYBOOK_LOG") or "json"
    options = Options(catalogue, host, port, data, workers, test_clock, log)
    with stopping(), started(options) as running:
        say(f"ready on {running.url} (a key: daybook keys create --service --scope admin)")
        threading.Event().wait()
