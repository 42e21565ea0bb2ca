"""How every workspace stands: plan, limits, what is unpaid and until when deploys go on. Which
colour a banner has follows from a row and the time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from psycopg import AsyncConnection, Connection

from domain.contract.facts import (
    CancellationRevoked,
    CancellationScheduled,
    DowngradeScheduled,
    DowngradeUnscheduled,
    PlanMigrationScheduled,
    PlanMigrationUnscheduled,
    SubscriptionEnded,
)
from domain.contract.subscription import PlanChanged, subscription_stream
from domain.workspace.facts import (
    DeploysBlocked,
    GraceMoved,
    MemberAdded,
    MemberRemoved,
    PaymentMethodRemoved,
    PaymentMethodSaved,
    StorageReported,
    WorkspaceMarkedPastDue,
    WorkspaceReactivated,
)
from domain.workspace.workspace import LimitsChanged, WorkspaceCreated, workspace_stream
from projections.read_model import Changes, Posted, ReadModel

TABLE = """
CREATE TABLE IF NOT EXISTS {table} (
    stream uuid PRIMARY KEY,            -- the workspace's
    workspace_id text NOT NULL,
    plan_id text NOT NULL,
    plan_version int NOT NULL,
    limits text NOT NULL,               -- JSON
    keep_bot_ids text[] NOT NULL,
    status text NOT NULL,               -- active, past_due
    first_failed_at timestamptz,
    grace_days int NOT NULL,
    grace_ends_at timestamptz,
    blocked_since timestamptz,          -- the end of the grace, once somebody noticed it
    seats int NOT NULL,                 -- taken, the owner's included
    storage_used bigint NOT NULL,       -- bytes
    payment_method_id text,
    subscription_stream uuid NOT NULL,
    scheduled_plan text,                -- comes into force when the cycle closes
    cancel_at timestamptz,              -- when the contract ends
    last_position bigint NOT NULL
);
CREATE INDEX IF NOT EXISTS {table}_subscription ON {table} (subscription_stream);
CREATE INDEX IF NOT EXISTS {table}_past_due ON {table} (grace_ends_at) WHERE status = 'past_due'
"""


NOWHERE = UUID(int=0)


class Status(NamedTuple):
    """A workspace as last folded."""

    stream: UUID
    workspace_id: str
    plan_id: str = ""
    plan_version: int = 0
    limits: str = "{}"
    keep_bot_ids: list[str] = []
    status: str = "active"
    first_failed_at: datetime | None = None
    grace_days: int = 0
    grace_ends_at: datetime | None = None
    blocked_since: datetime | None = None
    seats: int = 1
    storage_used: int = 0
    payment_method_id: str | None = None
    subscription_stream: UUID = NOWHERE
    scheduled_plan: str | None = None
    cancel_at: datetime | None = None
    last_position: int = 0


FIELDS = ", ".join(Status._fields)
KNOWN = f"""
    SELECT {FIELDS} FROM {{workspace_status}}
    WHERE stream = ANY(%b::uuid[]) OR subscription_stream = ANY(%b::uuid[])
"""  # noqa: S608
REMOVE = "DELETE FROM {workspace_status} WHERE stream = ANY(%b::uuid[])"
INSERT = f"INSERT INTO {{workspace_status}} ({FIELDS}) VALUES ({{values}})"  # noqa: S608


class WorkspaceStatus(ReadModel):
    """One row a workspace."""

    name = "workspace_status"
    facts = (
        WorkspaceCreated,
        LimitsChanged,
        MemberAdded,
        MemberRemoved,
        WorkspaceMarkedPastDue,
        GraceMoved,
        DeploysBlocked,
        WorkspaceReactivated,
        PaymentMethodSaved,
        PaymentMethodRemoved,
        StorageReported,
        PlanChanged,
        DowngradeScheduled,
        DowngradeUnscheduled,
        PlanMigrationScheduled,
        PlanMigrationUnscheduled,
        CancellationScheduled,
        CancellationRevoked,
        SubscriptionEnded,
    )
    tables = {"workspace_status": TABLE}

    def nothing(self) -> Changes:
        """Streams of workspaces and subscriptions, and what happened to them, in order."""
        return set(), []

    def fold(self, events: Sequence[Posted], changes: Changes) -> None:
        """Everything."""
        streams, moves = changes
        for position, stream, _, fact in events:
            streams.add(stream)
            moves.append((position, stream, fact))

    def write(self, connection: Connection, changes: Changes) -> None:
        """Take each workspace's row through what happened to it."""
        streams, moves = changes
        known = connection.execute(self.sql(KNOWN), [sorted(streams)] * 2, binary=True)
        rows = {row[0]: Status(*row) for row in known}
        places = {row.subscription_stream: stream for stream, row in rows.items()}
        for position, stream, fact in moves:
            if isinstance(fact, WorkspaceCreated):
                contract = subscription_stream(fact.workspace_id)
                places[contract] = stream
                rows[stream] = Status(stream, fact.workspace_id, subscription_stream=contract)
            place = places.get(stream, stream)
            rows[place] = _moved(rows[place], fact)._replace(last_position=position)
        connection.execute(self.sql(REMOVE), (sorted(rows),))
        insert = self.sql(INSERT.replace("{values}", ", ".join(["%s"] * len(Status._fields))))
        with connection.cursor() as cursor:
            cursor.executemany(insert, sorted(rows.values()))


