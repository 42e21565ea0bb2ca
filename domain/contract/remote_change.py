"""What happened at Stripe, as the difference between its subscription and ours."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from msgspec.structs import replace

from domain.account.credit_account import CreditAccount
from domain.catalogue.catalogue import PlanCatalogue
from domain.contract.activation import TOLERANCE
from domain.contract.coming_change import (
    revoke_cancellation,
    schedule_by_hand,
    schedule_cancellation,
    schedule_downgrade,
    schedule_migration,
    unschedule,
)
from domain.contract.cycle_close import end_contract, roll_over
from domain.contract.facts import Direction, PlanChangeQuoted, StripeSubscriptionSynced
from domain.contract.plan_change import (
    adopt_plan,
    apply_downgrade,
    apply_upgrade,
    direction_to,
    fail_pending,
    mark_pending,
)
from domain.contract.policy import put_policy
from domain.contract.processor import RemoteSubscription
from domain.contract.subscription import Subscription
from domain.facts import Context
from domain.workspace.workspace import Workspace

OVER = ("canceled", "incomplete_expired")
"""What Stripe calls subscriptions that have ended."""


class Taken(NamedTuple):
    """What a change of plan cost at Stripe, minor units; and whether that is surely the change
    that we have not heard of, and none before it."""

    amount: int
    is_news: bool


class Renewed(NamedTuple):
    """What the plan was billed with for the period that runs, minor units."""

    amount: int


Bill = Taken | Renewed | None
"""What the newest invoice of a subscription says, where its plan is not the one in force."""


def follow(
    account: CreditAccount,
    subscription: Subscription,
    workspace: Workspace,
    plans: PlanCatalogue,
    remote: RemoteSubscription,
    bill: Bill,
    context: Context,
) -> None:
    """Record what happened at Stripe, as the difference between its subscription and ours.
    ``bill``: what its newest invoice says of its plan."""
    if remote.status in OVER:
        ended = remote.ended_at or subscription.moment(context)
        reason = remote.end_reason
        end_contract(account, subscription, workspace, plans, ended, reason, context)
        return
    _follow_period(account, subscription, workspace, plans, remote, context)
    if subscription.stripe_id != remote.id:
        return
    _follow_plan(account, subscription, workspace, plans, remote, bill, context)
    _follow_end(subscription, remote, context)


def _follow_period(
    account: CreditAccount,
    subscription: Subscription,
    workspace: Workspace,
    plans: PlanCatalogue,
    remote: RemoteSubscription,
    context: Context,
) -> None:
    assert subscription.period_start is not None
    assert subscription.period_end is not None
    if remote.period_start >= subscription.period_end - TOLERANCE:
        # Stripe's clock is ahead of ours: its new period has begun.
        _sync(subscription, remote, subscription.period_end, context)
        ahead = replace(context, now=max(context.now, subscription.period_end))
        roll_over(account, subscription, workspace, plans, "webhook", ahead)
    elif remote.period_start > subscription.period_start + TOLERANCE:
        # Stripe began anew within our cycle: ours ends there.
        _sync(subscription, remote, remote.period_start, context)
        ahead = replace(context, now=max(context.now, remote.period_start))
        roll_over(account, subscription, workspace, plans, "webhook", ahead)
    elif remote.period_end <= subscription.period_start + TOLERANCE:
        return  # Stripe is behind: it will renew in its own time
    if subscription.stripe_id == remote.id:
        end: datetime = subscription.period_end
        if abs(remote.period_end - end) > TOLERANCE and remote.period_end > (
            subscription.period_start
        ):
            end = remote.period_end
        if _sync(subscription, remote, end, context):
            put_policy(account, subscription, plans, context)


def _sync(
    subscription: Subscription, remote: RemoteSubscription, end: datetime, context: Context
) -> bool:
    """Note Stripe's status and period; whether the period is another one."""
    assert subscription.stripe is not None
    assert subscription.period_start is not None
    moved = end != subscription.period_end
    if not moved and remote.status == subscription.stripe.status:
        return False
    subscription.record(
        StripeSubscriptionSynced(
            **subscription.stamp(context, f"synced:{subscription.version + 1}"),
            stripe_subscription_id=remote.id,
            status=remote.status,
            period_start=subscription.period_start,
            period_end=end,
            cancel_at=remote.cancel_at,
            object_created=remote.created,
            anchor_at=remote.anchor_at if moved else None,
        )
    )
    return moved


