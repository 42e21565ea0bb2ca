"""Use cases of card payments that go back, and of money that nobody can explain."""

from __future__ import annotations

from typing import cast

from domain.account.credit_account import CreditAccount
from domain.commands import Command
from domain.errors import NotFound
from domain.facts import Context
from domain.payment.attempt import PaymentAttempt
from domain.payment.facts import Remedy
from domain.payment.paying import Paid, Paying, payment_place
from domain.payment.processor import Contest, Intent, Payments, Refund
from domain.payment.settlement import Disposition, disputed, refunded, resolve
from domain.places import account_stream


class Returning(Paying):
    """Money out again."""

    async def note_refunds(
        self, intent: Intent, charge_id: str, refunds: tuple[Refund, ...], context: Context
    ) -> Disposition:
        """Take in every refund of a payment; the account follows, up or down."""
        if intent.payment_attempt_id is None or intent.workspace_id is None:
            return "ignored"
        # Credits go back from whom they were given to, whoever it was that paid for them.
        found = await self.payment(intent.payment_attempt_id)
        whose = account_stream(found.workspace_id or intent.workspace_id)

        def decide(account: CreditAccount, attempt: PaymentAttempt) -> Disposition:
            return refunded(account, attempt, intent, charge_id, refunds, context)

        streams = (whose, payment_place(intent.payment_attempt_id))
        return cast("Disposition", (await self.book.submit(Command(streams, decide))).answer)

    async def note_dispute(
        self, intent: Intent | None, workspace_id: str, contest: Contest, context: Context
    ) -> Disposition:
        """Take in a dispute of a payment; of one that credited nothing (a subscription's),
        where ``intent`` is None or names no attempt, only the freeze."""
        stream, waits = payment_place(f"charge/{contest.charge or contest.id}"), False
        if intent is not None and intent.payment_attempt_id is not None:
            found = await self.payment(intent.payment_attempt_id)
            waits, credited = intent.id in found.quarantined, found.is_credited_for(intent.id)
            if waits or credited:  # whoever paid it: whose credits they are, or may become
                workspace_id = found.workspace_id
            if credited or (not waits and found.awaits(intent.id)):
                stream = payment_place(intent.payment_attempt_id)

        def decide(account: CreditAccount, attempt: PaymentAttempt) -> Disposition:
            if not account.version:
                return "ignored"
            done = disputed(account, attempt, contest, context)
            # Frozen at once; what it takes is known when an administrator says what it paid.
            return "deferred" if waits else done

        streams = (account_stream(workspace_id), stream)
        return cast("Disposition", (await self.book.submit(Command(streams, decide))).answer)

    # What administrators say.

    async def resolve_payment(
        self,
        payment_attempt_id: str,
        intent_id: str | None,
        remedy: Remedy,
        ticket_ref: str,
        context: Context,
    ) -> Paid:
        """Decide what money in quarantine is.

        :raises NotFound: no such payment.
        :raises NothingQuarantined: none of its money waits.
        """
        found = await self.payment(payment_attempt_id)
        if not found.version:
            raise NotFound("payment", payment_attempt_id)
        streams = (account_stream(found.workspace_id), payment_place(payment_attempt_id))

        def decide(account: CreditAccount, attempt: PaymentAttempt) -> Paid:
            resolve(account, attempt, intent_id, remedy, ticket_ref, context)
            return Paid(attempt.clone(), account.balance, account.is_frozen, 0)

        done = await self.book.submit(Command(streams, decide))
        answer: Paid = done.answer
        return Paid(answer.attempt, answer.balance, answer.is_frozen, done.position)

    async def request_refund(
        self,
        payments: Payments,
        payment_attempt_id: str,
        amount: int,
        key: str,
        ticket_ref: str | None,
        context: Context,
    ) -> Refund:
        """Have Stripe give money back, once per ``key``. The credits follow when Stripe says
        that it did.

        :raises NotRefundable: it is no credited card payment, or less of it is left.
        """

        def decide(attempt: PaymentAttempt) -> PaymentAttempt:
            attempt.request_refund(key, amount, ticket_ref, context)
            return attempt.clone()

        stream = payment_place(payment_attempt_id)
        done = await self.book.submit(Command((stream,), decide))
        attempt: PaymentAttempt = done.answer
        assert attempt.stripe_payment_intent is not None
        return await payments.refund(
            attempt.stripe_payment_intent,
            amount,
            attempt.currency,
            f"refund:{payment_attempt_id}:{key}",
            ticket_ref,
        )
