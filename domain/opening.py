"""Use cases of a deployment and its tenants: workspaces, catalogues and price books."""

from __future__ import annotations

from datetime import datetime

from domain.account_facts import AllowanceGranted, CreditAccountOpened, SpendPolicySet
from domain.catalogue import Catalogue, Plan, PlanCatalogue
from domain.commands import Book, Command, Done, Stream
from domain.credit_account import CreditAccount
from domain.facts import Context
from domain.places import PLANS, PRICES, account_stream
from domain.price_book import PriceBook, PriceEntry
from domain.subscription import Subscription, SubscriptionStarted, subscription_stream
from domain.workspace import LimitsChanged, Workspace, workspace_stream


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
            plan_id, plan = catalogue.default_plan, catalogue.plans[catalogue.default_plan]
            workspace.create(workspace_id, name, owner_id, timezone, context)
            account.record(
                CreditAccountOpened(
                    **account.stamp(context, f"workspace:{workspace_id}"),
                    workspace_id=workspace_id,
                    currency=catalogue.currency,
                )
            )
            started = subscription.start(
                f"sub_{subscription.id.hex}", plan_id, plans.version, context
            )
            apply_plan(account, workspace, catalogue, started, plan, context)
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
        self, catalogue: Catalogue, content_sha256: str, context: Context
    ) -> int:
        """Put a catalogue in force; answers its version."""

        def decide(plans: PlanCatalogue) -> int:
            return plans.publish(catalogue, content_sha256, context)

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


def apply_plan(
    account: CreditAccount,
    workspace: Workspace,
    catalogue: Catalogue,
    started: SubscriptionStarted,
    plan: Plan,
    context: Context,
) -> None:
    """What a plan in force means for spending and for limits, in the same save."""
    price = plan.overage_unit_price
    account.record(
        SpendPolicySet(
            **account.stamp(context, f"policy:{account.version + 1}"),
            policy_version=account.policy.policy_version + 1 if account.policy else 1,
            subscription_id=started.subscription_id,
            plan_id=started.plan_id,
            plan_version=started.plan_version,
            waterfalls={
                name: tuple(
                    source
                    for source in meter.waterfall
                    if (source != "oauth" or plan.oauth)
                    and (source != "overage" or price is not None)
                )
                for name, meter in catalogue.meters.items()
            },
            cycle_id=started.cycle_id,
            period_start=started.period_start,
            period_end=started.period_end,
            overage_unit_price={} if price is None else dict.fromkeys(plan.buckets, price),
        )
    )
    for bucket, terms in plan.buckets.items():
        account.record(
            AllowanceGranted(
                **account.stamp(context, f"allowance:{bucket}:{started.cycle_id}"),
                bucket=bucket,
                units=terms.units,
                cycle_id=started.cycle_id,
                reset=terms.reset,
                why="subscription",
            )
        )
    workspace.record(
        LimitsChanged(
            **workspace.stamp(context, f"limits:{started.cycle_id}"),
            plan_id=started.plan_id,
            plan_version=started.plan_version,
            limits=plan.limits,
            entitlements=plan.entitlements,
        )
    )
