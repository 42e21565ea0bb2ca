"""Who pays for an act: the waterfall of sources, as one function over the account's state."""

from __future__ import annotations

from typing import NamedTuple

from domain.account_facts import Draw
from domain.ask import Ask
from domain.errors import OAuthRejected
from domain.money import round_half_even


class Funding(NamedTuple):
    """Who pays: the wallet its ``amount`` from ``grants``, and the other sources' draws."""

    amount: int = 0
    grants: dict[str, int] = {}
    draws: tuple[Draw, ...] = ()

    @property
    def overflows(self) -> bool:
        """Whether the wallet pays for what an allowance did not cover."""
        return bool(self.draws) and self.draws[0].source == "allowance"


def fund(ask: Ask, units: int, total: int, exact: tuple[int, int], oauth: bool) -> Funding:
    """Split an act over its sources (spec 2.1).

    ``total`` is the rated price in µ and ``exact`` the same before rounding, so that a part of
    it is rounded once too. ``units`` is 0 for a meter without a bucket. ``oauth`` says that
    the call went through the user's own account.

    :raises PaymentRequired: a strict act without a hold that no source admits.
    """
    if oauth:
        return Funding(
            draws=(Draw(source="oauth", units=units, amount=total, bucket=ask.meter.bucket),)
        )
    if ask.strict and ask.hold is None and not (units and ask.late):
        # What is reported after its cycle was closed has been consumed, and asks for nothing:
        # what its own cycle cannot pay for is absorbed (spec 4, late usage).
        admit(ask, units, total)
    if units:
        return _split(ask, units, exact)
    if ask.wallet_allowed:
        return _wallet_pays(ask, total, ())
    lost = Draw(source="absorbed", amount=total, reason="quota_overrun")
    return Funding(draws=(lost,) if total else ())


def _split(ask: Ask, units: int, exact: tuple[int, int]) -> Funding:
    draws: list[Draw] = []
    left = units
    own_money = ask.hold is not None and ask.hold.amount > 0
    for source in _from_route(ask):
        if source == "allowance" and left and (take := min(left, ask.remaining())):
            left -= take
            draws.append(
                Draw(
                    source="allowance",
                    units=take,
                    bucket=ask.meter.bucket,
                    remaining_after=ask.remaining() - take,
                    cycle_id=ask.drawn_cycle,
                )
            )
        elif source.startswith("wallet") and left and ask.wallet_allowed:
            first = ask.waterfall[0] == source and not ask.strict
            if ask.available > 0 or own_money or first:
                share = round_half_even(exact[0] * left, exact[1] * units)
                return _wallet_pays(ask, share, tuple(draws))
        elif source == "overage" and left and (price := ask.overage_price()) is not None:
            waits = ask.counts_in
            draws.append(
                Draw(
                    source="overage",
                    units=left,
                    amount=left * price,
                    bucket=ask.meter.bucket,
                    unit_price=price,
                    cycle_id=waits.cycle_id if waits else None,
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


def _from_route(ask: Ask) -> tuple[str, ...]:
    """The waterfall from the source that a hold was placed on. Overage never comes before
    units that are included after all, as when another call gave its own back (L3)."""
    sources = ask.waterfall
    if ask.hold is None:
        return sources
    for index, source in enumerate(sources):
        if source.startswith(ask.hold.route):
            included = source == "overage" and "allowance" in sources
            return ("allowance",) * included + sources[index:]
    return sources


def check_fallback(ask: Ask) -> None:
    """Refuse a call past the user's own account that was revoked, where the user wants no other.

    :raises OAuthRejected: falling back is switched off.
    """
    if not ask.account.api_fallback and ask.oauth() == "revoked":
        raise OAuthRejected(
            ("llm_model",),
            "the connected account no longer takes calls: link it again",
            ask.wallet_allowed and ask.available > 0,
        )


def admit(ask: Ask, units: int, total: int) -> str:
    """The entry rule: may a call of this size start now, and on which source first?

    :raises PaymentRequired: no source admits it, or a hard budget is in the way.
    """
    source = _source(ask, units, total)
    if source is None:
        raise ask.refusal(units)
    if ask.account.budgets:
        cost = _own_cost(ask, source, units, total)
        if cost is not None:
            ask.check_budgets(cost)
    return source


def _own_cost(ask: Ask, source: str, units: int, total: int) -> int | None:
    """µ that a call takes out of the customer's own pocket; None where all of it is included."""
    if source == "wallet":
        return total
    beyond = units - ask.remaining() if source == "allowance" else units
    if beyond <= 0:
        return None
    price = ask.overage_price()
    if price is not None:
        return beyond * price
    return round_half_even(total * beyond, units) if ask.wallet_allowed else None


def _source(ask: Ask, units: int, total: int) -> str | None:
    whole = ask.meter.entry_rule == "covers_estimate"
    for source in ask.waterfall:
        if source == "allowance":
            remaining = ask.remaining()
            covered = remaining >= units or (ask.wallet_allowed and ask.available > 0)
            if remaining > 0 and (covered or not whole):
                return source
        elif source.startswith("wallet"):
            needed = total if whole and not units else 1
            if ask.wallet_allowed and ask.available >= max(needed, 1):
                return "wallet"
        elif source == "overage" and ask.overage_price() is not None:
            return source
    return None


def _wallet_pays(ask: Ask, amount: int, draws: tuple[Draw, ...]) -> Funding:
    """The wallet pays all of it: what it lacks becomes debt, or is written off."""
    wallet = ask.account.wallet
    if ask.catalogue.overdraft == "write_off" and amount > wallet.balance:
        written_off = amount - max(wallet.balance, 0)
        amount -= written_off
        draws = (*draws, Draw(source="absorbed", amount=written_off, reason="write_off"))
    return Funding(amount, wallet.plan_draw(amount) if amount else {}, draws)
