"""What happens to a credit account: money that comes, goes back or expires; policy; freezes.

Amounts are µ (`amount`, `balance_after`), times UTC.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Literal

import msgspec

from domain.account.taken import total
from domain.account.wallet import Category, Grant
from domain.facts import Fact

if TYPE_CHECKING:
    from domain.account.credit_account import CreditAccount

CreditSource = Literal["card_topup", "auto_topup", "manual_payment_ref", "promo", "adjustment"]
FreezeReason = Literal["chargeback", "admin", "fraud"]
LinkState = Literal["active", "revoked", "unlinked"]
"""Of the user's own account at a provider: `revoked` by the provider, `unlinked` by the user."""


class CreditAccountOpened(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """A workspace has an account, in one currency for ever."""

    workspace_id: str
    currency: str

    def apply(self, account: CreditAccount) -> None:
        account.workspace_id = self.workspace_id
        account.currency = self.currency


class SpendPolicySet(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """What the plan lets the account spend, and on what; written with the plan's own event."""

    policy_version: int
    subscription_id: str
    plan_id: str
    plan_version: int
    waterfalls: dict[str, tuple[str, ...]]
    cycle_id: str
    period_start: datetime
    period_end: datetime
    overage_enabled: bool = False
    overage_unit_price: dict[str, int] = {}
    oauth: dict[str, LinkState] = {}  # by provider

    def apply(self, account: CreditAccount) -> None:
        account.note_policy(self)


class Credited(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """Money came in and opened a grant; debt is repaid from it first."""

    amount: int
    source: CreditSource
    grant_id: str
    balance_after: int = msgspec.field(name="after")
    category: Category = "paid"
    priority: int = 50
    expires_at: datetime | None = None
    payment_attempt_id: str | None = None
    payment_ref: str | None = None
    ticket_ref: str | None = None
    reason: str | None = None

    def wallet_move(self) -> tuple[int, int]:
        return self.amount, self.balance_after

    def grant(self, remaining: int) -> Grant:
        """The grant that this credit opened, with another remainder."""
        return Grant(self.grant_id, remaining, self.category, self.priority, self.expires_at)

    def apply(self, account: CreditAccount) -> None:
        account.wallet = account.wallet.put(self.grant(self.amount))


class CreditsExpired(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """A grant's time was over; what was left of it is gone."""

    grant_id: str
    amount: int
    balance_after: int = msgspec.field(name="after")

    def wallet_move(self) -> tuple[int, int]:
        return -self.amount, self.balance_after

    def apply(self, account: CreditAccount) -> None:
        account.wallet = account.wallet.take(self.amount, {self.grant_id: self.amount})


class CreditsReversed(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """A payment was refunded or charged back: its own grant first, then others, then debt."""

    reversal_id: str
    cause_kind: Literal["refund", "chargeback"]
    payment_attempt_id: str
    amount: int
    balance_after: int = msgspec.field(name="after")
    grants: dict[str, int] = {}
    psp_ref: str | None = None
    ticket_ref: str | None = None

    def wallet_move(self) -> tuple[int, int]:
        return -self.amount, self.balance_after

    def apply(self, account: CreditAccount) -> None:
        account.note_reversed(self.payment_attempt_id, self.amount, self.grants)
        account.wallet = account.wallet.take(self.amount, self.grants)


class CreditsReinstated(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """A reversal was itself undone, as after a dispute that was won. ``returned`` are the other
    grants that it had taken from; the rest goes to the payment's own, ``grant_id``."""

    reversal_id: str
    payment_attempt_id: str
    grant_id: str
    amount: int
    balance_after: int = msgspec.field(name="after")
    psp_ref: str | None = None
    returned: tuple[Grant, ...] = ()

    def wallet_move(self) -> tuple[int, int]:
        return self.amount, self.balance_after

    def apply(self, account: CreditAccount) -> None:
        own = self.amount - total(self.returned)
        for grant in (Grant(self.grant_id, own), *self.returned) if own else self.returned:
            account.wallet = account.wallet.put(grant)
        account.note_reinstated(self.payment_attempt_id, self.amount)


class AccountFrozen(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """Nothing may be spent until every reason is lifted."""

    reason: FreezeReason
    ref: str
    note: str | None = None

    def apply(self, account: CreditAccount) -> None:
        account.freezes = (*account.freezes, (self.reason, self.ref))


class AccountUnfrozen(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """One reason to be frozen was lifted; others may remain."""

    reason: FreezeReason
    ref: str
    still_frozen: bool = False
    note: str | None = None
    ticket_ref: str | None = None

    def apply(self, account: CreditAccount) -> None:
        account.freezes = tuple(f for f in account.freezes if f != (self.reason, self.ref))


CREDIT_FACTS: tuple[type[Fact], ...] = (
    *(CreditAccountOpened, SpendPolicySet, AccountFrozen, AccountUnfrozen),
    *(Credited, CreditsExpired, CreditsReversed, CreditsReinstated),
)
