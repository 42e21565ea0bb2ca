"""What a workspace has agreed to: a pinned plan version and the cycle that runs."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar
from uuid import UUID

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


class Subscription(Aggregate, omit_defaults=True, gc=False):
    """The live subscription of a workspace."""

    category: ClassVar[str] = "subscription"
    facts: ClassVar[tuple[type[Fact], ...]] = (SubscriptionStarted,)

    subscription_id: str = ""
    plan_id: str = ""
    plan_version: int = 0
    status: str = "none"
    cycle_id: str = ""
    anchor_at: datetime | None = None
    period_start: datetime | None = None
    period_end: datetime | None = None

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
