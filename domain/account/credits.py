"""Decisions about an account's money: credits, corrections, reversals, expiry and freezing."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from domain.account.auto_topup import ToppingAccount
from domain.account.credit_facts import (
    AccountFrozen,
    AccountUnfrozen,
    Credited,
    CreditSource,
    CreditsReinstated,
    CreditsReversed,
    FreezeReason,
)
from domain.account.taken import noted, untaken
from domain.account.usage_facts import Debited
from domain.account.wallet import Category
from domain.errors import InvalidInput, NotReversible
from domain.facts import Context
from domain.money import BALANCE_LIMIT


class MoneyAccount(ToppingAccount, omit_defaults=True, gc=False):
    """An account that takes money in, takes it back, and can be frozen."""

    def credit(
        self,
        amount: int,
        source: CreditSource,
        cause: str,
        context: Context,
        *,
        category: Category = "paid",
        priority: int = 50,
        expires_at: datetime | None = None,
        **refs: Any,
    ) -> None:
        """Take money in. ``refs``: payment_attempt_id, payment_ref, ticket_ref, reason."""
        self.expire_credits(context)
        if amount <= 0:
            raise InvalidInput(("amount_usd",), "a credit must be positive")
        if self.balance + amount > BALANCE_LIMIT:
            raise InvalidInput(("amount_usd",), "would make the balance larger than it can be")
        if expires_at is not None and expires_at <= self.moment(context):
            raise InvalidInput(("expires_at",), "must be in the future")
        self.record(
            Credited(
                **self.stamp(context, cause),
                amount=amount,
                source=source,
                grant_id=f"g{self.version + 1}",
                balance_after=self.balance + amount,
                category=category,
                priority=priority,
                expires_at=expires_at,
                **refs,
            )
        )
        self.consider_topup(context)

    def adjust(
        self, amount: int, reason: str, ticket_ref: str, cause: str, context: Context
    ) -> None:
        """Correct the balance by adding, up or down; down may leave debt."""
        if amount > 0:
            self.credit(amount, "adjustment", cause, context, ticket_ref=ticket_ref, reason=reason)
            return
        if amount == 0:
            raise InvalidInput(("amount_usd",), "an adjustment of nothing is no adjustment")
        self.expire_credits(context)
        if self.balance + amount < -BALANCE_LIMIT:
            raise InvalidInput(("amount_usd",), "would make the debt larger than it can be")
        self.record(
            Debited(
                **self.stamp(context, cause),
                amount=-amount,
                balance_after=self.balance + amount,
                **Debited.drawn(-amount, self.wallet.plan_draw(-amount)),
                reason="adjustment",
                note=reason,
                ticket_ref=ticket_ref,
            )
        )
        self.consider_topup(context)

    def reverse(
        self,
        payment: Credited,
        amount: int,
        kind: Literal["refund", "chargeback"],
        cause: str,
        context: Context,
        *,
        psp_ref: str | None = None,
        ticket_ref: str | None = None,
    ) -> None:
        """Take a payment's credits back: its own grant first, then the others, then debt.

        :raises NotReversible: more than the payment brought in (invariant L8).
        """
        attempt = payment.payment_attempt_id or ""
        left = payment.amount - self.reversed.get(attempt, 0)
        if amount <= 0 or amount > left:
            raise NotReversible(f"{left} µ of this payment can be reversed, not {amount}")
        refs = {"psp_ref": psp_ref, "ticket_ref": ticket_ref}
        self.take_back(attempt, payment.grant_id, amount, kind, cause, context, **refs)

    def take_back(
        self,
        payment: str,
        grant_id: str,
        amount: int,
        kind: Literal["refund", "chargeback"],
        cause: str,
        context: Context,
        **refs: Any,
    ) -> None:
        """Reverse credits of a payment whose bound (L8) the caller has kept. ``refs``: psp_ref,
        ticket_ref."""
        self.expire_credits(context)
        self.record(
            CreditsReversed(
                **self.stamp(context, cause),
                reversal_id=cause,
                cause_kind=kind,
                payment_attempt_id=payment,
                amount=amount,
                balance_after=self.balance - amount,
                grants=self.wallet.plan_draw(amount, first=grant_id),
                **refs,
            )
        )
        self.consider_topup(context)

    def note_reversed(self, payment: str, amount: int, parts: Mapping[str, int]) -> None:
        """Remember how much of a payment was taken back, and from where."""
        self.taken = {
            **self.taken,
            payment: self.taken.get(payment, ()) + noted(self.wallet, parts),
        }
        self.reversed = {**self.reversed, payment: self.reversed.get(payment, 0) + amount}

    def note_reinstated(self, payment: str, amount: int) -> None:
        """Remember that a part of it was given back."""
        taken_back = self.reversed.get(payment, 0)
        _, left = untaken(self.taken.get(payment, ()), taken_back, amount)
        self.taken = {**self.taken, payment: left}
        self.reversed = {**self.reversed, payment: taken_back - amount}

    def reinstate(
        self,
        payment: str,
        grant_id: str,
        amount: int,
        cause: str,
        psp_ref: str | None,
        context: Context,
    ) -> None:
        """Undo a reversal, or a part of it: what it had taken goes back to where it came from.
        What came from a grant whose time is over now is money of the payment."""
        self.expire_credits(context)
        now = self.moment(context)
        back, _ = untaken(self.taken.get(payment, ()), self.reversed.get(payment, 0), amount)
        self.record(
            CreditsReinstated(
                **self.stamp(context, cause),
                reversal_id=cause,
                payment_attempt_id=payment,
                grant_id=grant_id,
                amount=amount,
                balance_after=self.balance + amount,
                psp_ref=psp_ref,
                returned=tuple(g for g in back if g.grant_id != grant_id and not g.is_over(now)),
            )
        )
        self.consider_topup(context)

    def freeze(
        self,
        reason: FreezeReason,
        ref: str,
        note: str | None,
        context: Context,
    ) -> None:
        """Stop all spending for a reason; the same reason and reference again is a no-op."""
        if (reason, ref) in self.freezes:
            return
        before = self.version
        self.expire_credits(context)
        is_less = self.version > before
        cause = f"freeze:{reason}:{ref}:{self.version + 1}"
        self.record(AccountFrozen(**self.stamp(context, cause), reason=reason, ref=ref, note=note))
        if is_less:  # asked for only now: a frozen account's card is left alone
            self.consider_topup(context)

    def unfreeze(
        self, reason: str | None, ticket_ref: str, note: str | None, context: Context
    ) -> None:
        """Lift one kind of reason, or every reason when ``reason`` is None."""
        self.expire_credits(context)
        for kind, ref in self.freezes:
            if reason is not None and kind != reason:
                continue
            self.record(
                AccountUnfrozen(
                    **self.stamp(context, f"unfreeze:{kind}:{ref}:{self.version + 1}"),
                    reason=kind,
                    ref=ref,
                    still_frozen=len(self.freezes) > 1,
                    note=note,
                    ticket_ref=ticket_ref,
                )
            )
        self.consider_topup(context)

    def lift_freeze(self, reason: FreezeReason, ref: str, note: str, context: Context) -> None:
        """Lift one reason, if it stands."""
        if (reason, ref) not in self.freezes:
            return
        self.expire_credits(context)
        self.record(
            AccountUnfrozen(
                **self.stamp(context, f"unfreeze:{reason}:{ref}:{self.version + 1}"),
                reason=reason,
                ref=ref,
                still_frozen=len(self.freezes) > 1,
                note=note,
            )
        )
        self.consider_topup(context)
