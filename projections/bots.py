"""The bots of every workspace, and what keeps some of them paused."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from psycopg import AsyncConnection, Connection

from domain.workspace.facts import BotCreated, BotPaused, BotRemoved, BotResumed, Pauser
from domain.workspace.workspace import workspace_stream
from projections.act import storable
from projections.read_model import Changes, Posted, ReadModel

TABLE = """
CREATE TABLE IF NOT EXISTS {table} (
    stream uuid NOT NULL,               -- the workspace's
    bot_id text NOT NULL,
    name text NOT NULL,
    created_at timestamptz NOT NULL,
    paused_by text,                     -- user, plan_limit; null: active
    last_position bigint NOT NULL,
    PRIMARY KEY (stream, bot_id)
)
"""
KNOWN = """
    SELECT stream, bot_id, name, created_at, paused_by, last_position FROM {bots}
    WHERE (stream, bot_id) IN (SELECT * FROM unnest(%b::uuid[], %b::text[]))
"""
REMOVE = """
    DELETE FROM {bots} USING unnest(%b::uuid[], %b::text[]) AS gone (stream, bot_id)
    WHERE {bots}.stream = gone.stream AND {bots}.bot_id = gone.bot_id
"""
INSERT = """
    INSERT INTO {bots} (stream, bot_id, name, created_at, paused_by, last_position)
    SELECT * FROM unnest(%b::uuid[], %b::text[], %b::text[], %b::timestamptz[], %b::text[],
                         %b::bigint[])
"""


class BotRow(NamedTuple):
    """A bot; active where nobody paused it."""

    stream: UUID
    bot_id: str
    name: str
    created_at: datetime
    paused_by: Pauser | None
    last_position: int


class Bots(ReadModel):
    """One row a bot that is there."""

    name = "bots"
    facts = (BotCreated, BotPaused, BotResumed, BotRemoved)
    tables = {"bots": TABLE}

    def nothing(self) -> Changes:
        """What happened to each bot, in order."""
        return ({},)

    def fold(self, events: Sequence[Posted], changes: Changes) -> None:
        """By bot."""
        for position, stream, _, fact in events:
            assert isinstance(fact, BotCreated | BotPaused | BotResumed | BotRemoved)
            changes[0].setdefault((stream, storable(fact.bot_id)), []).append((position, fact))

    def write(self, connection: Connection, changes: Changes) -> None:
        """Take each bot's row through what happened to it."""
        moved = changes[0]
        keys = sorted(moved)
        columns = [list(column) for column in zip(*keys, strict=True)]
        rows: dict[tuple[UUID, str], BotRow | None] = {
            (row[0], row[1]): BotRow(*row)
            for row in connection.execute(self.sql(KNOWN), columns, binary=True)
        }
        for key in keys:
            for position, fact in moved[key]:
                rows[key] = _moved(rows.get(key), key, fact, position)
        connection.execute(self.sql(REMOVE), columns)
        kept = sorted(row for row in rows.values() if row is not None)
        if kept:
            connection.execute(
                self.sql(INSERT), [list(column) for column in zip(*kept, strict=True)]
            )


def _moved(row: BotRow | None, key: tuple[UUID, str], fact: object, position: int) -> BotRow | None:
    match fact:
        case BotCreated():
            return BotRow(*key, storable(fact.name), fact.created_at, None, position)
        case BotPaused() if row is not None:
            return row._replace(paused_by=fact.by, last_position=position)
        case BotResumed() if row is not None:
            return row._replace(paused_by=None, last_position=position)
        case _:
            return None


class BotCount(NamedTuple):
    """How many bots a workspace has, by what they do."""

    active: int
    paused_by_plan: int
    paused_by_user: int


COUNT = """
    SELECT count(*) FILTER (WHERE paused_by IS NULL),
           count(*) FILTER (WHERE paused_by = 'plan_limit'),
           count(*) FILTER (WHERE paused_by = 'user')
    FROM bots WHERE stream = %s
"""


async def count(connection: AsyncConnection, workspace_id: str) -> BotCount:
    """A workspace's bots as last folded."""
    cursor = await connection.execute(COUNT, (workspace_stream(workspace_id),))
    row = await cursor.fetchone()
    return BotCount(*(row or (0, 0, 0)))


async def listed(connection: AsyncConnection, workspace_id: str) -> list[BotRow]:
    """A workspace's bots as last folded, the oldest first."""
    cursor = await connection.execute(
        f"SELECT {', '.join(BotRow._fields)} FROM bots WHERE stream = %s"  # noqa: S608
        " ORDER BY created_at, bot_id".encode(),
        (workspace_stream(workspace_id),),
    )
    return [BotRow(*row) for row in await cursor.fetchall()]
