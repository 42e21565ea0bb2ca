"""Changing plans: what may change into what, what a quote promises, and what a change does.

An upgrade happens at once and is charged for the rest of the cycle; a downgrade happens when the
cycle closes and gives nothing back; the default plan is reached by ending the subscription.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from domain.account.credit_account import CreditAccount
from domain.catalogue.catalogue import Offer, PlanCatalogue
from domain.contract.coming_change import cause_of, unschedule
from domain.contract.errors import (
    AlreadySubscribed,
    CheckoutRequired,
    PastDue,
    PlanChangeIsPending,
    PlanNotAvailable,
    PreviewStale,
)
from domain.contract.facts import (
    Direction,
    Move,
    PlanChangeFailed,
    PlanChangePending,
    PlanChangeQuoted,
)
from domain.contract.policy import (
    Rise,
    drop_overage,
    grant_allowances,
    plan_of,
    put_limits,
    put_policy,
)
from domain.contract.processor import Preview
from domain.contract.subscription import PlanChanged, Subscription
from domain.errors import NotFound
from domain.facts import Context
from domain.workspace.workspace import Workspace

QUOTE_STANDS = timedelta(minutes=15)
"""How long a preview can be confirmed."""


class Change(NamedTuple):
    """A change of plan that is possible, and of which kind it is."""

    offer: Offer
    direction: Direction
    needs_checkout: bool = False  # no card stands behind the contract yet
    ends: bool = False  # to the default plan


def change_to(
    subscription: Subscription, plans: PlanCatalogue, workspace_id: str, plan_id: str, now: datetime
) -> Change:
    """The change from the plan in force to another.

    :raises NotFound: there is no such plan for this workspace.
    :raises PlanNotAvailable: it is not sold.
    :raises AlreadySubscribed: it is the plan in force, and nothing else is scheduled.
    :raises PastDue: something is unpaid.
    """
    offer = plans.find(plan_id, workspace_id)
    if subscription.status == "past_due":
        raise PastDue("an invoice is unpaid; plans change when it is paid")
    same = plan_id == subscription.plan_id
    if same and (offer.version == subscription.plan_version or offer.custom is None):
        raise AlreadySubscribed(f"the plan {plan_id} is in force; there is nothing to change")
    default = plan_id == plans.current.default_plan
    if not default and not offer.is_available(now):
        raise PlanNotAvailable(f"the plan {plan_id} is not sold")
    before = plan_of(subscription, plans).price_minor
    direction: Direction = "upgrade" if offer.plan.price_minor >= before else "downgrade"
    if default:
        return Change(offer, "downgrade", ends=True)
    unbacked = subscription.stripe is None
    return Change(offer, direction, needs_checkout=unbacked and direction == "upgrade")


def quote(
    subscription: Subscription,
    change: Change,
    preview_id: str,
    preview: Preview | None,
    proration_date: int | None,
    keep_bot_ids: Sequence[str],
    context: Context,
) -> PlanChangeQuoted:
    """Promise what a change costs. ``preview`` is Stripe's word on an upgrade; without one a
    first subscription costs its price and anything else nothing."""
    assert subscription.period_end is not None
    now = subscription.moment(context)
    price, custom = change.offer.plan.price_minor, change.offer.custom
    stands_until = min(now + QUOTE_STANDS, subscription.period_end)
    if custom is not None and custom.valid_until is not None:
        stands_until = min(stands_until, custom.valid_until)
    fact = PlanChangeQuoted(
        **subscription.stamp(context, f"quote:{preview_id}"),
        preview_id=preview_id,
        from_plan=subscription.plan_id,
        from_version=subscription.plan_version,
        to_plan=change.offer.plan_id,
        to_version=change.offer.version,
        direction=change.direction,
        amount_due_now=preview.amount_due if preview else price if change.needs_checkout else 0,
        next_invoice_total=price,
        subscription_version=subscription.terms,
        effective_at=now if change.direction == "upgrade" else subscription.period_end,
        expires_at=stands_until,
        proration_date=proration_date,
        lines=preview.lines if preview else (),
        keep_bot_ids=tuple(keep_bot_ids),
        needs_checkout=change.needs_checkout,
        ends=change.ends,
    )
    subscription.record(fact)
    return fact


def check_quote(subscription: Subscription, quote: PlanChangeQuoted, context: Context) -> None:
    """Refuse to confirm what was promised under other terms.

    :raises CheckoutRequired: the plan has to be bought on a payment page.
    :raises PastDue: something became unpaid.
    :raises PreviewStale: it expired, the cycle ended or something else changed.
    """
    if quote.needs_checkout:
        raise CheckoutRequired("no card stands behind this contract; buy the plan by checkout")
    if subscription.status == "past_due":
        raise PastDue("an invoice is unpaid; plans change when it is paid")
    if subscription.moment(context) >= quote.expires_at:
        raise PreviewStale("the preview has expired; ask for a new one")
    if quote.subscription_version != subscription.terms:
        raise PreviewStale("the contract changed since the preview; ask for a new one")
    if subscription.pending_change is not None and quote.direction == "downgrade":
        raise PlanChangeIsPending("an upgrade waits for its payment")


def check_sold(
    plans: PlanCatalogue, workspace_id: str, quote: PlanChangeQuoted, context: Context
) -> None:
    """Refuse a plan that is no longer sold to this workspace, whatever was promised.

    :raises PlanNotAvailable: it was retired, or its offer withdrawn.
    """
    try:
        offer = plans.find(quote.to_plan, workspace_id)
    except NotFound:
        offer = None
    if not quote.ends and (offer is None or not offer.is_available(context.now)):
        raise PlanNotAvailable(f"the plan {quote.to_plan} is not sold any more")


def apply_upgrade(
    account: CreditAccount,
    subscription: Subscription,
    workspace: Workspace,
    plans: PlanCatalogue,
    quote: PlanChangeQuoted,
    charged: int,
    context: Context,
) -> None:
    """The upgrade of a quote is paid: it is in force now, and the cycle goes on."""
    unschedule(subscription, "superseded", context)
    change_plan(
        account,
        subscription,
        workspace,
        plans,
        PlanChanged(
            **subscription.stamp(context, f"plan_change:{quote.preview_id}"),
            from_plan=subscription.plan_id,
            from_version=subscription.plan_version,
            to_plan=quote.to_plan,
            to_version=quote.to_version,
            direction="upgrade",
            effective_at=subscription.moment(context),
            preview_id=quote.preview_id,
            charged=charged,
        ),
        context,
        quote.keep_bot_ids,
        _charged_from(quote, subscription.moment(context)),
    )


def _charged_from(quote: PlanChangeQuoted, now: datetime) -> datetime:
    """The instant from which a quote's charge counts; what was shown for it holds too."""
    at = quote.proration_date
    return now if at is None else datetime.fromtimestamp(at, UTC)


