"""Use cases of what is sold: plans opened and closed, and plans quoted to one workspace each."""

from __future__ import annotations

from datetime import datetime

from domain.account.credit_account import CreditAccount
from domain.catalogue.catalogue import Offer, PlanCatalogue
from domain.catalogue.custom_plan import PlanOverrides
from domain.catalogue.plan import PlanStatus
from domain.commands import Book, Command, Done
from domain.errors import NotFound
from domain.facts import Context
from domain.places import PLANS, account_stream


class Selling:
    """What administrators decide about plans. Subscribers keep what they pinned."""

    book: Book

    async def change_plan_status(self, plan_id: str, status: PlanStatus, context: Context) -> Done:
        """Sell a plan, or no more; answers whether anything changed.

        :raises NotFound: the catalogue in force has no such plan.
        """

        def decide(plans: PlanCatalogue) -> bool:
            return plans.change_status(plan_id, status, context)

        return await self.book.submit(Command((PLANS,), decide))

    async def define_custom_plan(
        self,
        plan_id: str,
        workspace_id: str,
        base: str,
        overrides: PlanOverrides,
        context: Context,
        *,
        quote_ref: str | None = None,
        valid_until: datetime | None = None,
    ) -> Done:
        """Quote a plan to one workspace; answers the `Offer`.

        :raises NotFound: there is no such workspace.
        :raises InvalidInput, Conflict: as `PlanCatalogue.define_custom`.
        """

        def decide(plans: PlanCatalogue, account: CreditAccount) -> Offer:
            if not account.version:
                raise NotFound("workspace", workspace_id)
            return plans.define_custom(
                plan_id, workspace_id, base, overrides, quote_ref, valid_until, context
            )

        command = Command((PLANS,), decide, None, (account_stream(workspace_id),))
        return await self.book.submit(command)

    async def withdraw_custom_plan(self, plan_id: str, workspace_id: str, context: Context) -> Done:
        """Take a quote back; answers the `Offer` as it now stands.

        :raises NotFound: the workspace has no such quote.
        """

        def decide(plans: PlanCatalogue) -> Offer:
            return plans.withdraw_custom(plan_id, workspace_id, context)

        return await self.book.submit(Command((PLANS,), decide))

    async def note_plan_taken(self, plan_id: str, version: int, context: Context) -> Done:
        """Note that a workspace took the plan that was quoted to it; nothing for other plans."""

        def decide(plans: PlanCatalogue) -> bool:
            return plans.accept_custom(plan_id, version, context)

        return await self.book.submit(Command((PLANS,), decide))
