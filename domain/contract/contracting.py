"""Use cases of the contract that need nobody but the book: its cycles, its plan, its switches.

What needs Stripe as well is in `subscribing.py` and `plan_changing.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from domain.account.credit_account import CreditAccount
from domain.catalogue.catalogue import PlanCatalogue
from domain.commands import Book, Command, Done, Stream
from domain.contract.cycle_close import Trigger, roll_over
from domain.contract.errors import AlreadySubscribed
from domain.contract.plan_change import change_plan
from domain.contract.policy import plan_of, put_policy
from domain.contract.subscription import (
    OverageDisabled,
    OverageEnabled,
    PlanChanged,
    Subscription,
    subscription_stream,
)
from domain.errors import InvalidInput, NotFound, OverageNotAvailable
from domain.facts import Context
from domain.places import PLANS, account_stream
from domain.workspace.workspace import Workspace, workspace_stream

Decide = Callable[[CreditAccount, Subscription, Workspace, PlanCatalogue], Any]
"""Decides over a whole contract; see `Contracting.change_contract`."""


def contract_streams(workspace_id: str) -> tuple[Stream, Stream, Stream]:
    """What one save over a contract moves: account, subscription and workspace."""
    return (
        account_stream(workspace_id),
        Stream(Subscription, subscription_stream(workspace_id)),
        Stream(Workspace, workspace_stream(workspace_id)),
    )


class Contracting:
    """What the customer agreed to, as far as no card is concerned."""

    book: Book

    async def subscription(self, workspace_id: str) -> Subscription:
        """The contract as committed now.

        :raises NotFound: there is no such workspace.
        """
        place = Stream(Subscription, subscription_stream(workspace_id))
        subscription = await self.book.fresh(place)
        assert isinstance(subscription, Subscription)
        if not subscription.version:
            raise NotFound("workspace", workspace_id)
        return subscription

    async def change_contract(
        self, workspace_id: str, context: Context, decide: Decide, trigger: Trigger = "inline"
    ) -> Done:
        """Change subscription, account and workspace together, in the cycle that runs now: what
        is over is closed first. Answers what ``decide`` answers.

        :raises NotFound: there is no such workspace.
        """

        def all_of_it(
            account: CreditAccount,
            subscription: Subscription,
            workspace: Workspace,
            plans: PlanCatalogue,
        ) -> Any:
            known(account, workspace_id)
            roll_over(account, subscription, workspace, plans, trigger, context)
            return decide(account, subscription, workspace, plans)

        return await self.book.submit(
            Command(contract_streams(workspace_id), all_of_it, None, (PLANS,))
        )

    async def roll_over(
        self, workspace_id: str, context: Context, trigger: Trigger = "inline"
    ) -> Done:
        """Close the cycles that are over; a no-op when none is. Answers how many were."""

        def decide(
            account: CreditAccount,
            subscription: Subscription,
            workspace: Workspace,
            plans: PlanCatalogue,
        ) -> int:
            known(account, workspace_id)
            return roll_over(account, subscription, workspace, plans, trigger, context)

        return await self.book.submit(
            Command(contract_streams(workspace_id), decide, None, (PLANS,))
        )

    async def set_overage(
        self,
        workspace_id: str,
        enabled: bool,
        context: Context,
        *,
        stripe_request_id: str | None = None,
    ) -> Done:
        """Agree to overage, or end the agreement; answers whether anything changed.

        :raises OverageNotAvailable: the plan has no overage rate.
        """

        def decide(
            account: CreditAccount, subscription: Subscription, _: Workspace, plans: PlanCatalogue
        ) -> bool:
            plan = plan_of(subscription, plans)
            price = plan.overage_unit_price
            if price is None:
                if enabled:
                    raise OverageNotAvailable(f"The plan {subscription.plan_id} has no overage.")
                return False
            if enabled == subscription.overage_enabled:
                return False
            for bucket in plan.buckets:
                cause = f"overage:{bucket}:{subscription.version + 1}"
                common: dict[str, Any] = {
                    **subscription.stamp(context, cause),
                    "bucket": bucket,
                    "cycle_id": subscription.cycle_id,
                    "stripe_request_id": stripe_request_id,
                }
                subscription.record(
                    OverageEnabled(**common, unit_price=price)
                    if enabled
                    else OverageDisabled(**common, reason="user")
                )
            put_policy(account, subscription, plans, context)
            return True

        return await self.change_contract(workspace_id, context, decide)

    async def set_plan(self, workspace_id: str, plan_id: str, context: Context) -> Done:
        """Put another plan in force now, for administrators; the cycle goes on, and what was used
        of it stays used. Answers whether anything changed.

        :raises InvalidInput: there is no such plan for this workspace.
        :raises AlreadySubscribed: a card pays for the plan in force; it has to be asked.
        """

        def decide(
            account: CreditAccount,
            subscription: Subscription,
            workspace: Workspace,
            plans: PlanCatalogue,
        ) -> bool:
            try:
                offer = plans.find(plan_id, workspace_id)
            except NotFound:
                raise InvalidInput(("plan",), f"the catalogue has no plan {plan_id}") from None
            if plan_id == subscription.plan_id:
                return False
            if subscription.stripe is not None:
                raise AlreadySubscribed("Stripe bills this plan; change it by plan-change instead")
            before = plan_of(subscription, plans)
            changed = PlanChanged(
                **subscription.stamp(context, f"plan:{subscription.version + 1}"),
                from_plan=subscription.plan_id,
                from_version=subscription.plan_version,
                to_plan=plan_id,
                to_version=offer.version,
                direction=(
                    "upgrade" if offer.plan.price_minor >= before.price_minor else "downgrade"
                ),
                effective_at=subscription.moment(context),
            )
            change_plan(account, subscription, workspace, plans, changed, context)
            return True

        return await self.change_contract(workspace_id, context, decide)


def known(account: CreditAccount, workspace_id: str) -> None:
    """Refuse for a workspace that was never opened."""
    if not account.version:
        raise NotFound("workspace", workspace_id)
