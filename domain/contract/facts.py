"""What happens to a contract: quotes and changes of plan, cancellations, dunning, and what Stripe
says of it. `SubscriptionStarted` and its like are in `domain/contract/subscription.py`.

Amounts are minor units (cents) where a card pays them; times are UTC.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Literal

import msgspec
from msgspec.structs import replace

from domain.facts import Fact

if TYPE_CHECKING:
    from domain.contract.subscription import Subscription

Direction = Literal["upgrade", "downgrade"]
Move = Literal["upgrade", "downgrade", "migration"]
"""What a change of plan is to the customer: dearer, cheaper, or another version of the same."""
Source = Literal["api", "portal", "admin", "plan_change"]
Unscheduled = Literal["user", "superseded", "cancelled"]
EndReason = Literal["user", "payment_failed", "disputed", "admin"]
MoveReason = Literal["earlier_failure_learned", "older_invoice_settled", "newer_invoice_settled"]
QUOTES_KEPT = 8
"""Quotes that are remembered: what Stripe reports late is recognised by its quote."""


class StripeLink(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The subscription at Stripe that stands behind a contract, as last seen."""

    id: str
    status: str = "active"
    schedule_id: str | None = None


class QuoteLine(msgspec.Struct, frozen=True, gc=False):
    """A line of an invoice that would be, as Stripe words it; minor units, signed."""

    description: str
    amount_minor: int
    proration: bool


class Pending(msgspec.Struct, frozen=True, gc=False):
    """An upgrade that waits for its payment."""

    preview_id: str
    stripe_invoice_id: str
    expires_at: datetime


