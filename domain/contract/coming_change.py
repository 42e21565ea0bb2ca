"""What waits for the cycle to close: a smaller plan, a newer version of it, or the end.

One thing at a time waits: what is scheduled later takes the place of what was.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from domain.contract.facts import (
    CancellationRevoked,
    CancellationScheduled,
    DowngradeScheduled,
    DowngradeUnscheduled,
    PlanChangeQuoted,
    PlanMigrationScheduled,
    PlanMigrationUnscheduled,
    Source,
    Unscheduled,
)
from domain.contract.subscription import Subscription
from domain.facts import Context


def cause_of(step: str, subscription: Subscription, quote: PlanChangeQuoted) -> str:
    """Why a step of a quote is recorded: once, unless the contract moved on in between."""
    moved = subscription.terms != quote.subscription_version
    return f"{step}:{quote.preview_id}" + (f":{subscription.version + 1}" if moved else "")


def schedule_downgrade(
    subscription: Subscription, quote: PlanChangeQuoted, schedule_id: str | None, context: Context
) -> None:
    """A smaller plan when the cycle closes, in the place of whatever was to happen then."""
    cause = cause_of("downgrade", subscription, quote)
    unschedule(subscription, "superseded", context)
    revoke_cancellation(subscription, "plan_change", context)
    subscription.record(
        DowngradeScheduled(
            **subscription.stamp(context, cause),
            to_plan=quote.to_plan,
            to_version=quote.to_version,
            effective_at=subscription.period_end or quote.effective_at,
            preview_id=quote.preview_id,
            keep_bot_ids=quote.keep_bot_ids,
            stripe_schedule_id=schedule_id,
        )
    )


def schedule_by_hand(subscription: Subscription, plan: tuple[str, int], context: Context) -> None:
    """A smaller plan that somebody put in force at Stripe, when the cycle that is paid for closes;
    a no-op where that is known."""
    if subscription.by_hand is not None and subscription.by_hand.plan == plan:
        return
    assert subscription.period_end is not None
    unschedule(subscription, "superseded", context)
    subscription.record(
        DowngradeScheduled(
            **subscription.stamp(context, f"downgrade_by_hand:{subscription.version + 1}"),
            to_plan=plan[0],
            to_version=plan[1],
            effective_at=subscription.period_end,
            source="portal",
        )
    )


def unschedule(subscription: Subscription, reason: Unscheduled, context: Context) -> None:
    """Take back what was to change when the cycle closes; a no-op where nothing was."""
    stamp = subscription.stamp(context, f"unscheduled:{subscription.version + 1}")
    if subscription.scheduled is not None:
        subscription.record(DowngradeUnscheduled(**stamp, reason=reason))
    elif subscription.migration is not None:
        subscription.record(PlanMigrationUnscheduled(**stamp, reason=reason))


def schedule_migration(
    subscription: Subscription,
    plan: tuple[str, int],
    schedule_id: str | None,
    cause: str,
    context: Context,
) -> None:
    """A newer version of the plan in force when the cycle closes, in the place of an older one."""
    assert subscription.period_end is not None
    stamp = subscription.stamp(context, cause)
    unschedule(subscription, "superseded", context)
    subscription.record(
        PlanMigrationScheduled(
            **stamp,
            from_version=subscription.plan_version,
            to_plan=plan[0],
            to_version=plan[1],
            effective_at=subscription.period_end,
            stripe_schedule_id=schedule_id,
        )
    )


def schedule_cancellation(
    subscription: Subscription,
    cancel_at: datetime,
    source: Source,
    context: Context,
    *,
    cause: str = "",
    keep_bot_ids: Sequence[str] = (),
) -> None:
    """End the contract at an instant, in the place of whatever was to happen then."""
    unschedule(subscription, "cancelled", context)
    subscription.record(
        CancellationScheduled(
            **subscription.stamp(context, cause or f"cancel:{subscription.version + 1}"),
            cancel_at=cancel_at,
            source=source,
            keep_bot_ids=tuple(keep_bot_ids),
        )
    )


def revoke_cancellation(subscription: Subscription, source: Source, context: Context) -> None:
    """Let the contract go on; a no-op unless it was to end."""
    if subscription.cancellation is not None:
        stamp = subscription.stamp(context, f"resume:{subscription.version + 1}")
        subscription.record(CancellationRevoked(**stamp, source=source))