def _moved(row: Status, fact: object) -> Status:
    match fact:
        case LimitsChanged():
            return row._replace(
                plan_id=fact.plan_id,
                plan_version=fact.plan_version,
                limits=msgspec.json.encode(fact.limits, order="sorted").decode(),
                keep_bot_ids=list(fact.keep_bot_ids),
            )
        case MemberAdded():
            return row._replace(seats=row.seats + 1)
        case MemberRemoved():
            return row._replace(seats=row.seats - 1)
        case PaymentMethodSaved():
            return row._replace(payment_method_id=fact.payment_method_id)
        case PaymentMethodRemoved() if row.payment_method_id == fact.payment_method_id:
            return row._replace(payment_method_id=None)
        case StorageReported():
            return row._replace(storage_used=fact.used_bytes)
        case DowngradeScheduled() | PlanMigrationScheduled():
            return row._replace(scheduled_plan=fact.to_plan)
        case DowngradeUnscheduled() | PlanMigrationUnscheduled() | PlanChanged():
            return row._replace(scheduled_plan=None)
        case CancellationScheduled():
            return row._replace(cancel_at=fact.cancel_at)
        case CancellationRevoked():
            return row._replace(cancel_at=None)
        case SubscriptionEnded():
            return row._replace(scheduled_plan=None, cancel_at=None)
        case _:
            return _dunned(row, fact)


def _dunned(row: Status, fact: object) -> Status:
    match fact:
        case WorkspaceMarkedPastDue():
            return row._replace(
                status="past_due",
                first_failed_at=fact.first_failed_at,
                grace_days=fact.grace_days,
                grace_ends_at=fact.grace_ends_at,
                blocked_since=None,
            )
        case GraceMoved():
            return row._replace(
                first_failed_at=fact.first_failed_at or row.first_failed_at,
                grace_days=row.grace_days if fact.grace_days is None else fact.grace_days,
                grace_ends_at=fact.grace_ends_at,
                blocked_since=None,
            )
        case DeploysBlocked():
            return row._replace(blocked_since=fact.since)
        case WorkspaceReactivated():
            return row._replace(
                status="active",
                first_failed_at=None,
                grace_days=0,
                grace_ends_at=None,
                blocked_since=None,
            )
        case _:
            return row


async def find(connection: AsyncConnection[Any], workspace_id: str) -> Status | None:
    """A workspace as last folded, or None."""
    query = f"SELECT {FIELDS} FROM workspace_status WHERE stream = %s"  # noqa: S608
    row = await (
        await connection.execute(query.encode(), (workspace_stream(workspace_id),))
    ).fetchone()
    return None if row is None else Status(*row)


async def past_due(connection: AsyncConnection[Any], *, limit: int = 100) -> list[Status]:
    """Workspaces with something unpaid, whose grace ends first first."""
    cursor = await connection.execute(
        f"SELECT {FIELDS} FROM workspace_status WHERE status = 'past_due'"  # noqa: S608
        " ORDER BY grace_ends_at, workspace_id LIMIT %s".encode(),
        (limit,),
    )
    return [Status(*row) for row in await cursor.fetchall()]
