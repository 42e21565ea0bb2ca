"""Applies the numbered SQL files beside it, each once and in order, whoever else starts too."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

FOLDER = Path(__file__).with_name("migrations")
RUNTIME_ROLE = "daybook_runtime"
LOCK = 0x64617962  # "dayb". Advisory locks are per database, as schemas are.

_NAME = re.compile(r"(?P<number>\d{4})_(?P<name>[a-z0-9_]+)\.sql")
_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    number integer PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


class MigrationRefused(RuntimeError):
    """The database and the migration files disagree; nothing was changed by the disagreement."""


@dataclass(frozen=True)
class Migration:
    """One numbered file, and the SHA-256 that it is recognised by for ever."""

    number: int
    name: str
    script: bytes

    @property
    def checksum(self) -> str:
        """SHA-256 of the file as it is, in hexadecimal."""
        return hashlib.sha256(self.script).hexdigest()

    def __str__(self) -> str:
        return f"{self.number:04}_{self.name}"


def read(folder: Path = FOLDER) -> list[Migration]:
    """The migrations of a folder, numbered 1, 2, 3 and so on without a gap."""
    found = []
    for path in sorted(folder.glob("*.sql")):
        parts = _NAME.fullmatch(path.name)
        if parts is None:
            raise MigrationRefused(f"{path.name} is not named like 0001_name.sql.")
        found.append(Migration(int(parts["number"]), parts["name"], path.read_bytes()))
    for expected, migration in enumerate(found, start=1):
        if migration.number != expected:
            raise MigrationRefused(
                f"Migration {migration} stands where number {expected:04} should: numbers start "
                "at 0001 and have neither gaps nor doubles."
            )
    return found


def apply(
    connection: psycopg.Connection[Any], cell: str, *, folder: Path = FOLDER
) -> list[Migration]:
    """Bring the schema `cell` up to date, and return what was applied now.

    The connection is the owner's, in autocommit. Each file commits alone, together with its
    record, so a failure leaves all earlier ones applied and itself not at all.
    """
    known = read(folder)
    connection.execute("SELECT pg_advisory_lock(%s)", [LOCK])
    try:
        _make_schema(connection, cell)
        done = _applied(connection)
        _refuse_disagreement(known, done)
        for migration in known[len(done) :]:
            _apply_one(connection, migration)
        return known[len(done) :]
    finally:
        if not connection.closed:
            connection.execute("SELECT pg_advisory_unlock(%s)", [LOCK])


def _make_schema(connection: psycopg.Connection[Any], cell: str) -> None:
    names = {"cell": sql.Identifier(cell), "runtime": sql.Identifier(RUNTIME_ROLE)}
    exists = connection.execute("SELECT to_regnamespace(quote_ident(%s))", [cell]).fetchone()
    if exists is None or exists[0] is None:
        # Asked first: CREATE SCHEMA IF NOT EXISTS wants the right to create one even if it exists.
        connection.execute(sql.SQL("CREATE SCHEMA {cell}").format(**names))
    connection.execute(sql.SQL("SET search_path = {cell}").format(**names))
    connection.execute("SET client_min_messages = warning")
    connection.execute(_TABLE)
    # CREATE too: read models belong to the runtime role, so that it can rebuild them.
    connection.execute(sql.SQL("GRANT USAGE, CREATE ON SCHEMA {cell} TO {runtime}").format(**names))
    connection.execute(sql.SQL("GRANT SELECT ON schema_migrations TO {runtime}").format(**names))


def _applied(connection: psycopg.Connection[Any]) -> list[tuple[int, str, str]]:
    query = "SELECT number, name, checksum FROM schema_migrations ORDER BY number"
    return connection.execute(query).fetchall()


def _refuse_disagreement(known: list[Migration], done: list[tuple[int, str, str]]) -> None:
    for expected, (number, name, checksum) in enumerate(done, start=1):
        if number != expected:
            raise MigrationRefused(
                f"The database has migration {number:04} but not {expected:04}: its record was "
                "edited. Restore it from a backup."
            )
        if number > len(known):
            raise MigrationRefused(
                f"The database has migration {number:04}_{name}, which this Daybook does not "
                "know: it is newer than the code. Start the Daybook that made it, or a later one."
            )
        if checksum != known[number - 1].checksum:
            raise MigrationRefused(
                f"Migration {known[number - 1]} was changed after it was applied. Put the file "
                "back as it was, and write what you want in a new one."
            )


def _apply_one(connection: psycopg.Connection[Any], migration: Migration) -> None:
    with connection.transaction():
        try:
            connection.execute(migration.script)
        except psycopg.Error as error:
            raise MigrationRefused(f"Migration {migration} failed: {error}") from error
        connection.execute(
            "INSERT INTO schema_migrations (number, name, checksum) VALUES (%s, %s, %s)",
            [migration.number, migration.name, migration.checksum],
        )
