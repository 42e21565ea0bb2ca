"""A database of the embedded server for each ledger, made when it is first asked for."""

import psycopg
from psycopg import sql

from adapters.postgres.database import Database, prepare
from adapters.postgres.embedded import EmbeddedServer


def provide(server: EmbeddedServer, name: str) -> Database:
    """The ledger in the database `name`, ready for use; made if it is missing.

    Raises DatabaseUnusable or MigrationRefused, as `prepare` does.
    """
    with psycopg.connect(server.url_for("postgres"), autocommit=True) as connection:
        known = "SELECT 1 FROM pg_database WHERE datname = %s"
        if connection.execute(known, [name]).fetchone() is None:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        database = prepare(server.url_for(name), runtime_url=server.runtime_url_for(name))
        # For people with psql: the tables are found by their bare names.
        connection.execute(
            sql.SQL("ALTER DATABASE {} SET search_path = {}").format(
                sql.Identifier(name), sql.Identifier(database.cell)
            )
        )
    return database