def _follow_plan(
    account: CreditAccount,
    subscription: Subscription,
    workspace: Workspace,
    plans: PlanCatalogue,
    remote: RemoteSubscription,
    bill: Bill,
    context: Context,
) -> None:
    pin = (subscription.plan_id, subscription.plan_version)
    billed = remote.plan
    if billed is not None and not plans.knows(billed, subscription.workspace_id):
        billed = None  # a price that is none of ours: reported, and nothing is changed for it
    took = bill if isinstance(bill, Taken) else None
    if billed is not None and billed != pin and remote.pending_until is None:
        promised = _promised(subscription, billed, "upgrade", took=took and took.amount)
        if promised is not None:
            due = promised.amount_due_now if took is None else took.amount
            apply_upgrade(account, subscription, workspace, plans, promised, due, context)
        smaller = _promised(subscription, billed, "downgrade", remote.period_start)
        dearer = isinstance(bill, Renewed) and bill.amount != plans.plan(*billed).price_minor
        if promised is None and smaller is not None and not dearer:
            # Stripe changed it when the cycle closed, and we had not heard that it would.
            apply_downgrade(account, subscription, workspace, plans, smaller, context)
        elif promised is None and _is_billed_now(subscription, remote):
            _follow_hand(account, subscription, workspace, plans, remote, billed, bill, context)
    elif remote.plan == pin and remote.pending_until is None:
        fail_pending(subscription, "expired", context)
        if subscription.by_hand:  # and back again
            unschedule(subscription, "superseded", context)
    elif remote.pending_until is not None and subscription.pending_change is None:
        promised = _promised(subscription, remote.pending_plan, "upgrade")
        if promised is not None:
            invoice, until = remote.latest_invoice_id or "", remote.pending_until
            mark_pending(subscription, promised, invoice, until, context)
    _follow_schedule(subscription, plans, remote, context)


def _follow_schedule(
    subscription: Subscription,
    plans: PlanCatalogue,
    remote: RemoteSubscription,
    context: Context,
) -> None:
    """What Stripe will do when the period ends: a change that was taken back there, or one whose
    answer never reached us."""
    pin = (subscription.plan_id, subscription.plan_version)
    scheduled = subscription.coming
    if (
        scheduled is not None
        and scheduled.stripe_schedule_id is not None
        and remote.schedule_id != scheduled.stripe_schedule_id
        and remote.period_end <= scheduled.effective_at + TOLERANCE
    ):
        unschedule(subscription, "superseded", context)
    if subscription.coming is None and remote.schedule_id and remote.scheduled_plan != pin:
        smaller = _promised(subscription, remote.scheduled_plan, "downgrade")
        if smaller is not None and remote.cancel_at is None:
            schedule_downgrade(subscription, smaller, remote.schedule_id, context)
        newer = _newer(subscription, plans, remote.scheduled_plan)
        if smaller is None and newer is not None and remote.cancel_at is None:
            # An administrator's migration that was lost on its way back.
            cause = f"migration_at_stripe:{subscription.version + 1}"
            schedule_migration(subscription, newer, remote.schedule_id, cause, context)


def _follow_hand(
    account: CreditAccount,
    subscription: Subscription,
    workspace: Workspace,
    plans: PlanCatalogue,
    remote: RemoteSubscription,
    billed: tuple[str, int],
    bill: Bill,
    context: Context,
) -> None:
    """Stripe bills another plan of ours, and no quote says why. A larger one is in force at once; a
    smaller one, as any downgrade, when the cycle that was billed with the larger one closes."""
    renewed = isinstance(bill, Renewed) and bill.amount == plans.plan(*billed).price_minor
    if direction_to(subscription, plans, billed) == "downgrade" and not renewed:
        fail_pending(subscription, "expired", context)
        if remote.cancel_at is None:
            schedule_by_hand(subscription, billed, context)
        return
    charged = bill.amount if isinstance(bill, Taken) and bill.is_news else 0
    adopt_plan(account, subscription, workspace, plans, billed, charged, context)


def _newer(
    subscription: Subscription, plans: PlanCatalogue, plan: tuple[str, int] | None
) -> tuple[str, int] | None:
    """A plan, if it is a newer version of the one in force, of the catalogue's own."""
    if plan is None or plan[0] in plans.custom or plan[0] != subscription.plan_id:
        return None
    if not plans.knows(plan, subscription.workspace_id):
        return None
    return plan if plan[1] > subscription.plan_version else None


def _is_billed_now(subscription: Subscription, remote: RemoteSubscription) -> bool:
    """Whether Stripe bills the very cycle that runs here, and nothing is about to change that."""
    assert subscription.period_start is not None
    same = abs(remote.period_start - subscription.period_start) <= TOLERANCE
    waits = subscription.coming is not None and not subscription.by_hand
    return same and remote.scheduled_plan is None and not waits


def _promised(
    subscription: Subscription,
    plan: tuple[str, int] | None,
    direction: Direction,
    by: datetime | None = None,
    took: int | None = None,
) -> PlanChangeQuoted | None:
    """The newest quote of a change to a plan, in effect ``by`` an instant, if there is one for
    what Stripe ``took``: what Stripe did is recognised by it."""
    found = [
        quote
        for quote in reversed(subscription.quotes.values())
        if (quote.to_plan, quote.to_version) == plan
        and quote.direction == direction
        and (by is None or quote.effective_at <= by)
    ]
    exact = [quote for quote in found if quote.amount_due_now == took]
    return next(iter(exact or found), None)


def _follow_end(subscription: Subscription, remote: RemoteSubscription, context: Context) -> None:
    known = subscription.cancel_at
    if remote.cancel_at is None:
        revoke_cancellation(subscription, "portal", context)
    elif known is None or abs(known - remote.cancel_at) > TOLERANCE:
        schedule_cancellation(subscription, remote.cancel_at, "portal", context)
