"""Overage by who caused it: kept while a cycle runs, put on its statement when it closes.

Amounts are µ until the statement, where the cycle's total is rounded to minor units once and the
lines share it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
from msgspec.structs import replace

from domain.money import MINOR, round_half_even

SHARES_KEPT = 2_000
"""Bots and prices told apart within a cycle; what comes after them counts as other bots."""

LINES_MAX = 240
"""Lines of a statement: Stripe takes 250 items on an invoice, and the plan needs one."""


class Share(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What one bot used beyond the plan at one unit price, so far. ``merged``: of many bots."""

    bucket: str
    plan_id: str
    plan_version: int
    unit_price: int
    bot_id: str | None = None
    late: bool = False
    merged: bool = False
    units: int = 0
    amount: int = 0

    @property
    def key(self) -> str:
        """What it is told apart by; opaque."""
        bot = "*" if self.merged else "" if self.bot_id is None else f"={self.bot_id}"
        terms = f"{self.plan_id}:{self.plan_version}:{self.unit_price}:{int(self.late)}"
        return f"{self.bucket}:{terms}:{bot}"


class OverageLine(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A line of a closed cycle's statement: units at a unit price, µ, and minor units. The lines
    of a statement add up to its total in both. Negative is what voided acts give back."""

    bucket: str
    plan_id: str
    plan_version: int
    unit_price: int
    units: int
    amount: int
    amount_minor: int
    bot_id: str | None = None
    late: bool = False
    merged: bool = False


def accrued(shares: dict[str, Share], new: Share) -> dict[str, Share]:
    """The shares with another act's in them."""
    key = new.key
    if key not in shares and len(shares) >= SHARES_KEPT:
        new = replace(new, bot_id=None, merged=True)
        key = new.key
    before = shares.get(key)
    if before is not None:
        new = replace(before, units=before.units + new.units, amount=before.amount + new.amount)
    return {**shares, key: new}


def own_share(shares: dict[str, Share], share: Share) -> Share:
    """What is given back, as a part of the share that it was counted in: the plan may have changed
    since. Of a cycle that is settled there is none, and it stands for itself."""
    if share.units >= 0 or share.key in shares:
        return share
    for kept in shares.values():
        own = replace(share, plan_id=kept.plan_id, plan_version=kept.plan_version)
        if own.key == kept.key and kept.units >= -share.units:
            return own
    return share


def lines_of(shares: Iterable[Share], unit: int = MINOR) -> tuple[OverageLine, ...]:
    """A closed cycle's statement, largest line first within each price. ``unit``: µ in one minor
    unit of the currency."""
    kept = _fewer([share for share in shares if share.units or share.amount])
    kept.sort(key=_order)
    names = [share.bot_id or "" for share in kept]
    minor = apportion([share.amount for share in kept], names, unit)
    return tuple(
        OverageLine(
            share.bucket,
            share.plan_id,
            share.plan_version,
            share.unit_price,
            share.units,
            share.amount,
            part,
            share.bot_id,
            share.late,
            share.merged,
        )
        for share, part in zip(kept, minor, strict=True)
    )


def apportion(amounts: Sequence[int], names: Sequence[str], unit: int = MINOR) -> list[int]:
    """Round a sum of µ to minor units once, half-even, and share it by largest remainder: ties go
    to the larger amount, then to the smaller name. The parts add up to the rounded sum."""
    parts = [amount // unit for amount in amounts]
    left = round_half_even(sum(amounts), unit) - sum(parts)
    ranked = sorted(
        range(len(amounts)), key=lambda i: (-(amounts[i] % unit), -amounts[i], names[i], i)
    )
    for i in ranked[:left]:
        parts[i] += 1
    return parts


def _fewer(shares: list[Share]) -> list[Share]:
    """At most `LINES_MAX`: the smallest bots of each price become one line of other bots."""
    if len(shares) <= LINES_MAX:
        return shares
    groups = len({replace(share, bot_id=None, merged=True, units=0, amount=0) for share in shares})
    ranked = sorted(shares, key=lambda share: (share.merged, -abs(share.amount), share.key))
    room = max(LINES_MAX - groups, 0)
    merged: dict[str, Share] = {}
    for share in ranked[room:]:
        merged = accrued(merged, replace(share, bot_id=None, merged=True))
    return ranked[:room] + list(merged.values())


def _order(share: Share) -> tuple[str, int, int, bool, bool, int, str]:
    return (
        share.bucket,
        share.plan_version,
        share.unit_price,
        share.late,
        share.merged,
        -share.amount,
        share.bot_id or "",
    )
