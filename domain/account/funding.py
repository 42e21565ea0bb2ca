"""Who pays for an act: the waterfall of sources, as one function over the account's state."""

from __future__ import annotations

from typing import NamedTuple

from domain.account.ask import Ask
from domain.account.usage_facts import Draw
from domain.account.wallet import Wallet
from domain.catalogue.catalogue import Catalogue
from domain.errors import OAuthRejected
from domain.money import round_half_even

LINKED = ("active", None)
"""States of an account that was not linked and then lost."""


class Funding(NamedTuple):
    """Who pays: the wallet its ``amount`` from ``grants``, and the other sources' draws."""

    amount: int = 0
    grants: dict[str, int] = {}
    draws: tuple[Draw, ...] = ()

    @property
    def all(self) -> tuple[Draw, ...]:
        """Every source's part, the wallet's last."""
        return (*self.draws, Draw(source="wallet", amount=self.amount, grants=self.grants))

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
        admit(ask, units, exact)
    if units or "allowance" in ask.waterfall:  # a call of no units asks no source for any
        return _split(ask, units, exact)
    if ask.wallet_allowed:
        return _wallet_pays(ask, total, ())
    lost = Draw(source="absorbed", amount=total, reason="quota_overrun")
    return Funding(draws=(lost,) if total else ())


def share(exact: tuple[int, int], part: int, units: int) -> int:
    """The price in µ of a part of an act's units, rounded once: the wallet's share of what an
    allowance did not cover."""
    return round_half_even(exact[0] * part, exact[1] * units)


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
                return _wallet_pays(ask, share(exact, left, units), tuple(draws))
        elif source == "overage" and left and (price := ask.overage_price()) is not None:
            waits, plan = ask.counts_in, ask.overage_plan()
            draws.append(
                Draw(
                    source="overage",
                    units=left,
                    amount=left * price,
                    bucket=ask.meter.bucket,
                    unit_price=price,
                    cycle_id=waits.cycle_id if waits else None,
                    plan_id=plan[0],
                    plan_version=plan[1],
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
    """Refuse a call past the user's own account that is linked no more, where the user wants no
    other. One that asks for a source has no other to fall back to.

    :raises OAuthRejected: falling back is switched off.
    """
    if not ask.account.api_fallback and ask.only is None and ask.oauth() not in LINKED:
        raise OAuthRejected(
            ("llm_model",),
            "the connected account takes no calls any more: link it again, or allow `api_fallback`",
            ask.wallet_allowed and ask.available > 0,
        )


def admit(ask: Ask, units: int, exact: tuple[int, int], linked: bool = False) -> str:
    """The entry rule: may a call of this size start now, and on which source first? ``exact`` is
    its price in µ before rounding; ``linked``: it has not run, and may run on the user's account.

    :raises PaymentRequired: no source admits it, or a hard budget is in the way.
    """
    source = _source(ask, units, exact, linked)
    if source is None:
        raise ask.refusal(units, _of_wallet(ask, units, exact))
    if ask.account.budgets:
        cost = _own_cost(ask, source, units, exact)
        if cost is not None:
            ask.check_budgets(cost)
    return source


def _own_cost(ask: Ask, source: str, units: int, exact: tuple[int, int]) -> int | None:
    """µ that a call takes out of the customer's own pocket; None where all of it is included."""
    if source == "oauth":
        return None
    if source == "wallet":
        return round_half_even(*exact)
    beyond = units - ask.remaining() if source == "allowance" else units
    if beyond <= 0:
        return None
    price = ask.overage_price()
    if price is not None:
        return beyond * price
    # An empty wallet pays for no remainder: that is absorbed, and costs nothing.
    return share(exact, beyond, units) if ask.wallet_allowed and ask.available > 0 else None


def _of_wallet(ask: Ask, units: int, exact: tuple[int, int]) -> int:
    """µ that the wallet has to have for a call of which every part must be covered: the price of
    what the allowance before it does not cover, as the settlement will round it."""
    if not units:
        return round_half_even(*exact)
    included = min(ask.remaining(), units) if "allowance" in ask.waterfall else 0
    return share(exact, units - included, units)


def _source(ask: Ask, units: int, exact: tuple[int, int], linked: bool) -> str | None:
    whole = ask.meter.entry_rule == "covers_estimate"
    for source in ask.waterfall:
        if source == "oauth":
            if linked:
                return source
            check_fallback(ask)
        elif source == "allowance":
            remaining = ask.remaining()
            if remaining > 0 and (not whole or remaining >= units or _wallet(ask, units, exact)):
                return source
        elif source.startswith("wallet"):
            if _wallet(ask, units, exact):
                return "wallet"
        elif source == "overage" and ask.overage_price() is not None:
            return source
    return None


def _wallet(ask: Ask, units: int, exact: tuple[int, int]) -> bool:
    """Whether the wallet admits its part of a call: with anything available at all, or with all
    of it where the estimate must be covered. With nothing available it never does."""
    if not ask.wallet_allowed or ask.available <= 0:
        return False
    whole = ask.meter.entry_rule == "covers_estimate"
    return not whole or ask.available >= _of_wallet(ask, units, exact)


def _wallet_pays(ask: Ask, amount: int, draws: tuple[Draw, ...]) -> Funding:
    """The wallet pays all of it: what it lacks becomes debt, or is written off."""
    wallet = ask.account.wallet
    amount, lost = beyond_balance(wallet, ask.catalogue, amount)
    return Funding(amount, wallet.plan_draw(amount) if amount else {}, (*draws, *lost))


def beyond_balance(
    wallet: Wallet, catalogue: Catalogue, amount: int
) -> tuple[int, tuple[Draw, ...]]:
    """(µ that the wallet pays, what is written off): where the catalogue knows no debt, nobody
    pays what the wallet lacks."""
    if catalogue.overdraft == "record" or amount <= wallet.balance:
        return amount, ()
    pays = max(wallet.balance, 0)
    return pays, (Draw(source="absorbed", amount=amount - pays, reason="write_off"),)
