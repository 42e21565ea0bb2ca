"""How one cycle becomes the next, and how a contract ends: in one save over subscription, account
and workspace, from whichever of request, timer and webhook comes first.

The order within a close is the specification's: overage at the old prices, the old allowance,
then the change that waited for this moment, then the new cycle, its permissions and its limits.
Where the catalogue has a late window, the new cycle opens at once all the same, and what comes
first in this order comes last: the old cycle is closed when it has waited for its stragglers.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from domain.account.allowance_facts import AllowanceClosed, CycleEnded, OverageSettled
from domain.account.credit_account import CreditAccount
from domain.account.overage import lines_of
from domain.account.waiting import WaitingCycle
from domain.catalogue.catalogue import PlanCatalogue
from domain.contract.cycle import boundary
from domain.contract.facts import (
    DowngradeScheduled,
    EndReason,
    PlanMigrationScheduled,
    SubscriptionEnded,
)
from domain.contract.policy import drop_overage, grant_allowances, put_limits, put_policy
from domain.contract.subscription import CycleClosed, CycleOpened, PlanChanged, Subscription
from domain.facts import Context
from domain.money import minor_of
from domain.workspace.bots import Why
from domain.workspace.workspace import Workspace

Trigger = Literal["timer", "webhook", "inline"]
CYCLES_AT_ONCE = 240
"""Cycles that may be caught up in one save: twenty years of silence."""


def over_at(subscription: Subscription) -> datetime | None:
    """When the cycle that runs is over: its end, or before it where the contract ends before."""
    end, cancel_at = subscription.period_end, subscription.cancel_at
    if end is not None and cancel_at is not None and subscription.period_start is not None:
        return min(end, max(cancel_at, subscription.period_start))
    return end


def roll_over(
    account: CreditAccount,
    subscription: Subscription,
    workspace: Workspace,
    plans: PlanCatalogue,
    trigger: Trigger,
    context: Context,
) -> int:
    """End every cycle that is over and open the next; returns how many ended. Those that ended
    before and have waited long enough for stragglers are closed."""
    now, closed = account.moment(context), 0
    for waits in account.waiting:
        if now >= waits.closes_at:
            _settle(account, subscription, plans, waits, context, waits.stripe_id or "")
    while (end := over_at(subscription)) is not None and now >= end and closed < CYCLES_AT_ONCE:
        if subscription.period_start is not None and end > subscription.period_start:
            end_cycle(account, subscription, plans, end, context)
        cancelled, scheduled = subscription.cancellation, subscription.coming
        if cancelled is not None and end >= cancelled.cancel_at:
            keep = cancelled.keep_bot_ids
            _revert(account, subscription, workspace, plans, end, "user", context, keep)
        else:
            if scheduled is not None:
                _change(subscription, scheduled, end, context)
                drop_overage(account, subscription, plans, context)
            _open_next(account, subscription, plans, trigger, context)
            if scheduled is not None:
                keep = scheduled.keep_bot_ids
                put_limits(workspace, subscription, plans, "cycle", context, keep)
        closed += 1
    return closed


def end_contract(
    account: CreditAccount,
    subscription: Subscription,
    workspace: Workspace,
    plans: PlanCatalogue,
    ended_at: datetime,
    reason: EndReason,
    context: Context,
) -> None:
    """The contract ended at Stripe, perhaps within a cycle: the default plan starts there.

    An end that nobody asked for (a card that never paid) pauses no bot: it ends the grace.
    """
    start, end = subscription.period_start, subscription.period_end
    assert start is not None
    assert end is not None
    ended = max(ended_at, start)
    if ended > start:
        ended = min(ended, end)
        end_cycle(account, subscription, plans, ended, context)
    cancelled = subscription.cancellation
    keep = cancelled.keep_bot_ids if cancelled else ()
    invoice = next(iter(subscription.failed_invoices), subscription.stripe_id or "")
    _revert(account, subscription, workspace, plans, ended, reason, context, keep)
    if is_involuntary(reason):
        workspace.mark_past_due(invoice, ended, 0, ended, context)
        if workspace.grace_ends_at is not None and workspace.grace_ends_at > ended:
            workspace.move_grace(ended, context)


def is_involuntary(reason: EndReason) -> bool:
    """Whether a contract ended without anybody asking for it."""
    return reason in ("payment_failed", "disputed")


def end_cycle(
    account: CreditAccount,
    subscription: Subscription,
    plans: PlanCatalogue,
    end: datetime,
    context: Context,
) -> None:
    """End the cycle that runs as of ``end``, at the prices it was used at: closed at once, or
    after the catalogue's late window if it counts units. A window that is over waits no more."""
    start = subscription.period_start
    assert start is not None
    closes_at = end + plans.current.late_window
    cycle = account.tally(end, closes_at, subscription.stripe_id)
    if account.moment(context) >= closes_at or not cycle.buckets:
        _settle(account, subscription, plans, cycle, context)
        return
    account.record(
        CycleEnded(
            **account.stamp(context, f"cycle_ended:{cycle.cycle_id}"),
            cycle_id=cycle.cycle_id,
            period_start=start,
            period_end=end,
            closes_at=closes_at,
            stripe_subscription_id=cycle.stripe_id,
        )
    )


