"""Use cases of a deployment and its tenants: workspaces, catalogues and price books."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from domain.account.credit_account import CreditAccount
from domain.account.credit_facts import CreditAccountOpened
from domain.catalogue.catalogue import Catalogue, PlanCatalogue
from domain.catalogue.price_book import PriceBook, PriceEntry
from domain.commands import Book, Command, Done, Stream
from domain.contract.policy import grant_allowances, put_limits, put_policy, start_preferences
from domain.contract.subscription import Subscription, SubscriptionStarted, subscription_stream
from domain.facts import Context
from domain.places import PLANS, PRICES, account_stream
from domain.workspace.workspace import Workspace, workspace_stream


class Opening:
    """What a deployment publishes, and the tenants it opens."""

    book: Book

    async def create_workspace(
        self, workspace_id: str, name: str, owner_id: str, timezone: str, context: Context
    ) -> Done:
        """Open a tenant on the default plan: workspace, account and subscription in one save."""

        def decide(
            workspace: Workspace,
            account: CreditAccount,
            subscription: Subscription,
            plans: PlanCatalogue,
        ) -> SubscriptionStarted:
            catalogue = plans.current
            workspace.create(workspace_id, name, owner_id, timezone, context)
            account.record(
                CreditAccountOpened(
                    **account.stamp(context, f"workspace:{workspace_id}"),
                    workspace_id=workspace_id,
                    currency=catalogue.currency,
                )
            )
            plan = (catalogue.default_plan, plans.current_version)
            started = subscription.start(workspace_id, plan, context)
            put_policy(account, subscription, plans, context)
            grant_allowances(account, subscription, plans, "subscription", context)
            put_limits(workspace, subscription, plans, "subscription", context)
            start_preferences(account, plans.current, context)
            return started

        return await self.book.submit(
            Command(
                (
                    Stream(Workspace, workspace_stream(workspace_id)),
                    account_stream(workspace_id),
                    Stream(Subscription, subscription_stream(workspace_id)),
                ),
                decide,
                f"workspace:{workspace_id}",
                (PLANS,),
            )
        )

    async def publish_catalogue(
        self,
        catalogue: Catalogue,
        content_sha256: str,
        context: Context,
        source: Literal["file", "admin"] = "file",
    ) -> int:
        """Put a catalogue in force, unless it is; answers the version in force. ``source`` as
        `PlanCatalogue.publish`."""

        def decide(plans: PlanCatalogue) -> int:
            return plans.publish(catalogue, content_sha256, context, source)

        return int((await self.book.submit(Command((PLANS,), decide))).answer)

    async def publish_prices(
        self,
        effective_from: datetime,
        currency: str,
        markup_bps: int,
        entries: tuple[PriceEntry, ...],
        content_sha256: str,
        context: Context,
    ) -> int:
        """Publish the next price book; answers its version.

        :raises BackdatedPriceBook: it would change what is already rated.
        """

        def decide(prices: PriceBook) -> int:
            return prices.publish(
                effective_from, currency, markup_bps, entries, content_sha256, context
            )

        return int((await self.book.submit(Command((PRICES,), decide))).answer)
