"""A subscription that was paid for: from when on its plan is in force, and in the place of what."""

from __future__ import annotations

from datetime import timedelta

from domain.account.credit_account import CreditAccount
from domain.catalogue.catalogue import PlanCatalogue
from domain.contract.cycle import boundary_after
from domain.contract.cycle_close import end_cycle
from domain.contract.errors import AlreadySubscribed
from domain.contract.facts import Direction
from domain.contract.policy import drop_overage, grant_allowances, plan_of, put_limits, put_policy
from domain.contract.processor import RemoteSubscription
from domain.contract.subscription import PlanChanged, Subscription
from domain.facts import Context
from domain.workspace.workspace import Workspace

TOLERANCE = timedelta(seconds=1)


def activate(
    account: CreditAccount,
    subscription: Subscription,
    workspace: Workspace,
    plans: PlanCatalogue,
    remote: RemoteSubscription,
    charged: int,
    context: Context,
) -> bool:
    """A subscription was paid for: its plan is in force from the period that Stripe says.

    Once for each subscription at Stripe; False if it was before. One that we ended, because it
    was cancelled, begins again if Stripe renewed it: it was taken back, and we heard too late.

    :raises AlreadySubscribed: another one is in force: nobody may pay twice unnoticed.
    """
    if subscription.is_known(remote.id) and not renewed_after_end(subscription, remote):
        return False
    if subscription.stripe is not None:
        raise AlreadySubscribed(f"{subscription.stripe.id} is in force beside {remote.id}")
    assert remote.plan is not None
    assert subscription.period_start is not None
    assert subscription.period_end is not None
    start = max(remote.period_start, subscription.period_start)
    if start > subscription.period_start:
        end_cycle(account, subscription, plans, min(start, subscription.period_end), context)
    before = plan_of(subscription, plans).price_minor
    up = plans.plan(*remote.plan).price_minor >= before
    direction: Direction = "upgrade" if up else "downgrade"
    if remote.plan != (subscription.plan_id, subscription.plan_version):
        subscription.record(
            PlanChanged(
                **subscription.stamp(context, f"plan_bought:{remote.id}:{subscription.started}"),
                from_plan=subscription.plan_id,
                from_version=subscription.plan_version,
                to_plan=remote.plan[0],
                to_version=remote.plan[1],
                direction=direction,
                effective_at=start,
                charged=charged,
            )
        )
    # A picture from before Stripe's last renewal: its next one is counted from its anchor.
    later = boundary_after(remote.anchor_at, start)
    period = (start, remote.period_end if remote.period_end > start else later)
    subscription.start_next(remote.plan, remote.anchor_at, period, context, stripe_id=remote.id)
    drop_overage(account, subscription, plans, context, always=True)
    put_policy(account, subscription, plans, context)
    grant_allowances(account, subscription, plans, "subscription", context)
    put_limits(workspace, subscription, plans, direction, context)
    workspace.reactivate(context)
    return True


def renewed_after_end(subscription: Subscription, remote: RemoteSubscription) -> bool:
    """Whether Stripe went on with a subscription that has ended here."""
    return (
        subscription.stripe is None
        and subscription.ended_stripe_id == remote.id
        and subscription.ended_at is not None
        and remote.is_live
        and remote.period_start >= subscription.ended_at - TOLERANCE
    )
