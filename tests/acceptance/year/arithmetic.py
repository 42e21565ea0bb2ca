"""The specification's sums, written a second time: exact fractions, and no code of the ledger's."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from fractions import Fraction
from math import floor

MINOR = 10_000  # µ in a cent
SECOND = timedelta(seconds=1)


def half_even(exact: Fraction) -> int:
    """The nearest integer; of two equally near ones the even one (spec 3.3, 3.4)."""
    down = floor(exact)
    left = exact - down
    if left == Fraction(1, 2):
        return down + down % 2
    return down + (left > Fraction(1, 2))


def half_away(exact: Fraction) -> int:
    """The nearest integer; of two equally near ones the one farther from zero: Stripe's."""
    size = floor(abs(exact) + Fraction(1, 2))
    return size if exact >= 0 else -size


def months_after(anchor: datetime, count: int) -> datetime:
    """The same day and time of a later month, or its last day where it has no such day."""
    month = anchor.month - 1 + count
    year, month = anchor.year + month // 12, month % 12 + 1
    for day in range(anchor.day, 0, -1):
        try:
            return anchor.replace(year=year, month=month, day=day)
        except ValueError:
            continue
    raise AssertionError(anchor)


def part_of(amount: int, start: datetime, end: datetime, at: datetime) -> int:
    """What the rest of a period after an instant is worth, in cents."""
    at_second = datetime.fromtimestamp(int(at.timestamp()), at.tzinfo)
    left, whole = (end - at_second) // SECOND, (end - start) // SECOND
    return half_away(Fraction(amount * max(left, 0), whole)) if whole > 0 else 0


def shares_of(amounts: Sequence[int], names: Sequence[str]) -> list[int]:
    """µ as cents: the sum is rounded once, and what is missing goes to the largest remainders;
    ties to the larger amount, then by name (spec 3.4)."""
    total = half_even(Fraction(sum(amounts), MINOR))
    parts = [floor(Fraction(amount, MINOR)) for amount in amounts]
    order = sorted(
        range(len(amounts)),
        key=lambda i: (parts[i] * MINOR - amounts[i], -amounts[i], names[i]),
    )
    for i in order[: total - sum(parts)]:
        parts[i] += 1
    return parts


def credits_of(tokens: dict[str, int]) -> int:
    """FlareX's credits for a call: a thousand tokens each, begun ones count, one at least."""
    total = tokens.get("input", 0) + tokens.get("output", 0)
    return max(-(-total // 1_000), 1)


def cost_of(tokens: dict[str, int], price: Sequence[int], markup_bps: int) -> Fraction:
    """µ of a call, exactly. ``price``: µ for a million input, cached and output tokens."""
    cached = tokens.get("cached_input", 0)
    fresh, output = tokens.get("input", 0) - cached, tokens.get("output", 0)
    provider = Fraction(fresh * price[0] + cached * price[1] + output * price[2], 10**6)
    return provider * (10_000 + markup_bps) / 10_000
