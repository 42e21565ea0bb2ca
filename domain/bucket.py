"""Included units: those of the cycle that runs, and what closed cycles left over."""

from __future__ import annotations

from datetime import datetime

import msgspec


class Bucket(msgspec.Struct, frozen=True, gc=False):
    """Included units of one cycle."""

    granted: int
    used: int
    cycle_id: str
    reset: str
    held: int = 0
    since: datetime | None = None
    opened: int = 0  # the version that began this count of use

    @property
    def remaining(self) -> int:
        """Units that are left and not set aside; never negative."""
        return max(self.granted - self.used - self.held, 0)


class ClosedBucket(msgspec.Struct, frozen=True, gc=False):
    """What a closed cycle left over: for usage that is reported late."""

    bucket: str
    cycle_id: str
    period_start: datetime
    period_end: datetime
    unused: int
    opened: int = 0
