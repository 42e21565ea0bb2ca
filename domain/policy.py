"""What a subscription means for its account and workspace.

Each function records on aggregates that are saved together: the contract never says one thing
and the permission to spend another. How one cycle becomes the next is in `domain/cycle_close.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Literal

from domain.account_facts import SpendPolicySet
from domain.allowance_facts import AllowanceGranted, ApiFallbackSet, CompileOverflowEnabled
from domain.bots import Why, enforce_limits
from domain.catalogue import Catalogue, Plan, PlanCatalogue
from domain.credit_account import CreditAccount
from domain.facts import Context
from domain.money import round_half_even
from domain.subscription import OverageDisabled, Subscription
from domain.workspace import Workspace

SECOND = timedelta(seconds=1)


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
        units = terms.units
        if why == "upgrade" and plans.current.allowance_on_upgrade == "prorate":
            units = _prorated(account, subscription, bucket, units, context)
        account.record(
            AllowanceGranted(
                **account.stamp(context, cause),
                bucket=bucket,
                units=units,
                cycle_id=_bucket_cycle(account, bucket, terms.reset, subscription),
                reset=terms.reset,
                why=why,
            )
        )


def _prorated(
    account: CreditAccount, subscription: Subscription, bucket: str, units: int, context: Context
) -> int:
    """The old grant and the part of the difference that the rest of the cycle is worth."""
    before = account.buckets.get(bucket)
    start, end = subscription.period_start, subscription.period_end
    if before is None or before.reset != "cycle" or units <= before.granted or not (start and end):
        return units
    left, whole = (end - account.moment(context)) // SECOND, (end - start) // SECOND
    return before.granted + round_half_even((units - before.granted) * max(left, 0), whole)


def _bucket_cycle(
    account: CreditAccount, bucket: str, reset: str, subscription: Subscription
) -> str:
    """Which period a bucket's use is counted in: what never resets keeps its first one."""
    before = account.buckets.get(bucket)
    if before is not None and before.reset == reset and reset != "cycle":
        return before.cycle_id
    return subscription.cycle_id


def put_limits(
    workspace: Workspace,
    subscription: Subscription,
    plans: PlanCatalogue,
    why: Why,
    context: Context,
    keep_bot_ids: Sequence[str] = (),
) -> None:
    """Copy what the plan lets the workspace run, and pause or resume bots by it."""
    plan = plan_of(subscription, plans)
    enforce_limits(
        workspace,
        subscription.plan_id,
        subscription.plan_version,
        plan.limits,
        plan.entitlements,
        keep_bot_ids,
        why,
        context,
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


def drop_overage(
    account: CreditAccount,
    subscription: Subscription,
    plans: PlanCatalogue,
    context: Context,
    *,
    always: bool = False,
) -> None:
    """A plan without an overage rate ends the agreement to it; another contract ``always``."""
    if not subscription.overage_enabled:
        return
    if plan_of(subscription, plans).overage_unit_price is not None and not always:
        return
    for bucket in account.buckets:
        subscription.record(
            OverageDisabled(
                **subscription.stamp(context, f"overage_off:{subscription.version + 1}"),
                bucket=bucket,
                cycle_id=subscription.cycle_id,
                reason="plan_lost_it",
            )
        )
