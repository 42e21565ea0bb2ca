"""What Stripe says of a subscription, compared with ours: the difference is what happened.

Deliveries come late, twice and in any order, so none is taken at its word: the subscription is
fetched as it is now, and only that decides. If ours changed while we fetched, we look again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from msgspec.structs import replace

from domain.account.credit_account import CreditAccount
from domain.catalogue.catalogue import PlanCatalogue
from domain.commands import Stream
from domain.contract.activation import activate, renewed_after_end
from domain.contract.errors import AlreadySubscribed
from domain.contract.facts import StripeSubscriptionSynced
from domain.contract.plan_changing import PlanChanging
from domain.contract.processor import Contracts, RemoteSubscription
from domain.contract.remote_change import OVER, Renewed, Taken, follow
from domain.contract.subscription import Subscription, subscription_stream
from domain.errors import ConcurrencyConflict
from domain.facts import Context
from domain.invoice.invoice import InvoiceDocument
from domain.workspace.workspace import Workspace

Disposition = Literal["applied", "ignored", "deferred"]
"""As `api.stripe.till.Disposition`: carried out; nothing to us; about something unknown yet."""

ATTEMPTS_MAX = 4
UNPAID = ("incomplete", *OVER)


@dataclass(frozen=True, slots=True)
class Synced:
    """How a subscription at Stripe stands to our contract."""

    disposition: Disposition
    subscription: Subscription | None = None
    remote: RemoteSubscription | None = None


def taken(
    invoice: InvoiceDocument, ours: Subscription, remote: RemoteSubscription
) -> Taken | Renewed | None:
    """What the newest invoice says of a change of plan, or else of the period that runs. One of a
    change that is older than what we know last may be of a change that we have heard of."""
    if invoice.billing_reason == "subscription_update":
        return Taken(invoice.amount_due, invoice.created >= ours.recorded_at.replace(microsecond=0))
    for line in invoice.lines:
        if line.kind == "plan" and line.period_start == remote.period_start:
            return Renewed(line.amount)
    return None


class ContractSync(PlanChanging):
    """How the contract follows Stripe."""

    async def sync_subscription(
        self,
        contracts: Contracts,
        stripe_id: str,
        context: Context,
        *,
        paid: bool = False,
        whose: str | None = None,
    ) -> Synced:
        """Bring our contract to where Stripe's subscription is now. ``whose`` is the workspace
        that it is said to be of: whoever says so saves Stripe a question.

        One that we do not know is `deferred` if it runs (its checkout is on its way), else
        `ignored`. One whose page was completed before its money came is put in force when an
        invoice of it is ``paid``, and `deferred` until then."""
        for _ in range(ATTEMPTS_MAX):
            known = await self.known_subscription(whose) if whose is not None else None
            remote = await contracts.subscription(stripe_id)
            if remote is None or remote.workspace_id is None:
                return Synced("deferred" if remote is None else "ignored", None, remote)
            workspace_id = remote.workspace_id
            is_newer = known is not None and workspace_id == whose
            before = known if is_newer else await self.known_subscription(workspace_id)
            if before is None:
                return Synced("ignored", None, remote)
            if not before.is_known(stripe_id):
                if paid and stripe_id in before.announced and remote.is_live:
                    begun = await self.activate(remote, 0, context)
                    if begun != "applied":
                        return Synced(begun, before, remote)
                    continue
                unpaid = remote.status in UNPAID
                return Synced("ignored" if unpaid else "deferred", before, remote)
            if before.stripe_id != stripe_id:
                if not renewed_after_end(before, remote):
                    return Synced("applied", before, remote)  # it ended, and we know
                if await self.activate(remote, 0, context) == "ignored":
                    return Synced("ignored", before, remote)
                continue
            if not is_newer:
                # Nothing that was fetched may be older than what it is compared with.
                remote = await contracts.subscription(stripe_id)
                assert remote is not None
            took: Taken | Renewed | None = None
            if remote.plan != before.billed_plan and remote.latest_invoice_id:
                newest = await contracts.invoice(remote.latest_invoice_id)
                took = None if newest is None else taken(newest, before, remote)
            after = await self._compare(workspace_id, remote, took, before.terms, context)
            if after is not None:
                return Synced("applied", after, remote)
        raise ConcurrencyConflict()

    async def activate(
        self, remote: RemoteSubscription, received: int, context: Context
    ) -> Disposition:
        """A subscription was paid for: put its plan in force, once. ``received``: minor units.

        `deferred` where another one is in force: nobody may pay twice unnoticed. `ignored` where
        its price is none of ours.
        """
        if remote.workspace_id is None or remote.plan is None:
            return "ignored"
        if not (await self.plans()).knows(remote.plan, remote.workspace_id):
            return "ignored"

        def decide(
            account: CreditAccount,
            subscription: Subscription,
            workspace: Workspace,
            plans: PlanCatalogue,
        ) -> bool:
            return activate(account, subscription, workspace, plans, remote, received, context)

        try:
            # Stripe's clock may be ahead of ours: what is over there is over here first.
            ahead = replace(context, now=max(context.now, remote.period_start))
            await self.change_contract(remote.workspace_id, ahead, decide, "webhook")
        except AlreadySubscribed:
            return "deferred"
        return "applied"

    async def announce(self, remote: RemoteSubscription, context: Context) -> None:
        """A page was completed, but its money is under way: remember the subscription."""
        assert remote.workspace_id is not None

        def decide(_: CreditAccount, subscription: Subscription, *__: object) -> None:
            if subscription.is_known(remote.id) or remote.id in subscription.announced:
                return
            subscription.record(
                StripeSubscriptionSynced(
                    **subscription.stamp(context, f"announced:{remote.id}"),
                    stripe_subscription_id=remote.id,
                    status=remote.status,
                    period_start=remote.period_start,
                    period_end=remote.period_end,
                    object_created=remote.created,
                )
            )

        await self.change_contract(remote.workspace_id, context, decide)

    async def known_subscription(self, workspace_id: str) -> Subscription | None:
        """The contract of a workspace, or None where there is no such workspace."""
        found = await self.book.fresh(Stream(Subscription, subscription_stream(workspace_id)))
        assert isinstance(found, Subscription)
        return found if found.version else None

    async def _compare(
        self,
        workspace_id: str,
        remote: RemoteSubscription,
        took: Taken | Renewed | None,
        terms: int,
        context: Context,
    ) -> Subscription | None:
        """Record the difference; None if ours changed since it was read."""

        def decide(
            account: CreditAccount,
            subscription: Subscription,
            workspace: Workspace,
            plans: PlanCatalogue,
        ) -> Subscription | None:
            if subscription.terms != terms:
                return None
            follow(account, subscription, workspace, plans, remote, took, context)
            return subscription.clone()

        # What is over by our own clock is closed first, in a save of its own.
        await self.roll_over(workspace_id, context, "webhook")
        if (await self.subscription(workspace_id)).terms != terms:
            return None
        done = await self.change_contract(workspace_id, context, decide, "webhook")
        answer: Subscription | None = done.answer
        return answer
