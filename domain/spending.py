"""Use cases around spending: holds, overage, overflow, budgets, links, plans and cycles."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Literal

from domain.account_holds import BillingSource
from domain.budget import On
from domain.catalogue import PlanCatalogue
from domain.commands import Book, Command, Done, Stream
from domain.credit_account import CreditAccount
from domain.errors import InvalidInput, NotFound, OAuthNotAvailable, OverageNotAvailable
from domain.facts import Context
from domain.hold_facts import Labels, Release
from domain.places import PLANS, RATING, account_stream
from domain.policy import (
    Trigger,
    drop_overage,
    grant_allowances,
    plan_of,
    put_limits,
    put_policy,
    roll_over,
)
from domain.price_book import PriceBook
from domain.subscription import (
    OverageDisabled,
    OverageEnabled,
    PlanChanged,
    Subscription,
    subscription_stream,
)
from domain.usage import Tokens
from domain.workspace import OAuthConnected, OAuthDisconnected, Workspace, workspace_stream


def _contract(workspace_id: str) -> tuple[Stream, Stream, Stream]:
    return (
        account_stream(workspace_id),
        Stream(Subscription, subscription_stream(workspace_id)),
        Stream(Workspace, workspace_stream(workspace_id)),
    )


class Spending:
    """What decides whether a call may run, and what the customer agreed to."""

    book: Book

    # Holds.

    async def authorize(
        self,
        workspace_id: str,
        hold_id: str,
        meter: str,
        estimate: Tokens,
        labels: Labels,
        context: Context,
        *,
        source: BillingSource | None = None,
        ttl: timedelta = timedelta(minutes=15),
    ) -> Done:
        """Let a call run; its answer is (account's available µ after the hold). The fact is a
        `HoldPlaced`; a retry with the same ``hold_id`` finds the first one."""

        def decide(account: CreditAccount, plans: PlanCatalogue, prices: PriceBook) -> int:
            known(account, workspace_id)
            rolled(account, context)
            account.authorize(
                hold_id, meter, estimate, labels, source, ttl, plans.current, prices, context
            )
            return account.available

        command = Command((account_stream(workspace_id),), decide, f"hold:{hold_id}", RATING)
        return await self.in_cycle(workspace_id, context, command)

    async def release_hold(
        self, workspace_id: str, hold_id: str, reason: Release, context: Context
    ) -> Done:
        """End a hold without a charge; answers the available µ."""

        def decide(account: CreditAccount) -> int:
            known(account, workspace_id)
            account.release_hold(hold_id, reason, context)
            return account.available

        return await self.book.submit(Command((account_stream(workspace_id),), decide))

    async def extend_hold(
        self, workspace_id: str, hold_id: str, ttl: timedelta, context: Context
    ) -> Done:
        """Let a hold stand longer while tokens flow; answers the new expiry."""

        def decide(account: CreditAccount) -> Any:
            known(account, workspace_id)
            account.extend_hold(hold_id, ttl, context)
            return account.holds[hold_id].expires_at

        return await self.book.submit(Command((account_stream(workspace_id),), decide))

    async def expire_holds(self, workspace_id: str, context: Context) -> Done:
        """Tidy holds whose time is over; decisions do not wait for it."""

        def decide(account: CreditAccount) -> None:
            account.expire_holds(context)

        return await self.book.submit(Command((account_stream(workspace_id),), decide))

    # Cycles.

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
            return roll_over(account, subscription, plans, trigger, context)

        return await self.book.submit(Command(_contract(workspace_id), decide, None, (PLANS,)))

    async def in_cycle(self, workspace_id: str, context: Context, command: Command) -> Done:
        """Run a command in the cycle that runs now: if one is over, it is closed first."""
        try:
            return await self.book.submit(command)
        except CycleIsOver:
            await self.roll_over(workspace_id, context)
            return await self.book.submit(command)

    # What the customer switches.

    async def set_overage(self, workspace_id: str, enabled: bool, context: Context) -> Done:
        """Agree to overage, or end the agreement; answers whether anything changed.

        :raises OverageNotAvailable: the plan has no overage rate.
        """

        def change(
            account: CreditAccount, subscription: Subscription, plans: PlanCatalogue
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
                stamp = subscription.stamp(context, cause)
                cycle_id = subscription.cycle_id
                subscription.record(
                    OverageEnabled(**stamp, bucket=bucket, unit_price=price, cycle_id=cycle_id)
                    if enabled
                    else OverageDisabled(**stamp, bucket=bucket, cycle_id=cycle_id, reason="user")
                )
            put_policy(account, subscription, plans, context)
            return True

        return await self._change_contract(workspace_id, context, change)

    async def set_plan(self, workspace_id: str, plan_id: str, context: Context) -> Done:
        """Put another plan in force now, for administrators; the cycle goes on, what was used
        stays used. Answers whether anything changed.

        :raises InvalidInput: the catalogue has no such plan.
        """

        def change(
            account: CreditAccount, subscription: Subscription, plans: PlanCatalogue
        ) -> bool:
            catalogue = plans.current
            if plan_id not in catalogue.plans:
                raise InvalidInput(("plan",), f"the catalogue has no plan {plan_id}")
            if plan_id == subscription.plan_id:
                return False
            before = plan_of(subscription, plans)
            up = catalogue.plans[plan_id].price_minor >= before.price_minor
            subscription.record(
                PlanChanged(
                    **subscription.stamp(context, f"plan:{subscription.version + 1}"),
                    from_plan=subscription.plan_id,
                    to_plan=plan_id,
                    to_version=plans.version,
                    direction="upgrade" if up else "downgrade",
                    effective_at=subscription.moment(context),
                )
            )
            drop_overage(account, subscription, plans, context)
            put_policy(account, subscription, plans, context)
            grant_allowances(account, subscription, plans, "upgrade", context)
            return True

        return await self._change_contract(workspace_id, context, change, limits=True)

    async def connect_oauth(
        self, workspace_id: str, provider: str, connection_id: str, context: Context
    ) -> Done:
        """The user's own account may be used from now on.

        :raises OAuthNotAvailable: the plan has no such route.
        """

        def decide(
            account: CreditAccount,
            subscription: Subscription,
            workspace: Workspace,
            plans: PlanCatalogue,
        ) -> bool:
            known(account, workspace_id)
            if provider not in plan_of(subscription, plans).oauth:
                raise OAuthNotAvailable(f"The plan {subscription.plan_id} has no {provider} link.")
            links = dict(account.policy.oauth) if account.policy else {}
            if links.get(provider) == "active":
                return False
            workspace.record(
                OAuthConnected(
                    **workspace.stamp(context, f"oauth:{provider}:{workspace.version + 1}"),
                    provider=provider,
                    connection_id=connection_id,
                )
            )
            links[provider] = "active"
            put_policy(account, subscription, plans, context, oauth=links)
            return True

        return await self.book.submit(Command(_contract(workspace_id), decide, None, (PLANS,)))

    async def disconnect_oauth(
        self, workspace_id: str, provider: str, reason: Literal["user", "revoked"], context: Context
    ) -> Done:
        """The user's own account may not be used any more; ``revoked`` by its provider."""

        def decide(
            account: CreditAccount,
            subscription: Subscription,
            workspace: Workspace,
            plans: PlanCatalogue,
        ) -> bool:
            known(account, workspace_id)
            links = dict(account.policy.oauth) if account.policy else {}
            if links.get(provider) != "active":
                return False
            workspace.record(
                OAuthDisconnected(
                    **workspace.stamp(context, f"oauth:{provider}:{workspace.version + 1}"),
                    provider=provider,
                    connection_id=workspace.oauth.get(provider, ""),
                    reason=reason,
                )
            )
            del links[provider]
            if reason == "revoked":
                links[provider] = "revoked"
            put_policy(account, subscription, plans, context, oauth=links)
            return True

        return await self.book.submit(Command(_contract(workspace_id), decide, None, (PLANS,)))

    async def set_overflow(self, workspace_id: str, enabled: bool, context: Context) -> Done:
        """Let compilation past the quota be paid from the wallet, or not."""
        return await self._on_account(
            workspace_id, lambda account: account.set_overflow(enabled, context.actor, context)
        )

    async def set_api_fallback(self, workspace_id: str, enabled: bool, context: Context) -> Done:
        """Let calls that the user's own account rejects be paid from the wallet, or not."""
        return await self._on_account(
            workspace_id, lambda account: account.set_api_fallback(enabled, context)
        )

    async def set_budget(
        self,
        workspace_id: str,
        budget_id: str,
        on: On,
        value: str | None,
        limit: int,
        per: Literal["day", "cycle"],
        hard: bool,
        context: Context,
    ) -> Done:
        """Put a cap in force, or change it."""
        return await self._on_account(
            workspace_id,
            lambda account: account.set_budget(budget_id, on, value, limit, per, hard, context),
        )

    async def remove_budget(self, workspace_id: str, budget_id: str, context: Context) -> Done:
        """Lift a cap."""
        return await self._on_account(
            workspace_id, lambda account: account.remove_budget(budget_id, context)
        )

    async def _on_account(self, workspace_id: str, change: Callable[[CreditAccount], None]) -> Done:
        def decide(account: CreditAccount) -> None:
            known(account, workspace_id)
            change(account)

        return await self.book.submit(Command((account_stream(workspace_id),), decide))

    async def _change_contract(
        self,
        workspace_id: str,
        context: Context,
        change: Callable[[CreditAccount, Subscription, PlanCatalogue], bool],
        *,
        limits: bool = False,
    ) -> Done:
        """Change subscription and account together, in the cycle that runs now."""

        def decide(
            account: CreditAccount,
            subscription: Subscription,
            workspace: Workspace,
            plans: PlanCatalogue,
        ) -> bool:
            known(account, workspace_id)
            roll_over(account, subscription, plans, "inline", context)
            changed = change(account, subscription, plans)
            if changed and limits:
                put_limits(workspace, subscription, plans, context)
            return changed

        return await self.book.submit(Command(_contract(workspace_id), decide, None, (PLANS,)))


class CycleIsOver(Exception):
    """The account's cycle has to be closed before anything is decided in it."""


def known(account: CreditAccount, workspace_id: str) -> None:
    """Refuse for a workspace that was never opened."""
    if not account.version:
        raise NotFound("workspace", workspace_id)


def rolled(account: CreditAccount, context: Context) -> None:
    """Ask for the roll-over first where the cycle has ended: even if no timer ever fires."""
    if account.policy is not None and account.moment(context) >= account.policy.period_end:
        raise CycleIsOver
