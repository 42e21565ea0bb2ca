"""What happens when an act is charged: debited, recorded, priced later, taken back.

Amounts are µ (`amount`, `balance_after`), times UTC, units those of the bucket.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from domain.account.budget import Reached, spend, unspend
from domain.account.usage import Usage
from domain.account.wallet import Grant
from domain.catalogue.price_book import Rated, StoredPrice, priced
from domain.facts import Fact
from domain.identity import version_of

if TYPE_CHECKING:
    from domain.account.credit_account import CreditAccount

DrawSource = Literal["allowance", "wallet", "overage", "oauth", "absorbed"]


class Draw(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One source's part in paying for an act. A wallet draw names the grants it took from;
    what ``amount`` exceeds their sum became debt. An `oauth` amount is what the act would have
    cost; an `absorbed` one is nobody's to pay, ever."""

    source: DrawSource
    units: int = 0
    amount: int = 0
    bucket: str | None = None
    unit_price: int | None = None
    reason: Literal["overage_off", "quota_overrun", "write_off"] | None = None
    remaining_after: int | None = None
    cycle_id: str | None = None  # of another cycle than the one that runs, if drawn from that
    grants: dict[str, int] = {}
    plan_id: str | None = None  # whose unit price it is, where that is not the plan in force
    plan_version: int = 0


