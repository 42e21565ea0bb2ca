"""Migrating a plan's subscribers: who would notice what, and doing it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from adapters.stripe.contracts import StripeContracts
from api.contract.plans import up_to_date
from api.house import House
from domain.contract.migrating import Migrated, Outcome, differences
from domain.errors import NotFound
from domain.facts import Context
from projections import plans, positions

PATIENCE_S = 10.0


class MigrationChange(msgspec.Struct, frozen=True):
    """One thing that is different for the subscriber."""

    field: str
    before: Any
    after: Any


class MigrationStep(msgspec.Struct, frozen=True):
    """One subscriber: what changes for it, and when; or why it is left alone."""

    workspace_id: str
    from_version: int
    to_version: int
    outcome: Outcome
    effective_at: datetime | None
    reason: str | None
    changes: list[MigrationChange]


class Migration(msgspec.Struct, frozen=True):
    """Every subscriber of an older version of the plan. A dry run changes nothing."""

    dry_run: bool
    plan: str
    to_version: int
    data: list[MigrationStep]


async def migrate(
    house: House,
    plan_id: str,
    context: Context,
    workspace_ids: Sequence[str] | None,
    *,
    dry_run: bool,
) -> Migration:
    """Migrate every subscriber of older versions, or say what that would do.

    :raises NotFound: the catalogue in force has no such plan.
    """
    known = await house.ledger.plans()
    if plan_id not in known.current.plans:
        raise NotFound("plan", plan_id)
    async with up_to_date(house) as (connection, position):
        await positions.reach(connection, position, ["workspace_status"], PATIENCE_S)
        behind = await plans.subscribers_behind(connection, plan_id, known.current_version)
    chosen = behind if workspace_ids is None else [w for w in behind if w in set(workspace_ids)]
    contracts, steps = StripeContracts(house.till.stripe), []
    for workspace_id in chosen:
        done: Migrated | None
        if dry_run:
            done = await house.ledger.migration(workspace_id, plan_id, context)
        else:
            done = await house.ledger.migrate_plan(contracts, workspace_id, plan_id, context)
        if done is not None:
            before = known.plan(plan_id, done.from_version)
            after = known.plan(plan_id, done.to_version)
            changes = [MigrationChange(*one) for one in differences(before, after)]
            steps.append(MigrationStep(*done[:-1], changes))
    return Migration(dry_run, plan_id, known.current_version, steps)
