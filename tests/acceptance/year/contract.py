"""The contract of one workspace, recomputed from what was agreed: its cycles, and what Stripe
must have charged for it, to the cent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

from tests.acceptance.year.arithmetic import months_after, part_of
from tests.acceptance.year.journal import Entry, Journal, Terms, moment
from tests.acceptance.year.units import Line, Units


@dataclass
class Due:
    """An invoice that there must be: cents by line, in no order."""

    subscription: str
    reason: str
    at: datetime  # begin of the period, or the instant of the change
    amounts: list[int]

    @property
    def total(self) -> int:
        """Cents."""
        return sum(self.amounts)


@dataclass
class Contract:
    """Folds one workspace's events; afterwards `dues`, `statements` and `wrong` are complete."""

    journal: Journal
    workspace: str
    dues: list[Due] = field(default_factory=list)
    statements: dict[str, list[Line]] = field(default_factory=dict)
    invoiced: dict[str, tuple[str, int]] = field(default_factory=dict)  # cycle -> invoice, cents
    wrong: list[str] = field(default_factory=list)
    cycles: list[tuple[datetime, datetime]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.units = Units()
        self.plan = self.stripe = self.cycle = ""
        self.version = 0
        self.anchor = self.starts = self.ends = datetime(1970, 1, 1, tzinfo=UTC)
        self.since = self.starts  # what Stripe counts the cycle's days from
        self.overage = False
        self.quotes: dict[str, dict[str, Any]] = {}
        self.charged: dict[str, Due] = {}  # by quote
        self.paid_for = (0, self.starts, self.ends)  # the last debit: cents, from, to
        self.calls: set[str] = set()  # holds that stand

    def fold(self) -> Contract:
        """Take in everything."""
        for entry in self.journal.by_workspace[self.workspace]:
            step = STEPS.get(entry.kind)
            if step is not None:
                step(self, entry, entry.data)
            if entry.kind in CONTRACTUAL:
                self.units.agree(self._since(entry), self._rate(), (self.plan, self.version))
        self.wrong += [f"{self.workspace}: {one}" for one in self.units.wrong]
        return self

    # The contract's facts.

    def _start(self, entry: Entry, data: dict[str, Any]) -> None:
        self.plan, self.version = data["plan_id"], data["plan_version"]
        self.anchor = moment(data["anchor_at"])
        self.stripe = data.get("stripe_subscription_id") or ""
        self._open(data)
        follows = bool(self.cycles) and self.cycles[-1][1] == self.starts
        if not self._is_a_month() and not follows:
            self._say(entry, f"{self.starts} to {self.ends} is no month from {self.anchor}")
        if self.stripe:
            price = self.journal.price(self.plan, self.version)
            # One that we took for ended goes on: that is its renewal, and no new one.
            again = any(due.subscription == self.stripe for due in self.dues)
            reason = "subscription_cycle" if again else "subscription_create"
            self._due(reason, self.starts, [price])
            self.since = self._billed_from()
            self.paid_for = (price, self.since, self.ends)

    def _open_cycle(self, entry: Entry, data: dict[str, Any]) -> None:
        opened = (data["plan_id"], data["plan_version"])
        if opened != (self.plan, self.version):
            self._say(entry, f"opened on {opened}, agreed is {self.plan} {self.version}")
        self._open(data)
        if not self._is_a_month():
            self._say(entry, f"{self.starts} to {self.ends} is no month from {self.anchor}")
        if self.stripe:
            price = self.journal.price(self.plan, self.version)
            self._due("subscription_cycle", self.starts, [price])
            self.since = self.starts
            self.paid_for = (price, self.starts, self.ends)

    def _billed_from(self) -> datetime:
        """Since when Stripe bills the first cycle: we may have heard of it in the next one of the
        plan before, and ours begins with that."""
        ends = [months_after(self.anchor, count) for count in range(40)]
        begun = [since for since, until in pairwise(ends) if until == self.ends]
        return begun[0] if begun else self.starts

    def _is_a_month(self) -> bool:
        """Whether the cycle is one of those that are counted from the anchor."""
        ends = [months_after(self.anchor, count) for count in range(40)]
        return (self.starts, self.ends) in pairwise(ends)

    def _open(self, data: dict[str, Any]) -> None:
        starts = moment(data["period_start"])
        if self.cycles and self.cycles[-1][1] != starts:
            self.wrong.append(f"{self.workspace}: {self.cycles[-1]} and {starts} do not abut")
        self.cycle, self.starts, self.ends = data["cycle_id"], starts, moment(data["period_end"])
        self.units.open(self.cycle, starts, self._included())

    def _close_cycle(self, entry: Entry, data: dict[str, Any]) -> None:
        starts, ends = moment(data["period_start"]), moment(data["period_end"])
        if data["cycle_id"] != self.cycle or starts != self.starts or not starts < ends:
            self._say(entry, f"closes {starts} to {ends}, running is {self.starts} to {self.ends}")
        self.cycles.append((starts, ends))
        lines = self.units.close(ends)
        said = [
            Line(
                one.get("bot_id") or "",
                one["unit_price"],
                one.get("late", False),
                one["units"],
                one["amount_minor"],
            )
            for one in data.get("overage", ())
            if one["units"] or one["amount_minor"]
        ]
        if sorted(said) != sorted(lines):
            self._say(entry, f"statement {sorted(said)}, recomputed {sorted(lines)}")
        if any(line.cents for line in lines):
            if self.stripe or sum(line.cents for line in lines) < 0:
                self.statements[self.cycle] = lines
            else:
                self._say(entry, f"nobody is billed for {lines}")

    def _quote(self, entry: Entry, data: dict[str, Any]) -> None:
        self.quotes[data["preview_id"]] = data
        if data.get("proration_date") is None:
            return
        due = self._change_due(data)
        said = [line["amount_minor"] for line in data["lines"]]
        if sorted(said) != sorted(due.amounts):
            self._say(entry, f"quoted {said}, recomputed {due.amounts}")

    def _wait_for_payment(self, entry: Entry, data: dict[str, Any]) -> None:
        self._charge(data["preview_id"])

    def _change_plan(self, entry: Entry, data: dict[str, Any]) -> None:
        before = (self.plan, self.version)
        self.plan, self.version = data["to_plan"], data["to_version"]
        if (data["from_plan"], data["from_version"]) != before:
            self._say(entry, f"changed from {data['from_plan']}, agreed was {before}")
        preview = data.get("preview_id")
        if data["direction"] == "upgrade" and preview is not None:
            due = self._charge(preview)
            if self.quotes[preview]["amount_due_now"] != data.get("charged", 0):
                self._say(entry, f"charged {data.get('charged', 0)}, not as {self.quotes[preview]}")
            self.paid_for = (due.amounts[1], due.at, self.ends)
            self.units.granted = self._included()
        elif data.get("cause", "").startswith("plan_at_stripe:"):
            self._adopt(entry)
        elif data["direction"] in LATER and moment(data["effective_at"]) < self.ends:
            self._say(entry, f"a {data['direction']} at {data['effective_at']}, before {self.ends}")

    def _adopt(self, entry: Entry) -> None:
        """Stripe renewed another plan than we believed in, as when the answer to a change that
        was taken back was lost: what was paid for is what is had, from the begin of the cycle."""
        price = self.journal.price(self.plan, self.version)
        renewals = [
            due
            for due in self.dues
            if (due.subscription, due.reason, due.at)
            == (self.stripe, "subscription_cycle", self.starts)
        ]
        if not renewals:
            self._say(entry, f"no renewal at {self.starts} that could have been another plan's")
        for due in renewals:
            due.amounts = [price]
        self.paid_for = (price, self.starts, self.ends)
        self.units.granted = self._included()

    def _end(self, entry: Entry, data: dict[str, Any]) -> None:
        ended, was = moment(data["ended_at"]), data.get("stripe_subscription_id") or ""
        # A cycle that we believed in before we heard of the end was never billed.
        self.dues = [
            due
            for due in self.dues
            if (due.subscription, due.reason) != (was, "subscription_cycle") or due.at < ended
        ]
        self.stripe = ""

    def _allow_overage(self, entry: Entry, data: dict[str, Any]) -> None:
        self.overage = True

    def _end_overage(self, entry: Entry, data: dict[str, Any]) -> None:
        self.overage = False

    def _note_invoiced(self, entry: Entry, data: dict[str, Any]) -> None:
        self.invoiced[data["cycle_id"]] = (data["stripe_invoice_id"], data["amount"])

    def _follow_stripe(self, entry: Entry, data: dict[str, Any]) -> None:
        if data["stripe_subscription_id"] == self.stripe:
            self.ends = moment(data["period_end"])

    # The account's facts.

    def _use(self, entry: Entry, data: dict[str, Any]) -> None:
        self.calls.discard(data["usage"].get("hold_id", ""))
        if data["usage"]["meter"] == "chat_generation":
            self.units.take(entry)

    def _hold(self, entry: Entry, data: dict[str, Any]) -> None:
        self.calls.add(data["hold_id"])
        if data["meter"] == "chat_generation":
            self.units.hold(entry)

    def _let_go(self, entry: Entry, data: dict[str, Any]) -> None:
        if data["hold_id"] not in self.calls:
            self._say(entry, "no such hold stands")
        self.calls.discard(data["hold_id"])
        self.units.let_go(entry)

    def _give_back(self, entry: Entry, data: dict[str, Any]) -> None:
        if data["usage"]["meter"] == "chat_generation":
            self.units.give_back(entry)

    # Parts.

    def _charge(self, preview: str) -> Due:
        """The invoice of an upgrade, once, whether it was paid at once or later."""
        if preview not in self.charged:
            self.charged[preview] = due = self._change_due(self.quotes[preview])
            self.dues.append(due)
        return self.charged[preview]

    def _change_due(self, quote: dict[str, Any]) -> Due:
        """What is not used of the last debit comes back; the new price for the rest is due."""
        at = datetime.fromtimestamp(quote["proration_date"], UTC)
        back = -part_of(*self.paid_for, at)
        price = self.journal.price(quote["to_plan"], quote["to_version"])
        rest = part_of(price, self.since, self.ends, at)
        return Due(self.stripe, "subscription_update", at, [back, rest])

    def _due(self, reason: str, at: datetime, amounts: list[int]) -> None:
        self.dues.append(Due(self.stripe, reason, at, amounts))

    @property
    def _terms(self) -> Terms:
        """What the version in force says."""
        return self.journal.plans[self.plan, self.version]

    @property
    def _sells_credits(self) -> bool:
        return "ai_credits" in self._terms.get("buckets", {})

    def _included(self) -> int:
        return int(self._terms["buckets"]["ai_credits"]["units"]) if self._sells_credits else 0

    def _rate(self) -> int | None:
        rate = self._terms.get("overage_unit_usd")
        return round(Decimal(rate) * 10**6) if rate is not None and self.overage else None

    def _since(self, entry: Entry) -> datetime:
        """When a fact's terms apply: what happens at the close of a cycle, from there on."""
        if entry.kind == "CycleOpened":
            return self.starts
        if entry.kind == "PlanChanged":
            return moment(entry.data["effective_at"])
        return entry.at

    def _say(self, entry: Entry, words: str) -> None:
        self.wrong.append(f"{self.workspace} position {entry.position} {entry.kind}: {words}")


LATER = ("downgrade", "migration")
"""Changes that wait for the close of a cycle."""

CONTRACTUAL = (
    *("SubscriptionStarted", "CycleOpened", "PlanChanged", "SubscriptionEnded"),
    *("OverageEnabled", "OverageDisabled"),
)

STEPS: dict[str, Callable[[Contract, Entry, dict[str, Any]], None]] = {
    "SubscriptionStarted": Contract._start,
    "CycleOpened": Contract._open_cycle,
    "CycleClosed": Contract._close_cycle,
    "PlanChangeQuoted": Contract._quote,
    "PlanChangePending": Contract._wait_for_payment,
    "PlanChanged": Contract._change_plan,
    "SubscriptionEnded": Contract._end,
    "OverageEnabled": Contract._allow_overage,
    "OverageDisabled": Contract._end_overage,
    "StripeSubscriptionSynced": Contract._follow_stripe,
    "OverageInvoiced": Contract._note_invoiced,
    "UsageRecorded": Contract._use,
    "UsageVoided": Contract._give_back,
    "HoldPlaced": Contract._hold,
    "HoldReleased": Contract._let_go,
    "HoldExpired": Contract._let_go,
}
