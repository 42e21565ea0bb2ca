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
from domain.invoice.invoice import InvoiceDocument
from domain.workspace.workspace import Workspace


def is_owed(subscription: Subscription, document: InvoiceDocument, failed_at: datetime) -> bool:
    """Whether a failed invoice is of the contract in force; or, while Stripe has none in force, of
    the one before, if it failed while that ran: the same whichever of the two is told first. Who
    has subscribed anew owes nothing of the old grace."""
    stripe_id = document.subscription_id
    if subscription.stripe is not None and document.cycle_id is not None:
        return document.cycle_id.startswith(f"{subscription.subscription_id}:")
    if subscription.stripe is not None:
        return stripe_id in (None, subscription.stripe_id)
    ended_at = subscription.ended_at
    is_last = stripe_id is not None and stripe_id == subscription.ended_stripe_id
    return is_last and ended_at is not None and failed_at <= ended_at


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
    has_ended, ended_plan = subscription.stripe is None, subscription.ended_plan
    plan = plans.plan(*ended_plan) if has_ended and ended_plan else plan_of(subscription, plans)
    days = subscription.grace_days if failed else plan.grace_days
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
    if has_ended and workspace.grace_ends_at is not None:
        ends = min(ends, workspace.grace_ends_at)  # an end that nobody asked for ended it too
    workspace.move_grace(ends, context, first_failed_at=oldest, grace_days=days)


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
