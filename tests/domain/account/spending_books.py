"""The books that the machine of spending keeps for itself, made from events and from what it
asked: never from the account's state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from domain.account.allowance_facts import AllowanceClosed, AllowanceGranted, OverageSettled
from domain.account.hold_facts import HoldExpired, HoldExtended, HoldPlaced, HoldReleased
from domain.account.usage_facts import Debited, Draw, UsageRecorded, UsageVoided
from domain.facts import Fact

Act = Debited | UsageRecorded
SOURCES = ("allowance", "overage", "oauth", "absorbed")


def check_conservation(act: Act) -> None:
    """L2: units and money add up."""
    total = act.rated.total if act.rated else 0
    wallet = act.amount if isinstance(act, Debited) else 0
    units = {s: sum(d.units for d in act.draws if d.source == s) for s in SOURCES}
    money = {s: sum(d.amount for d in act.draws if d.source == s) for s in SOURCES}
    if act.units == 0:
        assert wallet + money["absorbed"] + money["oauth"] == total
        return
    beyond = act.units - sum(units.values())
    if wallet or money["absorbed"]:
        # The share is rounded once, from a price that was not.
        paid = wallet + money["absorbed"]
        assert abs(paid * act.units - beyond * total) * 2 <= 3 * act.units
    else:
        assert beyond == 0 or total * beyond < 2 * act.units


def standing(facts: Iterable[Fact]) -> set[str]:
    """Holds that these facts left open."""
    open: set[str] = set()
    for fact in facts:
        if isinstance(fact, HoldPlaced):
            open.add(fact.hold_id)
        elif isinstance(fact, HoldReleased | HoldExpired):
            open.remove(fact.hold_id)
        elif isinstance(fact, Debited | UsageRecorded) and fact.usage is not None:
            open.discard(fact.usage.hold_id or "")
        else:
            assert not isinstance(fact, HoldExtended) or fact.hold_id in open
    return open


class Promise(NamedTuple):
    """A hold, and the overage price that was agreed to when it was placed."""

    placed: HoldPlaced
    price: int | None
    tokens: int


class Switches:
    """When overage was agreed to, and at which price."""

    def __init__(self, plan_price: int | None) -> None:
        self.on = False
        self.plan_price = plan_price
        self.said: list[tuple[datetime, int | None]] = []

    def say(self, at: datetime, on: bool) -> None:
        """The customer agreed, or not any more."""
        self.on = on
        self.said.append((at, self.price_now()))

    def plan(self, at: datetime, price: int | None) -> None:
        """Another plan; one without a price ends the agreement."""
        self.plan_price = price
        self.say(at, self.on and price is not None)

    def price_now(self) -> int | None:
        """µ a unit, or None while it is off."""
        return self.plan_price if self.on else None

    def price_at(self, moment: datetime) -> int | None:
        """The same at an instant of the past."""
        return next((price for at, price in reversed(self.said) if at <= moment), None)

    def agreed(self, act: Act, hold: Promise | None) -> int | None:
        """What L6 says about an act: µ a unit, or None if nothing beyond the plan is billed."""
        if self.plan_price is None:
            return None
        then = self.price_at(act.usage.occurred_at or act.recorded_at) if act.usage else None
        if hold is None:
            return then if self.on else None
        return None if hold.price is None else then or hold.price


class Window(NamedTuple):
    """Where units were taken from: a bucket's count of use, by its order of opening."""

    bucket: str
    cycle_id: str
    number: int


