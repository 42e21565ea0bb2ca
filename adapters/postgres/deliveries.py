"""What was sent to an endpoint, and how each try went: for whoever asks."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from psycopg import AsyncConnection

Connection = AsyncConnection[Any]


class Delivery(NamedTuple):
    """A message to an endpoint, and what became of it."""

    message_id: str
    number: int
    position: int
    type: str
    body: str
    created_at: datetime
    status: str
    attempts: int
    next_attempt_at: datetime | None
    settled_at: datetime | None


class Attempt(NamedTuple):
    """One try. ``manual``: somebody asked for it."""

    at: datetime
    manual: bool
    status_code: int | None
    error: str | None
    duration_ms: int


SENT = f"SELECT {', '.join(Delivery._fields)} FROM outgoing_messages"  # noqa: S608


async def deliveries(
    connection: Connection,
    endpoint_id: str,
    *,
    status: str | None,
    before: int | None,
    limit: int,
) -> list[Delivery]:
    """Messages to an endpoint, the newest first, before a number."""
    cursor = await connection.execute(
        f"{SENT} WHERE endpoint_id = %s AND (%s::text IS NULL OR status = %s)"
        " AND number < coalesce(%s, 9223372036854775807) ORDER BY number DESC LIMIT %s".encode(),
        (endpoint_id, status, status, before, limit),
    )
    return [Delivery(*row) for row in await cursor.fetchall()]


async def delivery(connection: Connection, endpoint_id: str, message_id: str) -> Delivery | None:
    """One message to an endpoint."""
    query = f"{SENT} WHERE endpoint_id = %s AND message_id = %s".encode()
    row = await (await connection.execute(query, (endpoint_id, message_id))).fetchone()
    return None if row is None else Delivery(*row)


async def attempts(connection: Connection, endpoint_id: str, message_id: str) -> list[Attempt]:
    """Every try of a message, in order."""
    cursor = await connection.execute(
        "SELECT at, manual, status_code, error, duration_ms FROM outgoing_attempts"
        " WHERE endpoint_id = %s AND message_id = %s ORDER BY number",
        (endpoint_id, message_id),
    )
    return [Attempt(*row) for row in await cursor.fetchall()]
