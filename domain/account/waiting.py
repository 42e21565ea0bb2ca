"""A cycle that is over and not yet closed: it waits a while for usage that is on its way."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import msgspec
from msgspec.structs import replace

from domain.account.bucket import Bucket
from domain.account.credit_facts import SpendPolicySet
from domain.account.hold_facts import Hold
from domain.account.overage import Share, accrued


class WaitingCycle(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What a cycle counted, and what it allowed: [period_start, period_end), UTC.

    Until ``closes_at`` whatever was consumed in it and is reported still counts in it, as if it
    ran; the cycle after it has begun nevertheless. ``stripe_id`` is the subscription that its
    overage will be billed to."""

    policy: SpendPolicySet
    period_end: datetime
    closes_at: datetime
    buckets: dict[str, Bucket] = {}
    overage: dict[str, tuple[int, int]] = {}  # bucket -> units, µ
    shares: dict[str, Share] = {}
    stripe_id: str | None = None

    @property
    def cycle_id(self) -> str:
        """Which cycle it is."""
        return self.policy.cycle_id

    def covers(self, moment: datetime) -> bool:
        """Whether an instant lies in it."""
        return self.policy.period_start <= moment < self.period_end

    def remaining(self, bucket: str, holds: Iterable[Hold]) -> int:
        """Included units that are left; what calls of this cycle set aside is theirs."""
        found = self.buckets[bucket]
        held = sum(h.units for h in holds if h.bucket == bucket and h.placed_at < self.period_end)
        return found.granted - found.used - held

    def use(self, bucket: str, units: int) -> WaitingCycle:
        """With more included units used; fewer, if negative."""
        found = self.buckets[bucket]
        found = replace(found, used=max(found.used + units, 0))
        return replace(self, buckets={**self.buckets, bucket: found})

    def accrue(self, share: Share) -> WaitingCycle:
        """With more overage; less, if negative."""
        units, amount = self.overage.get(share.bucket, (0, 0))
        overage = {**self.overage, share.bucket: (units + share.units, amount + share.amount)}
        return replace(self, overage=overage, shares=accrued(self.shares, share))

    def settle_overage(self, bucket: str) -> WaitingCycle:
        """Without the overage of a bucket: it stands on the statement."""
        return replace(
            self,
            overage={name: v for name, v in self.overage.items() if name != bucket},
            shares={key: share for key, share in self.shares.items() if share.bucket != bucket},
        )

    def settle_bucket(self, bucket: str) -> WaitingCycle | None:
        """Without a bucket; None after the last one: nothing waits any more."""
        rest = {name: found for name, found in self.buckets.items() if name != bucket}
        return replace(self, buckets=rest) if rest else None