class UnitBook:
    """What every bucket was granted and gave, window by window; and the overage that is due."""

    def __init__(self) -> None:
        self.windows = 0
        self.granted: dict[str, int] = {}
        self.now: dict[str, Window] = {}
        self.resets: dict[str, str] = {}
        self.used: Counter[Window] = Counter()
        self.unused: dict[Window, int] = {}
        self.periods: dict[Window, tuple[datetime, datetime]] = {}
        self.overage: dict[str, tuple[int, int]] = {}
        self.drawn: dict[str, Window] = {}  # which window an act drew its units from
        self.aside: dict[tuple[str, str], Window] = {}  # by bucket and reset: they may come back
        self.set_aside: dict[Window, int] = {}  # units that were granted to such a window
        self.begun: dict[Window, datetime] = {}
        self.until: dict[Window, datetime] = {}  # when such a window was set aside
        self.since: dict[str, datetime] = {}  # when a bucket's window of days began

    def enter(self, fact: Fact) -> None:
        """Enter one event."""
        match fact:
            case AllowanceGranted():
                self._open(fact)
                self.granted[fact.bucket] = fact.units
                self.resets[fact.bucket] = fact.reset
                self._begin(fact)
            case AllowanceClosed():
                window = self.now[fact.bucket]
                assert (fact.granted, fact.used) == self.open(fact.bucket)
                assert fact.cycle_id == window.cycle_id
                assert fact.unused == max(fact.granted - fact.used, 0)
                self.unused[window] = fact.unused
                self.periods[window] = (fact.period_start, fact.period_end)
                self.granted[fact.bucket] = self.used[window] = 0
            case OverageSettled():
                assert self.overage.pop(fact.bucket) == (fact.units, fact.amount)
            case Debited() | UsageRecorded():
                for draw in fact.draws:
                    self._draw(fact, draw)
            case UsageVoided():
                for draw in fact.draws:
                    self._give_back(fact, draw)

    def open(self, bucket: str) -> tuple[int, int]:
        """(granted, used and not given back) of the window that runs."""
        return self.granted[bucket], self.used[self.now[bucket]]

    def late(self, bucket: str, cycle_id: str) -> Window:
        """The window of a closed cycle, or of a lifetime: set aside, or running again."""
        windows = (*self.unused, *self.aside.values(), self.now[bucket])
        return next(w for w in windows if (w.bucket, w.cycle_id) == (bucket, cycle_id))

    def left(self, act: Act, bucket: str, held: int) -> int:
        """Included units that an act could still have had."""
        usage = act.usage
        assert usage is not None
        if act.late:
            moment = usage.occurred_at or act.recorded_at
            closed = [
                self.unused[window]
                for window, (start, end) in self.periods.items()
                if window.bucket == bucket and start <= moment < end
            ]
            for (name, _), window in self.aside.items():
                since, until = self.begun.get(window), self.until.get(window)
                if not closed and name == bucket and since and until and since <= moment < until:
                    return self.set_aside[window] - self.used[window]
            lifetime = self.aside.get((bucket, "never"))
            since = self.since.get(bucket)  # of the window of days that runs
            over = since is not None and moment < since
            if closed or over or (self.resets[bucket] == "cycle" and lifetime is None):
                return sum(closed)
            if lifetime is not None and self.resets[bucket] == "cycle":
                return self.set_aside[lifetime] - self.used[lifetime]
        granted, used = self.open(bucket)
        return granted - used - held

    def _begin(self, fact: AllowanceGranted) -> None:
        """Remember since when days are counted: a larger plan's grant moves no window."""
        if not fact.reset.startswith("days:"):
            self.since.pop(fact.bucket, None)
        else:
            known = self.begun.setdefault(self.now[fact.bucket], fact.since or fact.recorded_at)
            self.since[fact.bucket] = known

    def _open(self, fact: AllowanceGranted) -> None:
        before, reset = self.now.get(fact.bucket), self.resets.get(fact.bucket)
        if before is not None and before.cycle_id == fact.cycle_id:
            return
        back = self.aside.pop((fact.bucket, fact.reset), None)
        if before is not None and reset is not None and reset != fact.reset:
            self.aside[fact.bucket, reset] = before
            self.set_aside[before] = self.granted[fact.bucket]
            self.until[before] = fact.recorded_at
        self.windows += 1
        new = Window(fact.bucket, fact.cycle_id, self.windows)
        self.now[fact.bucket] = back if back and back.cycle_id == fact.cycle_id else new

    def _draw(self, act: Act, draw: Draw) -> None:
        bucket = draw.bucket or ""
        if draw.source == "overage":
            assert draw.unit_price is not None
            assert draw.amount == draw.units * draw.unit_price
            self._accrue(bucket, draw.units, draw.amount)
        if draw.source != "allowance" or act.usage is None:
            return
        window = self.late(bucket, draw.cycle_id) if draw.cycle_id else self.now[bucket]
        self.drawn[act.usage.event_id] = window
        if window in self.unused:
            self.unused[window] -= draw.units
        else:
            self.used[window] += draw.units

    def _give_back(self, void: UsageVoided, draw: Draw) -> None:
        bucket = draw.bucket or ""
        if draw.source == "overage":
            self._accrue(bucket, -draw.units, -draw.amount)
        if draw.source != "allowance":
            return
        window = self.drawn[void.usage.event_id]
        if window in self.unused:
            self.unused[window] += draw.units
        else:  # also one that another plan's terms have set aside
            self.used[window] -= draw.units

    def _accrue(self, bucket: str, units: int, amount: int) -> None:
        before: Any = self.overage.get(bucket, (0, 0))
        self.overage[bucket] = (before[0] + units, before[1] + amount)
