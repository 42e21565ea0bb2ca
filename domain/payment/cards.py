"""Use cases of the workspace as Stripe's customer, and of the card that it saved."""

from __future__ import annotations

import msgspec

from domain.account.credit_account import CreditAccount
from domain.commands import Command, Stream
from domain.errors import ConcurrencyConflict, NotFound
from domain.facts import Context
from domain.payment.attempt import PaymentAttempt
from domain.payment.facts import payment_stream
from domain.payment.paying import Paying, Urls
from domain.payment.processor import Card, Customer, Page, Payments, Session
from domain.payment.settlement import Disposition
from domain.places import account_stream
from domain.workspace.facts import (
    PaymentMethod,
    PaymentMethodRemoved,
    PaymentMethodSaved,
    StripeCustomerLinked,
)
from domain.workspace.workspace import Workspace, workspace_stream

LOOKS_MAX = 10


class Cards(Paying):
    """Who a workspace is at Stripe, and what may be charged."""

    async def _known(self, workspace_id: str) -> Workspace:
        """The workspace as committed now.

        :raises NotFound: there is no such one.
        """
        found = await self.book.fresh(_workspace(workspace_id))
        assert isinstance(found, Workspace)
        if not found.version:
            raise NotFound("workspace", workspace_id)
        return found

    async def stripe_customer(self, payments: Payments, workspace_id: str, context: Context) -> str:
        """The workspace's customer at Stripe; it is opened there the first time."""
        known = (await self._known(workspace_id)).stripe_customer_id
        if known is not None:
            return known
        opened = await payments.new_customer(workspace_id)

        def decide(workspace: Workspace) -> str:
            if workspace.stripe_customer_id is None:
                stamp = workspace.stamp(context, "stripe_customer")
                workspace.record(StripeCustomerLinked(**stamp, stripe_customer_id=opened))
            return workspace.stripe_customer_id or opened

        done = await self.book.submit(Command((_workspace(workspace_id),), decide))
        return str(done.answer)

    async def open_card_page(
        self, payments: Payments, workspace_id: str, key: str, urls: Urls, context: Context
    ) -> tuple[Page, str]:
        """A page on which a card is saved, once per ``key``; also the attempt's id."""
        await self.stripe_customer(payments, workspace_id, context)
        attempt, _ = await self.request_payment(
            workspace_id,
            "card_setup",
            payment_stream("card_setup", workspace_id, key),
            0,
            context,
            via="checkout",
        )
        # The same attempt gets the same page: its id is the idempotency key.
        page = await payments.card_page(attempt.order(), urls.success, urls.cancel)
        await self._note_submitted(attempt.payment_attempt_id, page.id, page.url, context)
        return page, attempt.payment_attempt_id

    async def note_card_page(
        self, payments: Payments, session: Session, context: Context
    ) -> Disposition:
        """Take in a checkout page (mode setup) as it is at Stripe now: what it saved is charged
        from now on, unless a newer card was saved meanwhile."""
        if session.payment_attempt_id is None or session.workspace_id is None:
            return "ignored"
        attempt = await self.payment(session.payment_attempt_id)
        if attempt.kind != "card_setup" or attempt.workspace_id != session.workspace_id:
            return "ignored"
        if attempt.status == "succeeded":
            return await self._look_again(payments, session, context)
        if session.status == "expired":
            await self._end_setup(attempt, session, None, context)
            return "applied"
        card = await payments.card(session.payment_method) if session.payment_method else None
        if session.status != "complete" or card is None:
            return "applied"
        if session.customer != attempt.stripe_customer_id or card.customer != session.customer:
            return "ignored"
        newest = await self._is_newest(payments, session.workspace_id, card)
        chosen = newest and await payments.make_default(card.customer or "", card.id)
        await self._end_setup(attempt, session, card if chosen else None, context)
        return await self._look_again(payments, session, context)

    async def _look_again(
        self, payments: Payments, session: Session, context: Context
    ) -> Disposition:
        """The card may have been taken off while it was written down here."""
        if session.customer is not None:
            await self.note_customer(payments, session.customer, context)
        return "applied"

    async def _is_newest(self, payments: Payments, workspace_id: str, card: Card) -> bool:
        saved = (await self._known(workspace_id)).payment_method
        if saved is None or saved.id == card.id:
            return True
        other = await payments.card(saved.id)
        return other is None or other.customer is None or other.created <= card.created

    async def _end_setup(
        self, found: PaymentAttempt, session: Session, card: Card | None, context: Context
    ) -> None:
        def decide(workspace: Workspace, account: CreditAccount, attempt: PaymentAttempt) -> None:
            if session.status == "expired":
                attempt.abandon("session_expired", context)
            elif attempt.status != "succeeded":
                attempt.succeed(0, context)
                if card is not None:
                    save(workspace, account, card, context)

        streams = (
            _workspace(found.workspace_id),
            account_stream(found.workspace_id),
            Stream(PaymentAttempt, found.id),
        )
        await self.book.submit(Command(streams, decide))

    async def note_customer(
        self, payments: Payments, customer_id: str, context: Context, *, gone: str | None = None
    ) -> Disposition:
        """Take in which card a customer has chosen, or that it has none any more, as it is at
        Stripe now. A card that is ``gone`` never comes back, even if what is read still shows it.
        Whoever wrote looks again: what was read before the save may be old."""
        for _ in range(LOOKS_MAX):
            customer = await payments.customer(customer_id)
            if customer is not None and customer.default_card == gone:
                customer = msgspec.structs.replace(customer, default_card=None)
            if customer is None or customer.workspace_id is None:
                return "ignored"
            found = await self.book.fresh(_workspace(customer.workspace_id))
            assert isinstance(found, Workspace)
            if found.version and found.stripe_customer_id is None:
                return "deferred"  # its opening is being written down at this moment
            if found.stripe_customer_id != customer_id:
                return "ignored"
            if not await self._follow(payments, customer, found.payment_method, gone, context):
                return "applied"
        raise ConcurrencyConflict()

    async def _follow(
        self,
        payments: Payments,
        customer: Customer,
        saved: PaymentMethod | None,
        gone: str | None,
        context: Context,
    ) -> bool:
        """Whether the card on file had to be changed to the one that Stripe would charge."""
        workspace_id = customer.workspace_id
        assert workspace_id is not None
        if customer.default_card is None:
            kept = await payments.card(saved.id) if saved is not None else None
            if saved is None:
                return False
            if kept is not None and kept.customer == customer.id and kept.id != gone:
                return False
            await self._set_card(workspace_id, None, context, off=saved.id)
            return True
        if saved is not None and saved.id == customer.default_card:
            return False
        card = await payments.card(customer.default_card)
        if card is None or card.customer != customer.id:
            return False
        await self._set_card(workspace_id, card, context)
        return True

    async def _set_card(
        self, workspace_id: str, card: Card | None, context: Context, *, off: str | None = None
    ) -> None:
        def decide(workspace: Workspace, account: CreditAccount) -> None:
            saved = workspace.payment_method
            if card is not None:
                save(workspace, account, card, context)
            elif saved is not None and saved.id == off:
                remove(workspace, account, context)

        streams = (_workspace(workspace_id), account_stream(workspace_id))
        await self.book.submit(Command(streams, decide))


def save(workspace: Workspace, account: CreditAccount, card: Card, context: Context) -> None:
    """The card is on file in the place of any other; a no-op if it is."""
    saved = workspace.payment_method
    if saved is not None and (saved.id, saved.brand, saved.last4) == (
        card.id,
        card.brand,
        card.last4,
    ):
        return
    workspace.record(
        PaymentMethodSaved(
            **workspace.stamp(context, f"payment_method:{card.id}:{workspace.version + 1}"),
            payment_method_id=card.id,
            brand=card.brand,
            last4=card.last4,
        )
    )
    account.card_saved(context)


def remove(workspace: Workspace, account: CreditAccount, context: Context) -> None:
    """The card is off file: nothing can be charged by itself any more."""
    saved = workspace.payment_method
    if saved is None:
        return
    workspace.record(
        PaymentMethodRemoved(
            **workspace.stamp(context, f"payment_method_off:{saved.id}:{workspace.version + 1}"),
            payment_method_id=saved.id,
            brand=saved.brand,
            last4=saved.last4,
        )
    )
    account.suspend_topup("no_card", context)


def _workspace(workspace_id: str) -> Stream:
    return Stream(Workspace, workspace_stream(workspace_id))
