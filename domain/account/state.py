"""What a credit account is: quantities that only its facts move, and what they answer."""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from domain.account.bucket import Bucket, ClosedBucket
from domain.account.budget import Budget
from domain.account.credit_facts import FreezeReason, SpendPolicySet
from domain.account.hold_facts import Hold
from domain.account.overage import Share, accrued, own_share
from domain.account.taken import Taken
from domain.account.terms import in_force, kept
from domain.account.topup_facts import AutoTopUp
from domain.account.usage_facts import Draw
from domain.account.waiting import WaitingCycle
from domain.account.wallet import Wallet
from domain.facts import Aggregate


class AccountState(Aggregate, omit_defaults=True, gc=False):
    """Money and units of one workspace, as its facts left them."""

    workspace_id: str = ""
    currency: str = ""
    wallet: Wallet = Wallet()
    freezes: tuple[tuple[FreezeReason, str], ...] = ()
    policy: SpendPolicySet | None = None
    buckets: dict[str, Bucket] = {}
    other_windows: dict[str, tuple[Bucket, ...]] = {}  # of other terms, one of each at most
    overage: dict[str, tuple[int, int]] = {}  # bucket -> units, µ of this cycle
    overage_shares: dict[str, Share] = {}  # the same by bot and price, for its statement
    reversed: dict[str, int] = {}  # payment -> µ; only payments that were reversed
    taken: dict[str, Taken] = {}  # payment -> the grants that its reversals took from
    overflow: bool = False
    api_fallback: bool = True
    unrated: tuple[int, ...] = ()  # versions of acts that no price book could price yet
    opened_at: datetime | None = None  # when the first policy came into force
    closed: tuple[ClosedBucket, ...] = ()  # cycles whose units late usage may still use
    waiting: tuple[WaitingCycle, ...] = ()  # cycles that are over and wait for stragglers
    # Since when a unit beyond the plan costs how many µ, by bucket; empty while overage is off.
    overage_switch: tuple[tuple[datetime, dict[str, int]], ...] = ()
    plans: tuple[tuple[datetime, str, int], ...] = ()  # since when which version was in force
    holds: dict[str, Hold] = {}
    reserved: int = 0  # µ of the wallet in holds
    short: int = 0  # µ that they were estimated to need beside, and did not find
    next_hold_expiry: datetime | None = None
    budgets: dict[str, Budget] = {}
    auto_topup: AutoTopUp | None = None  # None: never asked for

    # What the state answers.

    @property
    def balance(self) -> int:
        """µ; negative is debt."""
        return self.wallet.balance

    @property
    def held(self) -> int:
        """µ that calls under way have set aside. What becomes free goes first to those that
        found less than they may need: so no more than one call's want is ever uncovered (L4)."""
        return self._held(self.reserved, self.short)

    @property
    def available(self) -> int:
        """µ that a call could spend now."""
        return self.wallet.balance - self.held

    def available_to(self, hold: Hold | None) -> int:
        """µ that a call could spend now, with what its own hold set aside."""
        if hold is None:
            return self.available
        return self.balance - self._held(self.reserved - hold.amount, self.short - hold.short)

    def _held(self, reserved: int, short: int) -> int:
        return min(reserved + short, max(reserved, self.wallet.balance))

    @property
    def is_frozen(self) -> bool:
        """Whether any reason to be frozen stands."""
        return bool(self.freezes)

    @property
    def plan(self) -> str:
        """The plan in force, or "" before the first policy."""
        return self.policy.plan_id if self.policy else ""

    def is_over(self, moment: datetime) -> bool:
        """Whether a cycle has to be closed, or the next one opened, before anything is decided."""
        if self.policy is not None and moment >= self.policy.period_end:
            return True
        return any(moment >= waits.closes_at for waits in self.waiting)

    def waits_at(self, moment: datetime) -> WaitingCycle | None:
        """The cycle around an instant that is over and still waits for its usage."""
        return next((waits for waits in self.waiting if waits.covers(moment)), None)

    def waits_for(self, cycle_id: str | None) -> WaitingCycle | None:
        """The cycle of an id, if it is over and still waits for its usage."""
        return next((waits for waits in self.waiting if waits.cycle_id == cycle_id), None)

    def tally(
        self, period_end: datetime, closes_at: datetime, stripe_id: str | None
    ) -> WaitingCycle:
        """What the cycle that runs has counted, as one that ends at an instant."""
        assert self.policy is not None
        cycle_id = self.policy.cycle_id
        return WaitingCycle(
            self.policy,
            period_end,
            closes_at,
            {n: b for n, b in self.buckets.items() if (b.reset, b.cycle_id) == ("cycle", cycle_id)},
            self.overage,
            self.overage_shares,
            stripe_id,
        )

    def window(self, name: str, reset: str) -> Bucket | None:
        """A bucket's units under these terms: those that run, or were set aside."""
        running = self.buckets.get(name)
        windows = (*((running,) if running is not None else ()), *self.other_windows.get(name, ()))
        return next((window for window in windows if window.reset == reset), None)

    def overage_price_at(self, bucket: str, moment: datetime) -> int | None:
        """µ of a unit beyond the plan at an instant not long ago; None if overage was off."""
        agreed = in_force(self.overage_switch, moment)
        return agreed[1].get(bucket) if agreed is not None else None

    def plan_at(self, moment: datetime) -> tuple[str, int] | None:
        """The plan version in force at an instant not long ago; None where that is not known."""
        plan = in_force(self.plans, moment)
        return plan[1:] if plan is not None else None

    # How facts move quantities; used by their `apply` only.

    def note_policy(self, policy: SpendPolicySet) -> None:
        """A policy is in force; remember since when its plan is, and overage at its price."""
        if self.opened_at is None:
            self.opened_at = policy.period_start
        recorded_at = policy.recorded_at
        # What a new cycle brings is in force from its start, however late that was noticed.
        begins = self.policy is not None and policy.cycle_id != self.policy.cycle_id
        start = policy.period_start if begins else recorded_at
        since, before = self.overage_switch[-1] if self.overage_switch else (recorded_at, {})
        agreed = policy.overage_unit_price if policy.overage_enabled else {}
        if agreed != before:
            switch = (*self.overage_switch, (max(start, since), agreed))
            self.overage_switch = kept(switch, recorded_at)
        plan, last = (policy.plan_id, policy.plan_version), self.plans[-1:]
        if not last or last[0][1:] != plan:
            at = max([start, *(known[0] for known in last)])
            self.plans = kept((*self.plans, (at, *plan)), recorded_at)
        self.policy = policy

    def take(self, draw: Draw, bot_id: str | None, late: bool) -> None:
        """Move units that a draw says out of their source. ``bot_id`` is who used them."""
        if draw.source == "allowance":
            self._use(draw, draw.units)
        elif draw.source == "overage":
            self._accrue(draw, 1, bot_id, late)

    def give_back(
        self,
        draw: Draw,
        cycle_id: str | None,
        version: int,
        bot_id: str | None,
        late: bool,
        recorded_at: datetime | None,
    ) -> None:
        """Undo the units of a draw where they were taken (money returns as grants). ``version``
        is the act's, recorded at an instant, and tells whether they were taken from what is
        counted now."""
        if draw.source == "overage":
            # Its cycle may be settled already: then this is a credit on the next statement.
            own = draw if draw.cycle_id else replace(draw, cycle_id=cycle_id)
            plan = self.plan_at(recorded_at) if recorded_at and own.plan_id is None else None
            if plan is not None:
                own = replace(own, plan_id=plan[0], plan_version=plan[1])
            self._accrue(own, -1, bot_id, late)
        bucket = self.buckets.get(draw.bucket or "")
        if draw.source != "allowance" or bucket is None:
            return
        if draw.cycle_id is None and not bucket.counts(version):
            place = self._window_of(draw.bucket or "", cycle_id, version)
            if place is None:
                self._give_aside(draw, version)
                return
            draw = replace(draw, cycle_id=place)
        self._use(draw, -draw.units)

    def _window_of(self, bucket: str, cycle_id: str | None, version: int) -> str | None:
        """The cycle whose window counted an act, where that is over: the act's own, or that of a
        window of days that was closed meanwhile."""
        waits = self.waits_for(cycle_id)
        waiting = waits.buckets.get(bucket) if waits is not None else None
        if waiting is not None and waiting.counts(version):
            return cycle_id
        over = [c for c in self.closed if c.bucket == bucket and c.counts(version)]
        if any(c.cycle_id == cycle_id for c in over):
            return cycle_id
        return next((c.cycle_id for c in over if c.until), None)

    def open_window(self, name: str, new: Bucket, at: datetime) -> None:
        """Units are granted ``at`` a moment: into the window that runs, one that was set aside
        and comes back, or a new one. What runs under other terms is set aside."""
        before = self.buckets.get(name)
        aside = {window.reset: window for window in self.other_windows.get(name, ())}
        back = aside.pop(new.reset, None)
        known = before if before is not None and before.cycle_id == new.cycle_id else None
        if known is None and back is not None and back.cycle_id == new.cycle_id:
            known = replace(back, gaps=(*back.gaps, (back.left or new.opened, new.opened)))
        since = new.since or (at if known is None else known.since)
        new = replace(new, since=since, held=before.held if before is not None else 0)
        if known is not None:
            new = replace(new, used=known.used, opened=known.opened, gaps=known.gaps)
        if before is not None and before.reset != new.reset and (before.granted or before.used):
            left = self.version + 1
            aside[before.reset] = replace(before, held=0, left=left, left_at=at)
        self.buckets = {**self.buckets, name: new}
        self.other_windows = {**self.other_windows, name: tuple(aside.values())}

    def add_hold(self, hold: Hold) -> None:
        """Set a hold's money and units aside."""
        self.holds = {**self.holds, hold.hold_id: hold}
        self._hold(hold, 1)

    def drop_hold(self, hold_id: str) -> Hold | None:
        """Free what a hold set aside; None if there is no such hold any more."""
        hold = self.holds.get(hold_id)
        if hold is not None:
            self.holds = {id: h for id, h in self.holds.items() if id != hold_id}
            self._hold(hold, -1)
        return hold

    def set_aside(self, waits: WaitingCycle) -> None:
        """A cycle ended, and waits for its stragglers; the next one counts from nothing."""
        self.waiting = (*self.waiting, waits)
        self.overage, self.overage_shares = {}, {}
        opened = self.version + 1
        emptied = {
            n: replace(b, granted=0, used=0, opened=opened) for n, b in waits.buckets.items()
        }
        self.buckets = {**self.buckets, **emptied}

    def amend_waiting(self, cycle_id: str, after: WaitingCycle | None) -> None:
        """What became of a cycle that waits; None: it is closed."""
        others = tuple(waits for waits in self.waiting if waits.cycle_id != cycle_id)
        self.waiting = others if after is None else (*others, after)

    def close_bucket(self, closed: ClosedBucket, keep_from: datetime) -> None:
        """A cycle ended: its unused units stay usable for late usage, for a while."""
        kept = tuple(c for c in self.closed if c.period_end > keep_from)
        self.closed = (*kept, closed)
        waits = self.waits_for(closed.cycle_id)
        if waits is not None:
            self.amend_waiting(closed.cycle_id, waits.settle_bucket(closed.bucket))
            return
        # What the next plan does not grant anew must not be there any more.
        emptied = replace(self.buckets[closed.bucket], granted=0, used=0)
        self.buckets = {**self.buckets, closed.bucket: emptied}

    def _hold(self, hold: Hold, sign: int) -> None:
        self.reserved += sign * hold.amount
        self.short += sign * hold.short
        expiries = [h.expires_at for h in self.holds.values()]
        self.next_hold_expiry = min(expiries, default=None)
        bucket = self.buckets.get(hold.bucket or "")
        if bucket is not None and hold.units:
            moved = replace(bucket, held=max(bucket.held + sign * hold.units, 0))
            self.buckets = {**self.buckets, hold.bucket or "": moved}

    def _use(self, draw: Draw, units: int) -> None:
        waits = self.waits_for(draw.cycle_id) if draw.cycle_id else None
        if waits is not None and draw.bucket in waits.buckets:
            self.amend_waiting(waits.cycle_id, waits.use(draw.bucket, units))
            return
        name = draw.bucket or ""
        bucket = self.buckets[name]
        if draw.cycle_id is not None and self._use_late(draw, units):
            return
        self.buckets = {**self.buckets, name: replace(bucket, used=max(bucket.used + units, 0))}

    def _use_late(self, draw: Draw, units: int) -> bool:
        """Use units of a cycle that is closed, or of a window that is set aside; False where that
        window is what runs again."""
        name, place = draw.bucket or "", (draw.bucket, draw.cycle_id)
        closed = any((c.bucket, c.cycle_id) == place for c in self.closed)
        bucket = self.buckets[name]
        if not closed and bucket.reset != "cycle" and bucket.cycle_id == draw.cycle_id:
            return False
        self.closed = tuple(
            replace(c, unused=c.unused - units) if (c.bucket, c.cycle_id) == place else c
            for c in self.closed
        )
        if not closed:
            windows = tuple(
                replace(w, used=max(w.used + units, 0))
                if w.reset != "cycle" and w.cycle_id == draw.cycle_id
                else w
                for w in self.other_windows.get(name, ())
            )
            self.other_windows = {**self.other_windows, name: windows}
        return True

    def _give_aside(self, draw: Draw, version: int) -> None:
        """Give units back to a window that was set aside. Nothing can be taken any more from one
        that is over."""
        name = draw.bucket or ""
        windows = tuple(
            replace(w, used=max(w.used - draw.units, 0)) if w.counts(version) else w
            for w in self.other_windows.get(name, ())
        )
        self.other_windows = {**self.other_windows, name: windows}

    def _accrue(self, draw: Draw, sign: int, bot_id: str | None, late: bool) -> None:
        waits = self.waits_for(draw.cycle_id) if draw.cycle_id else None
        name, policy = draw.bucket, waits.policy if waits else self.policy
        assert name is not None
        assert policy is not None
        units, amount = sign * draw.units, sign * draw.amount
        plan = (policy.plan_id, policy.plan_version)
        share = Share(
            name,
            *(plan if draw.plan_id is None else (draw.plan_id, draw.plan_version)),
            draw.unit_price or 0,
            bot_id,
            late,
            units=units,
            amount=amount,
        )
        if waits is not None:
            own = own_share(waits.shares, share)
            self.amend_waiting(waits.cycle_id, waits.accrue(own))
            return
        before = self.overage.get(name, (0, 0))
        self.overage = {**self.overage, name: (before[0] + units, before[1] + amount)}
        self.overage_shares = accrued(self.overage_shares, own_share(self.overage_shares, share))
