"""Who pays for an act: the waterfall of sources, as one function over the account's state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from domain.account_facts import Draw, SpendPolicySet
from domain.catalogue import Meter
from domain.errors import (
    AccountFrozen,
    CreditsExhausted,
    InsufficientCredits,
    NoPaymentSource,
    PaymentRequired,
    QuotaExceeded,
)
from domain.money import round_half_even

if TYPE_CHECKING:
    from domain.credit_account import CreditAccount


class Ask(NamedTuple):
    """An act that wants to be paid for, and the rules that apply to it."""

    account: CreditAccount
    meter_name: str
    meter: Meter
    policy: SpendPolicySet
    overdraft: str  # "record" or "write_off"
    strict: bool

    @property
    def waterfall(self) -> tuple[str, ...]:
        """The sources that the plan allows this meter, in order."""
        return self.policy.waterfalls.get(self.meter_name, ())

    @property
    def wallet_allowed(self) -> bool:
        """Whether the wallet may pay for this meter at all, now."""
        sources = self.waterfall
        return "wallet" in sources or ("wallet_if_overflow" in sources and self.account.overflow)

    def remaining(self) -> int:
        """Included units that are left in the meter's bucket."""
        bucket = self.account.buckets.get(self.meter.bucket or "")
        return bucket.remaining if bucket else 0

    def overage_price(self) -> int | None:
        """µ a unit while overage is on, else None."""
        if "overage" not in self.waterfall or not self.policy.overage_enabled:
            return None
        return self.policy.overage_unit_price.get(self.meter.bucket or "")

    def frozen(self) -> PaymentRequired:
        """The refusal of a frozen account."""
        return self._refusal(AccountFrozen)

    def refusal(self, units: int) -> PaymentRequired:
        """Why nothing pays, with what would help."""
        sources = self.waterfall
        if self.meter.entry_rule == "covers_estimate" and "allowance" in sources:
            return self._refusal(
                QuotaExceeded, tokens_remaining=self.remaining(), tokens_requested=units
            )
        if "overage" in sources or sources == ("allowance",):
            return self._refusal(CreditsExhausted)
        if "allowance" in sources or not self.wallet_allowed:
            return self._refusal(NoPaymentSource)
        return self._refusal(InsufficientCredits)

    def _refusal(self, kind: type[PaymentRequired], **facts: Any) -> PaymentRequired:
        account, policy = self.account, self.policy
        bucket = account.buckets.get(self.meter.bucket or "")
        resets = bucket is not None and bucket.reset == "cycle"
        return kind(
            plan=account.plan,
            balance=account.balance,
            available=account.available,
            is_frozen=account.is_frozen,
            needs_credits=self.wallet_allowed and account.available <= 0 and not account.is_frozen,
            resets_at=policy.period_end if resets else None,
            overage_available=bool(policy.overage_unit_price) and not policy.overage_enabled,
            **facts,
        )


class Funding(NamedTuple):
    """Who pays: the wallet its ``amount`` from ``grants``, and the other sources' draws."""

    amount: int = 0
    grants: dict[str, int] = {}
    draws: tuple[Draw, ...] = ()

    @property
    def overflows(self) -> bool:
        """Whether the wallet pays for what an allowance did not cover."""
        return bool(self.draws) and self.draws[0].source == "allowance"


def fund(ask: Ask, units: int, total: int, exact: tuple[int, int]) -> Funding:
    """Split an act over its sources (spec 2.1).

    ``total`` is the rated price in µ and ``exact`` the same before rounding, so that a part of
    it is rounded once too. ``units`` is 0 for a meter without a bucket.

    :raises PaymentRequired: a strict act that no source admits.
    """
    account = ask.account
    if ask.strict:
        _admit(ask, units)
    if units == 0 and ask.waterfall[-1:] == ("wallet",):
        return _wallet_pays(ask, total, ())
    draws: list[Draw] = []
    left = units
    for source in ask.waterfall:
        if source == "allowance" and left and (take := min(left, ask.remaining())):
            left -= take
            draws.append(
                Draw(
                    source="allowance",
                    units=take,
                    bucket=ask.meter.bucket,
                    remaining_after=ask.remaining() - take,
                )
            )
        elif source.startswith("wallet") and left and ask.wallet_allowed:
            first = ask.waterfall[0] == source and not ask.strict
            if account.available > 0 or first:
                share = round_half_even(exact[0] * left, exact[1] * units)
                return _wallet_pays(ask, share, tuple(draws))
        elif source == "overage" and left and (price := ask.overage_price()) is not None:
            draws.append(
                Draw(
                    source="overage",
                    units=left,
                    amount=left * price,
                    bucket=ask.meter.bucket,
                    unit_price=price,
                )
            )
            left = 0
    if left:
        draws.append(
            Draw(
                source="absorbed",
                units=left,
                bucket=ask.meter.bucket,
                reason="overage_off" if "overage" in ask.waterfall else "quota_overrun",
            )
        )
    return Funding(draws=tuple(draws))


def _admit(ask: Ask, units: int) -> None:
    """The entry rule: may a call of this size start now?"""
    account = ask.account
    if ask.meter.entry_rule == "covers_estimate" and units:
        covered = ask.remaining() >= units or (ask.wallet_allowed and account.available > 0)
        if not covered and ask.overage_price() is None:
            raise ask.refusal(units)
        return
    if ask.wallet_allowed and account.available > 0:
        return
    if "allowance" in ask.waterfall and ask.remaining() > 0:
        return
    if ask.overage_price() is not None:
        return
    raise ask.refusal(units)


def _wallet_pays(ask: Ask, amount: int, draws: tuple[Draw, ...]) -> Funding:
    """The wallet pays all of it: what it lacks becomes debt, or is written off."""
    wallet = ask.account.wallet
    if ask.overdraft == "write_off" and amount > wallet.balance:
        written_off = amount - max(wallet.balance, 0)
        amount -= written_off
        draws = (*draws, Draw(source="absorbed", amount=written_off, reason="write_off"))
    return Funding(amount, wallet.plan_draw(amount) if amount else {}, draws)
