"""Included units: granted for a cycle, closed with it; and what overage came to."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

from domain.account.bucket import Bucket, ClosedBucket
from domain.facts import Fact

if TYPE_CHECKING:
    from domain.account.state import AccountState


class AllowanceGranted(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """Included units for one cycle (or for ever, or a window of days)."""

    bucket: str
    units: int
    cycle_id: str
    reset: str
    why: Literal["subscription", "cycle", "upgrade", "custom", "admin"]
    since: datetime | None = None  # start of a `days:N` window

    def apply(self, account: AccountState) -> None:
        opened = account.version + 1
        new = Bucket(self.units, 0, self.cycle_id, self.reset, since=self.since, opened=opened)
        account.open_window(self.bucket, new, self.recorded_at)


class CycleEnded(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """A cycle is over, and waits until ``closes_at`` for usage of it that is on its way; then it
    is closed. The next one runs meanwhile."""

    cycle_id: str
    period_start: datetime
    period_end: datetime
    closes_at: datetime
    stripe_subscription_id: str | None = None  # whom it will be billed to

    def apply(self, account: AccountState) -> None:
        stripe_id = self.stripe_subscription_id
        account.set_aside(account.tally(self.period_end, self.closes_at, stripe_id))


class AllowanceClosed(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """The included units of a cycle, or of a window of days, are settled; late usage may use what
    was left for a while."""

    bucket: str
    cycle_id: str
    granted: int
    used: int
    unused: int
    period_start: datetime
    period_end: datetime
    keep_days: int = 35

    def apply(self, account: AccountState) -> None:
        waits = account.waits_for(self.cycle_id)
        counted = waits.buckets if waits is not None else account.buckets
        of_days = counted[self.bucket].window is not None
        closed = ClosedBucket(
            self.bucket,
            self.cycle_id,
            self.period_start,
            self.period_end,
            self.unused,
            counted[self.bucket].opened,
            counted[self.bucket].gaps,
            account.version + 1 if of_days else 0,
        )
        account.close_bucket(closed, self.period_end - timedelta(days=self.keep_days))


class OverageSettled(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """A cycle's overage went to its statement; the next cycle starts from nothing."""

    bucket: str
    cycle_id: str
    units: int
    amount: int
    statement_id: str

    def apply(self, account: AccountState) -> None:
        name = self.bucket
        waits = account.waits_for(self.cycle_id)
        if waits is not None:
            account.amend_waiting(self.cycle_id, waits.settle_overage(name))
            return
        account.overage = {bucket: v for bucket, v in account.overage.items() if bucket != name}
        account.overage_shares = {
            key: share for key, share in account.overage_shares.items() if share.bucket != name
        }


class CompileOverflowEnabled(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """Compilation past the quota may be paid from the wallet."""

    by: str

    def apply(self, account: AccountState) -> None:
        account.overflow = True


class CompileOverflowDisabled(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """Compilation ends where the quota does."""

    by: str

    def apply(self, account: AccountState) -> None:
        account.overflow = False


class ApiFallbackSet(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """Whether a call that the user's own account rejects may be paid from the wallet."""

    enabled: bool

    def apply(self, account: AccountState) -> None:
        account.api_fallback = self.enabled


ALLOWANCE_FACTS: tuple[type[Fact], ...] = (
    AllowanceGranted,
    AllowanceClosed,
    CycleEnded,
    OverageSettled,
    CompileOverflowEnabled,
    CompileOverflowDisabled,
    ApiFallbackSet,
)
