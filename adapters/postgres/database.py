"""Where a ledger lives, and how the owner and the runtime each log in to it."""

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from adapters.postgres import migrations
from adapters.postgres.migrations import RUNTIME_ROLE

SERVER_VERSION_MIN = 150000
SET_GRANTS_SINCE = 160000  # From 16 on, being granted a role and being able to take it are two.
ATTEMPTS_MAX = 20
_CELL = re.compile(r"[a-z][a-z0-9_]{0,39}")


class DatabaseUnusable(RuntimeError):
    """The ledger cannot live there; the message says why and names the cure, never a password."""


@dataclass(frozen=True)
class Database:
    """One cell of a ledger: a schema, its owner's URL and its runtime's.

    Whoever logs in at `runtime_url`, the session acts as `daybook_runtime`: either that is the
    login itself (embedded server), or the login takes the role in its connection options. Take
    two logins (DAYBOOK_OWNER_URL and DATABASE_URL) where the runtime must not be able to step
    back out of that role.
    """

    owner_url: str
    runtime_url: str
    cell: str = "main"

    def __post_init__(self) -> None:
        if not _CELL.fullmatch(self.cell) or self.cell.startswith("pg_"):
            raise DatabaseUnusable(
                f"{self.cell!r} cannot name a cell: use up to 40 lower-case letters, digits and "
                "underscores, a letter first."
            )

    def conninfo(self, *, owner: bool = False, application_name: str = "daybook") -> str:
        """How to connect with libpq: in the cell, as the owner or as the runtime role."""
        url = self.owner_url if owner else self.runtime_url
        options = [_parts(url).get("options"), f"-c search_path={self.cell}"]
        if not owner and user_of(url) != RUNTIME_ROLE:
            options.append(f"-c role={RUNTIME_ROLE}")
        return make_conninfo(
            url,
            application_name=application_name,
            options=" ".join(option for option in options if option),
        )


def prepare(
    owner_url: str,
    *,
    cell: str = "main",
    runtime_url: str | None = None,
    folder: Path = migrations.FOLDER,
) -> Database:
    """Make roles, schema and tables where they are missing; any number may do so at once.

    Raises DatabaseUnusable or migrations.MigrationRefused, before anything is half done.
    """
    database = Database(owner_url, runtime_url or owner_url, cell)
    for url in (database.owner_url, database.runtime_url):
        _parts(url)  # Refuses what is no URL, before libpq quotes it.
    try:
        with psycopg.connect(owner_url, autocommit=True) as connection:
            refuse_old_server(connection.info.server_version)
            _ensure_runtime_role(connection)
            logins = {connection.info.user, user_of(database.runtime_url)} - {RUNTIME_ROLE}
            for login in sorted(logins):
                _ensure_may_take_runtime_role(connection, login)
            migrations.apply(connection, cell, folder=folder)
        _refuse_stranger(database)
    except psycopg.OperationalError as error:
        raise DatabaseUnusable(f"The database cannot be reached: {error}") from error
    except psycopg.errors.InsufficientPrivilege as error:
        raise DatabaseUnusable(
            f"The owner's login may not prepare the database: {error}. It needs CREATE on the "
            "database, and to have made the tables that are already there."
        ) from error
    return database


def refuse_old_server(version_num: int) -> None:
    """Raise unless the server, by its `server_version_num`, is new enough."""
    if version_num < SERVER_VERSION_MIN:
        needed = SERVER_VERSION_MIN // 10000
        raise DatabaseUnusable(
            f"The server is PostgreSQL {version_num // 10000} and Daybook needs {needed} or newer: "
            "upgrade it, or unset DATABASE_URL to use the embedded one."
        )


def user_of(url: str) -> str:
    """The login that libpq would use for `url`, its defaults and environment included."""
    if user := _parts(url).get("user"):
        return str(user)
    # Not in the URL: then PGUSER, a service file or the account of the system decides.
    defaults = {option.keyword: option.val for option in psycopg.pq.Conninfo.get_defaults()}
    return (defaults.get(b"user") or b"").decode()


def _parts(url: str) -> dict[str, Any]:
    try:
        return conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        # libpq's own message would quote the URL, and with it the password.
        raise DatabaseUnusable(
            "The database URL is not of the form postgresql://user:password@host:port/name."
        ) from None


def _ensure_runtime_role(connection: psycopg.Connection[Any]) -> None:
    known = "SELECT 1 FROM pg_roles WHERE rolname = %s"
    role = sql.Identifier(RUNTIME_ROLE)
    if connection.execute(known, [RUNTIME_ROLE]).fetchone() is not None:
        return
    try:
        connection.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(role))
    except (psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation):
        pass  # Another process came first. Roles are the cluster's: no lock of ours spans it.
    except psycopg.errors.InsufficientPrivilege:
        raise DatabaseUnusable(
            f"The login `{connection.info.user}` may not create roles. Let an administrator run:\n"
            f"  CREATE ROLE {RUNTIME_ROLE} NOLOGIN;\n"
            f'  GRANT {RUNTIME_ROLE} TO "{connection.info.user}" WITH ADMIN OPTION;'
        ) from None


def _ensure_may_take_runtime_role(connection: psycopg.Connection[Any], login: str) -> None:
    can = "SET" if connection.info.server_version >= SET_GRANTS_SINCE else "MEMBER"
    for _ in range(ATTEMPTS_MAX):
        try:
            if _has_role(connection, login, can):
                return
            connection.execute(
                sql.SQL("GRANT {} TO {}").format(
                    sql.Identifier(RUNTIME_ROLE), sql.Identifier(login)
                )
            )
        except (psycopg.errors.InternalError_, psycopg.errors.UniqueViolation):
            # "tuple concurrently updated": another process grants the same. Look again.
            time.sleep(0.05)
        except psycopg.errors.InsufficientPrivilege:
            raise DatabaseUnusable(
                f"The login `{login}` may not act as {RUNTIME_ROLE}. Let an administrator run:\n"
                f'  GRANT {RUNTIME_ROLE} TO "{login}";'
            ) from None
    raise DatabaseUnusable(f"{RUNTIME_ROLE} could not be granted to `{login}`: try again.")


def _has_role(connection: psycopg.Connection[Any], login: str, can: str) -> bool:
    try:
        row = connection.execute(
            "SELECT pg_has_role(%s, %s, %s)", [login, RUNTIME_ROLE, can]
        ).fetchone()
    except psycopg.errors.UndefinedObject:
        raise DatabaseUnusable(f"The server knows no login `{login}`.") from None
    return row is not None and bool(row[0])


def _refuse_stranger(database: Database) -> None:
    """Make sure that the runtime's URL leads to the same tables, and acts as the runtime role."""
    with psycopg.connect(database.conninfo()) as connection:
        row = connection.execute(
            "SELECT current_user, to_regclass('schema_migrations') IS NOT NULL"
        ).fetchone()
    if row is None or not row[1]:
        raise DatabaseUnusable(
            "DATABASE_URL leads to a database other than the owner's: both must name the same one."
        )
    if row[0] != RUNTIME_ROLE:
        raise DatabaseUnusable(
            f"Connections to DATABASE_URL act as `{row[0]}` and not as {RUNTIME_ROLE}: connection "
            "options are lost on the way, as some poolers lose them. Connect directly, or log in "
            f"as {RUNTIME_ROLE}."
        )
