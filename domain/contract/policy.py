"""What a subscription means for its account and workspace.

Each function records on aggregates that are saved together: the contract never says one thing
and the permission to spend another. How one cycle becomes the next is in `cycle_close.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from domain.account.allowance_facts import AllowanceGranted, ApiFallbackSet, CompileOverflowEnabled
from domain.account.credit_account import CreditAccount
from domain.account.credit_facts import LinkState, SpendPolicySet
from domain.catalogue.catalogue import Catalogue, Plan, PlanCatalogue
from domain.catalogue.plan import BucketTerms
from domain.contract.subscription import OverageDisabled, Subscription
from domain.facts import Context
from domain.money import round_half_even
from domain.workspace.bots import Why, enforce_limits
from domain.workspace.workspace import Workspace

SECOND = timedelta(seconds=1)


class Rise(NamedTuple):
    """What a larger plan takes the place of, and the instant from which its price counts."""

    plan: Plan
    at: datetime


def plan_of(subscription: Subscription, plans: PlanCatalogue) -> Plan:
    """The plan version that the subscription pinned."""
    return plans.plan(subscription.plan_id, subscription.plan_version)


def put_policy(
    account: CreditAccount,
    subscription: Subscription,
    plans: PlanCatalogue,
    context: Context,
    *,
    oauth: dict[str, LinkState] | None = None,
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
    rise: Rise | None = None,
) -> None:
    """Grant the plan's included units; at a new cycle only what that changes. Of a bucket that
    the plan does not have, nothing is left. ``rise`` is what they rise from, within a cycle."""
    if account.policy is not None:  # what a window left is counted before its terms change
        account.renew_windows(account.policy, plans.current, context)
    granted = plan_of(subscription, plans).buckets
    gone = [name for name, bucket in account.buckets.items() if bucket.granted]
    nothing = BucketTerms(units=0, reset="never")
    terms_of = {name: nothing for name in gone if name not in granted} | granted
    for bucket, terms in terms_of.items():
        before = account.buckets.get(bucket)
        stands = before is not None and (before.granted, before.reset) == (terms.units, terms.reset)
        if why == "cycle" and terms.reset != "cycle" and stands:
            continue
        cause = f"allowance:{bucket}:{subscription.cycle_id}:{account.version + 1}"
        cycle_id, since = _window(account, bucket, terms.reset, subscription, context)
        units = terms.units
        if rise is not None and bucket in granted:
            units = units_after(account, subscription, plans, rise, bucket, terms)
        account.record(
            AllowanceGranted(
                **account.stamp(context, cause),
                bucket=bucket,
                units=units,
                cycle_id=cycle_id,
                reset=terms.reset,
                why=why,
                since=since,
            )
        )


def grant_what_is_due(
    account: CreditAccount, subscription: Subscription, plans: PlanCatalogue, context: Context
) -> None:
    """What a cycle was not granted because it began past due, once all is paid; else a no-op."""
    if plans.current.grant_when_past_due or subscription.status == "past_due":
        return
    for bucket, terms in plan_of(subscription, plans).buckets.items():
        known = account.buckets.get(bucket)
        if terms.reset == "cycle" and (known is None or known.cycle_id != subscription.cycle_id):
            grant_allowances(account, subscription, plans, "cycle", context)
            return


def units_after(
    account: CreditAccount,
    subscription: Subscription,
    plans: PlanCatalogue,
    rise: Rise,
    bucket: str,
    terms: BucketTerms,
) -> int:
    """Units of a bucket that a larger plan grants for the cycle that runs: all of its own, or,
    prorated, those granted before and the part of the two plans' difference that the rest of the
    cycle is worth. So each of several changes adds what its own charge paid for."""
    former, known = rise.plan.buckets.get(bucket), account.buckets.get(bucket)
    start, end = subscription.period_start, subscription.period_end
    if plans.current.allowance_on_upgrade == "full" or not (start and end):
        return terms.units
    if former is None or known is None or not former.reset == terms.reset == "cycle":
        return terms.units
    granted = known.granted if known.cycle_id == subscription.cycle_id else former.units
    left, whole = (end - max(rise.at, start)) // SECOND, (end - start) // SECOND
    return max(granted + round_half_even((terms.units - former.units) * max(left, 0), whole), 0)


def _window(
    account: CreditAccount, name: str, reset: str, subscription: Subscription, context: Context
) -> tuple[str, datetime | None]:
    """(id, start where it is not now) of the window that units are counted in. A lifetime has
    one, and days roll from their first grant on: whoever comes back to a plan finds what is left
    of the window that runs, whatever was subscribed to in between."""
    if reset == "cycle":
        return subscription.cycle_id, None
    known = account.window(name, reset)
    new = f"{subscription.subscription_id}:{name}"
    if reset == "never":
        return known.cycle_id if known is not None else f"{new}:never", None
    since = known.start_at(account.moment(context)) if known is not None else None
    if known is None or since is None:
        return f"{new}:{account.moment(context).isoformat()}", None
    return (known.cycle_id, None) if since == known.since else (f"{new}:{since.isoformat()}", since)


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
