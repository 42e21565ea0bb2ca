"""What time will do by itself, and when: what a sweeper asks, so that it is recorded even where
nobody calls. No decision waits for it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from psycopg import AsyncConnection, Connection

from domain.account.allowance_facts import AllowanceClosed, AllowanceGranted, CycleEnded
from domain.account.credit_facts import SpendPolicySet
from domain.account.hold_facts import HoldExpired, HoldExtended, HoldPlaced, HoldReleased
from domain.account.usage_facts import Debited, UsageRecorded
from domain.contract.facts import (
    CancellationRevoked,
    CancellationScheduled,
    SubscriptionEnded,
)
from domain.contract.subscription import subscription_stream
from domain.identity import account_id
from domain.workspace.facts import (
    DeploysBlocked,
    GraceMoved,
    WorkspaceMarkedPastDue,
    WorkspaceReactivated,
)
from domain.workspace.workspace import WorkspaceCreated, workspace_stream
from projections.read_model import Changes, Posted, ReadModel

Kind = Literal["hold", "cycle", "window", "grace"]
"""A hold expires; a cycle or a contract ends, or a cycle that is over has waited long enough; a
window of days ends; the grace of an unpaid invoice does."""

WORK = """
CREATE TABLE IF NOT EXISTS {table} (
    kind text NOT NULL,
    stream uuid NOT NULL,               -- of the fact that says when
    id text NOT NULL,                   -- a hold, bucket or cycle, or empty for the only one
    due_at timestamptz NOT NULL,
    last_position bigint NOT NULL,
    PRIMARY KEY (stream, kind, id)
);
CREATE INDEX IF NOT EXISTS {table}_due ON {table} (due_at)
"""
STREAMS = """
CREATE TABLE IF NOT EXISTS {table} (
    stream uuid PRIMARY KEY,
    workspace_id text NOT NULL,
    last_position bigint NOT NULL
)
"""
OPEN = """
    INSERT INTO {due_streams} (stream, workspace_id, last_position)
    SELECT * FROM unnest(%b::uuid[], %b::text[], %b::bigint[])
"""
KEEP = """
    INSERT INTO {due_work} (stream, kind, id, due_at, last_position)
    SELECT * FROM unnest(%b::uuid[], %b::text[], %b::text[], %b::timestamptz[], %b::bigint[])
    ON CONFLICT (stream, kind, id) DO UPDATE
    SET due_at = excluded.due_at, last_position = excluded.last_position
"""
REMOVE = """
    DELETE FROM {due_work}
    USING unnest(%b::uuid[], %b::text[], %b::text[]) AS gone (stream, kind, id)
    WHERE {due_work}.stream = gone.stream AND {due_work}.kind = gone.kind
      AND {due_work}.id = gone.id
"""
Due = tuple[Kind, str, datetime | None]
"""What is due, and when; None: not any more."""


class DueWork(ReadModel):
    """One row for each thing that time will do."""

    name = "due_work"
    facts = (
        WorkspaceCreated,
        SpendPolicySet,
        AllowanceGranted,
        AllowanceClosed,
        CycleEnded,
        CancellationScheduled,
        CancellationRevoked,
        SubscriptionEnded,
        HoldPlaced,
        HoldExtended,
        HoldReleased,
        HoldExpired,
        Debited,
        UsageRecorded,
        WorkspaceMarkedPastDue,
        GraceMoved,
        DeploysBlocked,
        WorkspaceReactivated,
    )
    tables = {"due_work": WORK, "due_streams": STREAMS}

    def nothing(self) -> Changes:
        """Streams opened; and by stream, kind and id when it is due and the position."""
        return [], {}

    def fold(self, events: Sequence[Posted], changes: Changes) -> None:
        """The last word on each thing counts."""
        opened, work = changes
        for position, stream, _, fact in events:
            if type(fact) is Debited or type(fact) is UsageRecorded:
                hold_id = fact.usage.hold_id if fact.usage is not None else None
                if hold_id is not None:
                    work[stream, "hold", hold_id] = None
            elif type(fact) is WorkspaceCreated:
                opened.extend(_streams_of(fact.workspace_id, position))
            else:
                kind, id, due_at = _due(fact)
                work[stream, kind, id] = None if due_at is None else (due_at, position)

    def write(self, connection: Connection, changes: Changes) -> None:
        """Insert streams, then keep and remove work."""
        opened, work = changes
        kept = [(*key, *value) for key, value in work.items() if value is not None]
        gone = [key for key, value in work.items() if value is None]
        for statement, rows in ((OPEN, opened), (KEEP, kept), (REMOVE, gone)):
            if rows:
                columns = [list(column) for column in zip(*sorted(rows), strict=True)]
                connection.execute(self.sql(statement), columns)


def _streams_of(workspace_id: str, position: int) -> list[tuple[UUID, str, int]]:
    streams = (
        account_id(workspace_id),
        workspace_stream(workspace_id),
        subscription_stream(workspace_id),
    )
    return [(stream, workspace_id, position) for stream in streams]


def _due(fact: object) -> Due:
    match fact:
        case HoldPlaced() | HoldExtended():
            return "hold", fact.hold_id, fact.expires_at
        case HoldReleased() | HoldExpired():
            return "hold", fact.hold_id, None
        case SpendPolicySet():
            return "cycle", "", fact.period_end
        case CancellationScheduled():
            return "cycle", "", fact.cancel_at
        case CancellationRevoked() | SubscriptionEnded():
            return "cycle", "", None
        case CycleEnded():
            return "cycle", fact.cycle_id, fact.closes_at
        case AllowanceClosed():
            return "cycle", fact.cycle_id, None
        case AllowanceGranted():
            return "window", fact.bucket, _window_end(fact)
        case WorkspaceMarkedPastDue() | GraceMoved():
            return "grace", "", fact.grace_ends_at
        case _:
            return "grace", "", None


def _window_end(fact: AllowanceGranted) -> datetime | None:
    if not fact.reset.startswith("days:"):
        return None
    return (fact.since or fact.recorded_at) + timedelta(days=int(fact.reset.removeprefix("days:")))


async def due(connection: AsyncConnection, until: datetime) -> dict[str, set[Kind]]:
    """What is due by an instant, for each workspace, in the order of their ids."""
    cursor = await connection.execute(
        """SELECT DISTINCT workspace_id, kind FROM due_work JOIN due_streams USING (stream)
           WHERE due_at <= %s ORDER BY workspace_id, kind""",
        (until,),
    )
    found: dict[str, set[Kind]] = {}
    for workspace_id, kind in await cursor.fetchall():
        found.setdefault(workspace_id, set()).add(kind)
    return found
