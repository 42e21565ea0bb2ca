"""The arithmetic of Stripe's billing: cycle boundaries, and what a part of a period costs.

Amounts are minor units, instants and lengths are whole seconds (unix time), and everything is
integer. Sources: Stripe's pages on billing cycle anchors and on prorations ("down to the
second", each line rounded by itself).
"""

import calendar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

DAY_S = 86_400
WEEK_S = 7 * DAY_S


@dataclass(frozen=True, slots=True)
class Debit:
    """What was billed for one subscription item, and the time that it paid for."""

    amount: int
    start: int
    end: int


def boundary(anchor: int, interval: str, steps: int) -> int:
    """The instant `steps` intervals after the anchor; a missing day becomes the month's last.

    Always counted from the anchor itself: Jan 31, Feb 28, Mar 31. A clamped day is never
    carried on into the next month.
    """
    if interval == "day":
        return anchor + steps * DAY_S
    if interval == "week":
        return anchor + steps * WEEK_S
    start = datetime.fromtimestamp(anchor, UTC)
    months = start.year * 12 + start.month - 1 + steps * (12 if interval == "year" else 1)
    year, month = divmod(months, 12)
    day = min(start.day, calendar.monthrange(year, month + 1)[1])
    return int(start.replace(year=year, month=month + 1, day=day).timestamp())


def period_at(anchor: int, interval: str, count: int, at: int) -> tuple[int, int]:
    """The period (start, end) that holds the instant `at`; half open, so `at` may be its start."""
    steps = 0
    if at >= anchor:
        # A lower bound of the periods passed, so that old anchors need no long walk.
        longest_s = {"day": DAY_S, "week": WEEK_S, "month": 31 * DAY_S, "year": 366 * DAY_S}
        steps = (at - anchor) // (longest_s[interval] * count) * count
    while boundary(anchor, interval, steps + count) <= at:
        steps += count
    return boundary(anchor, interval, steps), boundary(anchor, interval, steps + count)


def share(amount: int, part_s: int, whole_s: int) -> int:
    """The part of an amount that belongs to a part of a period, rounded half away from zero."""
    if whole_s <= 0:
        return 0
    doubled = 2 * abs(amount) * part_s + whole_s
    rounded = doubled // (2 * whole_s)
    return rounded if amount >= 0 else -rounded


def unused(debit: Debit, at: int) -> int:
    """The credit for the time of a debit that is left at an instant: zero or less.

    Flexible billing mode credits from what was really debited, so an item that was never
    billed for this time (no debit) gives no credit, and a debit that was itself a proration
    is shared out over its own shorter time.
    """
    return -share(debit.amount, max(0, debit.end - at), debit.end - debit.start)


def remaining(amount: int, start: int, end: int, at: int) -> int:
    """The charge for a price from an instant to the end of its period (start, end)."""
    return share(amount, end - at, end - start)


def day_of(instant: int) -> str:
    """An instant as Stripe writes it in a line's description: `16 Jun 2026`."""
    when = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=instant)
    return f"{when.day:02d} {calendar.month_abbr[when.month]} {when.year}"
