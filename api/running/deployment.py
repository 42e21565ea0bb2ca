"""Where a deployment lives: its state folder, its catalogue, its database, and what it remembers.

One data folder may hold several deployments, one a catalogue, each in a database of its own.
"""

import hashlib
import os
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict

from adapters.postgres.database import Database, DatabaseUnusable, prepare
from adapters.postgres.embedded import EmbeddedServer, default_state
from adapters.postgres.provision import provide
from adapters.postgres.writer import Writer
from adapters.settings import Sealing, Settings, read_sealing
from api.running.notes import Notes
from domain.catalogue.catalogue import Catalogue
from domain.facts import Context
from domain.ledger import Ledger

SHIPPED = ("faces", "flarex")


@dataclass(frozen=True)
class Deployment:
    """One installation that is open: its database is prepared and reachable while this is held."""

    catalogue: str  # "faces", "flarex" or an absolute path
    state: Path
    database: Database
    server: EmbeddedServer | None  # None: the user's own server
    notes: Notes  # what this deployment remembers between runs

    def settings(self, *, test_clock: bool, log: str) -> Settings:
        """What its processes are told; `log` is "json" or "text"."""
        return Settings(
            self.database.owner_url,
            self.database.runtime_url,
            self.database.cell,
            self.catalogue,
            test_clock,
            log,
            sealing=read_sealing(usual=checkpoints_of(self.notes)),
        )


def state_folder(data: Path | None) -> Path:
    """The folder that was chosen, or the usual one; nothing is made by asking."""
    return data.expanduser().resolve() if data else default_state()


@contextmanager
def opened(catalogue: str, data: Path | None, *, test_clock: bool) -> Iterator[Deployment]:
    """Open a deployment on DATABASE_URL, else on the embedded server, which ends with the block.

    :raises DatabaseUnusable, EmbeddedServerError, MigrationRefused: each names its cure.
    """
    state = state_folder(data)
    chosen = catalogue if catalogue in SHIPPED else str(Path(catalogue).expanduser().resolve())
    if given := os.environ.get("DATABASE_URL"):
        database = prepare(
            os.environ.get("DAYBOOK_OWNER_URL") or given,
            cell=os.environ.get("DAYBOOK_CELL") or "main",
            runtime_url=given,
        )
        yield Deployment(chosen, state, database, None, Notes(state / f"{_digest(database)}.json"))
        return
    name = database_name(chosen, test_clock=test_clock)
    with EmbeddedServer.start(state) as server:
        database = provide(server, name)
        yield Deployment(chosen, state, database, server, Notes(state / f"{name}.json"))


def database_name(catalogue: str, *, test_clock: bool) -> str:
    """The embedded server's database for a catalogue: another catalogue is another ledger.

    A moved clock leaves events of the future behind, so test clocks have ledgers of their own.
    """
    name = catalogue
    if catalogue not in SHIPPED:
        stem = re.sub(r"[^a-z0-9]+", "_", Path(catalogue).stem.lower())[:30]
        name = f"{stem}_{hashlib.sha256(catalogue.encode()).hexdigest()[:8]}"
    return f"daybook_{name}_clock" if test_clock else f"daybook_{name}"


def sealing_of(url: str | None, data: Path | None) -> Sealing | None:
    """Where the ledger that `database_for` finds by these publishes its checkpoints, as far as
    this machine knows."""
    state = state_folder(data)
    last = Notes(state / "last.json").read()
    given = url or os.environ.get("DATABASE_URL")
    if given in (None, last.get("database_url"), last.get("owner_database_url")):
        if "notes" not in last:
            return read_sealing()
        return read_sealing(usual=checkpoints_of(Notes(state / last["notes"])))
    own = Database(given, given, os.environ.get("DAYBOOK_CELL") or "main")
    return read_sealing(usual=checkpoints_of(Notes(state / f"{_digest(own)}.json")))


def checkpoints_of(notes: Notes) -> Path:
    """Where a deployment publishes its checkpoints, unless another file is named."""
    return notes.path.with_suffix(".checkpoints.jsonl")


def _digest(database: Database) -> str:
    """A name for notes about a user's own database; it shows nothing of the URL."""
    parts = conninfo_to_dict(database.runtime_url)
    place = [str(parts.get(key, "")) for key in ("host", "port", "dbname")]
    return f"own_{hashlib.sha256(repr([*place, database.cell]).encode()).hexdigest()[:16]}"


@contextmanager
def database_for(url: str | None, data: Path | None) -> Iterator[Database]:
    """The ledger that a command works on: `url`, else DATABASE_URL, else that of the last run.

    An embedded server that does not run is started just for the block.

    :raises DatabaseUnusable: nothing was run here before, or nothing answers there.
    """
    cell = os.environ.get("DAYBOOK_CELL") or "main"
    if given := url or os.environ.get("DATABASE_URL"):
        # An owner's URL belongs to the database that the environment names, not to another one.
        owner = None if url else os.environ.get("DAYBOOK_OWNER_URL")
        yield prepare(owner or given, cell=cell, runtime_url=given)
        return
    state = state_folder(data)
    last = Notes(state / "last.json").read()
    if "database_url" not in last:
        raise DatabaseUnusable(
            f"No Daybook has run on {state}: start scripts/run, or name the ledger with "
            "--database-url or DATABASE_URL, or its folder with --data DIR."
        )
    known = Database(last["owner_database_url"], last["database_url"], last["cell"])
    if not last["embedded"] or _answers(known):
        yield known
        return
    name = str(conninfo_to_dict(known.runtime_url)["dbname"])
    with EmbeddedServer.start(state) as server:
        yield provide(server, name)


def _answers(database: Database) -> bool:
    try:
        psycopg.connect(database.conninfo(), connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


@asynccontextmanager
async def ledger_on(database: Database, who: str) -> AsyncIterator[Ledger]:
    """The use cases on an open database; `who` names us among the server's connections."""
    writer = Writer(database.conninfo(application_name=who))
    await writer.start()
    try:
        yield Ledger(writer)
    finally:
        await writer.stop()


async def refuse_unfit(database: Database, catalogue: Catalogue, digest: str) -> None:
    """Refuse a catalogue that the ledger would not take, before anything is started on it.

    :raises InvalidCatalogue: such as one of another product than the ledger's.
    """
    async with ledger_on(database, "daybook-start") as ledger:
        trial = (await ledger.plans()).clone()
        trial.publish(catalogue, digest, Context(datetime.now(UTC)))