def apply_downgrade(
    account: CreditAccount,
    subscription: Subscription,
    workspace: Workspace,
    plans: PlanCatalogue,
    quote: PlanChangeQuoted,
    context: Context,
) -> None:
    """The downgrade of a quote took place at Stripe when the last cycle closed."""
    assert subscription.period_start is not None
    changed = PlanChanged(
        **subscription.stamp(context, f"plan_change:{quote.preview_id}"),
        from_plan=subscription.plan_id,
        from_version=subscription.plan_version,
        to_plan=quote.to_plan,
        to_version=quote.to_version,
        direction="downgrade",
        effective_at=subscription.period_start,
        preview_id=quote.preview_id,
    )
    change_plan(account, subscription, workspace, plans, changed, context, quote.keep_bot_ids)


def direction_to(subscription: Subscription, plans: PlanCatalogue, plan: tuple[str, int]) -> Move:
    """What another plan, that nobody here was quoted, is to the one in force."""
    if plan[0] == subscription.plan_id:
        return "migration"
    before = plan_of(subscription, plans).price_minor
    return "upgrade" if plans.plan(*plan).price_minor >= before else "downgrade"


def adopt_plan(
    account: CreditAccount,
    subscription: Subscription,
    workspace: Workspace,
    plans: PlanCatalogue,
    plan: tuple[str, int],
    charged: int,
    context: Context,
) -> None:
    """Stripe bills another plan of ours than the one in force, and no quote of ours says why: what
    the customer pays for is what the customer gets. ``charged``: what that cost, minor units."""
    changed = PlanChanged(
        **subscription.stamp(context, f"plan_at_stripe:{subscription.version + 1}"),
        from_plan=subscription.plan_id,
        from_version=subscription.plan_version,
        to_plan=plan[0],
        to_version=plan[1],
        direction=direction_to(subscription, plans, plan),
        effective_at=subscription.moment(context),
        charged=charged,
    )
    change_plan(account, subscription, workspace, plans, changed, context)


def change_plan(
    account: CreditAccount,
    subscription: Subscription,
    workspace: Workspace,
    plans: PlanCatalogue,
    changed: PlanChanged,
    context: Context,
    keep_bot_ids: Sequence[str] = (),
    counts_from: datetime | None = None,
) -> None:
    """Put another plan in force within a cycle: its permissions, units and limits with it. Its
    price ``counts_from`` an instant that is not always the one of the change."""
    rise = None
    if changed.direction != "downgrade":
        rise = Rise(plan_of(subscription, plans), counts_from or changed.effective_at)
    subscription.record(changed)
    drop_overage(account, subscription, plans, context)
    put_policy(account, subscription, plans, context)
    grant_allowances(account, subscription, plans, "upgrade", context, rise)
    put_limits(workspace, subscription, plans, changed.direction, context, keep_bot_ids)


def mark_pending(
    subscription: Subscription,
    quote: PlanChangeQuoted,
    stripe_invoice_id: str,
    expires_at: datetime,
    context: Context,
) -> None:
    """The card did not pay for an upgrade at once."""
    cause = cause_of("plan_pending", subscription, quote)
    fail_pending(subscription, "superseded", context)
    unschedule(subscription, "superseded", context)
    subscription.record(
        PlanChangePending(
            **subscription.stamp(context, cause),
            preview_id=quote.preview_id,
            stripe_invoice_id=stripe_invoice_id,
            expires_at=expires_at,
        )
    )


def fail_pending(subscription: Subscription, code: str, context: Context) -> None:
    """The upgrade that waits for its payment will not happen; a no-op where none waits."""
    pending = subscription.pending_change
    if pending is not None:
        stamp = subscription.stamp(
            context, f"plan_failed:{pending.preview_id}:{subscription.version + 1}"
        )
        subscription.record(PlanChangeFailed(**stamp, preview_id=pending.preview_id, code=code))