class PlanChangeQuoted(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """What a change of plan would cost and do, valid until ``expires_at`` and only while the
    contract stays as it is: ``subscription_version`` is that of the last fact that changed it."""

    preview_id: str
    from_plan: str
    from_version: int
    to_plan: str
    to_version: int
    direction: Direction
    amount_due_now: int
    next_invoice_total: int
    subscription_version: int
    effective_at: datetime
    expires_at: datetime
    proration_date: int | None = None  # Unix seconds, as Stripe was asked
    lines: tuple[QuoteLine, ...] = ()
    keep_bot_ids: tuple[str, ...] = ()
    needs_checkout: bool = False
    ends: bool = False  # to the default plan: the subscription is cancelled

    def apply(self, subscription: Subscription) -> None:
        kept = list(subscription.quotes.items())[1 - QUOTES_KEPT :]
        subscription.quotes = {**dict(kept), self.preview_id: self}


class PlanChangePending(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """The card did not pay for an upgrade at once: nothing changes until the invoice is paid."""

    preview_id: str
    stripe_invoice_id: str
    expires_at: datetime

    def apply(self, subscription: Subscription) -> None:
        subscription.pending_change = Pending(
            self.preview_id, self.stripe_invoice_id, self.expires_at
        )
        subscription.note_terms()


class PlanChangeFailed(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """An upgrade was never paid; the plan stays as it was."""

    preview_id: str
    code: str
    detail: str = ""

    def apply(self, subscription: Subscription) -> None:
        subscription.pending_change = None
        subscription.note_terms()


class DowngradeScheduled(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """A smaller plan comes into force when the cycle closes; nothing changes before. From the
    `portal` is what somebody did at Stripe by hand: it is billed there already."""

    to_plan: str
    to_version: int
    effective_at: datetime
    preview_id: str | None = None
    keep_bot_ids: tuple[str, ...] = ()
    stripe_schedule_id: str | None = None
    source: Source = "api"

    @property
    def plan(self) -> tuple[str, int]:
        """The plan version that comes."""
        return self.to_plan, self.to_version

    def apply(self, subscription: Subscription) -> None:
        subscription.scheduled = self
        subscription.set_schedule(self.stripe_schedule_id)
        subscription.note_terms()


class DowngradeUnscheduled(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """The plan will stay as it is after all, or something else comes in its place."""

    reason: Unscheduled

    def apply(self, subscription: Subscription) -> None:
        subscription.scheduled = None
        subscription.set_schedule(None)
        subscription.note_terms()


class PlanMigrationScheduled(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """An administrator brings the subscriber to a newer version of the same plan when the cycle
    closes; nothing changes before."""

    from_version: int
    to_plan: str
    to_version: int
    effective_at: datetime
    stripe_schedule_id: str | None = None

    @property
    def preview_id(self) -> None:
        """Nobody was quoted anything."""

    @property
    def keep_bot_ids(self) -> tuple[str, ...]:
        """Nobody was asked."""
        return ()

    def apply(self, subscription: Subscription) -> None:
        subscription.migration = self
        subscription.set_schedule(self.stripe_schedule_id)
        subscription.note_terms()


class PlanMigrationUnscheduled(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """The subscriber stays on its version after all, or something else comes in its place."""

    reason: Unscheduled

    def apply(self, subscription: Subscription) -> None:
        subscription.migration = None
        subscription.set_schedule(None)
        subscription.note_terms()


class CancellationScheduled(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """The subscription ends at ``cancel_at``; until then everything keeps working."""

    cancel_at: datetime
    source: Source
    keep_bot_ids: tuple[str, ...] = ()

    def apply(self, subscription: Subscription) -> None:
        subscription.cancellation = self
        subscription.note_terms()


class CancellationRevoked(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """The subscription goes on after all."""

    source: Source

    def apply(self, subscription: Subscription) -> None:
        subscription.cancellation = None
        subscription.note_terms()


class SubscriptionEnded(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """The paid contract is over. The default plan starts in the same save."""

    ended_at: datetime
    reason: EndReason
    reverted_to_plan: str
    involuntary: bool = False
    subscription_id: str = ""
    stripe_subscription_id: str | None = None

    def apply(self, subscription: Subscription) -> None:
        subscription.status = "canceled"
        if self.stripe_subscription_id is not None:
            subscription.ended_stripe_id = self.stripe_subscription_id
            subscription.ended_at = self.ended_at
            subscription.ended_plan = (subscription.plan_id, subscription.plan_version)
        subscription.stripe = None
        subscription.scheduled = subscription.migration = None
        subscription.cancellation = None
        subscription.pending_change = None
        subscription.quotes = {}
        subscription.note_terms()


class SubscriptionPastDue(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """An invoice of the subscription failed for the first time. ``grace_ends_at`` is that of the
    oldest unpaid one; ``grace_days`` is what the plan said when the first failed."""

    invoice_id: str
    first_failed_at: datetime
    grace_days: int
    grace_ends_at: datetime

    def apply(self, subscription: Subscription) -> None:
        if subscription.stripe is not None:  # else it is the debt of a contract that has ended
            subscription.status = "past_due"
        subscription.failed_invoices = {
            **subscription.failed_invoices,
            self.invoice_id: self.first_failed_at,
        }
        subscription.grace_days = self.grace_days
        subscription.grace_ends_at = self.grace_ends_at
        subscription.note_terms()


class DunningMoved(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """The grace counts from another failure: an earlier one was learned of, or one of several
    unpaid invoices was settled. ``invoice_id`` is the one that this is about."""

    invoice_id: str
    first_failed_at: datetime
    grace_ends_at: datetime
    reason: MoveReason

    def apply(self, subscription: Subscription) -> None:
        failed = {i: at for i, at in subscription.failed_invoices.items() if i != self.invoice_id}
        if self.reason == "earlier_failure_learned":
            failed[self.invoice_id] = self.first_failed_at
        subscription.failed_invoices = failed
        subscription.grace_ends_at = self.grace_ends_at


class SubscriptionRecovered(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """Nothing of the subscription is unpaid any more."""

    settled_invoice_id: str
    recovered_at: datetime

    def apply(self, subscription: Subscription) -> None:
        if subscription.status == "past_due":
            subscription.status = "active"
        subscription.failed_invoices = {}
        subscription.grace_days = 0
        subscription.grace_ends_at = None
        subscription.note_terms()


class StripeSubscriptionSynced(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """Stripe's word on the contract differs from what we had: its period is the one that counts.
    A `status` of `incomplete` announces a subscription whose first payment is still under way."""

    stripe_subscription_id: str
    status: str
    period_start: datetime
    period_end: datetime
    cancel_at: datetime | None = None
    object_created: datetime | None = None
    anchor_at: datetime | None = None

    def apply(self, subscription: Subscription) -> None:
        id = self.stripe_subscription_id
        if subscription.stripe is None or subscription.stripe.id != id:
            if id not in subscription.announced:
                subscription.announced = (*subscription.announced, id)
            return
        subscription.stripe = replace(subscription.stripe, status=self.status)
        if self.period_end != subscription.period_end:
            subscription.period_end = self.period_end
            subscription.note_terms()
        subscription.anchor_at = self.anchor_at or subscription.anchor_at


class OverageInvoiced(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """A closed cycle's overage stands on an invoice at Stripe, line by line."""

    cycle_id: str
    stripe_invoice_id: str
    amount: int

    def apply(self, subscription: Subscription) -> None:
        subscription.unbilled = {
            cycle: stripe
            for cycle, stripe in subscription.unbilled.items()
            if cycle != self.cycle_id
        }
