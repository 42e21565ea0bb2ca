"""The books that the machine of money keeps for itself, made from events alone: how far the
balance is from covering what was let run, and what the card is being charged for."""

from __future__ import annotations

from collections import Counter

from domain.account.credit_facts import (
    AccountFrozen,
    AccountUnfrozen,
    CreditsExpired,
    CreditsReversed,
)
from domain.account.hold_facts import HoldExpired, HoldPlaced, HoldReleased
from domain.account.topup_facts import (
    AutoTopUpConfigured,
    AutoTopUpResolved,
    AutoTopUpResumed,
    AutoTopUpSuspended,
    AutoTopUpTriggered,
    Suspension,
)
from domain.account.usage_facts import Debited, UsageRecorded
from domain.facts import Fact


class DebtBook:
    """L4, step by step. ``uncovered``: µ that the balance lacks for what open holds were estimated
    to need, debt included. It may come to ``call``, the most that one call was let run without
    (its actual cost or its estimate, less what it held), and to ``beyond``: what nobody could
    refuse (facts that were recorded, refunds, credits that expired) or foresee (a call that cost
    more than its estimate). Once all is covered, both begin at nothing: so no two calls that are
    let run one after the other ever add up.
    """

    def __init__(self) -> None:
        self.balance = 0
        self.open: dict[str, tuple[int, int]] = {}  # hold -> what it has, and what it lacks
        self.call = 0
        self.beyond = 0

    @property
    def uncovered(self) -> int:
        """µ; 0 or less while the balance covers everything."""
        return sum(amount + short for amount, short in self.open.values()) - self.balance

    def enter(self, fact: Fact) -> None:
        """Enter one event."""
        match fact:
            case HoldPlaced():
                self.open[fact.hold_id] = (fact.amount, fact.short)
                self.call = max(self.call, fact.short)
            case HoldReleased() | HoldExpired():
                del self.open[fact.hold_id]
            case UsageRecorded():
                self.open.pop(fact.usage.hold_id or "", None)
            case Debited():
                self._debit(fact)
            case CreditsReversed() | CreditsExpired():
                self.beyond += fact.amount
            case _:
                pass
        if (move := fact.wallet_move()) is not None:
            self.balance += move[0]
        if self.uncovered <= 0:
            self.call = self.beyond = 0

    def _debit(self, fact: Debited) -> None:
        usage = fact.usage
        held = self.open.pop(usage.hold_id or "", None) if usage is not None else None
        if usage is not None and held is not None:
            amount, short = held
            self.call = max(self.call, min(fact.amount, amount + short) - amount)
            self.beyond += max(fact.amount - amount - short, 0)
        elif usage is not None and usage.mode == "strict":
            self.call = max(self.call, fact.amount)
        else:
            self.beyond += fact.amount


class TopUpBook:
    """L7: which automatic charge is in flight, and whether another one may be asked for."""

    def __init__(self) -> None:
        self.enabled = False
        self.cap: int | None = None
        self.in_flight: str | None = None
        self.suspended: Suspension | None = None
        self.waits = False  # the last one failed: the next debit asks again
        self.balance = 0
        self.freezes: Counter[tuple[str, str]] = Counter()
        self.asked: Counter[str] = Counter()  # µ by month, without what failed
        self.charges: dict[str, AutoTopUpTriggered] = {}
        self.failed: set[str] = set()

    def enter(self, fact: Fact) -> None:
        """Enter one event."""
        match fact:
            case AutoTopUpConfigured():
                self.enabled, self.cap, self.suspended = fact.enabled, fact.monthly_cap, None
                self.waits = False
            case AutoTopUpTriggered():
                self._trigger(fact)
            case AutoTopUpResolved():
                self._resolve(fact)
            case AutoTopUpSuspended():
                assert self.suspended != fact.reason
                self.suspended = fact.reason
            case AutoTopUpResumed():
                assert self.suspended is not None
                self.suspended = None
            case AccountFrozen():
                self.freezes[fact.reason, fact.ref] += 1
            case AccountUnfrozen():
                del self.freezes[fact.reason, fact.ref]
            case _:
                pass
        if (move := fact.wallet_move()) is not None:
            self.balance += move[0]
            self.waits = self.waits and not move[0]

    def _trigger(self, fact: AutoTopUpTriggered) -> None:
        assert self.in_flight is None, "L7: one is in flight"
        assert self.enabled
        assert self.suspended is None
        assert not self.freezes
        assert fact.balance == self.balance < fact.threshold
        assert fact.payment_attempt_id not in self.charges
        self.asked[fact.month] += fact.amount
        assert self.cap is None or self.asked[fact.month] <= self.cap
        self.charges[fact.payment_attempt_id] = fact
        self.in_flight = fact.payment_attempt_id

    def _resolve(self, fact: AutoTopUpResolved) -> None:
        charge = self.charges[fact.payment_attempt_id]
        if fact.outcome == "failed":
            assert self.in_flight == fact.payment_attempt_id
            assert fact.payment_attempt_id not in self.failed
            self.failed.add(fact.payment_attempt_id)
            self.asked[charge.month] -= charge.amount
            self.waits = True
        elif fact.payment_attempt_id in self.failed:
            self.failed.remove(fact.payment_attempt_id)
            self.asked[fact.month] += charge.amount
        if self.in_flight == fact.payment_attempt_id:
            self.in_flight = None
