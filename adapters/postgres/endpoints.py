"""Where workspaces want our webhooks: their endpoints, as rows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from psycopg import AsyncConnection, sql

Connection = AsyncConnection[Any]

OF_ONE = "workspace_id = %(workspace_id)s AND endpoint_id = %(endpoint_id)s"
ADD = """
    INSERT INTO outgoing_endpoints (endpoint_id, workspace_id, url, types, balance_low, description,
                                    secret, from_position, created_at)
    VALUES (%s, %s, %s, %s, %s, %s, %s,
            (SELECT coalesce(max(notification_id), 0) FROM events), %s)
"""
WATCH = """
    INSERT INTO outgoing_streams (stream, workspace_id)
    SELECT unnest(%s::uuid[]), %s ON CONFLICT DO NOTHING
"""
UNWATCH = """
    DELETE FROM outgoing_streams WHERE workspace_id = %(workspace_id)s AND NOT EXISTS
        (SELECT FROM outgoing_endpoints WHERE workspace_id = %(workspace_id)s)
"""
ROTATE = f"""
    UPDATE outgoing_endpoints
    SET old_secret = secret, old_secret_until = %(until)s, secret = %(secret)s
    WHERE {OF_ONE}
"""  # noqa: S608
ENABLE = """
    UPDATE outgoing_messages SET next_attempt_at = %s
    WHERE endpoint_id = %s AND status = 'pending'
"""
ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(7006, hashtext(%s))"


class Endpoint(NamedTuple):
    """An endpoint as it may be shown: without its secrets. ``balance_low`` in µ; ``disabled``
    says by what, None while it is sent to."""

    endpoint_id: str
    workspace_id: str
    url: str
    types: list[str]
    balance_low: int | None
    description: str | None
    disabled: str | None
    old_secret_until: datetime | None
    created_at: datetime


SELECT = f"SELECT {', '.join(Endpoint._fields)} FROM outgoing_endpoints"  # noqa: S608


class Signing(NamedTuple):
    """Where to send, and the secrets that sign now, the newest first."""

    url: str
    secrets: list[bytes]


async def add(
    connection: Connection,
    endpoint: Endpoint,
    secret: bytes,
    streams: Sequence[UUID],
    most: int,
) -> bool:
    """Register an endpoint for facts from now on; False, and nothing added, where the workspace
    has ``most`` already. ``streams`` are those of the workspace."""
    async with connection.transaction():
        await connection.execute(ONE_AT_A_TIME, (endpoint.workspace_id,))
        if len(await of_workspace(connection, endpoint.workspace_id)) >= most:
            return False
        await connection.execute(ADD, (*endpoint[:6], secret, endpoint.created_at))
        await connection.execute(WATCH, (list(streams), endpoint.workspace_id))
        return True


async def of_workspace(connection: Connection, workspace_id: str) -> list[Endpoint]:
    """A workspace's endpoints, in the order in which they were registered."""
    query = f"{SELECT} WHERE workspace_id = %s ORDER BY number".encode()
    cursor = await connection.execute(query, (workspace_id,))
    return [Endpoint(*row) for row in await cursor.fetchall()]


async def find(connection: Connection, workspace_id: str, endpoint_id: str) -> Endpoint | None:
    """One of a workspace's endpoints."""
    named = {"workspace_id": workspace_id, "endpoint_id": endpoint_id}
    cursor = await connection.execute(f"{SELECT} WHERE {OF_ONE}".encode(), named)
    row = await cursor.fetchone()
    return None if row is None else Endpoint(*row)


async def change(
    connection: Connection, endpoint: Endpoint, changes: dict[str, Any], now: datetime
) -> None:
    """Set columns of an endpoint. One that is enabled again is sent what is waiting at once."""
    if not changes:
        return
    pairs = [sql.SQL("{} = %s").format(sql.Identifier(name)) for name in changes]
    statement = sql.SQL("UPDATE outgoing_endpoints SET {} WHERE endpoint_id = %s").format(
        sql.SQL(", ").join(pairs)
    )
    async with connection.transaction():
        await connection.execute(statement, (*changes.values(), endpoint.endpoint_id))
        if endpoint.disabled is not None and changes.get("disabled", "") is None:
            await connection.execute(ENABLE, (now, endpoint.endpoint_id))


async def rotate(
    connection: Connection, workspace_id: str, endpoint_id: str, secret: bytes, until: datetime
) -> bool:
    """Sign with a new secret, and with the old one too until then; False without such one."""
    named = {"workspace_id": workspace_id, "endpoint_id": endpoint_id}
    cursor = await connection.execute(ROTATE, named | {"secret": secret, "until": until})
    return cursor.rowcount == 1


async def remove(connection: Connection, workspace_id: str, endpoint_id: str) -> bool:
    """Forget an endpoint and everything sent to it; False where there is none."""
    named = {"workspace_id": workspace_id, "endpoint_id": endpoint_id}
    async with connection.transaction():
        await connection.execute(ONE_AT_A_TIME, (workspace_id,))
        query = f"DELETE FROM outgoing_endpoints WHERE {OF_ONE}".encode()  # noqa: S608
        cursor = await connection.execute(query, named)
        await connection.execute(UNWATCH, named)
    return cursor.rowcount == 1


async def signing(connection: Connection, endpoint_id: str, now: datetime) -> Signing | None:
    """What it takes to send to an endpoint, or None where it is gone."""
    cursor = await connection.execute(
        "SELECT url, secret, CASE WHEN old_secret_until > %s THEN old_secret END"
        " FROM outgoing_endpoints WHERE endpoint_id = %s",
        (now, endpoint_id),
    )
    row = await cursor.fetchone()
    if row is None:
        return None
    return Signing(row[0], [bytes(secret) for secret in row[1:] if secret is not None])
