"""The tenants, for lists."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from psycopg import AsyncConnection, Connection

from domain.workspace.workspace import WorkspaceCreated
from projections.act import storable
from projections.read_model import Changes, Posted, ReadModel

TABLE = """
CREATE TABLE IF NOT EXISTS {table} (
    workspace_id text PRIMARY KEY,
    name text NOT NULL,
    timezone text NOT NULL,
    created_at timestamptz NOT NULL,
    position bigint NOT NULL
)
"""
INSERT = """
    INSERT INTO {workspaces} (workspace_id, name, timezone, created_at, position)
    SELECT * FROM unnest(%b::text[], %b::text[], %b::text[], %b::timestamptz[], %b::bigint[])
"""


class Workspaces(ReadModel):
    """One row a tenant."""

    name = "workspaces"
    facts = (WorkspaceCreated,)
    tables = {"workspaces": TABLE}

    def nothing(self) -> Changes:
        """Rows to insert."""
        return ([],)

    def fold(self, events: Sequence[Posted], changes: Changes) -> None:
        """A row for each."""
        changes[0].extend(
            (fact.workspace_id, storable(fact.name), fact.timezone, fact.recorded_at, position)
            for position, _, _, fact in events
            if isinstance(fact, WorkspaceCreated)
        )

    def write(self, connection: Connection, changes: Changes) -> None:
        """Insert the new tenants."""
        columns = [list(column) for column in zip(*sorted(changes[0]), strict=True)]
        connection.execute(self.sql(INSERT), columns)


class Tenant(NamedTuple):
    """A workspace as it was created; ``position`` is that of its first event."""

    workspace_id: str
    name: str
    timezone: str
    created_at: datetime
    position: int


SELECT = f"SELECT {', '.join(Tenant._fields)} FROM workspaces"  # noqa: S608


async def tenant(connection: AsyncConnection, workspace_id: str) -> Tenant | None:
    """One workspace, or None."""
    query = f"{SELECT} WHERE workspace_id = %s".encode()
    row = await (await connection.execute(query, (workspace_id,))).fetchone()
    return None if row is None else Tenant(*row)


async def tenants(
    connection: AsyncConnection, *, after: str = "", limit: int = 1000
) -> list[Tenant]:
    """Workspaces in the order of their ids, beginning after one."""
    query = f"{SELECT} WHERE workspace_id > %s ORDER BY workspace_id LIMIT %s".encode()
    return [
        Tenant(*row) for row in await (await connection.execute(query, (after, limit))).fetchall()
    ]
