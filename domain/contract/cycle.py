"""Cycle boundaries: months counted from the original anchor, the day clamped to the month."""

from __future__ import annotations

from calendar import monthrange
from datetime import datetime


def boundary(anchor: datetime, n: int) -> datetime:
    """The n-th boundary after ``anchor``: Jan 31 10:00 -> Feb 28 10:00 -> Mar 31 10:00."""
    years, month = divmod(anchor.month - 1 + n, 12)
    year, month = anchor.year + years, month + 1
    return anchor.replace(year=year, month=month, day=min(anchor.day, monthrange(year, month)[1]))


def boundary_after(anchor: datetime, moment: datetime) -> datetime:
    """The first boundary after an instant that is not before the anchor."""
    n = 12 * (moment.year - anchor.year) + moment.month - anchor.month
    found = boundary(anchor, n)
    return found if found > moment else boundary(anchor, n + 1)
