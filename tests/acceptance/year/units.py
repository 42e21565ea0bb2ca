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


class Units:
    """Folds grants, switches and acts in the order in which they were recorded."""

    def __init__(self) -> None:
        self.granted = self.used = 0
        self.cycle = ""
        self.starts: datetime | None = None
        self.opened: datetime | None = None
        self.closed: dict[str, list[Any]] = {}  # cycle -> [start, end, unused]
        self.rates: list[tuple[datetime, int | None]] = []  # what a unit costs from when on
        self.beyond: dict[tuple[str, int, bool], int] = {}  # (bot, unit price, late) -> units
        self.taken: dict[str, Taken] = {}
        self.wrong: list[str] = []

    # The contract's side.

    def open(self, cycle: str, starts: datetime, granted: int) -> None:
        """A cycle begins."""
        self.cycle, self.starts, self.granted, self.used = cycle, starts, granted, 0
        self.opened = self.opened or starts

    def close(self, ends: datetime) -> list[Line]:
        """The cycle is over; its statement."""
        assert self.starts is not None
        self.closed[self.cycle] = [self.starts, ends, max(self.granted - self.used, 0)]
        keys = sorted(key for key, units in self.beyond.items() if units)
        cents = shares_of([self.beyond[key] * key[1] for key in keys], [key[0] for key in keys])
        lines = [Line(*key, self.beyond[key], part) for key, part in zip(keys, cents, strict=True)]
        self.beyond = {}
        return lines

    def agree(self, since: datetime, rate: int | None) -> None:
        """From an instant on a unit beyond the plan costs so much, or is not for sale."""
        if not self.rates or self.rates[-1][1] != rate:
            self.rates.append((since, rate))

    # The account's side.

    def take(self, entry: Entry) -> None:
        """An act: its own sources first, as the specification orders them."""
        usage = entry.data["usage"]
        occurred = moment(usage.get("occurred_at", entry.data["at"]))
        units = credits_of(usage.get("tokens", {}))
        bot = usage.get("bot_id") or ""
        late = self._is_late(occurred)
        cycle, left = self._cycle_of(occurred) if late else (self.cycle, self.granted - self.used)
        included = min(units, max(left, 0))
        if late and cycle:
            self.closed[cycle][2] -= included
        elif not late:
            self.used += included
        rate = self._rate_at(occurred)
        beyond = units - included if rate is not None and self.rates[-1][1] is not None else 0
        if beyond:
            self._put(bot, rate or 0, late, beyond)
        self.taken[usage["event_id"]] = Taken(cycle, included, beyond, rate or 0, bot, late)
        self._check(entry, units, included, beyond, rate)

    def give_back(self, entry: Entry) -> None:
        """An act was a mistake: what it took goes back where it came from."""
        taken = self.taken.pop(entry.data["usage"]["event_id"])
        if taken.cycle == self.cycle:
            self.used -= taken.included
        elif taken.cycle in self.closed:
            self.closed[taken.cycle][2] += taken.included
        if taken.beyond:
            self._put(taken.bot, taken.unit_price, taken.late, -taken.beyond)

    def _put(self, bot: str, rate: int, late: bool, units: int) -> None:
        key = (bot, rate, late)
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

    def _check(
        self, entry: Entry, units: int, included: int, beyond: int, rate: int | None
    ) -> None:
        said = {"allowance": 0, "overage": 0, "absorbed": 0}
        amount = 0
        for draw in _draws(entry):
            said[draw["source"]] += draw.get("units", 0)
            amount += draw.get("amount", 0)
        expected = {
            "allowance": included,
            "overage": beyond,
            "absorbed": units - included - beyond,
        }
        if said != expected or amount != beyond * (rate or 0):
            self.wrong.append(
                f"position {entry.position}: {units} units drew {said} for {amount} µ,"
                f" recomputed {expected} for {beyond * (rate or 0)} µ"
            )


def _draws(entry: Entry) -> Iterable[dict[str, Any]]:
    return [*entry.data.get("draws", ()), *entry.data.get("other_draws", ())]
