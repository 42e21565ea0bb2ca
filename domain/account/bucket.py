"""Included units: those of the cycle that runs, and what closed cycles left over."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

DAYS = "days:"


class Bucket(msgspec.Struct, frozen=True, gc=False):
    """Included units of one window: a cycle, some days, or a lifetime. One that another plan's
    terms have taken the place of is set aside, and goes on where it was when they come back."""

    granted: int
    used: int
    cycle_id: str
    reset: str
    held: int = 0
    since: datetime | None = None
    opened: int = 0  # the version that began this count of use
    left: int | None = None  # the version that set it aside,
    left_at: datetime | None = None  # and when
    gaps: tuple[tuple[int, int], ...] = ()  # versions between which it was set aside before

    def counts(self, version: int) -> bool:
        """Whether an act of the account's that has this version was counted here."""
        if version < self.opened or (self.left is not None and version >= self.left):
            return False
        return not any(left <= version < back for left, back in self.gaps)

    def start_at(self, now: datetime) -> datetime | None:
        """When the window of days that runs ``now`` began; None without such windows. They roll
        from the first grant on, whether anybody looked at them or not."""
        if self.since is None or self.window is None:
            return None
        return self.since + max((now - self.since) // self.window, 0) * self.window

    @property
    def window(self) -> timedelta | None:
        """How long a window of days is; None where units are counted otherwise."""
        if not self.reset.startswith(DAYS):
            return None
        return timedelta(days=int(self.reset.removeprefix(DAYS)))

    def covers(self, moment: datetime) -> bool:
        """Whether an instant lies in this window of days, until it was set aside."""
        if self.since is None or self.window is None:
            return False
        return self.since <= moment < (self.left_at or self.since + self.window)

    @property
    def of_days(self) -> bool:
        """Whether a window of days counts here, and not a cycle or a lifetime."""
        return self.window is not None

    def resets_at(self, period_end: datetime | None) -> datetime | None:
        """When units are granted anew, in a cycle that ends at ``period_end``; None for never."""
        if self.reset == "cycle":
            return period_end
        return self.since + self.window if self.since and self.window else None

    @property
    def remaining(self) -> int:
        """Units that are left and not set aside; never negative."""
        return max(self.granted - self.used - self.held, 0)


class ClosedBucket(msgspec.Struct, frozen=True, gc=False):
    """What a closed cycle, or window of days, left over: for usage that is reported late."""

    bucket: str
    cycle_id: str
    period_start: datetime
    period_end: datetime
    unused: int
    opened: int = 0
    gaps: tuple[tuple[int, int], ...] = ()  # versions between which other terms counted
    until: int = 0  # the version that closed a window of days; 0 for a cycle

    @property
    def of_days(self) -> bool:
        """Whether a window of days was counted here, and not a cycle."""
        return bool(self.until)

    def counts(self, version: int) -> bool:
        """Whether an act of the account's that has this version was counted here."""
        if self.until and version >= self.until:
            return False
        return self.opened < version and not any(left <= version < back for left, back in self.gaps)
