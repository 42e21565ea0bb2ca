"""Real databases for every test that asks: one server a worker, one fresh database a test."""

import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from hypothesis import settings
from psycopg import sql

from adapters.postgres.cluster import claim
from adapters.postgres.database import Database, prepare
from adapters.postgres.embedded import EmbeddedServer, EmbeddedServerError
from projections.tables import create_all

# A property does not become false because the machine is busy.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

PREFIX = "daybook-test-"
MEMORY = Path("/dev/shm")
MEMORY_BYTES = 1 << 30  # for each worker; what a run leaves there at its height is far less
ABANDONED_S = 3600
TEMPLATE = "template_daybook"


def _new_state() -> Path:
    """A folder that the server's account may enter. Pytest's own is 0700, and root's at that."""
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=_place()))
    folder.chmod(0o755)
    return folder


def _place() -> Path:
    """Memory, if it has room: a database is 400 files, and a disk can take 200 ms of CPU to make
    them. What tests kill are processes, and the files of those outlive them in either place."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    with suppress(OSError):
        if (
            os.access(MEMORY, os.W_OK | os.X_OK)
            and shutil.disk_usage(MEMORY).free >= workers * MEMORY_BYTES
        ):
            return MEMORY
    return Path(tempfile.gettempdir())


def _sweep() -> None:
    """Remove the folders of runs that were killed. Their servers died with them."""
    for folder in (*Path(tempfile.gettempdir()).glob(f"{PREFIX}*"), *MEMORY.glob(f"{PREFIX}*")):
        with suppress(OSError, EmbeddedServerError):
            if time.time() - folder.stat().st_mtime > ABANDONED_S:
                claim(folder).close()
                shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def server() -> Iterator[EmbeddedServer]:
    """This worker's server: quick, and not durable. It dies with the worker, however that dies."""
    _sweep()
    state = _new_state()
    with EmbeddedServer.start(state, durable=False) as running:
        yield running
    shutil.rmtree(state, ignore_errors=True)


@pytest.fixture(scope="session")
def template(server: EmbeddedServer) -> str:
    """The name of a database with every table, to be copied and never connected to."""
    made = migrated(server, TEMPLATE)
    # Those of the read models, too, which every start of an application would make otherwise.
    with psycopg.connect(made.conninfo(), autocommit=True) as connection:
        create_all(connection)
    return TEMPLATE


def migrated(server: EmbeddedServer, name: str) -> Database:
    """A new database with every migration applied, and no read model."""
    _create(server, name)
    return prepare(server.url_for(name), runtime_url=server.runtime_url_for(name))


@pytest.fixture
def database(server: EmbeddedServer, template: str) -> Iterator[Database]:
    """A ledger of this test's own, empty, dropped afterwards whoever is still connected."""
    name = _unique()
    _create(server, name, template)
    yield Database(server.url_for(name), server.runtime_url_for(name))
    _drop(server, name)


@pytest.fixture
def empty_database(server: EmbeddedServer) -> Iterator[Database]:
    """As `database`, with no cell in it yet."""
    name = _unique()
    _create(server, name)
    yield Database(server.url_for(name), server.runtime_url_for(name))
    _drop(server, name)


@pytest.fixture
def state_folder() -> Iterator[Path]:
    """An empty folder that a server may live in, removed afterwards."""
    folder = _new_state()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def durable_server(state_folder: Path) -> Iterator[EmbeddedServer]:
    """A server of this test's own that may be killed: what it acknowledges is on disk."""
    with EmbeddedServer.start(state_folder) as running:
        yield running


def _unique() -> str:
    return f"test_{secrets.token_hex(6)}"


def _create(server: EmbeddedServer, name: str, template: str = "template0") -> None:
    # Copied as files, not through the log: about 20 ms.
    _execute(
        server,
        sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy").format(
            sql.Identifier(name), sql.Identifier(template)
        ),
    )


def _drop(server: EmbeddedServer, name: str) -> None:
    _execute(server, sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _execute(server: EmbeddedServer, statement: sql.Composed) -> None:
    with psycopg.connect(server.url_for("postgres"), autocommit=True) as connection:
        connection.execute(statement)
