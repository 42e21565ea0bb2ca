"""Use cases around spending: holds, overflow, budgets and links."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Literal, NamedTuple

from domain.account.budget import On, Reached, reached
from domain.account.credit_account import CreditAccount
from domain.account.hold_facts import BillingSource, Labels, Release
from domain.account.usage import Tokens
from domain.catalogue.catalogue import PlanCatalogue
from domain.catalogue.price_book import PriceBook
from domain.commands import Command, Done
from domain.contract.contracting import Contracting, contract_streams, known
from domain.contract.policy import plan_of, put_policy
from domain.contract.subscription import Subscription
from domain.errors import OAuthNotAvailable
from domain.facts import Context
from domain.places import PLANS, RATING, account_stream
from domain.workspace.workspace import OAuthConnected, OAuthDisconnected, Workspace


class Spending(Contracting):
    """What decides whether a call may run, and what the customer agreed to."""

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
        """Let a call run; its answer is `Admitted`. The fact is a `HoldPlaced`; a retry with the
        same ``hold_id`` finds the first one."""

        def decide(account: CreditAccount, plans: PlanCatalogue, prices: PriceBook) -> Admitted:
            known(account, workspace_id)
            rolled(account, context)
            account.authorize(
                hold_id, meter, estimate, labels, source, ttl, plans.current, prices, context
            )
            return admitted_by(account, labels)

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

    async def in_cycle(self, workspace_id: str, context: Context, command: Command) -> Done:
        """Run a command in the cycle that runs now: if one is over, it is closed first."""
        try:
            return await self.book.submit(command)
        except CycleIsOver:
            await self.roll_over(workspace_id, context)
            return await self.book.submit(command)

    # What the customer switches.

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

        return await self.book.submit(
            Command(contract_streams(workspace_id), decide, None, (PLANS,))
        )

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
            links[provider] = "revoked" if reason == "revoked" else "unlinked"
            put_policy(account, subscription, plans, context, oauth=links)
            return True

        return await self.book.submit(
            Command(contract_streams(workspace_id), decide, None, (PLANS,))
        )

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


class Admitted(NamedTuple):
    """What is left beside a call that was let run: µ, and budgets of such calls that are spent."""

    available: int
    budgets: tuple[Reached, ...]


def admitted_by(account: CreditAccount, labels: Labels) -> Admitted:
    """How an account stands, for the answer to a call that it let run."""
    cycle_id = account.policy.cycle_id if account.policy else ""
    spent = reached(account.budgets.values(), labels, account.recorded_at, cycle_id)
    return Admitted(account.available, spent)


class CycleIsOver(Exception):
    """The account's cycle has to be closed before anything is decided in it."""


def rolled(account: CreditAccount, context: Context) -> None:
    """Ask for the roll-over first where a cycle has ended, or has waited long enough for its
    stragglers: even if no timer ever fires."""
    if account.is_over(account.moment(context)):
        raise CycleIsOver
