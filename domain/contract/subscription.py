"""What a workspace has agreed to: a pinned plan version and the cycle that runs.

What else happens to it is in `facts.py`; what it decides about plans in `plan_change.py`, about
unpaid invoices in `dunning.py`, about the ends of its cycles in `cycle_close.py`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, Literal
from uuid import UUID

from msgspec.structs import replace

from domain.account.overage import OverageLine
from domain.contract.cycle import boundary, boundary_after
from domain.contract.facts import (
    CancellationRevoked,
    CancellationScheduled,
    DowngradeScheduled,
    DowngradeUnscheduled,
    DunningMoved,
    Move,
    OverageInvoiced,
    Pending,
    PlanChangeFailed,
    PlanChangePending,
    PlanChangeQuoted,
    PlanMigrationScheduled,
    PlanMigrationUnscheduled,
    StripeLink,
    StripeSubscriptionSynced,
    SubscriptionEnded,
    SubscriptionPastDue,
    SubscriptionRecovered,
)
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
    workspace_id: str = ""

    def apply(self, aggregate: Subscription) -> None:
        aggregate.workspace_id = self.workspace_id
        aggregate.subscription_id = self.subscription_id
        aggregate.started += 1
        aggregate.plan_id = self.plan_id
        aggregate.plan_version = self.plan_version
        aggregate.anchor_at = self.anchor_at
        aggregate.cycle_id = self.cycle_id
        aggregate.period_start = self.period_start
        aggregate.period_end = self.period_end
        aggregate.status = "active"
        aggregate.scheduled = aggregate.migration = None
        aggregate.cancellation = aggregate.pending_change = None
        aggregate.note_terms()
        stripe = self.stripe_subscription_id
        if stripe is not None:
            # Whoever pays for a new contract owes nothing of the old one's grace.
            aggregate.failed_invoices = {}
            aggregate.grace_days, aggregate.grace_ends_at = 0, None
            aggregate.stripe = StripeLink(stripe)
            aggregate.announced = tuple(s for s in aggregate.announced if s != stripe)


class CycleClosed(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """A cycle is over; what it came to beyond the plan is on its statement."""

    cycle_id: str
    period_start: datetime
    period_end: datetime
    statement_id: str
    overage: tuple[OverageLine, ...] = ()
    # Whom it is billed to, where the cycle was closed some time after its end; "": nobody.
    stripe_subscription_id: str | None = None

    @property
    def amount_minor(self) -> int:
        """What the statement comes to."""
        return sum(line.amount_minor for line in self.overage)

    def apply(self, aggregate: Subscription) -> None:
        # What a former plan's acts give back is owed to a customer who pays for none now.
        owed = aggregate.ended_stripe_id if self.amount_minor < 0 else None
        then = self.stripe_subscription_id
        stripe_id = (aggregate.stripe_id if then is None else then) or owed
        if stripe_id and any(line.amount_minor for line in self.overage):
            aggregate.unbilled = {**aggregate.unbilled, self.cycle_id: stripe_id}


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
        aggregate.note_terms()


class PlanChanged(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """Another plan is in force. ``charged`` is what the change itself cost, minor units."""

    from_plan: str
    to_plan: str
    to_version: int
    direction: Move
    effective_at: datetime
    from_version: int = 0
    preview_id: str | None = None
    charged: int = 0

    def apply(self, aggregate: Subscription) -> None:
        aggregate.plan_id = self.to_plan
        aggregate.plan_version = self.to_version
        aggregate.pending_change = None
        aggregate.scheduled = aggregate.migration = None
        aggregate.set_schedule(None)
        aggregate.quotes = {}  # of another plan's terms
        aggregate.note_terms()


class OverageEnabled(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """The customer agrees to pay for units beyond the plan, from this moment on."""

    bucket: str
    unit_price: int
    cycle_id: str
    stripe_request_id: str | None = None

    def apply(self, aggregate: Subscription) -> None:
        aggregate.overage_enabled = True


class OverageDisabled(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """Units beyond the plan are no longer agreed to."""

    bucket: str
    cycle_id: str
    reason: Literal["user", "plan_lost_it"]
    stripe_request_id: str | None = None

    def apply(self, aggregate: Subscription) -> None:
        aggregate.overage_enabled = False


class Subscription(Aggregate, omit_defaults=True, gc=False):
    """The live subscription of a workspace; those before it are in its history."""

    category: ClassVar[str] = "subscription"
    facts: ClassVar[tuple[type[Fact], ...]] = (
        SubscriptionStarted,
        CycleClosed,
        CycleOpened,
        PlanChanged,
        OverageEnabled,
        OverageDisabled,
        PlanChangeQuoted,
        PlanChangePending,
        PlanChangeFailed,
        DowngradeScheduled,
        DowngradeUnscheduled,
        PlanMigrationScheduled,
        PlanMigrationUnscheduled,
        CancellationScheduled,
        CancellationRevoked,
        SubscriptionEnded,
        SubscriptionPastDue,
        DunningMoved,
        SubscriptionRecovered,
        StripeSubscriptionSynced,
        OverageInvoiced,
    )

    workspace_id: str = ""
    subscription_id: str = ""
    started: int = 0  # subscriptions that this workspace ever had
    plan_id: str = ""
    plan_version: int = 0
    status: str = "none"
    cycle_id: str = ""
    anchor_at: datetime | None = None
    period_start: datetime | None = None
    period_end: datetime | None = None
    overage_enabled: bool = False
    terms: int = 0  # the version of the last fact that changed what a quote rests on
    quotes: dict[str, PlanChangeQuoted] = {}
    pending_change: Pending | None = None
    scheduled: DowngradeScheduled | None = None
    migration: PlanMigrationScheduled | None = None  # never beside the one above
    cancellation: CancellationScheduled | None = None
    stripe: StripeLink | None = None  # None: no card stands behind it
    announced: tuple[str, ...] = ()  # subscriptions at Stripe whose first payment is under way
    ended_stripe_id: str | None = None  # the one before,
    ended_at: datetime | None = None  # when that ended,
    ended_plan: tuple[str, int] | None = None  # and on which plan
    failed_invoices: dict[str, datetime] = {}  # id at Stripe -> its first failure
    grace_days: int = 0
    grace_ends_at: datetime | None = None
    # Closed cycles whose overage stands on no invoice yet -> the subscription at Stripe.
    unbilled: dict[str, str] = {}

    # What the state answers.

    @property
    def cancel_at(self) -> datetime | None:
        """When it ends, if it was cancelled."""
        return self.cancellation.cancel_at if self.cancellation else None

    @property
    def coming(self) -> DowngradeScheduled | PlanMigrationScheduled | None:
        """The change of plan that waits for the cycle to close."""
        return self.scheduled or self.migration

    @property
    def by_hand(self) -> DowngradeScheduled | None:
        """The smaller plan that waits because somebody put it in force at Stripe."""
        return self.scheduled if self.scheduled and self.scheduled.source == "portal" else None

    @property
    def billed_plan(self) -> tuple[str, int]:
        """The plan version that Stripe bills, as far as we know: the one in force, but for
        `by_hand`."""
        return self.by_hand.plan if self.by_hand else (self.plan_id, self.plan_version)

    @property
    def stripe_id(self) -> str | None:
        """The id of the subscription at Stripe."""
        return self.stripe.id if self.stripe else None

    def is_known(self, stripe_id: str) -> bool:
        """Whether a subscription at Stripe is, or was, this contract's."""
        return stripe_id in (self.stripe_id, self.ended_stripe_id)

    def next_cycle(self) -> tuple[datetime, datetime]:
        """The cycle after the one that runs, counted from the original anchor."""
        assert self.anchor_at is not None
        assert self.period_end is not None
        return self.period_end, boundary_after(self.anchor_at, self.period_end)

    # How facts move it; used by their `apply` only.

    def note_terms(self) -> None:
        """What was quoted before this fact may not be true any more."""
        self.terms = self.version + 1

    def set_schedule(self, schedule_id: str | None) -> None:
        """The schedule at Stripe that will change the plan."""
        if self.stripe is not None:
            self.stripe = replace(self.stripe, schedule_id=schedule_id)

    # What it decides.

    def start(
        self, workspace_id: str, plan: tuple[str, int], context: Context
    ) -> SubscriptionStarted:
        """Put the first plan of a workspace in force now: id and version. No card stands behind
        it; its first cycle begins with it."""
        anchor = self.moment(context)
        first = f"sub_{self.id.hex}"
        period = (anchor, boundary(anchor, 1))
        return self._start(f"subscription:{first}", first, workspace_id, plan, period, context)

    def start_next(
        self,
        plan: tuple[str, int],
        anchor: datetime,
        period: tuple[datetime, datetime],
        context: Context,
        *,
        stripe_id: str | None = None,
    ) -> SubscriptionStarted:
        """Put another contract in the place of the one that was."""
        id = f"sub_{self.id.hex}_{self.started + 1}"
        cause = f"stripe_subscription:{stripe_id}:{id}" if stripe_id else f"subscription:{id}"
        return self._start(
            cause,
            id,
            self.workspace_id,
            plan,
            period,
            context,
            anchor_at=anchor,
            stripe_subscription_id=stripe_id,
        )

    def _start(
        self,
        cause: str,
        subscription_id: str,
        workspace_id: str,
        plan: tuple[str, int],
        period: tuple[datetime, datetime],
        context: Context,
        **more: Any,
    ) -> SubscriptionStarted:
        fact = SubscriptionStarted(
            **self.stamp(context, cause),
            subscription_id=subscription_id,
            workspace_id=workspace_id,
            plan_id=plan[0],
            plan_version=plan[1],
            cycle_id=f"{subscription_id}:{period[0].isoformat()}",
            period_start=period[0],
            period_end=period[1],
            **{"anchor_at": period[0], **more},
        )
        self.record(fact)
        return fact
