"""What a subscription means for its account and workspace, and how one cycle becomes the next.

Each function records on aggregates that are saved together: the contract never says one thing
and the permission to spend another.
"""

from __future__ import annotations

from typing import Literal

from domain.account_facts import SpendPolicySet
from domain.allowance_facts import (
    AllowanceClosed,
    AllowanceGranted,
    ApiFallbackSet,
    CompileOverflowEnabled,
    OverageSettled,
)
from domain.catalogue import Catalogue, Plan, PlanCatalogue
from domain.credit_account import CreditAccount
from domain.facts import Context
from domain.money import MINOR, round_half_even
from domain.subscription import CycleClosed, CycleOpened, OverageDisabled, OverageLine, Subscription
from domain.workspace import LimitsChanged, Workspace

Trigger = Literal["timer", "webhook", "inline"]
CYCLES_AT_ONCE = 240
"""Cycles that may be caught up in one save: twenty years of silence."""


def plan_of(subscription: Subscription, plans: PlanCatalogue) -> Plan:
    """The plan version that the subscription pinned."""
    return plans.plan(subscription.plan_id, subscription.plan_version)


def put_policy(
    account: CreditAccount,
    subscription: Subscription,
    plans: PlanCatalogue,
    context: Context,
    *,
    oauth: dict[str, Literal["active", "revoked"]] | None = None,
) -> None:
    """Copy what the subscription lets the account spend, for decisions that read only it."""
    plan = plan_of(subscription, plans)
    price = plan.overage_unit_price
    before = account.policy
    assert subscription.period_start is not None
    assert subscription.period_end is not None
    links = oauth if oauth is not None else before.oauth if before else {}
    account.record(
        SpendPolicySet(
            **account.stamp(context, f"policy:{account.version + 1}"),
            policy_version=before.policy_version + 1 if before else 1,
            subscription_id=subscription.subscription_id,
            plan_id=subscription.plan_id,
            plan_version=subscription.plan_version,
            waterfalls={
                name: tuple(
                    source
                    for source in meter.waterfall
                    if (source != "oauth" or plan.oauth)
                    and (source != "overage" or price is not None)
                )
                for name, meter in plans.current.meters.items()
            },
            cycle_id=subscription.cycle_id,
            period_start=subscription.period_start,
            period_end=subscription.period_end,
            overage_enabled=subscription.overage_enabled,
            overage_unit_price={} if price is None else dict.fromkeys(plan.buckets, price),
            oauth={provider: state for provider, state in links.items() if provider in plan.oauth},
        )
    )


def grant_allowances(
    account: CreditAccount,
    subscription: Subscription,
    plans: PlanCatalogue,
    why: Literal["subscription", "cycle", "upgrade"],
    context: Context,
) -> None:
    """Grant the plan's included units; at a new cycle only those that start anew with it."""
    for bucket, terms in plan_of(subscription, plans).buckets.items():
        if why == "cycle" and terms.reset != "cycle":
            continue
        cause = f"allowance:{bucket}:{subscription.cycle_id}:{account.version + 1}"
        account.record(
            AllowanceGranted(
                **account.stamp(context, cause),
                bucket=bucket,
                units=terms.units,
                cycle_id=_bucket_cycle(account, bucket, terms.reset, subscription),
                reset=terms.reset,
                why=why,
            )
        )


def _bucket_cycle(
    account: CreditAccount, bucket: str, reset: str, subscription: Subscription
) -> str:
    """Which period a bucket's use is counted in: what never resets keeps its first one."""
    before = account.buckets.get(bucket)
    if before is not None and before.reset == reset and reset != "cycle":
        return before.cycle_id
    return subscription.cycle_id


def put_limits(
    workspace: Workspace, subscription: Subscription, plans: PlanCatalogue, context: Context
) -> None:
    """Copy what the plan lets the workspace run."""
    plan = plan_of(subscription, plans)
    workspace.record(
        LimitsChanged(
            **workspace.stamp(context, f"limits:{workspace.version + 1}"),
            plan_id=subscription.plan_id,
            plan_version=subscription.plan_version,
            limits=plan.limits,
            entitlements=plan.entitlements,
        )
    )


def start_preferences(account: CreditAccount, catalogue: Catalogue, context: Context) -> None:
    """What a new workspace starts with, where it differs from the account's own defaults."""
    preferences = catalogue.preferences
    if preferences.overflow_default:
        stamp = account.stamp(context, f"overflow:{account.version + 1}")
        account.record(CompileOverflowEnabled(**stamp, by="catalogue"))
    if not preferences.api_fallback_default:
        stamp = account.stamp(context, f"api_fallback:{account.version + 1}")
        account.record(ApiFallbackSet(**stamp, enabled=False))


def roll_over(
    account: CreditAccount,
    subscription: Subscription,
    plans: PlanCatalogue,
    trigger: Trigger,
    context: Context,
) -> int:
    """Close every cycle that is over and open the next; returns how many were closed."""
    now, closed = account.moment(context), 0
    while (
        subscription.period_end is not None
        and now >= subscription.period_end
        and closed < CYCLES_AT_ONCE
    ):
        _close(account, subscription, plans, context)
        _open_next(account, subscription, plans, trigger, context)
        closed += 1
    return closed


def _close(
    account: CreditAccount, subscription: Subscription, plans: PlanCatalogue, context: Context
) -> None:
    cycle_id = subscription.cycle_id
    start, end = subscription.period_start, subscription.period_end
    assert start is not None
    assert end is not None
    statement = f"stmt_{cycle_id}"
    lines = [
        OverageLine(
            bucket,
            subscription.plan_id,
            subscription.plan_version,
            amount // units if units else 0,  # voids may leave money at another unit price
            units,
            amount,
            round_half_even(amount, MINOR),
        )
        for bucket, (units, amount) in sorted(account.overage.items())
        if units or amount
    ]
    subscription.record(
        CycleClosed(
            **subscription.stamp(context, f"cycle_closed:{cycle_id}"),
            cycle_id=cycle_id,
            period_start=start,
            period_end=end,
            statement_id=statement,
            overage=tuple(lines),
        )
    )
    for line in lines:
        account.record(
            OverageSettled(
                **account.stamp(context, f"overage_settled:{line.bucket}:{cycle_id}"),
                bucket=line.bucket,
                cycle_id=cycle_id,
                units=line.units,
                amount=line.amount,
                statement_id=statement,
            )
        )
    for name, bucket in account.buckets.items():
        if bucket.reset == "cycle" and bucket.cycle_id == cycle_id:
            account.record(
                AllowanceClosed(
                    **account.stamp(context, f"allowance_closed:{name}:{cycle_id}"),
                    bucket=name,
                    cycle_id=cycle_id,
                    granted=bucket.granted,
                    used=bucket.used,
                    unused=max(bucket.granted - bucket.used, 0),
                    period_start=start,
                    period_end=end,
                    keep_days=plans.current.max_backdate_days,
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
    grant_allowances(account, subscription, plans, "cycle", context)


def drop_overage(
    account: CreditAccount, subscription: Subscription, plans: PlanCatalogue, context: Context
) -> None:
    """A plan without an overage rate ends the agreement to it."""
    if subscription.overage_enabled and plan_of(subscription, plans).overage_unit_price is None:
        for bucket in account.buckets:
            subscription.record(
                OverageDisabled(
                    **subscription.stamp(context, f"overage_off:{subscription.version + 1}"),
                    bucket=bucket,
                    cycle_id=subscription.cycle_id,
                    reason="plan_lost_it",
                )
            )
