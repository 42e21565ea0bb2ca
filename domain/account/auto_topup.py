"""Decisions about charging the saved card by itself: when, how much, and when no more."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from domain.account.credit_facts import CreditsExpired
from domain.account.state import AccountState
from domain.account.topup_facts import (
    AutoTopUp,
    AutoTopUpConfigured,
    AutoTopUpResolved,
    AutoTopUpResumed,
    AutoTopUpSuspended,
    AutoTopUpTriggered,
    Suspension,
)
from domain.account.wallet import Wallet
from domain.facts import Context
from domain.money import minor_of
from domain.payment.facts import attempt_id, payment_stream

FAILURES_MAX = 3
"""Failures in a row after which the card is left alone."""

OF_THE_CARD: tuple[Suspension, ...] = ("declines", "authentication_required", "no_card")


class ToppingAccount(AccountState, omit_defaults=True, gc=False):
    """An account that may have its card charged when its balance runs low."""

    def configure_auto_topup(
        self,
        enabled: bool,
        threshold: int,
        amount: int | None,
        target: int | None,
        monthly_cap: int | None,
        most: int,
        has_card: bool,
        context: Context,
    ) -> None:
        """Put the customer's order in force; it also ends every suspension whose cause is gone.
        The same order again is a no-op."""
        self.expire_credits(context)
        order = (enabled, threshold, amount, target, monthly_cap, most)
        auto = self.auto_topup
        if auto is None or auto.suspended is not None or _terms(auto) != order:
            self.record(
                AutoTopUpConfigured(
                    **self.stamp(context, f"auto_topup:{self.version + 1}"),
                    enabled=enabled,
                    threshold=threshold,
                    amount=amount,
                    target=target,
                    monthly_cap=monthly_cap,
                    most=most,
                )
            )
        if not has_card:
            self.suspend_topup("no_card", context)
        self.consider_topup(context)

    def expire_credits(self, context: Context) -> None:
        """Write off what is left of grants whose time is over, oldest expiry first."""
        for grant in self.wallet.expired(self.moment(context)):
            self.record(
                CreditsExpired(
                    **self.stamp(context, f"expiry:{grant.grant_id}:{self.version + 1}"),
                    grant_id=grant.grant_id,
                    amount=grant.remaining,
                    balance_after=self.balance - grant.remaining,
                )
            )

    def expire_first(self, context: Context) -> None:
        """Write them off before a decision that moves no money itself; what that leaves may ask
        for a charge."""
        before = self.version
        self.expire_credits(context)
        if self.version > before:
            self.consider_topup(context)

    def consider_after(self, before: Wallet, context: Context) -> None:
        """Decide so after an act that began with the wallet ``before``: a card that failed is
        tried again only where money has moved."""
        auto = self.auto_topup
        if auto is not None and (self.wallet is not before or not auto.failures):
            self.consider_topup(context)

    def consider_topup(self, context: Context) -> None:
        """Decide to charge the card if the balance, as it is now, asks for it: at most one
        charge is under way (L7)."""
        auto = self.auto_topup
        if auto is None or not auto.is_watched(self.balance):
            return
        month = _month(self.moment(context))
        if auto.suspended is not None:
            why = _lifted(auto, bool(self.freezes), month)
            if why is None:
                return
            self._resume(why, context)
        amount = _amount(auto, self.balance, minor_of(self.currency))
        if self.freezes:
            self.suspend_topup("frozen", context)
        elif auto.monthly_cap is not None and auto.spent_in(month) + amount > auto.monthly_cap:
            self.suspend_topup("cap", context)
        else:
            stream = payment_stream("auto_topup", self.workspace_id, str(self.version + 1))
            self.record(
                AutoTopUpTriggered(
                    **self.stamp(context, f"auto_topup_triggered:{self.version + 1}"),
                    payment_attempt_id=attempt_id(stream),
                    balance=self.balance,
                    threshold=auto.threshold,
                    amount=amount,
                    month=month,
                )
            )

    def topup_ended(
        self,
        payment: str,
        outcome: Literal["credited", "failed"],
        amount: int,
        context: Context,
        suspend: Suspension | None = None,
    ) -> None:
        """How an automatic charge ended; the test runs again only after a credit, so that a bad
        card is tried at the next debits and not in a row."""
        auto = self.auto_topup
        if auto is None or (outcome == "failed" and auto.in_flight != payment):
            return
        failures = auto.failures + 1 if outcome == "failed" else 0
        expected = auto.in_flight == payment
        month = (auto.asked_in or auto.month) if expected else _month(self.moment(context))
        self.record(
            AutoTopUpResolved(
                **self.stamp(context, f"auto_topup:{payment}:{outcome}"),
                payment_attempt_id=payment,
                outcome=outcome,
                amount=amount,
                month=month,
                consecutive_failures=failures,
            )
        )
        if outcome == "credited":
            if auto.suspended in ("declines", "authentication_required"):
                self._resume("recovered", context)
            self.consider_topup(context)
        elif suspend is not None:
            self.suspend_topup(suspend, context)
        elif failures >= FAILURES_MAX:
            self.suspend_topup("declines", context)

    def suspend_topup(self, reason: Suspension, context: Context) -> None:
        """Leave the card alone; the same reason again is a no-op, and any while there is no card:
        only a new one ends that."""
        auto = self.auto_topup
        if auto is not None and auto.enabled and auto.suspended not in (reason, "no_card"):
            stamp = self.stamp(context, f"auto_topup_suspended:{self.version + 1}")
            self.record(AutoTopUpSuspended(**stamp, reason=reason))

    def card_saved(self, context: Context) -> None:
        """There is a card, and a new one: what the old one did counts no more."""
        auto = self.auto_topup
        if auto is not None and auto.suspended in OF_THE_CARD:
            self.expire_credits(context)
            self._resume("card_saved", context)
            self.consider_topup(context)

    def _resume(
        self, why: Literal["card_saved", "recovered", "unfrozen", "new_month"], context: Context
    ) -> None:
        stamp = self.stamp(context, f"auto_topup_resumed:{self.version + 1}")
        self.record(AutoTopUpResumed(**stamp, why=why))


def _month(moment: datetime) -> str:
    return moment.strftime("%Y-%m")


def _terms(auto: AutoTopUp) -> tuple[bool, int, int | None, int | None, int | None, int]:
    return (
        auto.enabled,
        auto.threshold,
        auto.amount,
        auto.target,
        auto.monthly_cap,
        auto.most,
    )


def _lifted(auto: AutoTopUp, frozen: bool, month: str) -> Literal["unfrozen", "new_month"] | None:
    """Why a suspension has ended by itself; None while it stands."""
    if auto.suspended == "frozen" and not frozen:
        return "unfrozen"
    if auto.suspended == "cap" and auto.month != month:
        return "new_month"
    return None


def _amount(auto: AutoTopUp, balance: int, unit: int) -> int:
    """µ to charge, whole minor units (``unit`` µ each) of the card network."""
    if auto.target is None:
        return auto.amount or 0
    missing = -(-(auto.target - balance) // unit) * unit
    return min(missing, auto.most)
