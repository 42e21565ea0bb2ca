"""Included units and overage of one FlareX workspace, recomputed from the acts alone."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from tests.acceptance.year.arithmetic import credits_of, shares_of
from tests.acceptance.year.journal import Entry, moment


class Line(NamedTuple):
    """A line of a statement: who, at what unit price (µ), how many units, and cents."""

    bot: str
    unit_price: int
    late: bool
    units: int
    cents: int


class Taken(NamedTuple):
    """What an act took: included units of a cycle, units beyond them and their price (µ)."""

    cycle: str
    included: int
    beyond: int
    unit_price: int
    bot: str
    late: bool
    plan: tuple[str, int]  # whose price it is


class Held(NamedTuple):
    """What an authorisation sets aside, and what a unit beyond it costs (µ), as agreed then."""

    units: int
    unit_price: int | None
    at: datetime


class Units:
    """Folds grants, switches and acts in the order in which they were recorded."""

    def __init__(self) -> None:
        self.granted = self.used = 0
        self.cycle = ""
        self.starts: datetime | None = None
        self.opened: datetime | None = None
        self.closed: dict[str, list[Any]] = {}  # cycle -> [start, end, unused]
        self.rates: list[tuple[datetime, int | None]] = []  # what a unit costs from when on
        # (plan, version, bot, unit price, late) -> units
        self.beyond: dict[tuple[str, int, str, int, bool], int] = {}
        self.plans: list[tuple[datetime, tuple[str, int]]] = []  # in force from when on
        self.taken: dict[str, Taken] = {}
        self.holds: dict[str, Held] = {}
        self.wrong: list[str] = []

    # The contract's side.

    def open(self, cycle: str, starts: datetime, granted: int) -> None:
        """A cycle begins. What calls under way had set aside stays set aside."""
        self.cycle, self.starts, self.granted, self.used = cycle, starts, granted, 0
        self.opened = self.opened or starts

    def close(self, ends: datetime) -> list[Line]:
        """The cycle is over; its statement."""
        assert self.starts is not None
        self.closed[self.cycle] = [self.starts, ends, max(self.granted - self.used, 0)]
        keys = sorted(key for key, units in self.beyond.items() if units)
        cents = shares_of([self.beyond[key] * key[3] for key in keys], [key[2] for key in keys])
        lines = [
            Line(*key[2:], self.beyond[key], part) for key, part in zip(keys, cents, strict=True)
        ]
        self.beyond = {}
        return lines

    def agree(self, since: datetime, rate: int | None, plan: tuple[str, int]) -> None:
        """From an instant on a unit beyond the plan costs so much, or is not for sale."""
        if not self.plans or self.plans[-1][1] != plan:
            self.plans.append((since, plan))
        if not self.rates or self.rates[-1][1] != rate:
            self.rates.append((since, rate))

    # The account's side.

    def hold(self, entry: Entry) -> None:
        """A call may run: it sets aside what it may need of what is included."""
        data = entry.data
        wanted, rate = credits_of(data["estimate"]), self._rate_at(entry.at)
        units = min(wanted, self._left())
        rate = rate if self.rates[-1][1] is not None else None
        said = (data["units"], data.get("unit_price"), data.get("overage", 0))
        expected = (units, rate, (wanted - units) * (rate or 0))
        if said != expected:
            self._say(entry, f"holds {said}, recomputed {expected}")
        if not units and rate is None:
            self._say(entry, "nothing is left and nothing more was agreed to")
        self.holds[data["hold_id"]] = Held(units, rate, entry.at)

    def let_go(self, entry: Entry) -> None:
        """A call did not happen, or took too long."""
        self.holds.pop(entry.data["hold_id"], None)

    def take(self, entry: Entry) -> None:
        """An act: its own sources first, as the specification orders them."""
        usage = entry.data["usage"]
        occurred = moment(usage.get("occurred_at", entry.data["at"]))
        units = credits_of(usage.get("tokens", {}))
        bot = usage.get("bot_id") or ""
        late = self._is_late(occurred)
        held = self.holds.pop(usage.get("hold_id", ""), None)
        cycle, left = self._cycle_of(occurred) if late else (self.cycle, self._left())
        included = min(units, max(left, 0))
        if late and cycle:
            self.closed[cycle][2] -= included
        elif not late:
            self.used += included
        rate = self._rate_at(occurred)
        is_agreed = rate is not None and self.rates[-1][1] is not None
        priced_at = occurred if held is None or rate is not None else held.at
        if held is not None:
            # What counts is what was agreed to when the call began.
            is_agreed, rate = held.unit_price is not None, held.unit_price if rate is None else rate
        beyond = units - included if is_agreed else 0
        plan = self._plan_at(priced_at)
        taken = Taken(cycle, included, beyond, rate or 0, bot, late, plan)
        if beyond:
            self._put(taken, beyond)
        self.taken[usage["event_id"]] = taken
        self._check(entry, units, taken)

    def give_back(self, entry: Entry) -> None:
        """An act was a mistake: what it took goes back where it came from."""
        taken = self.taken.pop(entry.data["usage"]["event_id"])
        said = sum(draw.get("units", 0) for draw in _draws(entry) if draw["source"] != "absorbed")
        if said != taken.included + taken.beyond:
            self._say(entry, f"gives {said} back, taken were {taken}")
        if taken.cycle == self.cycle:
            self.used -= taken.included
        elif taken.cycle in self.closed:
            self.closed[taken.cycle][2] += taken.included
        if taken.beyond:
            # From the line that it stands on, whatever plan is in force by now; once that is on a
            # statement, it is given back on the next one.
            own = [
                key for key in self.beyond if key[2:] == (taken.bot, taken.unit_price, taken.late)
            ]
            kept = [key for key in own if self.beyond[key] >= taken.beyond]
            here = (*taken.plan, taken.bot, taken.unit_price, taken.late)
            key = here if here in self.beyond or not kept else kept[0]
            self.beyond[key] = self.beyond.get(key, 0) - taken.beyond

    def _left(self) -> int:
        """Included units that are neither used nor set aside."""
        return max(self.granted - self.used - sum(one.units for one in self.holds.values()), 0)

    def _put(self, taken: Taken, units: int) -> None:
        key = (*taken.plan, taken.bot, taken.unit_price, taken.late)
        self.beyond[key] = self.beyond.get(key, 0) + units

    def _is_late(self, occurred: datetime) -> bool:
        assert self.starts is not None
        assert self.opened is not None
        return self.opened <= occurred < self.starts

    def _cycle_of(self, occurred: datetime) -> tuple[str, int]:
        for cycle, (starts, ends, unused) in self.closed.items():
            if starts <= occurred < ends:
                return cycle, unused
        return "", 0

    def _rate_at(self, occurred: datetime) -> int | None:
        before = [rate for since, rate in self.rates if since <= occurred]
        return before[-1] if before else None

    def _plan_at(self, moment: datetime) -> tuple[str, int]:
        before = [plan for since, plan in self.plans if since <= moment]
        return before[-1] if before else self.plans[-1][1]

    def _check(self, entry: Entry, units: int, taken: Taken) -> None:
        said = {"allowance": 0, "overage": 0, "absorbed": 0}
        amount = 0
        for draw in _draws(entry):
            said[draw["source"]] += draw.get("units", 0)
            amount += draw.get("amount", 0)
        expected = {
            "allowance": taken.included,
            "overage": taken.beyond,
            "absorbed": units - taken.included - taken.beyond,
        }
        cost = taken.beyond * taken.unit_price
        if said != expected or amount != cost:
            self._say(
                entry, f"{units} units drew {said} for {amount} µ, recomputed {expected}, {cost} µ"
            )

    def _say(self, entry: Entry, words: str) -> None:
        self.wrong.append(f"position {entry.position} {entry.kind}: {words}")


def _draws(entry: Entry) -> Iterable[dict[str, Any]]:
    return [*entry.data.get("draws", ()), *entry.data.get("other_draws", ())]
