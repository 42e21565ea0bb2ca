"""A place for a simulated year outside pytest: a server, a database, a deployment, a sandbox."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from adapters.postgres.database import prepare
from adapters.postgres.embedded import EmbeddedServer
from tests.acceptance.year.mortal import mortal
from tests.api.sandboxed import Sandboxed, sandboxed


@contextmanager
def place(catalogue: str, kills: Random | None) -> Iterator[Sandboxed]:
    """A deployment of a catalogue, empty, with its sandbox; gone when the block is left.

    Where there are ``kills`` to come it runs in processes of its own; otherwise in this one, and
    the same seed always lives the same year."""
    folder = Path(tempfile.mkdtemp(prefix="daybook-year-"))
    folder.chmod(0o755)  # the server's account may not be ours
    try:
        with EmbeddedServer.start(folder, durable=False) as server:
            database = prepare(server.url, runtime_url=server.runtime_url)
            if kills is None:
                with sandboxed(database, catalogue, mode="held", strict=False) as shop:
                    yield shop
            else:
                with mortal(database, catalogue, kills) as dying:
                    yield dying
    finally:
        shutil.rmtree(folder, ignore_errors=True)
