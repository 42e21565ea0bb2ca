"""Use cases of changing plans: preview, confirm, take back.

A preview is Stripe's own figure for one instant, and a confirmation uses that instant again: what
is charged is what was shown, or nothing is done and the new figure is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from domain.account.credit_account import CreditAccount
from domain.catalogue.catalogue import PlanCatalogue
from domain.commands import Stream
from domain.contract.coming_change import (
    revoke_cancellation,
    schedule_cancellation,
    schedule_downgrade,
    unschedule,
)
from domain.contract.errors import PastDue, PlanChangeIsPending, PreviewStale
from domain.contract.facts import (
    CancellationScheduled,
    DowngradeScheduled,
    PlanChangePending,
    PlanChangeQuoted,
)
from domain.contract.plan_change import (
    Change,
    apply_upgrade,
    change_to,
    check_quote,
    check_sold,
    mark_pending,
    quote,
)
from domain.contract.policy import Rise, plan_of, units_after
from domain.contract.processor import Contracts, Preview, Price, RemoteSubscription
from domain.contract.subscribing import Subscribing, price_of
from domain.contract.subscription import PlanChanged, Subscription, subscription_stream
from domain.errors import NotFound
from domain.facts import Context, Fact
from domain.workspace.bots import bots_to_pause
from domain.workspace.workspace import Workspace, workspace_stream


@dataclass(frozen=True, slots=True)
class Quoted:
    """A preview: the promise, and what it would do to bots and units. Units are (from, to)."""

    quote: PlanChangeQuoted
    bots_to_pause: tuple[str, ...]
    allowances: dict[str, tuple[int, int]]
    position: int


@dataclass(frozen=True, slots=True)
class Confirmed:
    """What became of a change: minor units, and a page to pay on where it waits for that."""

    status: Literal["applied", "scheduled", "pending_payment"]
    effective_at: datetime
    charged: int
    payment_url: str | None
    position: int


class PlanChanging(Subscribing):
    """How a customer moves between plans."""

    async def preview_plan(
        self,
        contracts: Contracts,
        workspace_id: str,
        plan_id: str,
        keep_bot_ids: Sequence[str],
        preview_id: str,
        context: Context,
    ) -> Quoted:
        """Quote a change of plan under a new id; nothing else happens.

        :raises NotFound, PlanNotAvailable, AlreadySubscribed, PastDue: as `change_to`.
        """
        await self.roll_over(workspace_id, context)
        subscription, plans = await self.subscription(workspace_id), await self.plans()
        change = change_to(subscription, plans, workspace_id, plan_id, context.now)
        preview: Preview | None = None
        instant: int | None = None
        if subscription.stripe is not None and change.direction == "upgrade":
            price = price_of(change.offer, plans)
            instant = int(context.now.timestamp())
            remote = await contracts.subscription(subscription.stripe.id)
            _check_paid(remote)
            if remote is None or remote.plan != subscription.billed_plan:
                raise PlanChangeIsPending("Stripe has just changed the plan; ask in a moment")
            preview = await contracts.preview(subscription.stripe.id, price, instant)
        terms, allowances = subscription.terms, dict[str, tuple[int, int]]()

        def decide(
            account: CreditAccount, subscription: Subscription, _: Workspace, plans: PlanCatalogue
        ) -> PlanChangeQuoted:
            allowances.update(_allowances(account, subscription, plans, change, instant))
            if preview_id in subscription.quotes:
                return subscription.quotes[preview_id]  # asked before, and never answered
            if subscription.terms != terms:
                raise PreviewStale("the contract changed at this moment; ask again")
            return quote(subscription, change, preview_id, preview, instant, keep_bot_ids, context)

        done = await self.change_contract(workspace_id, context, decide)
        workspace = await self.book.fresh(Stream(Workspace, workspace_stream(workspace_id)))
        assert isinstance(workspace, Workspace)
        limits = change.offer.plan.limits.get("bots")
        cap = limits if isinstance(limits, int) else None
        to_pause = tuple(bots_to_pause(workspace, cap, keep_bot_ids))
        return Quoted(done.answer, to_pause, allowances, done.position)

    async def confirm_plan(
        self, contracts: Contracts, workspace_id: str, preview_id: str, context: Context
    ) -> Confirmed:
        """Do what was previewed, once: again, it answers as before.

        :raises NotFound: there is no such preview in this workspace.
        :raises PreviewStale, CheckoutRequired, PastDue, PlanNotAvailable: nothing was done.
        """
        before = await self._confirmed(contracts, workspace_id, preview_id, context)
        if before is not None:
            return before
        await self.roll_over(workspace_id, context)
        subscription = await self.subscription(workspace_id)
        promised = subscription.quotes.get(preview_id)
        if promised is None:
            found = await self.book.find_cause(subscription.id, f"quote:{preview_id}")
            if found is None:
                raise NotFound("preview", preview_id)
            raise PreviewStale("the contract changed since the preview; ask for a new one")
        check_quote(subscription, promised, context)
        check_sold(await self.plans(), workspace_id, promised, context)
        if promised.direction == "upgrade":
            return await self._upgrade(contracts, workspace_id, subscription, promised, context)
        return await self._later(contracts, workspace_id, subscription, promised, context)

    async def unschedule_plan(
        self, contracts: Contracts, workspace_id: str, context: Context
    ) -> int | None:
        """Take back what was to happen when the cycle closes; the position, or None where there
        was nothing. A cancellation that was asked for as such is not touched, nor is what an
        administrator scheduled, here or by hand at Stripe."""
        await self.roll_over(workspace_id, context)
        subscription = await self.subscription(workspace_id)
        cancelled = subscription.cancellation
        ends = cancelled is not None and cancelled.source == "plan_change"
        if (subscription.scheduled is None or subscription.by_hand) and not ends:
            return None
        link = subscription.stripe
        if link is not None and link.schedule_id is not None:
            await contracts.release(link.schedule_id)
        if link is not None and ends:
            await contracts.set_cancel(link.id, False, f"resume:{link.id}:{subscription.terms}")

        def decide(_: CreditAccount, subscription: Subscription, *__: object) -> None:
            if subscription.scheduled is not None and not subscription.by_hand:
                unschedule(subscription, "user", context)
            if ends:
                revoke_cancellation(subscription, "plan_change", context)

        return (await self.change_contract(workspace_id, context, decide)).position

    async def _upgrade(
        self,
        contracts: Contracts,
        workspace_id: str,
        subscription: Subscription,
        promised: PlanChangeQuoted,
        context: Context,
    ) -> Confirmed:
        link, plans = subscription.stripe, await self.plans()
        assert link is not None
        assert promised.proration_date is not None
        plan = plans.plan(promised.to_plan, promised.to_version)
        price = Price(
            promised.to_plan, promised.to_version, plan.price_minor, plans.current.currency
        )
        remote = await contracts.subscription(link.id)
        _check_paid(remote)
        if remote is not None and remote.plan == price.pin:
            if not await _was_ours(contracts, remote, promised):
                raise PreviewStale("Stripe has this plan in force already, and not by us", 0)
        else:
            now = await contracts.preview(link.id, price, promised.proration_date)
            if now.amount_due != promised.amount_due_now:
                raise PreviewStale("the amount is another one by now", now.amount_due)
        key = f"plan_change:{promised.preview_id}"
        done = await contracts.upgrade(link.id, price, promised.proration_date, key)
        applied = done.subscription.plan == price.pin and done.subscription.pending_until is None

        def decide(
            account: CreditAccount,
            subscription: Subscription,
            workspace: Workspace,
            plans: PlanCatalogue,
        ) -> None:
            if (subscription.plan_id, subscription.plan_version) == price.pin:
                return  # a webhook was here before us
            if subscription.stripe_id != link.id:
                return  # it ended meanwhile
            if applied:
                apply_upgrade(
                    account, subscription, workspace, plans, promised, done.charged, context
                )
            elif subscription.pending_change is None or (
                subscription.pending_change.preview_id != promised.preview_id
            ):
                until = done.subscription.pending_until or promised.expires_at
                mark_pending(subscription, promised, done.invoice_id or "", until, context)

        position = (await self.change_contract(workspace_id, context, decide)).position
        if applied:
            return Confirmed("applied", context.now, done.charged, None, position)
        return Confirmed("pending_payment", context.now, 0, done.payment_url, position)

    async def _later(
        self,
        contracts: Contracts,
        workspace_id: str,
        subscription: Subscription,
        promised: PlanChangeQuoted,
        context: Context,
    ) -> Confirmed:
        link, plans = subscription.stripe, await self.plans()
        plan = plans.plan(promised.to_plan, promised.to_version)
        price = Price(
            promised.to_plan, promised.to_version, plan.price_minor, plans.current.currency
        )
        preview_id, cancel_at, schedule_id = promised.preview_id, promised.effective_at, None
        asked_of = subscription.subscription_id
        if link is not None:
            _check_paid(await contracts.subscription(link.id))
        if link is not None and promised.ends:
            remote = await contracts.set_cancel(link.id, True, f"plan_cancel:{preview_id}")
            cancel_at = remote.cancel_at or cancel_at
        elif link is not None:
            if subscription.cancellation is not None:
                await contracts.set_cancel(link.id, False, f"plan_resume:{preview_id}")
            schedule_id = await contracts.schedule(
                link.id, price, f"downgrade:{preview_id}", promised.effective_at
            )

        def decide(_: CreditAccount, subscription: Subscription, *__: object) -> None:
            moved = subscription.terms != promised.subscription_version
            cause = "" if moved else f"plan_cancel:{preview_id}"
            known, ours = subscription.cancellation, subscription.scheduled
            if subscription.subscription_id != asked_of:
                return  # it ended meanwhile
            if promised.ends and (known is None or known.source != "plan_change"):
                schedule_cancellation(
                    subscription,
                    cancel_at,
                    "plan_change",
                    context,
                    cause=cause,
                    keep_bot_ids=promised.keep_bot_ids,
                )
            elif not promised.ends and (ours is None or ours.preview_id != preview_id):
                schedule_downgrade(subscription, promised, schedule_id, context)

        position = (await self.change_contract(workspace_id, context, decide)).position
        return Confirmed("scheduled", promised.effective_at, 0, None, position)

    async def _confirmed(
        self, contracts: Contracts, workspace_id: str, preview_id: str, context: Context
    ) -> Confirmed | None:
        """What an earlier confirmation of the same preview came to, unless it was taken back."""
        stream = subscription_stream(workspace_id)
        subscription = await self.subscription(workspace_id)
        for step in ("plan_change", "downgrade", "plan_cancel", "plan_pending"):
            found = await self.book.find_cause(stream, f"{step}:{preview_id}")
            if found is None:
                continue
            fact: Fact = found[0].fact
            position = found[1]
            if isinstance(fact, PlanChanged):
                return Confirmed("applied", fact.effective_at, fact.charged, None, position)
            if isinstance(fact, DowngradeScheduled | CancellationScheduled):
                at = (
                    fact.cancel_at if isinstance(fact, CancellationScheduled) else fact.effective_at
                )
                if context.now < at and fact not in (
                    subscription.scheduled,
                    subscription.cancellation,
                ):
                    raise PreviewStale("what was confirmed was taken back; ask for a new preview")
                return Confirmed("scheduled", at, 0, None, position)
            assert isinstance(fact, PlanChangePending)
            invoice = await contracts.invoice(fact.stripe_invoice_id)
            url = invoice.hosted_url if invoice else None
            return Confirmed("pending_payment", fact.recorded_at, 0, url, position)
        return None


def _check_paid(remote: RemoteSubscription | None) -> None:
    """Refuse to change what is unpaid at Stripe, whether we were told of it or not.

    :raises PastDue: its last invoice failed.
    """
    if remote is not None and remote.is_past_due:
        raise PastDue("an invoice is unpaid; plans change when it is paid")


def _allowances(
    account: CreditAccount,
    subscription: Subscription,
    plans: PlanCatalogue,
    change: Change,
    instant: int | None,
) -> dict[str, tuple[int, int]]:
    """Included units of each bucket before and after a change: of whole cycles, unless it adds to
    the one that runs what the rest of that is worth."""
    before = plan_of(subscription, plans)
    found: dict[str, tuple[int, int]] = {}
    for name, terms in change.offer.plan.buckets.items():
        former, known = before.buckets.get(name), account.buckets.get(name)
        units = (former.units if former is not None else 0, terms.units)
        prorated = plans.current.allowance_on_upgrade == "prorate"
        if prorated and instant is not None and known is not None:
            rise = Rise(before, datetime.fromtimestamp(instant, UTC))
            units = (
                known.granted,
                units_after(account, subscription, plans, rise, name, terms),
            )
        found[name] = units
    return found


async def _was_ours(
    contracts: Contracts, remote: RemoteSubscription, promised: PlanChangeQuoted
) -> bool:
    """Whether Stripe's change was this quote's, done before and not heard."""
    found = await contracts.invoice(remote.latest_invoice_id) if remote.latest_invoice_id else None
    since = {line.period_start for line in found.lines} if found is not None else set()
    assert promised.proration_date is not None
    return datetime.fromtimestamp(promised.proration_date, UTC) in since
