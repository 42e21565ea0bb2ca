"""Use cases of money coming in and going back, and of freezing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from domain.account.credit_account import CreditAccount
from domain.account.credit_facts import Credited
from domain.account.wallet import Category
from domain.commands import Command, Done, Stream
from domain.errors import NotFound, PaymentRefConflict
from domain.facts import Context
from domain.payment.attempt import PaymentAttempt
from domain.payment.facts import manual_payment_stream
from domain.places import account_stream
from domain.reading import Reading


@dataclass(frozen=True, slots=True)
class Credit:
    """The end of a credit: the grant's event and the account behind it."""

    grant_id: str | None
    balance: int
    is_frozen: bool
    payment_attempt_id: str | None
    duplicate: bool
    position: int


class Crediting(Reading):
    """What customers, finance and administrators ask of the book."""

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
