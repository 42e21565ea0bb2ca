"""An act that wants to be paid for: what the account has for it, and why it may be refused."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from domain.account.bucket import Bucket, ClosedBucket
from domain.account.budget import left
from domain.account.credit_facts import SpendPolicySet
from domain.account.hold_facts import Hold, Labels
from domain.account.usage import Usage
from domain.account.waiting import WaitingCycle
from domain.catalogue.catalogue import Catalogue, Meter
from domain.errors import (
    AccountFrozen,
    BudgetExhausted,
    CreditsExhausted,
    EstimateNotCovered,
    InsufficientCredits,
    NoPaymentSource,
    OverflowNotCovered,
    PaymentRequired,
    QuotaExceeded,
)

if TYPE_CHECKING:
    from domain.account.state import AccountState


class Ask(msgspec.Struct, gc=False):
    """An act that wants to be paid for, and the rules that apply to it.

    ``waterfall`` and ``wallet_allowed`` follow from the rest: every charge asks for them several
    times, and none changes them.
    """

    account: AccountState
    meter_name: str
    meter: Meter
    policy: SpendPolicySet
    catalogue: Catalogue
    now: datetime
    occurred: datetime
    labels: Usage | Labels
    strict: bool = True
    hold: Hold | None = None  # the act settles it
    only: tuple[str, ...] | None = None  # the one source that was asked for
    waits: WaitingCycle | None = None  # the act's own cycle, over and not yet closed
    waterfall: tuple[str, ...] = ()  # the sources that the plan allows this meter, in order
    wallet_allowed: bool = False  # whether the wallet may pay for this meter at all, now

    def __post_init__(self) -> None:
        sources = self.policy.waterfalls.get(self.meter_name, ())
        if self.only is not None:
            sources = tuple(s for s in sources if s in self.only)
        self.waterfall = sources
        self.wallet_allowed = "wallet" in sources or (
            "wallet_if_overflow" in sources and self.account.overflow
        )

    @property
    def overflows(self) -> bool:
        """Whether all that the wallet pays for this meter is beyond a quota."""
        return "wallet_if_overflow" in self.waterfall

    @property
    def available(self) -> int:
        """µ of the wallet, with what the act's own hold set aside."""
        return self.account.available_to(self.hold)

    def closed_cycle(self) -> ClosedBucket | None:
        """The closed cycle, or window of days, that late usage belongs to."""
        bucket = self.meter.bucket
        for closed in self.account.closed:
            if closed.bucket == bucket and closed.period_start <= self.occurred < closed.period_end:
                return closed
        return None

    @property
    def late(self) -> bool:
        """Whether the act's cycle, or its window of days, was closed before it was reported."""
        occurred = self.occurred
        if occurred is self.now:
            return False
        if self._is_before_window() and self.closed_cycle() is not None:
            return True
        if self.waits is not None or occurred >= self.policy.period_start:
            return False
        opened = self.account.opened_at
        return opened is not None and opened <= occurred

    def _is_before_window(self) -> bool:
        """Whether the window of days that counts now began after the act."""
        bucket = self.account.buckets.get(self.meter.bucket or "")
        if bucket is None or bucket.since is None or bucket.window is None:
            return False
        return self.occurred < bucket.since

    @property
    def counts_in(self) -> WaitingCycle | None:
        """The cycle that waits and counts the act's units, if it is not the one that runs."""
        waits = self.waits
        return waits if waits is not None and self.meter.bucket in waits.buckets else None

    @property
    def drawn_cycle(self) -> str | None:
        """The cycle whose included units the act may use; None: those of the one that runs."""
        waits = self.counts_in
        if waits is not None:
            return waits.cycle_id
        if not self.late:
            return None
        found = self._own()
        return found.cycle_id if found else None

    @property
    def reported_in(self) -> str:
        """The cycle whose usage the act is: late, that of its own units; the one that runs where
        days counted them, for those are no cycle."""
        own = self._own() if self.late else None
        return self.policy.cycle_id if own is None or own.of_days else own.cycle_id

    def _own(self) -> ClosedBucket | Bucket | None:
        """What counts the units of late usage, if it is not what counts now."""
        return self.closed_cycle() or self._aside()

    def _aside(self) -> Bucket | None:
        """Units that late usage is from and that other terms have taken the place of: those of
        its window of days; or of a lifetime, where terms that count in cycles came later. They
        are set aside, and are the customer's still."""
        name = self.meter.bucket or ""
        running, aside = self.account.buckets.get(name), self.account.other_windows.get(name, ())
        of_days = next((window for window in aside if window.covers(self.occurred)), None)
        if of_days is not None or running is None or running.reset != "cycle":
            return of_days
        return next((window for window in aside if window.reset == "never"), None)

    def remaining(self) -> int:
        """Included units that are left for the act, with those its own hold set aside."""
        bucket = self.account.buckets.get(self.meter.bucket or "")
        own = self.hold.units if self.hold and self.hold.bucket == self.meter.bucket else 0
        waits = self.counts_in
        if waits is not None:
            left = waits.remaining(self.meter.bucket or "", self.account.holds.values())
            return max(left + own, 0)
        if self.late:
            closed = self.closed_cycle()
            if closed is not None:
                return closed.unused
            aside = self._aside()
            if aside is not None:
                return aside.remaining
            if (bucket is not None and bucket.reset == "cycle") or self._is_before_window():
                return 0
        return max(bucket.granted - bucket.used - bucket.held + own, 0) if bucket else 0

    def overage_price(self) -> int | None:
        """µ a unit, as it was when the call ran, if the customer had agreed to it; else None.

        Nothing that was consumed while it was off can ever be billed: for a settled hold what
        counts is when it was placed, otherwise both the act's own moment and now (L6).
        """
        if "overage" not in self.waterfall:
            return None
        bucket = self.meter.bucket or ""
        price = self.account.overage_price_at(bucket, self.occurred)
        if self.hold is None:
            running = self._running
            # A plan without overage asks nobody: then what the act's own cycle ended with counts.
            asks = bucket in running.overage_unit_price
            agreed = running.overage_enabled if asks else self.policy.overage_enabled
            return price if agreed else None
        if not self.hold.overage_on:
            return None
        # It may have been switched off while the call ran.
        return self.hold.unit_price if price is None else price

    def overage_plan(self) -> tuple[str | None, int]:
        """The plan version that says what a unit beyond it costs; (None, 0): the one in force."""
        account, at, bucket = self.account, self.occurred, self.meter.bucket or ""
        if self.hold is not None and account.overage_price_at(bucket, at) is None:
            at = self.hold.placed_at  # as it was agreed to then
        plan, running = account.plan_at(at), self._running
        if plan is None or plan == (running.plan_id, running.plan_version):
            return None, 0
        return plan

    def oauth(self) -> str | None:
        """The state of the user's own account at the provider of this model, if it serves it."""
        if "oauth" not in self.waterfall:
            return None
        model = self.labels.llm_model
        for provider, terms in self.catalogue.oauth_providers.items():
            if model in terms.models and provider in self.policy.oauth:
                return self.policy.oauth[provider]
        return None

    @property
    def _running(self) -> SpendPolicySet:
        """What is allowed now, whichever cycle the act counts in."""
        return self.account.policy or self.policy

    def frozen(self) -> PaymentRequired:
        """The refusal of a frozen account."""
        return self._refusal(AccountFrozen)

    def refusal(self, units: int, needed: int) -> PaymentRequired:
        """Why nothing pays, with what would help. ``needed``: µ that the wallet would have to
        have where a meter's estimate must be covered.

        A quota that is too small is what stands in the way only while nothing else may pay for
        the rest. With overflow on it is money that is missing, and so the answer is
        `insufficient_credits`, with how much: also where `needs_credits` is false, because that
        says (spec F30) that nothing at all is available, and here something is.
        """
        sources = self.waterfall
        if self.only is not None:
            return self._refusal(NoPaymentSource)
        whole = self.meter.entry_rule == "covers_estimate"
        if whole and "allowance" in sources:
            asked = {"tokens_remaining": self.remaining(), "tokens_requested": units}
            if not self.wallet_allowed:
                return self._refusal(QuotaExceeded, **asked)
            return self._refusal(OverflowNotCovered, needed_micros=needed, **asked)
        if "overage" in sources or sources == ("allowance",):
            return self._refusal(CreditsExhausted)
        if "allowance" in sources or not self.wallet_allowed:
            return self._refusal(NoPaymentSource)
        if whole:
            return self._refusal(EstimateNotCovered, needed_micros=needed)
        return self._refusal(InsufficientCredits)

    def check_budgets(self, cost: int) -> None:
        """Refuse a call that a hard budget does not leave room for.

        :raises BudgetExhausted: with the budget, its limit and what is left of it in µ.
        """
        account = self.account
        for budget in account.budgets.values():
            if not budget.hard or not budget.covers(self.labels):
                continue
            room = left(budget, account.holds.values(), self.now, self._running.cycle_id)
            if room <= 0 or cost > room:
                raise self._refusal(
                    BudgetExhausted,
                    budget_id=budget.budget_id,
                    limit_micros=budget.limit,
                    left_micros=room,
                )

    def _refusal(self, kind: type[PaymentRequired], **facts: Any) -> PaymentRequired:
        account, policy = self.account, self._running
        bucket = account.buckets.get(self.meter.bucket or "")
        frozen = account.is_frozen
        return kind(
            plan=account.plan,
            balance=account.balance,
            available=account.available,
            is_frozen=frozen,
            needs_oauth=not frozen
            and "oauth" in policy.waterfalls.get(self.meter_name, ())
            and "active" not in policy.oauth.values()
            and (self.only is None or "oauth" in self.only),
            needs_credits=not frozen and self.wallet_allowed and account.available <= 0,
            resets_at=bucket.resets_at(policy.period_end) if bucket is not None else None,
            # A plan without a price has no such source in any waterfall.
            overage_available="overage" in policy.waterfalls.get(self.meter_name, ())
            and not policy.overage_enabled,
            stream_version=account.version,
            policy_version=policy.policy_version,
            sources=self.looked_at(),
            meter=self.meter_name,
            rule=self._rule(kind),
            at=self.now,
            **facts,
        )

    def _rule(self, kind: type[PaymentRequired]) -> str:
        if kind is AccountFrozen:
            return "frozen"
        if kind is BudgetExhausted:
            return "hard_budget"
        return self.meter.entry_rule if self.only is None else "billing_source"

    def looked_at(self) -> tuple[tuple[str, int], ...]:
        """Every source of the waterfall with what it had: µ, units, or 1 for a link."""
        had: list[tuple[str, int]] = []
        for source in self.waterfall:
            if source == "oauth":
                had.append((source, int(self.oauth() == "active")))
            elif source == "allowance":
                had.append((source, self.remaining()))
            elif source == "overage":
                had.append((source, self.overage_price() or 0))
            else:
                had.append((source, self.available if self.wallet_allowed else 0))
        return tuple(had)
