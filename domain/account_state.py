"""What a credit account is: quantities that only its facts move, and what they answer."""

from __future__ import annotations

from domain.account_facts import Bucket, Draw, FreezeReason, SpendPolicySet
from domain.facts import Aggregate
from domain.wallet import Wallet


class AccountState(Aggregate, omit_defaults=True, gc=False):
    """Money and units of one workspace, as its facts left them."""

    workspace_id: str = ""
    currency: str = ""
    wallet: Wallet = Wallet()
    freezes: tuple[tuple[FreezeReason, str], ...] = ()
    policy: SpendPolicySet | None = None
    buckets: dict[str, Bucket] = {}
    overage: dict[str, tuple[int, int]] = {}  # bucket -> units, µ of this cycle
    reversed: dict[str, int] = {}  # payment -> µ; only payments that were reversed
    overflow: bool = False

    # What the state answers.

    @property
    def balance(self) -> int:
        """µ; negative is debt."""
        return self.wallet.balance

    @property
    def available(self) -> int:
        """µ that a call could spend now."""
        return self.wallet.balance

    @property
    def is_frozen(self) -> bool:
        """Whether any reason to be frozen stands."""
        return bool(self.freezes)

    @property
    def plan(self) -> str:
        """The plan in force, or "" before the first policy."""
        return self.policy.plan_id if self.policy else ""

    # How facts move quantities; used by their `apply` only.

    def take(self, draw: Draw) -> None:
        """Move units that a draw says out of their source."""
        if draw.source == "allowance":
            self._use(draw.bucket, draw.units)
        elif draw.source == "overage":
            self._accrue(draw.bucket, draw.units, draw.amount)

    def give_back(self, draw: Draw, cycle_id: str | None) -> None:
        """Undo the units of a draw while its cycle is still open (money returns as grants)."""
        bucket = self.buckets.get(draw.bucket or "")
        if bucket is None or bucket.cycle_id != cycle_id:
            return
        if draw.source == "allowance":
            self._use(draw.bucket, -draw.units)
        elif draw.source == "overage":
            self._accrue(draw.bucket, -draw.units, -draw.amount)

    def note_reversed(self, payment: str, amount: int) -> None:
        """Remember how much of a payment was taken back."""
        self.reversed = {**self.reversed, payment: self.reversed.get(payment, 0) + amount}

    def _use(self, name: str | None, units: int) -> None:
        assert name is not None
        bucket = self.buckets[name]
        used = max(bucket.used + units, 0)
        bucket = Bucket(bucket.granted, used, bucket.cycle_id, bucket.reset)
        self.buckets = {**self.buckets, name: bucket}

    def _accrue(self, name: str | None, units: int, amount: int) -> None:
        assert name is not None
        before = self.overage.get(name, (0, 0))
        self.overage = {**self.overage, name: (before[0] + units, before[1] + amount)}
