"""Use cases of card payments: ask for money, follow it to its end, take it back.

The order is always: commit what is asked for, ask Stripe, commit what it said together with the
credit. Whoever comes again after a crash or a timeout finds the first step and goes on from it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast
from uuid import UUID

from domain.account.credit_account import CreditAccount
from domain.commands import Command, Stream
from domain.errors import InvalidInput, NotFound
from domain.facts import Context
from domain.money import BALANCE_LIMIT
from domain.payment.attempt import PaymentAttempt
from domain.payment.errors import PaymentMethodRequired
from domain.payment.facts import Kind, Via, attempt_stream
from domain.payment.processor import Intent, Payments, Session
from domain.payment.settlement import Disposition, settle
from domain.places import account_stream
from domain.reading import Reading
from domain.workspace.workspace import Workspace, workspace_stream


@dataclass(frozen=True, slots=True)
class Paid:
    """Where an attempt stands, and the account behind it. ``position`` is that of the save."""

    attempt: PaymentAttempt
    balance: int
    is_frozen: bool
    position: int
    disposition: Disposition = "applied"


@dataclass(frozen=True, slots=True)
class Urls:
    """Where Stripe's pages send the customer's browser afterwards."""

    success: str
    cancel: str


class Paying(Reading):
    """Money in by card, and out again."""

    async def payment(self, payment_attempt_id: str) -> PaymentAttempt:
        """An attempt as committed now; one that nobody made has version 0."""
        found = await self.book.fresh(payment_place(payment_attempt_id))
        assert isinstance(found, PaymentAttempt)
        return found

    async def request_payment(
        self,
        workspace_id: str,
        kind: Kind,
        stream: UUID,
        amount: int,
        context: Context,
        *,
        via: Via = "card",
    ) -> tuple[PaymentAttempt, bool]:
        """Write down that money is asked for, once per stream (see `payment_stream`); also
        answers whether this is the first time. Nobody outside is asked yet.

        :raises PaymentMethodRequired: no card is saved, and the card is to be charged.
        """

        def decide(
            attempt: PaymentAttempt, account: CreditAccount, workspace: Workspace
        ) -> tuple[PaymentAttempt, bool]:
            if not account.version:
                raise NotFound("workspace", workspace_id)
            if attempt.kind is not None:
                return attempt.clone(), False
            if account.balance + amount > BALANCE_LIMIT:
                raise InvalidInput(("amount_usd",), "would make the balance larger than it can be")
            card = workspace.payment_method
            if via == "card" and (card is None or workspace.stripe_customer_id is None):
                raise no_card(account)
            attempt.request(
                kind,
                amount,
                context,
                workspace_id=workspace_id,
                currency=account.currency,
                payment_method_id=card.id if card and via == "card" else None,
                stripe_customer_id=workspace.stripe_customer_id,
                via=via,
            )
            return attempt.clone(), True

        reads = (
            account_stream(workspace_id),
            Stream(Workspace, workspace_stream(workspace_id)),
        )
        place = Stream(PaymentAttempt, stream)
        done = await self.book.submit(Command((place,), decide, None, reads))
        attempt, is_new = done.answer
        return attempt, bool(is_new)

    async def pursue(
        self,
        payments: Payments,
        attempt: PaymentAttempt,
        urls: Urls,
        context: Context,
        *,
        is_new: bool = False,
    ) -> Paid:
        """Bring a requested payment as far as it goes now. Where it was asked for before
        (not ``is_new``), what came of that is looked up first.

        :raises TryAgain: Stripe does not answer. The attempt stays open; come again.
        """
        if attempt.is_open and attempt.via == "checkout":
            await self._open_page(payments, attempt, urls, context)
        elif attempt.is_open:
            order = attempt.order()
            intent = None if is_new else await payments.find_intent(order)
            if intent is None:
                intent = await payments.charge_card(order)
            await self.note_payment(payments, intent, urls, context)
        return await self.paid(attempt.payment_attempt_id)

    async def _open_page(
        self, payments: Payments, attempt: PaymentAttempt, urls: Urls, context: Context
    ) -> None:
        if attempt.stripe_session is not None:
            session = await payments.session(attempt.stripe_session)
            if session is not None:
                await self.note_page(payments, session, urls, context)
            return
        page = await payments.payment_page(attempt.order(), urls.success, urls.cancel)
        await self._note_submitted(attempt.payment_attempt_id, page.id, page.url, context)

    async def _note_submitted(
        self, payment_attempt_id: str, session_id: str, url: str, context: Context
    ) -> None:
        def decide(attempt: PaymentAttempt) -> None:
            attempt.submitted("checkout.session", session_id, url, context)

        await self.book.submit(Command((payment_place(payment_attempt_id),), decide))

    async def paid(self, payment_attempt_id: str) -> Paid:
        """Where an attempt stands now. ``position`` is 0: nothing was saved."""
        attempt = await self.payment(payment_attempt_id)
        account = await self.account(attempt.workspace_id)
        return Paid(attempt, account.balance, account.is_frozen, 0)

    # What Stripe says.

    async def note_payment(
        self,
        payments: Payments,
        intent: Intent,
        urls: Urls,
        context: Context,
        *,
        received: int | None = None,
        on_page: bool = False,
    ) -> Disposition:
        """Take in a payment as it is at Stripe now. One that needs its card's holder is given a
        page for that. ``received``: µ without tax, where that is not what was paid.
        """
        if intent.payment_attempt_id is None or intent.workspace_id is None:
            return "ignored"
        if intent.status == "failed" and intent.code == "authentication_required":
            attempt = await self.payment(intent.payment_attempt_id)
            if attempt.via == "card" and attempt.is_open:
                intent = await payments.authenticate(intent, urls.success)
        net = intent.amount_received if received is None else received

        def decide(account: CreditAccount, attempt: PaymentAttempt) -> Disposition:
            if not account.version:
                return "ignored"
            return settle(account, attempt, intent, net, context, on_page=on_page)

        return await self._both(intent, decide)

    async def note_page(
        self, payments: Payments, session: Session, urls: Urls, context: Context
    ) -> Disposition:
        """Take in a checkout page (mode payment) as it is at Stripe now."""
        if session.payment_attempt_id is None:
            return "ignored"
        if session.status == "expired":

            def decide(attempt: PaymentAttempt) -> Disposition:
                attempt.abandon("session_expired", context)
                return "applied"

            stream = payment_place(session.payment_attempt_id)
            return cast("Disposition", (await self.book.submit(Command((stream,), decide))).answer)
        intent = await payments.intent(session.intent) if session.intent else None
        if session.status != "complete" or intent is None:
            return "applied"
        return await self.note_payment(
            payments,
            intent,
            urls,
            context,
            received=session.amount if session.is_paid else None,
            on_page=True,
        )

    async def _both(
        self, intent: Intent, decide: Callable[[CreditAccount, PaymentAttempt], Disposition]
    ) -> Disposition:
        assert intent.workspace_id is not None
        assert intent.payment_attempt_id is not None
        streams = (account_stream(intent.workspace_id), payment_place(intent.payment_attempt_id))
        return cast("Disposition", (await self.book.submit(Command(streams, decide))).answer)


def no_card(account: CreditAccount) -> PaymentMethodRequired:
    """The refusal where no card is saved."""
    return PaymentMethodRequired(
        plan=account.plan,
        balance=account.balance,
        available=account.available,
        is_frozen=account.is_frozen,
        needs_credits=account.available <= 0 and not account.is_frozen,
    )


def payment_place(payment_attempt_id: str) -> Stream:
    """Where an attempt is written down."""
    return Stream(PaymentAttempt, attempt_stream(payment_attempt_id))
