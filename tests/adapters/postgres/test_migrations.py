"""Migrations are applied once and in order; roles and logins may do what they should."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

from adapters.postgres.database import (
    Database,
    DatabaseUnusable,
    prepare,
    refuse_old_server,
    user_of,
)
from adapters.postgres.embedded import EmbeddedServer
from adapters.postgres.migrations import FOLDER, RUNTIME_ROLE, MigrationRefused, read
from adapters.postgres.places import CHECKOUT

PREPARES = """
import sys, pathlib
from adapters.postgres.database import prepare
sys.stdin.readline()
prepare(sys.argv[1], folder=pathlib.Path(sys.argv[2]))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two migrations that notice being applied twice."""
    write(
        tmp_path, "0001_first.sql", "CREATE TABLE facts (i integer); INSERT INTO facts VALUES (1)"
    )
    write(
        tmp_path,
        "0002_second.sql",
        "CREATE TABLE notes (i integer); INSERT INTO facts VALUES (2);"
        "GRANT SELECT, INSERT ON facts TO daybook_runtime",
    )
    return tmp_path


def write(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(script)


def ask(database: Database, query: str, *, owner: bool = False) -> list[Any]:
    with psycopg.connect(database.conninfo(owner=owner)) as connection:
        return connection.execute(query.encode()).fetchall()


def test_each_file_is_applied_once_into_the_cell_and_recorded(
    empty_database: Database, folder: Path
) -> None:
    for _ in range(2):
        database = prepare(
            empty_database.owner_url, runtime_url=empty_database.runtime_url, folder=folder
        )

    assert database == empty_database
    assert ask(database, "SELECT i FROM facts ORDER BY i") == [(1,), (2,)]
    assert ask(database, "SELECT number, name, checksum FROM schema_migrations ORDER BY 1") == [
        (migration.number, migration.name, migration.checksum) for migration in read(folder)
    ]
    assert ask(database, "SELECT to_regclass('main.facts')::text") == [("facts",)]


def test_cells_of_one_database_know_nothing_of_each_other(
    empty_database: Database, folder: Path
) -> None:
    main = prepare(empty_database.owner_url, folder=folder)
    other = prepare(empty_database.owner_url, cell="other", folder=folder)

    with psycopg.connect(other.conninfo()) as connection:
        connection.execute("INSERT INTO facts VALUES (3)")

    assert ask(main, "SELECT count(*) FROM facts") == [(2,)]
    assert ask(other, "SELECT count(*) FROM facts") == [(3,)]


def test_a_changed_file_is_refused_and_nothing_after_it_is_applied(
    empty_database: Database, folder: Path
) -> None:
    database = prepare(empty_database.owner_url, folder=folder)
    write(folder, "0001_first.sql", "CREATE TABLE facts (i bigint)")
    write(folder, "0003_third.sql", "CREATE TABLE third ()")

    with pytest.raises(MigrationRefused, match="0001_first was changed after it was applied"):
        prepare(empty_database.owner_url, folder=folder)

    assert ask(database, "SELECT to_regclass('third')") == [(None,)]


def test_a_database_newer_than_the_code_is_refused(empty_database: Database, folder: Path) -> None:
    prepare(empty_database.owner_url, folder=folder)
    (folder / "0002_second.sql").unlink()

    with pytest.raises(MigrationRefused, match="newer than the code"):
        prepare(empty_database.owner_url, folder=folder)


def test_an_edited_record_is_refused(empty_database: Database, folder: Path) -> None:
    database = prepare(empty_database.owner_url, folder=folder)
    with psycopg.connect(database.conninfo(owner=True)) as connection:
        connection.execute("DELETE FROM schema_migrations WHERE number = 1")

    with pytest.raises(MigrationRefused, match="0002 but not 0001"):
        prepare(empty_database.owner_url, folder=folder)


@pytest.mark.parametrize("name", ["0004_gap.sql", "0002_double.sql", "3_short.sql"])
def test_files_with_gaps_doubles_or_other_names_are_refused(folder: Path, name: str) -> None:
    write(folder, name, "SELECT 1")
    with pytest.raises(MigrationRefused):
        read(folder)


def test_a_failing_file_leaves_the_earlier_ones_and_nothing_of_itself(
    empty_database: Database, folder: Path
) -> None:
    write(folder, "0003_bad.sql", "CREATE TABLE third (); SELECT 1/0")
    with pytest.raises(MigrationRefused, match="0003_bad failed: division by zero"):
        prepare(empty_database.owner_url, folder=folder)

    assert ask(empty_database, "SELECT max(number) FROM schema_migrations") == [(2,)]
    assert ask(empty_database, "SELECT to_regclass('third')") == [(None,)]

    write(folder, "0003_bad.sql", "CREATE TABLE third ()")
    prepare(empty_database.owner_url, folder=folder)
    assert ask(empty_database, "SELECT max(number) FROM schema_migrations") == [(3,)]


def test_eight_processes_prepare_two_databases_of_a_new_server_at_once(
    state_folder: Path, folder: Path
) -> None:
    with EmbeddedServer.start(state_folder, durable=False) as server:
        with psycopg.connect(server.url, autocommit=True) as connection:
            # As on a server of the user's own: the role is not there yet, and roles are shared.
            connection.execute("DROP ROLE daybook_runtime")
            connection.execute("CREATE ROLE plain LOGIN PASSWORD 'plain' CREATEROLE")
            for name in ("one", "two"):
                connection.execute(f"CREATE DATABASE {name} OWNER plain".encode())
        urls = [
            f"postgresql://plain:plain@127.0.0.1:{server.port}/{name}" for name in ("one", "two")
        ]
        starting = [
            subprocess.Popen(
                [sys.executable, "-c", PREPARES, urls[i % 2], str(folder)],
                cwd=CHECKOUT,
                stdin=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for i in range(8)
        ]
        for process in starting:
            assert process.stdin is not None
            process.stdin.write("now\n")
            process.stdin.flush()
        ends = [(process.communicate()[1], process.returncode) for process in starting]

        assert ends == [("", 0)] * 8
        for url in urls:
            database = Database(url, url)
            assert ask(database, "SELECT i FROM facts ORDER BY i") == [(1,), (2,)]
            assert ask(database, "SELECT current_user::text, session_user::text") == [
                (RUNTIME_ROLE, "plain")
            ]


def test_two_logins_one_owns_and_the_other_only_acts_as_the_runtime(
    state_folder: Path, folder: Path
) -> None:
    with EmbeddedServer.start(state_folder, durable=False) as server:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("CREATE ROLE app LOGIN PASSWORD 'app'")
        app = f"postgresql://app:app@127.0.0.1:{server.port}/daybook"

        database = prepare(server.url, runtime_url=app, folder=folder)

        assert ask(database, "SELECT current_user::text") == [(RUNTIME_ROLE,)]
        with psycopg.connect(database.conninfo(), autocommit=True) as connection:
            connection.execute("INSERT INTO facts VALUES (3)")
            connection.execute("CREATE TABLE balances (i integer)")  # A read model is its own.
            for forbidden in (b"UPDATE facts SET i = 0", b"DELETE FROM facts", b"DROP TABLE facts"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(forbidden)


def test_urls_of_two_databases_are_refused(
    empty_database: Database, server: EmbeddedServer, folder: Path
) -> None:
    with pytest.raises(DatabaseUnusable, match="other than the owner's"):
        prepare(empty_database.owner_url, runtime_url=server.runtime_url, folder=folder)


def test_a_login_that_may_not_create_roles_is_told_what_to_run(
    state_folder: Path, folder: Path
) -> None:
    with (
        EmbeddedServer.start(state_folder, durable=False) as server,
        psycopg.connect(server.url, autocommit=True) as connection,
    ):
        connection.execute("CREATE ROLE weak LOGIN PASSWORD 'weak'")
        connection.execute("CREATE DATABASE weak OWNER weak")
        connection.execute("DROP ROLE daybook_runtime")
        weak = f"postgresql://weak:weak@127.0.0.1:{server.port}/weak"

        with pytest.raises(DatabaseUnusable, match="CREATE ROLE daybook_runtime") as refused:
            prepare(weak, folder=folder)

        for advice in str(refused.value).splitlines()[1:]:
            connection.execute(advice.encode())
        prepare(weak, folder=folder)


@pytest.mark.parametrize("version", [90624, 140012, 149999])
def test_a_server_that_is_too_old_is_refused_in_plain_words(version: int) -> None:
    with pytest.raises(DatabaseUnusable, match="needs 15 or newer: upgrade it, or unset"):
        refuse_old_server(version)


def test_a_server_of_version_15_will_do() -> None:
    refuse_old_server(150000)


def test_no_error_shows_a_password() -> None:
    for url in (
        "postgresql://me:hunter2@127.0.0.1:1/none",
        "postgresql://me:hunter2@127.0.0.1:port/none",
        "postgres//me:hunter2@127.0.0.1",
    ):
        with pytest.raises(DatabaseUnusable) as refused:
            prepare(url)
        assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("cell", ["", "Main", "a-b", "pg_main", "a;b", "1st", "a" * 41])
def test_a_cell_with_a_name_that_would_need_quotes_is_refused(cell: str) -> None:
    with pytest.raises(DatabaseUnusable, match="cannot name a cell"):
        Database("postgresql:///", "postgresql:///", cell)


def test_connection_options_of_the_user_are_kept() -> None:
    url = "postgresql://app@db/ledger?options=-c%20work_mem%3D8MB&sslmode=require"
    conninfo = Database(url, url).conninfo(application_name="writer")

    for kept in ("-c work_mem=8MB", "search_path=main", "role=daybook_runtime", "sslmode=require"):
        assert kept in conninfo
    assert "application_name=writer" in conninfo
    assert user_of(url) == "app"


def test_the_product_s_own_migrations_apply_and_grant_what_they_say(database: Database) -> None:
    assert ask(database, "SELECT count(*) FROM schema_migrations") == [(len(read(FOLDER)),)]
    with psycopg.connect(database.conninfo(), autocommit=True) as connection:
        connection.execute(
            "INSERT INTO api_keys (key_id, key_hash, scopes, created_at)"
            " VALUES ('k', '\\x00', '{read}', now())"
        )
        connection.execute("UPDATE api_keys SET revoked_at = now()")
        connection.execute("INSERT INTO test_clock (now) VALUES (now())")
        for forbidden in (b"UPDATE api_keys SET scopes = '{}'", b"DELETE FROM api_keys"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(forbidden)
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute("INSERT INTO test_clock (now) VALUES (now())")
