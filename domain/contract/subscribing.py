"""Use cases of a contract that a card stands behind: subscribing, ending, the overage switch.

Stripe is asked first and the book written second, with one key for both: who comes again after a
crash in between is answered by Stripe as before, and what nobody comes for is told by a webhook.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from domain.account.credit_account import CreditAccount
from domain.catalogue.catalogue import Offer, PlanCatalogue
from domain.commands import Command, Stream
from domain.contract.coming_change import revoke_cancellation, schedule_cancellation
from domain.contract.contracting import Contracting, contract_streams
from domain.contract.errors import AlreadySubscribed, NotSubscribed, PlanNotAvailable
from domain.contract.policy import plan_of
from domain.contract.processor import Contracts, Price, Session
from domain.contract.subscription import Subscription
from domain.errors import OverageNotAvailable
from domain.facts import Context
from domain.money import minor_of
from domain.payment.attempt import PaymentAttempt
from domain.payment.facts import attempt_id, attempt_stream
from domain.payment.processor import Intent
from domain.reading import Reading
from domain.workspace.facts import StripeCustomerLinked
from domain.workspace.workspace import Workspace, workspace_stream


@dataclass(frozen=True, slots=True)
class Paths:
    """Where a payment page sends the customer's browser afterwards."""

    success: str
    cancel: str


