"""Bringing subscribers of a plan from the version that they pinned to the one in force."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, NamedTuple

from domain.account.credit_account import CreditAccount
from domain.catalogue.catalogue import Plan, PlanCatalogue
from domain.contract.coming_change import schedule_migration
from domain.contract.contracting import Contracting
from domain.contract.processor import Contracts
from domain.contract.subscribing import price_of
from domain.contract.subscription import Subscription
from domain.facts import Context
from domain.places import PLANS

Outcome = Literal["would_change", "scheduled", "left_alone"]


class Difference(NamedTuple):
    """One thing that two versions of a plan say differently; None: not at all."""

    field: str
    before: object
    after: object


class Migrated(NamedTuple):
    """What became of one subscriber, or would: changed when the cycle closes, or left alone for
    a reason."""

    workspace_id: str
    from_version: int
    to_version: int
    outcome: Outcome
    effective_at: datetime | None
    reason: str | None
    position: int | None


def differences(before: Plan, after: Plan) -> tuple[Difference, ...]:
    """Everything that a subscriber would notice, by the name of the field."""
    old, new = _flat(before), _flat(after)
    return tuple(
        Difference(name, old.get(name), new.get(name))
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    )


def obstacle(subscription: Subscription, to_version: int) -> str | None:
    """Why a contract is left alone, or None. A migration to an older version is no obstacle."""
    if subscription.status == "past_due":
        return "an invoice is unpaid"
    if subscription.pending_change is not None:
        return "an upgrade waits for its payment"
    if subscription.scheduled is not None:
        return "another change is scheduled"
    if subscription.migration is not None and subscription.migration.to_version >= to_version:
        return "it is scheduled already"
    if subscription.cancellation is not None:
        return "it is cancelled"
    return None


class Migrating(Contracting):
    """What administrators do to subscribers of an old version."""

    async def migration(self, workspace_id: str, plan_id: str, context: Context) -> Migrated | None:
        """What `migrate_plan` would do now; None where there is nothing to migrate."""
        subscription = await self.subscription(workspace_id)
        plans = await self._catalogue()
        if not _is_behind(subscription, plans, plan_id):
            return None
        reason = obstacle(subscription, plans.current_version)
        return Migrated(
            workspace_id,
            subscription.plan_version,
            plans.current_version,
            "left_alone" if reason else "would_change",
            None if reason else subscription.period_end,
            reason,
            None,
        )

    async def migrate_plan(
        self, contracts: Contracts, workspace_id: str, plan_id: str, context: Context
    ) -> Migrated | None:
        """Let the version in force begin when the cycle closes, at Stripe too; None where there
        is nothing to migrate. Again, it finds the change scheduled.

        :raises StripeUnavailable: nothing was done to this one.
        """
        await self.roll_over(workspace_id, context)
        would = await self.migration(workspace_id, plan_id, context)
        if would is None or would.outcome == "left_alone":
            return would
        subscription, plans = await self.subscription(workspace_id), await self._catalogue()
        offer, link = plans.find(plan_id, workspace_id), subscription.stripe
        terms, schedule_id = subscription.terms, None
        if link is not None:
            key = f"migrate:{link.id}:{offer.plan_id}:{offer.version}:{terms}"
            schedule_id = await contracts.schedule(link.id, price_of(offer, plans), key)

        def decide(_: CreditAccount, subscription: Subscription, *__: object) -> bool:
            known = subscription.migration
            if known is not None and known.to_version == offer.version:
                return True  # a webhook of the schedule was here before us
            if subscription.terms != terms or subscription.period_end is None:
                return False
            cause = f"migration:{offer.version}:{terms}"
            plan = (offer.plan_id, offer.version)
            schedule_migration(subscription, plan, schedule_id, cause, context)
            return True

        done = await self.change_contract(workspace_id, context, decide)
        if done.answer:
            return would._replace(outcome="scheduled", position=done.position)
        if schedule_id is not None:
            await contracts.release(schedule_id)
        reason = "it changed at this moment"
        return would._replace(outcome="left_alone", effective_at=None, reason=reason)

    async def _catalogue(self) -> PlanCatalogue:
        plans = await self.book.fresh(PLANS)
        assert isinstance(plans, PlanCatalogue)
        return plans


def _is_behind(subscription: Subscription, plans: PlanCatalogue, plan_id: str) -> bool:
    return subscription.plan_id == plan_id and subscription.plan_version < plans.current_version


def _flat(plan: Plan) -> dict[str, object]:
    flat: dict[str, object] = {
        "price_minor": plan.price_minor,
        "interval": plan.interval,
        "overage_unit_usd": plan.overage_unit_usd,
        "grace_days": plan.grace_days,
        "oauth": list(plan.oauth),
    }
    for name, terms in plan.buckets.items():
        flat[f"buckets.{name}.units"], flat[f"buckets.{name}.reset"] = terms.units, terms.reset
    for field in ("limits", "entitlements"):
        flat |= {f"{field}.{name}": value for name, value in getattr(plan, field).items()}
    return flat
