"""The use cases: what services, dashboards and administrators ask of the book.

Each one builds a command, hands it to the writer (`Book`) and makes the answer from what was
committed. Amounts are µ; time and actors come in with the `Context`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Literal

import msgspec

from domain.account_facts import (
    AllowanceGranted,
    CreditAccountOpened,
    Credited,
    Debited,
    SpendPolicySet,
    UsageRecorded,
)
from domain.catalogue import CATALOGUE, Catalogue, Plan, PlanCatalogue
from domain.charge import NOT_METERED, Charge, charge_of
from domain.commands import Book, Command, Done, Stream
from domain.credit_account import CreditAccount
from domain.errors import (
    AlreadyVoided,
    NotFound,
    PaymentRefConflict,
    UsageConflict,
)
from domain.facts import Context, Recorded
from domain.identity import account_id, parse_usage_id
from domain.payment import PaymentAttempt, manual_payment_stream
from domain.price_book import PRICE_BOOK, PriceBook, PriceEntry
from domain.subscription import Subscription, SubscriptionStarted, subscription_stream
from domain.usage import Usage
from domain.wallet import Category
from domain.workspace import LimitsChanged, Workspace, workspace_stream

ACTS = (Debited, UsageRecorded)
PLANS = Stream(PlanCatalogue, CATALOGUE)
PRICES = Stream(PriceBook, PRICE_BOOK)
RATING = (PLANS, PRICES)


@lru_cache(maxsize=200_000)
def account_stream(workspace_id: str) -> Stream:
    """Where a workspace's money and units are kept."""
    return Stream(CreditAccount, account_id(workspace_id))


@dataclass(frozen=True, slots=True)
class Credit:
    """The end of a credit: the grant's event and the account behind it."""

    grant_id: str | None
    balance: int
    is_frozen: bool
    payment_attempt_id: str | None
    duplicate: bool
    position: int


