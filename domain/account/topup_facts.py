"""What happens to an account's automatic top-up, and how it stands. Amounts in µ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec
from msgspec.structs import replace

from domain.facts import Fact

if TYPE_CHECKING:
    from domain.account.state import AccountState

Suspension = Literal["declines", "authentication_required", "cap", "frozen", "no_card"]


class AutoTopUp(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The customer's order to charge the saved card when the balance is below ``threshold``:
    either ``amount``, or what is missing to ``target``, at most ``most`` at once. ``spent`` is
    what was asked for in ``month`` (UTC, "2026-06") and did not fail."""

    enabled: bool
    threshold: int
    amount: int | None = None
    target: int | None = None
    monthly_cap: int | None = None
    most: int = 0
    in_flight: str | None = None  # the attempt whose end is not known yet
    asked_in: str = ""  # the month that it counts in, which may be over
    failures: int = 0
    suspended: Suspension | None = None
    month: str = ""
    spent: int = 0
    last: str | None = None  # the newest attempt

    def spent_in(self, month: str) -> int:
        """µ of a month."""
        return self.spent if month == self.month else 0

    def is_watched(self, balance: int) -> bool:
        """Whether a balance asks for a charge, if nothing else is in the way."""
        return self.enabled and self.in_flight is None and balance < self.threshold


class AutoTopUpConfigured(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """The customer said when the card may be charged, and how much; or that it may not be."""

    enabled: bool
    threshold: int
    amount: int | None = None
    target: int | None = None
    monthly_cap: int | None = None
    most: int = 0

    def apply(self, account: AccountState) -> None:
        before = account.auto_topup
        account.auto_topup = AutoTopUp(
            self.enabled,
            self.threshold,
            self.amount,
            self.target,
            self.monthly_cap,
            self.most,
            in_flight=before.in_flight if before else None,
            asked_in=before.asked_in if before else "",
            last=before.last if before else None,
            month=before.month if before else "",
            spent=before.spent if before else 0,
        )


class AutoTopUpTriggered(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """The balance fell below the threshold: the card is about to be charged."""

    payment_attempt_id: str
    balance: int
    threshold: int
    amount: int
    month: str

    def apply(self, account: AccountState) -> None:
        auto = account.auto_topup
        assert auto is not None
        account.auto_topup = replace(
            auto,
            in_flight=self.payment_attempt_id,
            asked_in=self.month,
            last=self.payment_attempt_id,
            month=self.month,
            spent=auto.spent_in(self.month) + self.amount,
        )


class AutoTopUpResolved(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """How the charge of ``amount`` ended. ``month`` is the one that it counts in."""

    payment_attempt_id: str
    outcome: Literal["credited", "failed"]
    amount: int
    month: str
    consecutive_failures: int = 0

    def apply(self, account: AccountState) -> None:
        auto = account.auto_topup
        assert auto is not None
        is_expected = auto.in_flight == self.payment_attempt_id
        month, spent = auto.month, auto.spent
        if self.outcome == "failed":
            spent -= min(self.amount, auto.spent_in(self.month))
        elif not is_expected:  # it had failed, and was paid after all: this month's money
            month, spent = self.month, auto.spent_in(self.month) + self.amount
        account.auto_topup = replace(
            auto,
            in_flight=None if is_expected else auto.in_flight,
            failures=self.consecutive_failures,
            month=month,
            spent=spent,
        )


class AutoTopUpSuspended(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """The card is not charged until what stands in the way is gone."""

    reason: Suspension

    def apply(self, account: AccountState) -> None:
        assert account.auto_topup is not None
        account.auto_topup = replace(account.auto_topup, suspended=self.reason)


class AutoTopUpResumed(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """What stood in the way is gone; failures are counted from nothing."""

    why: Literal["card_saved", "recovered", "unfrozen", "new_month"]

    def apply(self, account: AccountState) -> None:
        assert account.auto_topup is not None
        account.auto_topup = replace(account.auto_topup, suspended=None, failures=0)


TOPUP_FACTS: tuple[type[Fact], ...] = (
    AutoTopUpConfigured,
    AutoTopUpTriggered,
    AutoTopUpResolved,
    AutoTopUpSuspended,
    AutoTopUpResumed,
)
