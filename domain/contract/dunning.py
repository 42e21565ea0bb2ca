"""What unpaid invoices mean: the contract is past due, and deploys go on for a grace.

The grace counts from the first failure of the oldest unpaid invoice, whenever anybody learned of
it, and a day has 24 hours. How many days is what the plan said when the first invoice failed.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from domain.catalogue.catalogue import PlanCatalogue
from domain.contract.facts import (
    DunningMoved,
    MoveReason,
    SubscriptionPastDue,
    SubscriptionRecovered,
)
from domain.contract.policy import plan_of
from domain.contract.subscription import Subscription
from domain.facts import Context
from domain.workspace.workspace import Workspace


def note_failure(
    subscription: Subscription,
    workspace: Workspace,
    plans: PlanCatalogue,
    invoice_id: str,
    failed_at: datetime,
    context: Context,
) -> None:
    """An invoice failed at an instant. Only its first failure counts: a later one is a no-op, an
    earlier one that is learned of late moves the grace."""
    failed = subscription.failed_invoices
    known = failed.get(invoice_id)
    if known is not None and known <= failed_at:
        return
    days = subscription.grace_days if failed else plan_of(subscription, plans).grace_days
    before = subscription.grace_ends_at
    oldest = min([failed_at, *failed.values()])
    ends = oldest + timedelta(days=days)
    if known is None:
        subscription.record(
            SubscriptionPastDue(
                **subscription.stamp(context, f"past_due:{invoice_id}:{subscription.version + 1}"),
                invoice_id=invoice_id,
                first_failed_at=failed_at,
                grace_days=days,
                grace_ends_at=min(ends, before) if before and failed else ends,
            )
        )
    if known is not None or (failed and ends != before):
        _move(subscription, invoice_id, failed_at, ends, "earlier_failure_learned", context)
    workspace.mark_past_due(invoice_id, oldest, days, ends, context)
    workspace.move_grace(ends, context, first_failed_at=oldest)


def note_settled(
    subscription: Subscription, workspace: Workspace, invoice_id: str, context: Context
) -> None:
    """An invoice is paid, or void: with the last of them all is well again. A no-op for an
    invoice that did not fail."""
    failed = subscription.failed_invoices
    if invoice_id not in failed:
        return
    rest = {id: at for id, at in failed.items() if id != invoice_id}
    if not rest:
        subscription.record(
            SubscriptionRecovered(
                **subscription.stamp(context, f"recovered:{subscription.version + 1}"),
                settled_invoice_id=invoice_id,
                recovered_at=subscription.moment(context),
            )
        )
        workspace.reactivate(context)
        return
    oldest = min(rest.values())
    ends = oldest + timedelta(days=subscription.grace_days)
    older = failed[invoice_id] <= oldest
    reason: MoveReason = "older_invoice_settled" if older else "newer_invoice_settled"
    _move(subscription, invoice_id, oldest, ends, reason, context)
    if subscription.stripe is not None:  # an end that nobody paid for has no grace left to move
        workspace.move_grace(ends, context, first_failed_at=oldest)


def _move(
    subscription: Subscription,
    invoice_id: str,
    first_failed_at: datetime,
    ends: datetime,
    reason: MoveReason,
    context: Context,
) -> None:
    subscription.record(
        DunningMoved(
            **subscription.stamp(context, f"dunning:{subscription.version + 1}"),
            invoice_id=invoice_id,
            first_failed_at=first_failed_at,
            grace_ends_at=ends,
            reason=reason,
        )
    )