class Ledger:
    """Every use case, once."""

    def __init__(self, book: Book) -> None:
        self.book = book

    # -- services -------------------------------------------------------------------------------

    async def charge(self, workspace_id: str, usage: Usage, context: Context) -> Charge:
        """Charge one metered act, exactly once per ``event_id``.

        :raises PaymentRequired: nothing pays for it; nothing was recorded.
        :raises UsageConflict: the ``event_id`` was used for another act.
        """
        done = await self.book.submit(_charge_command(workspace_id, usage, context))
        return await self._charged(done, usage)

    async def charge_many(
        self, workspace_id: str, usages: Sequence[Usage], context: Context
    ) -> list[Charge | BaseException]:
        """Charge many acts of one workspace in order, each exactly once and for itself:
        a refusal stands at its act's place and stops none of the others."""
        ends = await self.book.submit_all(
            [_charge_command(workspace_id, usage, context) for usage in usages]
        )
        charges: list[Charge | BaseException] = []
        for usage, end in zip(usages, ends, strict=True):
            if isinstance(end, BaseException):
                charges.append(end)
                continue
            try:
                charges.append(await self._charged(end, usage))
            except UsageConflict as conflict:
                charges.append(conflict)
        return charges

    async def _charged(self, done: Done, usage: Usage) -> Charge:
        act = next(
            (r for r in done.facts if isinstance(r.fact, ACTS) and r.fact.usage is not None), None
        )
        if act is None:
            return NOT_METERED
        if done.replayed:
            return await self._charged_before(act, usage, done.position)
        return charge_of(act, done.answer, done.position, False)

    async def _charged_before(self, act: Recorded, usage: Usage, position: int) -> Charge:
        fact = act.fact
        assert isinstance(fact, Debited | UsageRecorded)
        if fact.usage != usage:
            raise UsageConflict(f"event_id {usage.event_id} was already used for a different act")
        if isinstance(fact, Debited):
            balance = fact.balance_after
        else:
            balance = await self.book.balance_at(act.originator_id, act.originator_version)
        return charge_of(act, balance, position, True)

    async def void(
        self,
        workspace_id: str,
        id: str,
        context: Context,
        *,
        reason: str | None = None,
        ticket_ref: str | None = None,
        reinstate_expired: bool = False,
    ) -> Done:
        """Give back what an act drew; its answer's last fact is the `UsageVoided`.

        :raises NotFound: no such act in this workspace.
        :raises AlreadyVoided: a usage is voided once.
        """
        account = account_stream(workspace_id)
        place = parse_usage_id(id)
        found = await self.book.find(*place) if place and place[0] == account.id else None
        original = found[0].fact if found else None
        if not isinstance(original, Debited | UsageRecorded) or original.usage is None:
            raise NotFound("usage", id)
        if isinstance(original, UsageRecorded) and original.rated is None:
            paid = await self.book.find_cause(account.id, f"rated_debit:{id}")
            if paid is not None:
                debit = paid[0].fact
                assert isinstance(debit, Debited)
                original = msgspec.structs.replace(debit, usage=original.usage)
        credited: dict[str, Credited] = {}
        for grant_id in {g for draw in original.draws for g in draw.grants}:
            opened = await self.book.find(account.id, int(grant_id[1:]))
            if opened is not None and isinstance(opened[0].fact, Credited):
                credited[grant_id] = opened[0].fact

        def decide(account: CreditAccount) -> int:
            account.void(id, original, credited, reason, ticket_ref, reinstate_expired, context)
            return account.balance

        done = await self.book.submit(Command((account,), decide, f"void:{id}"))
        if done.replayed:
            raise AlreadyVoided(f"{id} was voided before")
        return done

    async def rate_unrated(self, workspace_id: str, id: str, context: Context) -> bool:
        """Price an act that was recorded before its model had a price; False if it still has
        none (or is rated or voided already)."""
        account = account_stream(workspace_id)
        place = parse_usage_id(id)
        found = await self.book.find(*place) if place and place[0] == account.id else None
        original = found[0].fact if found else None
        if not isinstance(original, UsageRecorded) or original.rated is not None:
            return False
        if await self.book.find_cause(account.id, f"void:{id}") is not None:
            return False
        at = original.usage.occurred_at or original.recorded_at

        def decide(account: CreditAccount, prices: PriceBook) -> bool:
            in_force = prices.at(at)
            first = in_force.version if in_force else 1
            return any(
                account.rate(id, original, book, context) for book in prices.versions[first - 1 :]
            )

        done = await self.book.submit(Command((account,), decide, f"rating:{id}", (PRICES,)))
        return bool(done.answer) and not done.replayed

    async def expire_credits(self, workspace_id: str, context: Context) -> Done:
        """Write off grants whose time is over; the sweeper's part, nobody waits for it."""

        def decide(account: CreditAccount) -> None:
            account.expire_credits(context)

        return await self.book.submit(Command((account_stream(workspace_id),), decide))

    # -- money ----------------------------------------------------------------------------------

    async def record_payment(
        self, workspace_id: str, amount: int, payment_ref: str, context: Context
    ) -> Credit:
        """Credit a payment that was made elsewhere; a reference credits once, for ever.

        :raises PaymentRefConflict: it names another workspace's payment, or another amount.
        """
        payment = Stream(PaymentAttempt, manual_payment_stream(payment_ref))
        attempt = f"pay_{payment.id.hex}"
        cause = f"credit:{attempt}"

        def decide(account: CreditAccount, payment: PaymentAttempt) -> tuple[int, bool]:
            if not account.version:
                raise NotFound("workspace", workspace_id)
            if payment.record_manual(workspace_id, amount, account.currency, payment_ref, context):
                account.credit(
                    amount,
                    "manual_payment_ref",
                    cause,
                    context,
                    payment_attempt_id=attempt,
                    payment_ref=payment_ref,
                )
            return account.balance, account.is_frozen

        done = await self.book.submit(
            Command((account_stream(workspace_id), payment), decide, cause)
        )
        return await self._credit_answer(workspace_id, amount, done)

    async def grant(
        self,
        workspace_id: str,
        amount: int,
        key: str,
        context: Context,
        *,
        category: Category = "promotional",
        priority: int = 50,
        expires_at: datetime | None = None,
        reason: str | None = None,
        ticket_ref: str | None = None,
    ) -> Credit:
        """Give credits without a payment, once per ``key``."""

        def decide(account: CreditAccount) -> tuple[int, bool]:
            if not account.version:
                raise NotFound("workspace", workspace_id)
            account.credit(
                amount,
                "promo" if category == "promotional" else "adjustment",
                f"grant:{key}",
                context,
                category=category,
                priority=priority,
                expires_at=expires_at,
                reason=reason,
                ticket_ref=ticket_ref,
            )
            return account.balance, account.is_frozen

        done = await self.book.submit(
            Command((account_stream(workspace_id),), decide, f"grant:{key}")
        )
        return await self._credit_answer(workspace_id, amount, done)

    async def _credit_answer(self, workspace_id: str, amount: int, done: Done) -> Credit:
        fact = next((r.fact for r in reversed(done.facts) if isinstance(r.fact, Credited)), None)
        if done.replayed or done.answer is None:
            if fact is not None and fact.amount != amount:
                raise PaymentRefConflict("this reference already names a different amount")
            account = await self.account(workspace_id)
            balance, frozen = account.balance, account.is_frozen
        else:
            balance, frozen = done.answer
        return Credit(
            fact.grant_id if fact else None,
            balance,
            frozen,
            fact.payment_attempt_id if fact else None,
            done.replayed or fact is None,
            done.position,
        )

    async def adjust(
        self,
        workspace_id: str,
        amount: int,
        key: str,
        reason: str,
        ticket_ref: str,
        context: Context,
    ) -> Done:
        """Correct a balance by adding (µ, signed), once per ``key``; answers the balance."""

        def decide(account: CreditAccount) -> int:
            if not account.version:
                raise NotFound("workspace", workspace_id)
            account.adjust(amount, reason, ticket_ref, f"adjustment:{key}", context)
            return account.balance

        return await self.book.submit(
            Command((account_stream(workspace_id),), decide, f"adjustment:{key}")
        )

    async def reverse(
        self,
        workspace_id: str,
        payment_attempt_id: str,
        amount: int,
        kind: Literal["refund", "chargeback"],
        key: str,
        context: Context,
        *,
        psp_ref: str | None = None,
        ticket_ref: str | None = None,
    ) -> Done:
        """Take back a payment's credits, once per ``key``; answers the balance.

        :raises NotFound: the payment never credited this workspace.
        :raises NotReversible: more than it brought in.
        """
        account = account_stream(workspace_id)
        found = await self.book.find_cause(account.id, f"credit:{payment_attempt_id}")
        payment = found[0].fact if found else None
        if not isinstance(payment, Credited):
            raise NotFound("payment", payment_attempt_id)

        def decide(account: CreditAccount) -> int:
            account.reverse(
                payment,
                amount,
                kind,
                f"reversal:{key}",
                context,
                psp_ref=psp_ref,
                ticket_ref=ticket_ref,
            )
            return account.balance

        return await self.book.submit(Command((account,), decide, f"reversal:{key}"))

    # -- freezing -------------------------------------------------------------------------------

    async def freeze(
        self,
        workspace_id: str,
        reason: Literal["chargeback", "admin", "fraud"],
        ref: str,
        note: str | None,
        context: Context,
    ) -> Done:
        """Stop spending. Answers the balance."""

        def decide(account: CreditAccount) -> int:
            if not account.version:
                raise NotFound("workspace", workspace_id)
            account.freeze(reason, ref, note, context)
            return account.balance

        return await self.book.submit(Command((account_stream(workspace_id),), decide))

    async def unfreeze(
        self,
        workspace_id: str,
        reason: str | None,
        ticket_ref: str,
        note: str | None,
        context: Context,
    ) -> Done:
        """Lift one kind of reason to be frozen, or all. Answers whether one is left."""

        def decide(account: CreditAccount) -> bool:
            if not account.version:
                raise NotFound("workspace", workspace_id)
            account.unfreeze(reason, ticket_ref, note, context)
            return account.is_frozen

        return await self.book.submit(Command((account_stream(workspace_id),), decide))

    # -- tenants, plans and prices --------------------------------------------------------------

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

    # -- reading --------------------------------------------------------------------------------

    async def account(self, workspace_id: str) -> CreditAccount:
        """The account as committed now.

        :raises NotFound: there is no such workspace.
        """
        account = await self.book.fresh(account_stream(workspace_id))
        assert isinstance(account, CreditAccount)
        if not account.version:
            raise NotFound("workspace", workspace_id)
        return account

    async def prices(self) -> PriceBook:
        """All price books."""
        prices = await self.book.fresh(PRICES)
        assert isinstance(prices, PriceBook)
        return prices

    async def plans(self) -> PlanCatalogue:
        """All catalogues."""
        plans = await self.book.fresh(PLANS)
        assert isinstance(plans, PlanCatalogue)
        return plans


def _charge_command(workspace_id: str, usage: Usage, context: Context) -> Command:
    def decide(account: CreditAccount, plans: PlanCatalogue, prices: PriceBook) -> int:
        if not account.version:
            raise NotFound("workspace", workspace_id)
        account.charge(usage, plans.current, prices, context)
        return account.wallet.balance

    account = account_stream(workspace_id)
    return Command((account,), decide, f"usage:{usage.event_id}", RATING)


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