class Debited(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """Wallet money was spent: on the metered act in ``usage``, or by an adjustment.

    ``grant`` names the one grant that gave all of ``amount``; otherwise ``shares`` says which
    grants gave how much, and the rest became debt. Sources beside the wallet stand in
    ``other_draws``. Most debits have one grant and nothing else, and stay small.
    """

    amount: int
    balance_after: int = msgspec.field(name="after")
    grant: str | None = None
    shares: dict[str, int] = {}
    other_draws: tuple[Draw, ...] = ()
    usage: Usage | None = None
    reason: Literal["usage", "overflow", "adjustment"] = "usage"
    price: StoredPrice | None = None
    total: int | None = None  # what the act cost, where that is not ``amount``
    units: int = 0
    late: bool = False
    cycle_id: str | None = None
    rates_usage_id: str | None = None  # set when an unrated record is paid for later
    ticket_ref: str | None = None
    note: str | None = None
    budgets: tuple[Reached, ...] = ()  # that were spent after it

    def unique_cause(self) -> str:
        return self.cause or f"usage:{self.usage.event_id}" if self.usage else self.cause

    def wallet_move(self) -> tuple[int, int]:
        return -self.amount, self.balance_after

    @staticmethod
    def drawn(amount: int, grants: dict[str, int]) -> dict[str, Any]:
        """The fields that say which grants gave the amount, as short as can be."""
        if len(grants) == 1:
            [(grant_id, part)] = grants.items()
            if part == amount:
                return {"grant": grant_id}
        return {"shares": grants}

    @property
    def grants(self) -> dict[str, int]:
        """Which grants gave how much, in µ."""
        return {self.grant: self.amount} if self.grant is not None else self.shares

    @property
    def rated(self) -> Rated | None:
        """What the act cost, and by which price."""
        if self.usage is None:
            return None
        total = self.amount if self.total is None else self.total
        return priced(self.usage.tokens, self.price, total)

    @property
    def draws(self) -> tuple[Draw, ...]:
        """Every source's part, the wallet's last."""
        wallet = Draw(source="wallet", amount=self.amount, grants=self.grants)
        return (*self.other_draws, wallet)

    def apply(self, account: CreditAccount) -> None:
        usage = self.usage
        if usage is not None and usage.hold_id is not None:
            account.drop_hold(usage.hold_id)
        for draw in self.other_draws:
            account.take(draw, usage.bot_id if usage else None, self.late)
        account.wallet = account.wallet.take(self.amount, self.grants)
        if account.budgets and usage is not None:
            account.budgets = spend(account.budgets, usage, self.draws, self.recorded_at, account)


class UsageRecorded(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """A metered act that moved no wallet money. ``price`` is None while none is known."""

    usage: Usage
    draws: tuple[Draw, ...] = ()
    price: StoredPrice | None = None
    total: int = 0  # µ; what it would have cost where somebody else paid
    units: int = 0
    late: bool = False
    cycle_id: str | None = None
    budgets: tuple[Reached, ...] = ()

    @property
    def rated(self) -> Rated | None:
        """What the act cost, and by which price."""
        return priced(self.usage.tokens, self.price, self.total)

    @property
    def unpaid_units(self) -> int:
        """Units that no draw paid for: what the wallet has to, once there is a price."""
        return self.units - sum(draw.units for draw in self.draws)

    @property
    def is_unrated(self) -> bool:
        """Whether it waits for a price: none is known, and others than the wallet did not pay
        for all of it."""
        return self.price is None and (not self.draws or self.unpaid_units > 0)

    def unique_cause(self) -> str:
        return f"usage:{self.usage.event_id}"

    def apply(self, account: CreditAccount) -> None:
        if self.usage.hold_id is not None:
            account.drop_hold(self.usage.hold_id)
        for draw in self.draws:
            account.take(draw, self.usage.bot_id, self.late)
        if self.is_unrated:
            account.unrated = (*account.unrated, account.version + 1)
        if account.budgets:
            account.budgets = spend(
                account.budgets, self.usage, self.draws, self.recorded_at, account
            )


class UsageRated(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """A price for an act that was recorded unrated; its `Debited` follows in the same save.

    ``owed`` is the wallet's part of ``total`` (None, before it was told: all of it), and ``draws``
    what of it is nobody's to pay."""

    usage_id: str
    usage: Usage
    usage_at: datetime
    price: StoredPrice
    total: int
    owed: int | None = None
    draws: tuple[Draw, ...] = ()
    cycle_id: str | None = None

    @property
    def rated(self) -> Rated:
        """What the act cost, and by which price."""
        rated = priced(self.usage.tokens, self.price, self.total)
        assert rated is not None
        return rated

    def apply(self, account: CreditAccount) -> None:
        """Money follows in a `Debited`; for budgets it is spent now."""
        account.unrated = tuple(v for v in account.unrated if v != version_of(self.usage_id))
        if account.budgets and self.owed:
            wallet = Draw(source="wallet", amount=self.owed)
            account.budgets = spend(
                account.budgets, self.usage, (wallet,), self.recorded_at, account
            )


class UsageVoided(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """An act was a mistake. ``draws`` are those it made; ``amount`` and ``returned`` say what
    went back into the wallet (a grant that expired meanwhile gets nothing unless asked)."""

    usage_id: str
    usage: Usage
    usage_at: datetime
    draws: tuple[Draw, ...]
    amount: int
    balance_after: int = msgspec.field(name="after")
    returned: tuple[Grant, ...] = ()
    price: StoredPrice | None = None
    total: int = 0
    units: int = 0
    late: bool = False
    act_recorded_at: datetime | None = None
    cycle_id: str | None = None
    reason: str | None = None
    ticket_ref: str | None = None

    @property
    def rated(self) -> Rated | None:
        """What the act cost, and by which price."""
        return priced(self.usage.tokens, self.price, self.total)

    def wallet_move(self) -> tuple[int, int]:
        return self.amount, self.balance_after

    def apply(self, account: CreditAccount) -> None:
        if account.unrated:
            account.unrated = tuple(v for v in account.unrated if v != version_of(self.usage_id))
        for grant in self.returned:
            account.wallet = account.wallet.put(grant)
        for draw in self.draws:
            act = version_of(self.usage_id)
            at = self.act_recorded_at
            account.give_back(draw, self.cycle_id, act, self.usage.bot_id, self.late, at)
        if account.budgets and self.act_recorded_at is not None:
            at = self.act_recorded_at
            account.budgets = unspend(account.budgets, self.usage, self.draws, at, account)


def priced_later(
    act: UsageRecorded, rating: UsageRated, debit: Debited | None
) -> Debited | UsageRecorded:
    """An act that was recorded unrated, with the price it got later and all that paid for it."""
    draws = (*act.draws, *rating.draws)
    if debit is None:
        return msgspec.structs.replace(act, price=rating.price, total=rating.total, draws=draws)
    return msgspec.structs.replace(
        debit,
        usage=act.usage,
        other_draws=draws,
        total=rating.total,
        units=act.units,
        late=act.late,
        cycle_id=act.cycle_id,
    )


USAGE_FACTS: tuple[type[Fact], ...] = (Debited, UsageRecorded, UsageRated, UsageVoided)