class Subscribing(Contracting, Reading):
    """What a customer agrees to with a card."""

    async def subscribe(
        self,
        contracts: Contracts,
        workspace_id: str,
        plan_id: str,
        stream: UUID,
        paths: Paths,
        context: Context,
    ) -> Session:
        """Open a page on which a plan is subscribed to, once per ``stream`` (see
        `payment_stream`). Nothing is in force before Stripe says that it is paid.

        :raises NotFound: there is no such plan for this workspace.
        :raises PlanNotAvailable: it is not sold, or it costs nothing.
        :raises AlreadySubscribed: a card pays for a plan already; change that one.
        """
        await self.roll_over(workspace_id, context)
        subscription = await self.subscription(workspace_id)
        plans = await self.plans()
        offer = buyable(subscription, plans, workspace_id, plan_id, context.now)
        customer = await self.customer(contracts, workspace_id, context)
        price = price_of(offer, plans)

        def decide(
            attempt: PaymentAttempt, account: CreditAccount, subscription: Subscription, *_: object
        ) -> None:
            buyable(subscription, plans, workspace_id, plan_id, context.now)
            attempt.request(
                "subscription_checkout",
                offer.plan.price_minor * minor_of(account.currency),
                context,
                workspace_id=workspace_id,
                currency=account.currency,
                stripe_customer_id=customer,
                plan=plan_id,
                via="checkout",
            )

        place = Stream(PaymentAttempt, stream)
        reads = contract_streams(workspace_id)
        await self.book.submit(Command((place,), decide, None, reads))
        session = await contracts.open_checkout(
            workspace_id, customer, price, attempt_id(stream), paths.success, paths.cancel
        )

        def submitted(attempt: PaymentAttempt) -> None:
            attempt.submitted("checkout.session", session.id, session.url, context)

        await self.book.submit(Command((place,), submitted))
        return session

    async def customer(self, contracts: Contracts, workspace_id: str, context: Context) -> str:
        """Who the workspace is at Stripe: a new customer the first time."""
        place = Stream(Workspace, workspace_stream(workspace_id))
        known = await self.book.fresh(place)
        assert isinstance(known, Workspace)
        if known.stripe_customer_id is not None:
            return known.stripe_customer_id
        created = await contracts.create_customer(workspace_id)

        def decide(workspace: Workspace) -> str:
            if workspace.stripe_customer_id is None:
                workspace.record(
                    StripeCustomerLinked(
                        **workspace.stamp(context, f"customer:{created}"),
                        stripe_customer_id=created,
                    )
                )
            return workspace.stripe_customer_id or created

        return str((await self.book.submit(Command((place,), decide))).answer)

    async def note_checkout_paid(
        self, payment_attempt_id: str, received: int, context: Context
    ) -> None:
        """The page's first invoice is paid. ``received`` in minor units."""

        def decide(attempt: PaymentAttempt) -> None:
            if attempt.kind == "subscription_checkout" and attempt.status != "succeeded":
                attempt.succeed(received * minor_of(attempt.currency), context)

        await self._on_attempt(payment_attempt_id, decide)

    async def note_bought_twice(
        self, payment_attempt_id: str, intent_id: str, received: int, context: Context
    ) -> None:
        """The page was paid although another subscription is in force: the money waits for an
        administrator. ``received`` in minor units."""

        def decide(attempt: PaymentAttempt) -> None:
            if attempt.kind == "subscription_checkout" and attempt.status != "succeeded":
                paid = Intent(id=intent_id, status="succeeded", currency=attempt.currency)
                money = received * minor_of(attempt.currency)
                workspace_id = attempt.workspace_id
                attempt.quarantine(paid, money, workspace_id, "paid_twice", context)

        await self._on_attempt(payment_attempt_id, decide)

    async def note_checkout_expired(self, payment_attempt_id: str, context: Context) -> None:
        """Nobody paid on the page in time."""

        def decide(attempt: PaymentAttempt) -> None:
            if attempt.kind == "subscription_checkout":
                attempt.abandon("session_expired", context)

        await self._on_attempt(payment_attempt_id, decide)

    async def _on_attempt(self, payment_attempt_id: str, decide: object) -> None:
        place = Stream(PaymentAttempt, attempt_stream(payment_attempt_id))
        await self.book.submit(Command((place,), decide))  # type: ignore[arg-type]

    # The end.

    async def cancel(self, contracts: Contracts, workspace_id: str, context: Context) -> datetime:
        """End the subscription with its period; until then everything keeps working. Answers
        when; again, the same.

        :raises NotSubscribed: the plan in force is the one that everybody has.
        """
        await self.roll_over(workspace_id, context)
        subscription = await self.subscription(workspace_id)
        if subscription.cancel_at is not None:
            return subscription.cancel_at
        plans = await self.plans()
        if _is_default(subscription, plans):
            raise NotSubscribed(f"the plan {subscription.plan_id} has no subscription to cancel")
        assert subscription.period_end is not None
        cancel_at, asked_of = subscription.period_end, subscription.subscription_id
        link = subscription.stripe
        if link is not None:
            key = f"cancel:{link.id}:{subscription.terms}"
            remote = await contracts.set_cancel(link.id, True, key)
            cancel_at = remote.cancel_at or cancel_at

        def decide(_: CreditAccount, subscription: Subscription, *__: object) -> datetime | None:
            if subscription.cancellation is None and subscription.subscription_id == asked_of:
                schedule_cancellation(subscription, cancel_at, "api", context)
            return subscription.cancel_at

        done = await self.change_contract(workspace_id, context, decide)
        return done.answer or cancel_at

    async def resume(self, contracts: Contracts, workspace_id: str, context: Context) -> None:
        """Let a cancelled subscription go on; a no-op for one that was not.

        :raises NotSubscribed: there is none, perhaps because it ended.
        """
        await self.roll_over(workspace_id, context)
        subscription = await self.subscription(workspace_id)
        plans = await self.plans()
        if _is_default(subscription, plans):
            raise NotSubscribed("there is no subscription to resume; it may have ended")
        if subscription.cancellation is None:
            return
        if subscription.stripe is not None:
            key = f"resume:{subscription.stripe.id}:{subscription.terms}"
            await contracts.set_cancel(subscription.stripe.id, False, key)

        def decide(_: CreditAccount, subscription: Subscription, *__: object) -> None:
            revoke_cancellation(subscription, "api", context)

        await self.change_contract(workspace_id, context, decide)

    # The switch.

    async def switch_overage(
        self, contracts: Contracts, workspace_id: str, enabled: bool, context: Context
    ) -> int:
        """Agree to overage, or end the agreement, at Stripe as well; the position of the save.

        :raises OverageNotAvailable: the plan has no overage rate.
        """
        await self.roll_over(workspace_id, context)
        subscription = await self.subscription(workspace_id)
        plan = plan_of(subscription, await self.plans())
        if enabled and plan.overage_unit_price is None:
            raise OverageNotAvailable(f"The plan {subscription.plan_id} has no overage.")
        request_id = None
        if subscription.stripe is not None and enabled != subscription.overage_enabled:
            key = f"overage:{subscription.stripe.id}:{subscription.version}:{int(enabled)}"
            request_id = await contracts.note_overage(subscription.stripe.id, enabled, key)
        done = await self.set_overage(workspace_id, enabled, context, stripe_request_id=request_id)
        return done.position


def price_of(offer: Offer, plans: PlanCatalogue) -> Price:
    """What Stripe is asked to bill for a plan."""
    amount, currency = offer.plan.price_minor, plans.current.currency
    return Price(offer.plan_id, offer.version, amount, currency)


def buyable(
    subscription: Subscription, plans: PlanCatalogue, workspace_id: str, plan_id: str, now: datetime
) -> Offer:
    """A plan that can be subscribed to by checkout.

    :raises NotFound, PlanNotAvailable, AlreadySubscribed: as `Subscribing.subscribe`.
    """
    offer = plans.find(plan_id, workspace_id)
    if subscription.stripe is not None:
        raise AlreadySubscribed(
            f"the plan {subscription.plan_id} is subscribed to; use plan-change to change it"
        )
    if not offer.is_available(now) or not offer.plan.price_minor:
        raise PlanNotAvailable(f"the plan {plan_id} cannot be subscribed to")
    return offer


def _is_default(subscription: Subscription, plans: PlanCatalogue) -> bool:
    return subscription.stripe is None and subscription.plan_id == plans.current.default_plan
