"""What was sold when: every plan of every catalogue version, and what was quoted to one tenant."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec
from psycopg import Connection

from domain.catalogue.catalogue import Catalogue, CatalogueVersionPublished
from domain.catalogue.custom_plan import (
    CustomPlanAccepted,
    CustomPlanDefined,
    CustomPlanWithdrawn,
    PlanStatusChanged,
)
from domain.catalogue.plan import Plan
from domain.facts import Fact
from projections.read_model import Changes, Posted, ReadModel

PLANS = """
CREATE TABLE IF NOT EXISTS {table} (
    plan_id text NOT NULL,
    version int NOT NULL,               -- of the catalogue, or of the custom plan
    workspace_id text NOT NULL,         -- empty: everybody's
    status text NOT NULL,               -- live, dormant, hidden
    document_status text NOT NULL,      -- what the document says
    price_minor bigint NOT NULL,
    "interval" text NOT NULL,
    buckets text NOT NULL,              -- JSON
    overage_unit_price bigint,          -- µ
    grace_days int NOT NULL,
    oauth text[] NOT NULL,
    limits text NOT NULL,               -- JSON
    entitlements text NOT NULL,         -- JSON
    custom_base boolean NOT NULL,
    base_plan text,
    base_version int,
    quote_ref text,
    valid_until timestamptz,
    accepted boolean NOT NULL,
    withdrawn boolean NOT NULL,
    defined_at timestamptz NOT NULL,
    last_position bigint NOT NULL,
    PRIMARY KEY (plan_id, version, workspace_id)
);
CREATE INDEX IF NOT EXISTS {table}_by_workspace ON {table} (workspace_id, version)
"""
VERSIONS = """
CREATE TABLE IF NOT EXISTS {table} (
    version int PRIMARY KEY,
    catalogue text NOT NULL,
    currency text NOT NULL,
    default_plan text NOT NULL,
    content_sha256 text NOT NULL,
    source text NOT NULL,
    published_at timestamptz NOT NULL,
    position bigint NOT NULL
)
"""
# An administrator's word on a plan outlives documents that say of it what they said before.
PUBLISH = """
    INSERT INTO {plan_comparison} VALUES (%s, %s, %s, coalesce(
        (SELECT b.status FROM {plan_comparison} b WHERE b.plan_id = %s AND b.workspace_id = ''
         AND b.version = %s - 1 AND b.document_status = %s), %s),
        %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
VERSION = "INSERT INTO {catalogue_versions} VALUES (%s, %s, %s, %s, %s, %s, %s, %s)"
STATUS = """
    UPDATE {plan_comparison} SET status = %s, last_position = %s
    WHERE plan_id = %s AND workspace_id = ''
          AND version = (SELECT max(version) FROM {catalogue_versions})
"""
ACCEPT = """
    UPDATE {plan_comparison} SET accepted = true, last_position = %s
    WHERE plan_id = %s AND workspace_id = %s AND version = %s
"""
WITHDRAW = """
    UPDATE {plan_comparison} SET withdrawn = true, last_position = %s
    WHERE plan_id = %s AND workspace_id = %s
"""


class PlanRow(NamedTuple):
    """One version of a plan, as it is compared. ``overage_unit_price`` in µ."""

    plan_id: str
    version: int
    workspace_id: str
    status: str
    document_status: str
    price_minor: int
    interval: str
    buckets: str
    overage_unit_price: int | None
    grace_days: int
    oauth: list[str]
    limits: str
    entitlements: str
    custom_base: bool
    base_plan: str | None
    base_version: int | None
    quote_ref: str | None
    valid_until: datetime | None
    accepted: bool
    withdrawn: bool
    defined_at: datetime
    last_position: int


class PlanComparison(ReadModel):
    """One row a version of a plan; one a version of the catalogue."""

    name = "plan_comparison"
    facts = (
        CatalogueVersionPublished,
        PlanStatusChanged,
        CustomPlanDefined,
        CustomPlanAccepted,
        CustomPlanWithdrawn,
    )
    tables = {"plan_comparison": PLANS, "catalogue_versions": VERSIONS}

    def nothing(self) -> Changes:
        """What happened, in order."""
        return ([],)

    def fold(self, events: Sequence[Posted], changes: Changes) -> None:
        """There are few, and each may rest on those before it."""
        changes[0].extend((position, fact) for position, _, _, fact in events)

    def write(self, connection: Connection, changes: Changes) -> None:
        """One after the other."""
        for position, fact in changes[0]:
            self._write(connection, position, fact)

    def _write(self, connection: Connection, position: int, fact: Fact) -> None:
        match fact:
            case CatalogueVersionPublished():
                catalogue = msgspec.json.decode(fact.document, type=Catalogue)
                about = (catalogue.catalogue, catalogue.currency, catalogue.default_plan)
                row = (fact.version, *about, fact.content_sha256, fact.source)
                connection.execute(self.sql(VERSION), (*row, fact.recorded_at, position))
                for plan_id, plan in sorted(catalogue.plans.items()):
                    self._add(
                        connection, row_of(plan_id, fact.version, plan, fact.recorded_at, position)
                    )
            case CustomPlanDefined():
                at = fact.recorded_at
                row_now = row_of(fact.plan_id, fact.custom_version, fact.plan, at, position)
                self._add(
                    connection,
                    row_now._replace(
                        workspace_id=fact.workspace_id,
                        base_plan=fact.base_plan,
                        base_version=fact.base_version,
                        quote_ref=fact.quote_ref,
                        valid_until=fact.valid_until,
                    ),
                )
            case PlanStatusChanged():
                connection.execute(self.sql(STATUS), (fact.status, position, fact.plan_id))
            case CustomPlanAccepted():
                name = (fact.plan_id, fact.workspace_id, fact.custom_version)
                connection.execute(self.sql(ACCEPT), (position, *name))
            case CustomPlanWithdrawn():
                name_now = (fact.plan_id, fact.workspace_id)
                connection.execute(self.sql(WITHDRAW), (position, *name_now))

    def _add(self, connection: Connection, row: PlanRow) -> None:
        status = (row.plan_id, row.version, row.document_status, row.status)
        connection.execute(self.sql(PUBLISH), (*row[:3], *status, *row[4:]))


def row_of(plan_id: str, version: int, plan: Plan, at: datetime, position: int) -> PlanRow:
    """A plan of everybody's as a row."""
    return PlanRow(
        plan_id,
        version,
        "",
        plan.status,
        plan.status,
        plan.price_minor,
        plan.interval,
        _json(plan.buckets),
        plan.overage_unit_price,
        plan.grace_days,
        list(plan.oauth),
        _json(plan.limits),
        _json(plan.entitlements),
        plan.custom_base,
        None,
        None,
        None,
        None,
        False,
        False,
        at,
        position,
    )


def _json(value: object) -> str:
    return msgspec.json.encode(value, order="sorted").decode()
