"""A machine that asks anything of spending, in any order, and checks every act that it leaves:
L2, L3, L5, L6 and L9 of one act, that a source that was asked for is the only one that pays, and
that a refusal leaves nothing.

Money and time move by the rules of `money_machine.py`; what must hold between the acts stands in
`test_spending_properties.py`.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import event
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
)

from domain.account.credit_account import CreditAccount
from domain.account.hold_facts import BillingSource, HoldPlaced
from domain.account.usage_facts import Debited, UsageRecorded, UsageVoided
from domain.catalogue.price_book import PriceBook
from domain.contract.subscription import (
    OverageDisabled,
    OverageEnabled,
    PlanChanged,
)
from domain.errors import PaymentRequired, Refusal
from domain.facts import Fact, Recorded
from domain.places import PRICES
from tests.domain.account.spending_books import (
    Promise,
    Switches,
    UnitBook,
    check_conservation,
    standing,
)
from tests.domain.given import NOW
from tests.domain.tenant import ACCOUNT, Tenant, catalogue

SHOPS = {name: catalogue(name) for name in ("faces", "flarex")}
SHOPS["faces, write_off"] = catalogue("faces", overdraft="write_off")
PLANS = {
    "faces": ["connect", "connect", "standard", "free"],
    "flarex": ["starter", "starter", "pro", "free"],
}
METERS = {"faces": ["chat", "compile", "interview"], "flarex": ["chat_generation"]}
UNIT = {"faces": 100, "flarex": 10_000}  # tokens that a size of 1 stands for
ASKED: list[BillingSource | None] = [None, None, "oauth", "oauth", "compile", "credits"]
PAYS: dict[BillingSource, set[str]] = {
    "oauth": {"oauth"},
    "compile": {"allowance", "absorbed"},
    "credits": {"wallet", "absorbed"},
}
CLOSING = ("cycle", "overage_settled:", "allowance", "policy:")
JAN31 = datetime(2026, 1, 31, 10, tzinfo=UTC)
REACHED: Counter[str] = Counter()
sizes = st.one_of(st.integers(1, 60), st.integers(1, 1_100))


class SpendingMachine(RuleBasedStateMachine):
    """Holds, charges, switches, links, plans, voids and freezes."""

    @initialize(
        data=st.data(),
        shop=st.sampled_from([*SHOPS, "flarex"]),
        micros=st.sampled_from([0, 50, 40_000]),
        used=st.sampled_from([0, 99, 100, 100]),
        switched=st.sampled_from(["off", "on", "on", "revoked"]),
    )
    def open(self, data: st.DataObject, shop: str, micros: int, used: int, switched: str) -> None:
        """A workspace that is not new: its quota may be almost used up, its switches on."""
        self.kind = shop.partition(",")[0]
        self.shop = SHOPS[shop]
        now = data.draw(st.sampled_from([NOW, JAN31]))
        self.tenant = Tenant(self.shop, None, micros, now=now)
        self.switches = Switches(self.prices()["free"])
        self.promises: dict[str, Promise] = {}
        self.units = UnitBook()
        self.seen = 0
        self.asked_in_vain = False
        self.look()
        self.change_plan(data.draw(st.sampled_from(PLANS[self.kind])))
        if switched != "off":
            self.overage(True)
            self.switch("overflow", True)
            self.switch("link", True)
        if switched == "revoked":
            self.switch("revoke", True)
            self.switch("fallback", False)
        if used:
            meter = METERS[self.kind][-1]
            scale = self.shop.meters[meter].tokens_per_unit
            self.report(meter, self.tenant.remaining() * scale * used // 100)

    # What is asked.

    @rule(data=st.data(), size=sizes, model=st.sampled_from(["gpt-5.4-mini", "claude-sonnet-4-6"]))
    def authorise(self, data: st.DataObject, size: int, model: str) -> None:
        meter = data.draw(st.sampled_from(METERS[self.kind]))
        source = data.draw(st.sampled_from(ASKED))
        minutes = data.draw(st.sampled_from([1, 60, 60 * 24 * 40]))
        self.place(meter, size * UNIT[self.kind], model, source, minutes)

    def place(
        self, meter: str, tokens: int, model: str, source: BillingSource | None, minutes: int
    ) -> None:
        """Ask for a hold, and note what it was promised."""
        frozen = self.account.is_frozen
        for recorded in self.attempt(
            self.tenant.hold, meter, tokens, model=model, source=source, minutes=minutes
        ):
            placed = recorded.fact
            if isinstance(placed, HoldPlaced):
                assert not frozen, "L5"
                REACHED[f"on {placed.route}"] += 1
                # Who asks for one source has not agreed to another.
                agreed = None if source else self.switches.price_now()
                self.promises[placed.hold_id] = Promise(placed, agreed, tokens)

    @precondition(lambda self: self.account.holds)
    @rule(data=st.data(), part=st.sampled_from([0, 50, 100, 100, 300]), back=st.booleans())
    def settle(self, data: st.DataObject, part: int, back: bool) -> None:
        hold = self.promises[data.draw(st.sampled_from(sorted(self.account.holds)))]
        occurred = hold.placed.recorded_at if back else None
        self.report(
            hold.placed.meter,
            hold.tokens * part // 100,
            hold_id=hold.placed.hold_id,
            llm_model=hold.placed.request.llm_model,
            occurred_at=occurred,
            mode=data.draw(st.sampled_from(["strict", "strict", "record"])),
        )

    @rule(data=st.data(), size=sizes, mode=st.sampled_from(["strict", "record"]))
    def use(self, data: st.DataObject, size: int, mode: str) -> None:
        meter = data.draw(st.sampled_from(METERS[self.kind]))
        days = data.draw(st.sampled_from([0, 0, 0, 1, 10, 20, 34, 36]))
        occurred = self.tenant.now - timedelta(days=days) if days else None
        route = "oauth" if mode == "record" and size % 5 == 0 else "metered"
        self.report(meter, size * UNIT[self.kind], occurred_at=occurred, mode=mode, route=route)

    @precondition(lambda self: self.promises)
    @rule(data=st.data())
    def settle_again(self, data: st.DataObject) -> None:
        """Whatever became of that hold."""
        id = data.draw(st.sampled_from(sorted(self.promises)))
        mode = data.draw(st.sampled_from(["strict", "record"]))
        closed = id not in self.account.holds
        acts = self.report(self.promises[id].placed.meter, 10_000, hold_id=id, mode=mode)
        assert not (acts and closed and mode == "strict")

    @precondition(lambda self: self.account.holds)
    @rule(data=st.data(), end=st.sampled_from(["release", "extend"]))
    def end(self, data: st.DataObject, end: str) -> None:
        placed = self.promises[data.draw(st.sampled_from(sorted(self.account.holds)))].placed
        if end == "release":
            self.attempt(self.tenant.release, placed)
        else:
            self.attempt(self.tenant.extend, placed, minutes=90)

    @rule()
    def sweep(self) -> None:
        self.attempt(self.tenant.ask, self.tenant.ledger.expire_holds)
        now = self.account.moment(self.tenant.context)
        assert all(hold.expires_at > now for hold in self.account.holds.values())

    # Where nobody sells it, being refused once says it all.
    @precondition(lambda self: self.kind == "flarex" or not self.asked_in_vain)
    @rule(on=st.sampled_from([True, True, False]))
    def overage(self, on: bool) -> None:
        self.asked_in_vain = self.kind != "flarex"
        recorded = self.attempt(self.tenant.overage, on)
        if any(isinstance(e.fact, OverageEnabled | OverageDisabled) for e in recorded):
            self.switches.say(self.account.recorded_at, on)

    @rule(data=st.data())
    def plan(self, data: st.DataObject) -> None:
        self.change_plan(data.draw(st.sampled_from(PLANS[self.kind])))

    def change_plan(self, plan: str) -> None:
        """Another plan, and what that does to overage."""
        recorded = self.attempt(self.tenant.plan, plan)
        if any(isinstance(e.fact, PlanChanged) for e in recorded):
            self.switches.plan(self.account.recorded_at, self.prices()[plan])

    @rule(
        what=st.sampled_from(["overflow", "fallback", "link", "revoke", "freeze", "cap", "ease"]),
        on=st.booleans(),
    )
    def switch(self, what: str, on: bool) -> None:
        """What a customer or an administrator sets."""
        tenant = self.tenant
        match what:
            case "overflow":
                self.attempt(tenant.overflow, on)
            case "fallback":
                self.attempt(tenant.fallback, on)
            case "link":
                self.attempt(tenant.link)
            case "revoke":
                self.attempt(tenant.unlink, "revoked" if on else "user")
            case "freeze":
                self.attempt(tenant.freeze)
                assert self.account.is_frozen
            case _:
                self.attempt(tenant.budget, 1_000 if what == "cap" else 10**9, hard=on)

    @precondition(lambda self: self.account.is_frozen)
    @rule()
    def unfreeze(self) -> None:
        self.attempt(self.tenant.unfreeze)
        assert not self.account.is_frozen

    @precondition(lambda self: self.acts())
    @rule(data=st.data())
    def void(self, data: st.DataObject) -> None:
        self.attempt(self.tenant.void, data.draw(st.sampled_from(self.acts())))

    # How the machine asks, and what it makes of the answer.

    @property
    def account(self) -> CreditAccount:
        return self.tenant.account

    @property
    def book(self) -> PriceBook:
        book = self.tenant.book.states[PRICES.id]
        assert isinstance(book, PriceBook)
        return book

    def prices(self) -> dict[str, int | None]:
        return {name: plan.overage_unit_price for name, plan in self.shop.plans.items()}

    def attempt(self, ask: Any, *arguments: Any, **named: Any) -> list[Recorded]:
        """Ask; a refusal is allowed and must leave nothing, neither events nor state."""
        before = self.tenant.book.position
        snapshot = self.account.snapshot()
        try:
            ask(*arguments, **named)
        except Refusal as refused:
            REACHED[refused.code] += 1
            event(refused.code)
            cycles = self.tenant.book.events[before:]
            if isinstance(refused, PaymentRequired):
                assert refused.is_frozen == self.account.is_frozen
                assert not (refused.is_frozen and (refused.needs_oauth or refused.needs_credits))
            # A cycle that was over is closed first: that is a decision of its own.
            assert all(e.fact.cause.startswith(CLOSING) for e in cycles), "a refusal left events"
            assert cycles or self.account.snapshot() == snapshot, "a refusal left a trace"
        recorded = self.tenant.book.events[before:]
        self.look()
        return recorded

    def report(self, meter: str, tokens: int, **fields: Any) -> list[Debited | UsageRecorded]:
        """Report an act, and check what it drew; empty if it was refused."""
        if self.kind == "flarex":
            fields["action"] = "proposal"
        hold = self.promises.get(fields.get("hold_id") or "")
        frozen = self.account.is_frozen
        model = fields.pop("llm_model", None) or "gpt-5.4-mini"
        recorded = self.attempt(self.tenant.act, meter, tokens, model=model, **fields)
        acts = [e.fact for e in recorded if isinstance(e.fact, Debited | UsageRecorded)]
        for act in acts:
            assert not (frozen and fields.get("mode", "strict") == "strict" and hold is None), "L5"
            self.check(act, hold)
        return acts

    def check(self, act: Debited | UsageRecorded, hold: Promise | None) -> None:
        """L2, L3, L6 and L9 of one act, against the machine's own books."""
        draws = {draw.source: draw for draw in act.draws}
        assert len(draws) == len(act.draws), "a source pays once"
        for source, draw in draws.items():
            REACHED[f"{source}:{draw.reason}" if draw.reason else source] += 1
            event(source)
            assert draw.units >= 0
            assert draw.amount >= 0
            assert (draw.remaining_after or 0) >= 0, "L9"
        REACHED["late"] += act.late
        check_conservation(act)
        asked = hold.placed.source if hold else None
        if asked is not None:
            REACHED[f"only {asked}"] += 1
            assert set(draws) <= PAYS[asked], "what was asked for pays, or nobody"
        if "oauth" in draws:
            assert set(draws) == {"oauth"}, "L2: nothing is funded twice"
            return
        agreed = self.switches.agreed(act, hold)
        if "overage" in draws:
            assert draws["overage"].unit_price == agreed, "L6"
        if "overage_off" in {d.reason for d in act.draws}:
            assert agreed is None, "what was agreed to is not given away"
        if "allowance" in draws and draws["allowance"].cycle_id is None:
            granted, used = self.units.open(draws["allowance"].bucket or "")
            assert used <= granted, "L9"
        beyond = act.units - (draws["allowance"].units if "allowance" in draws else 0)
        if beyond and not (hold and hold.placed.route == "wallet"):
            bucket = self.shop.meters[act.usage.meter].bucket if act.usage else None
            held = self.account.buckets[bucket or ""].held
            assert self.units.left(act, bucket or "", held) <= 0, "L3: included first"

    def look(self) -> None:
        """Enter what happened since into the machine's books."""
        for recorded in self.tenant.book.events[self.seen :]:
            if recorded.originator_id == ACCOUNT:
                self.enter(recorded.fact)
            REACHED[type(recorded.fact).__name__] += 1
        self.seen = self.tenant.book.position

    def enter(self, fact: Fact) -> None:
        """Enter one event of the account."""
        self.units.enter(fact)

    def standing(self, until: int | None = None) -> set[str]:
        """Holds that the events left open."""
        return standing(e.fact for e in self.tenant.book.events[:until])

    def acts(self) -> list[Any]:
        """Metered acts that nobody voided."""
        voided = {fact.usage.event_id for fact in self.tenant.facts(UsageVoided)}
        acts = self.tenant.facts(Debited, UsageRecorded)
        return [a for a in acts if a.usage is not None and a.usage.event_id not in voided][-6:]
