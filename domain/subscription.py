"""What a workspace has agreed to: a pinned plan version and the cycle that runs."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Literal
from uuid import UUID

import msgspec

from domain.cycle import boundary
from domain.facts import Aggregate, Context, Fact
from domain.identity import stream_id


def subscription_stream(workspace_id: str) -> UUID:
    """The stream of a workspace's subscriptions."""
    return stream_id("subscription", workspace_id)


class SubscriptionStarted(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """A plan is in force from here; the cycle is [period_start, period_end), UTC."""

    subscription_id: str
    plan_id: str
    plan_version: int
    anchor_at: datetime
    cycle_id: str
    period_start: datetime
    period_end: datetime
    stripe_subscription_id: str | None = None

    def apply(self, aggregate: Subscription) -> None:
        aggregate.subscription_id = self.subscription_id
        aggregate.plan_id = self.plan_id
        aggregate.plan_version = self.plan_version
        aggregate.anchor_at = self.anchor_at
        aggregate.cycle_id = self.cycle_id
        aggregate.period_start = self.period_start
        aggregate.period_end = self.period_end
        aggregate.status = "active"


class OverageLine(msgspec.Struct, frozen=True, gc=False):
    """One bucket's overage of a closed cycle: units at a unit price, µ, and minor units."""

    bucket: str
    plan_id: str
    plan_version: int
    unit_price: int
    units: int
    amount: int
    amount_minor: int


class CycleClosed(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """A cycle is over; what it came to beyond the plan is on its statement."""

    cycle_id: str
    period_start: datetime
    period_end: datetime
    statement_id: str
    overage: tuple[OverageLine, ...] = ()

    def apply(self, aggregate: Subscription) -> None:
        aggregate.closed_cycles += 1


class CycleOpened(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """The next cycle runs: [period_start, period_end), UTC."""

    cycle_id: str
    period_start: datetime
    period_end: datetime
    plan_id: str
    plan_version: int
    trigger: Literal["timer", "webhook", "inline"]

    def apply(self, aggregate: Subscription) -> None:
        aggregate.cycle_id = self.cycle_id
        aggregate.period_start = self.period_start
        aggregate.period_end = self.period_end


class PlanChanged(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """Another plan is in force; the cycle goes on."""

    from_plan: str
    to_plan: str
    to_version: int
    direction: Literal["upgrade", "downgrade"]
    effective_at: datetime

    def apply(self, aggregate: Subscription) -> None:
        aggregate.plan_id = self.to_plan
        aggregate.plan_version = self.to_version


class OverageEnabled(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """The customer agrees to pay for units beyond the plan, from this moment on."""

    bucket: str
    unit_price: int
    cycle_id: str

    def apply(self, aggregate: Subscription) -> None:
        aggregate.overage_enabled = True


class OverageDisabled(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """Units beyond the plan are no longer agreed to."""

    bucket: str
    cycle_id: str
    reason: Literal["user", "plan_lost_it"]

    def apply(self, aggregate: Subscription) -> None:
        aggregate.overage_enabled = False


class Subscription(Aggregate, omit_defaults=True, gc=False):
    """The live subscription of a workspace."""

    category: ClassVar[str] = "subscription"
    facts: ClassVar[tuple[type[Fact], ...]] = (
        SubscriptionStarted,
        CycleClosed,
        CycleOpened,
        PlanChanged,
        OverageEnabled,
        OverageDisabled,
    )

    subscription_id: str = ""
    plan_id: str = ""
    plan_version: int = 0
    status: str = "none"
    cycle_id: str = ""
    anchor_at: datetime | None = None
    period_start: datetime | None = None
    period_end: datetime | None = None
    closed_cycles: int = 0
    overage_enabled: bool = False

    def start(
        self, subscription_id: str, plan_id: str, plan_version: int, context: Context
    ) -> SubscriptionStarted:
        """Put a plan in force now; its first cycle begins with it."""
        anchor = self.moment(context)
        fact = SubscriptionStarted(
            **self.stamp(context, f"subscription:{subscription_id}"),
            subscription_id=subscription_id,
            plan_id=plan_id,
            plan_version=plan_version,
            anchor_at=anchor,
            cycle_id=f"{subscription_id}:{anchor.isoformat()}",
            period_start=anchor,
            period_end=boundary(anchor, 1),
        )
        self.record(fact)
        return fact

    def next_cycle(self) -> tuple[datetime, datetime]:
        """The cycle after the one that was closed just now, counted from the original anchor."""
        assert self.anchor_at is not None
        assert self.period_end is not None
        return self.period_end, boundary(self.anchor_at, self.closed_cycles + 1)