def _settle(
    account: CreditAccount,
    subscription: Subscription,
    plans: PlanCatalogue,
    cycle: WaitingCycle,
    context: Context,
    billed_to: str | None = None,
) -> None:
    """Close a cycle: its statement, its overage, its included units. ``billed_to`` is the
    subscription at Stripe where that may not be the one in force any more."""
    cycle_id, start, end = cycle.cycle_id, cycle.policy.period_start, cycle.period_end
    statement = f"stmt_{cycle_id}"
    subscription.record(
        CycleClosed(
            **subscription.stamp(context, f"cycle_closed:{cycle_id}"),
            cycle_id=cycle_id,
            period_start=start,
            period_end=end,
            statement_id=statement,
            overage=lines_of(cycle.shares.values(), minor_of(account.currency)),
            stripe_subscription_id=billed_to,
        )
    )
    for bucket, (units, amount) in sorted(cycle.overage.items()):
        if units or amount:
            account.record(
                OverageSettled(
                    **account.stamp(context, f"overage_settled:{bucket}:{cycle_id}"),
                    bucket=bucket,
                    cycle_id=cycle_id,
                    units=units,
                    amount=amount,
                    statement_id=statement,
                )
            )
    for name, counted in cycle.buckets.items():
        account.record(
            AllowanceClosed(
                **account.stamp(context, f"allowance_closed:{name}:{cycle_id}"),
                bucket=name,
                cycle_id=cycle_id,
                granted=counted.granted,
                used=counted.used,
                unused=max(counted.granted - counted.used, 0),
                period_start=start,
                period_end=end,
                keep_days=plans.current.max_backdate_days,
            )
        )


def _change(
    subscription: Subscription,
    scheduled: DowngradeScheduled | PlanMigrationScheduled,
    end: datetime,
    context: Context,
) -> None:
    subscription.record(
        PlanChanged(
            **subscription.stamp(context, f"plan_at_close:{subscription.cycle_id}"),
            from_plan=subscription.plan_id,
            from_version=subscription.plan_version,
            to_plan=scheduled.to_plan,
            to_version=scheduled.to_version,
            direction="migration" if subscription.migration else "downgrade",
            effective_at=end,
            preview_id=scheduled.preview_id,
        )
    )


def _open_next(
    account: CreditAccount,
    subscription: Subscription,
    plans: PlanCatalogue,
    trigger: Trigger,
    context: Context,
) -> None:
    start, end = subscription.next_cycle()
    cycle_id = f"{subscription.subscription_id}:{start.isoformat()}"
    subscription.record(
        CycleOpened(
            **subscription.stamp(context, f"cycle:{cycle_id}"),
            cycle_id=cycle_id,
            period_start=start,
            period_end=end,
            plan_id=subscription.plan_id,
            plan_version=subscription.plan_version,
            trigger=trigger,
        )
    )
    put_policy(account, subscription, plans, context)
    if subscription.status != "past_due" or plans.current.grant_when_past_due:
        grant_allowances(account, subscription, plans, "cycle", context)


def _revert(
    account: CreditAccount,
    subscription: Subscription,
    workspace: Workspace,
    plans: PlanCatalogue,
    ended: datetime,
    reason: EndReason,
    context: Context,
    keep_bot_ids: tuple[str, ...],
) -> None:
    default = plans.current.default_plan
    subscription.record(
        SubscriptionEnded(
            **subscription.stamp(context, f"ended:{subscription.subscription_id}"),
            ended_at=ended,
            reason=reason,
            reverted_to_plan=default,
            involuntary=is_involuntary(reason),
            subscription_id=subscription.subscription_id,
            stripe_subscription_id=subscription.stripe_id,
        )
    )
    next_version = (default, plans.current_version)
    subscription.start_next(next_version, ended, (ended, boundary(ended, 1)), context)
    drop_overage(account, subscription, plans, context, always=True)
    put_policy(account, subscription, plans, context)
    grant_allowances(account, subscription, plans, "subscription", context)
    why: Why = "involuntary_end" if is_involuntary(reason) else "downgrade"
    put_limits(workspace, subscription, plans, why, context, keep_bot_ids)
