"""The keys that a deployment makes for itself: kept beside its data, made again when revoked."""

from datetime import UTC, datetime

import psycopg

from adapters.postgres import keys
from adapters.postgres.database import Database
from api.running.notes import Notes

SERVICE_SCOPES = ("billing:read", "billing:write", "usage:write", "payments:record")


def admin_key(database: Database, notes: Notes) -> str:
    """The deployment's own service key with every scope; the same one in every run."""
    kept = notes.read()
    with psycopg.connect(database.conninfo(), autocommit=True) as connection:
        if _is_good(connection, kept.get("admin_key_id")):
            return str(kept["admin_key"])
        made, key = keys.create(
            connection, scopes=keys.SCOPES, name="scripts/run", now=datetime.now(UTC)
        )
    notes.keep(admin_key=key, admin_key_id=made.key_id)
    return key


def workspace_key(database: Database, workspace_id: str, name: str) -> str:
    """A new key that acts for one workspace only."""
    with psycopg.connect(database.conninfo(), autocommit=True) as connection:
        _, key = keys.create(
            connection,
            scopes=SERVICE_SCOPES,
            workspace_id=workspace_id,
            name=name,
            now=datetime.now(UTC),
        )
    return key


def _is_good(connection: psycopg.Connection[tuple[object, ...]], key_id: str | None) -> bool:
    return any(key.key_id == key_id and key.revoked_at is None for key in keys.every(connection))
