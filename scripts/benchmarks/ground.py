"""Where the contestants meet: one durable server of our own, and a database for each of them."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import psycopg
from psycopg import sql

from adapters import catalogues
from adapters.postgres.cluster import claim
from adapters.postgres.database import Database, prepare
from adapters.postgres.embedded import EmbeddedServer, EmbeddedServerError, default_state
from adapters.postgres.places import server_account
from adapters.postgres.writer import Writer
from adapters.prices import content_hash
from domain.facts import Context
from domain.ledger import Ledger

PREFIX = "bench-"
OPENING = 10**13
"""µ in every account; no run comes near it."""
CATALOGUE = "faces"


class Ground:
    """A running server and its databases."""

    def __init__(self, server: EmbeddedServer) -> None:
        self.server = server

    @property
    def url(self) -> str:
        """The owner's, for asking about the server itself."""
        return self.server.url

    def database(self, name: str, template: str | None = None) -> str:
        """Make a database, empty or a copy; returns its owner's URL."""
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy").format(
            sql.Identifier(name), sql.Identifier(template or "template0")
        )
        self._execute(statement)
        return self.server.url_for(name)

    def drop(self, name: str) -> None:
        """Remove a database, whoever is connected to it."""
        self._execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def ledger(self, name: str, template: str | None = None) -> Database:
        """Make a database with Daybook's tables in it."""
        url = self.database(name, template)
        return prepare(url, runtime_url=self.server.runtime_url_for(name))

    def rest(self) -> None:
        """Let the server write out what it owes, so that nobody pays for another's work."""
        self._execute(sql.SQL("CHECKPOINT"))

    def _execute(self, statement: sql.SQL | sql.Composed) -> None:
        with psycopg.connect(self.server.url_for("postgres"), autocommit=True) as connection:
            connection.execute(statement)


@contextmanager
def ground() -> Iterator[Ground]:
    """A server on a disk (a temporary folder may be memory), gone with the block.

    :raises EmbeddedServerError: there is no place where it can run; says which it tried.
    """
    parent = default_state()
    made = not parent.exists()
    parent.mkdir(parents=True, exist_ok=True)
    _sweep(parent)
    state = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    if server_account() is not None:
        state.chmod(0o711)
    before = signal.signal(signal.SIGTERM, _leave)
    try:
        with EmbeddedServer.start(state) as server:
            yield Ground(server)
    finally:
        signal.signal(signal.SIGTERM, before)
        shutil.rmtree(state, ignore_errors=True)
        if made:
            with suppress(OSError):
                parent.rmdir()


def _leave(_sign: int, _frame: FrameType | None) -> None:
    sys.exit(1)


def _sweep(parent: Path) -> None:
    """Remove the folders of runs that were killed; their servers died with them."""
    for folder in parent.glob(f"{PREFIX}*"):
        with suppress(OSError, EmbeddedServerError):
            claim(folder).close()
            shutil.rmtree(folder, ignore_errors=True)


def names(count: int) -> list[str]:
    """The workspaces that share the load."""
    return [f"w{number}" for number in range(count)]


def now() -> Context:
    """This moment, asked by the benchmark."""
    return Context(datetime.now(UTC), "service:bench")


def furnish(
    database: Database,
    workspaces: Sequence[str],
    poor: Sequence[str] = (),
    *,
    catalogue: str = CATALOGUE,
) -> None:
    """Publish catalogue and prices, and open workspaces: with money, and without."""
    asyncio.run(_furnish(database, workspaces, poor, catalogue))


async def _furnish(
    database: Database, workspaces: Sequence[str], poor: Sequence[str], terms_of: str
) -> None:
    writer = Writer(database.conninfo())
    await writer.start()
    try:
        ledger = Ledger(writer)
        catalogue, digest = catalogues.load(terms_of)
        await ledger.publish_catalogue(catalogue, digest, now())
        terms = catalogue.price_book
        assert terms is not None
        start = catalogues.starts_at(terms)
        entries = catalogues.price_entries(catalogue)
        await ledger.publish_prices(
            start,
            catalogue.currency,
            terms.markup_bps,
            entries,
            content_hash(start, terms.markup_bps, entries),
            now(),
        )
        everyone = (*workspaces, *poor)
        await asyncio.gather(
            *(ledger.create_workspace(name, name, "bench", "UTC", now()) for name in everyone)
        )
        await asyncio.gather(
            *(ledger.grant(name, OPENING, "opening", now()) for name in workspaces)
        )
    finally:
        await writer.stop()
