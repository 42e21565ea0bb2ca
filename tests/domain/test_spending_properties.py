"""Whatever is asked of spending, in whatever order, on either catalogue: L0 to L7 and L9.

The machine drives the use cases on account and subscription together. It keeps books of its own,
made from what it asked and from the events, never from the state: when overage was agreed to and
at which price, what every hold was promised, what every bucket was granted. After every step the
state is compared with them, with a fold of the events, and with what must hold of each act.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import Any

from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from domain.account_facts import Debited, UsageRecorded, UsageVoided
from domain.credit_account import CreditAccount
from domain.cycle import boundary
from domain.errors import PaymentRequired, Refusal
from domain.facts import Recorded, project
from domain.hold_facts import HoldExpired, HoldExtended, HoldPlaced, HoldReleased
from domain.subscription import CycleClosed, CycleOpened, Subscription
from domain.usage import Usage
from tests.domain.spending_books import Promise, Switches, UnitBook
from tests.domain.tenant import ACCOUNT, Tenant, catalogue

SHOPS = {name: catalogue(name) for name in ("faces", "flarex")}
SHOPS["faces, write_off"] = catalogue("faces", overdraft="write_off")
PLANS = {"faces": ["free", "connect", "standard"], "flarex": ["free", "starter", "pro"]}
METERS = {"faces": ["chat", "compile", "interview"], "flarex": ["chat_generation"]}
UNIT = {"faces": 100, "flarex": 10_000}  # tokens that a size of 1 stands for
REACHED: Counter[str] = Counter()
sizes = st.one_of(st.integers(1, 60), st.integers(1, 1_100))


class AnySpending(RuleBasedStateMachine):
    """Holds, charges, switches, links, plans, voids, freezes, credits and steps of the clock."""

    @initialize(shop=st.sampled_from(sorted(SHOPS)), micros=st.sampled_from([0, 50, 40_000]))
    def open(self, shop: str, micros: int) -> None:
        self.kind = shop.partition(",")[0]
        self.shop = SHOPS[shop]
        self.tenant = Tenant(self.shop, None, micros)
        self.switches = Switches(self.prices())
        self.promises: dict[str, Promise] = {}
        self.units = UnitBook()
        self.seen = 0
        self.look()

    # What is asked.

    @rule(data=st.data(), size=sizes, model=st.sampled_from(["gpt-5.4-mini", "claude-sonnet-4-6"]))
    def authorise(self, data: st.DataObject, size: int, model: str) -> None:
        meter = data.draw(st.sampled_from(METERS[self.kind]))
        source = data.draw(st.sampled_from([None, None, None, "oauth", "compile", "credits"]))
        minutes = data.draw(st.sampled_from([1, 60, 60 * 24 * 40]))
        frozen = self.account.is_frozen
        tokens = size * UNIT[self.kind]
        for event in self.attempt(
            self.tenant.hold, meter, tokens, model=model, source=source, minutes=minutes
        ):
            if isinstance(event.fact, HoldPlaced):
                assert not frozen, "L5"
                self.promises[event.fact.hold_id] = Promise(
                    event.fact, self.switches.price_now(), tokens
                )

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
        days = data.draw(st.sampled_from([0, 0, 0, 1, 10, 20, 34]))
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
        recorded = self.report(self.promises[id].placed.meter, 10_000, hold_id=id, mode=mode)
        assert not (recorded and closed and mode == "strict")

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

    @rule(micros=st.sampled_from([1, 100, 5_000, 1_000_000]))
    def credit(self, micros: int) -> None:
        self.attempt(self.tenant.credit, micros)

    @rule(on=st.booleans())
    def overage(self, on: bool) -> None:
        for event in self.attempt(self.tenant.overage, on):
            if type(event.fact).__name__ in ("OverageEnabled", "OverageDisabled"):
                self.switches.say(event.fact.recorded_at, on)

    @rule(on=st.booleans())
    def overflow(self, on: bool) -> None:
        self.attempt(self.tenant.overflow, on)

    @rule(how=st.sampled_from(["link", "link", "user", "revoked"]))
    def oauth(self, how: str) -> None:
        self.attempt(self.tenant.link if how == "link" else self.tenant.unlink, *self._how(how))

    @rule(on=st.booleans())
    def fallback(self, on: bool) -> None:
        self.attempt(self.tenant.fallback, on)

    @rule(data=st.data())
    def plan(self, data: st.DataObject) -> None:
        plan = data.draw(st.sampled_from(PLANS[self.kind]))
        for event in self.attempt(self.tenant.plan, plan):
            if type(event.fact).__name__ == "PlanChanged":
                self.switches.plan(event.fact.recorded_at, self.prices()[plan])

    @rule(on=st.booleans())
    def freeze(self, on: bool) -> None:
        self.attempt(self.tenant.freeze if on else self.tenant.unfreeze)
        assert self.account.is_frozen == on

    @rule(limit=st.sampled_from([0, 1_000, 10**9]), hard=st.booleans())
    def budget(self, limit: int, hard: bool) -> None:
        self.attempt(self.tenant.budget, limit, hard=hard)

    @precondition(lambda self: self.acts())
    @rule(data=st.data())
    def void(self, data: st.DataObject) -> None:
        self.attempt(self.tenant.void, data.draw(st.sampled_from(self.acts())))

    @rule(hours=st.sampled_from([-1, 1, 24, 24 * 9, 24 * 29]))
    def time_passes(self, hours: int) -> None:
        self.tenant.later(hours=hours)

    @rule()
    def to_the_end_of_the_cycle(self) -> None:
        """To the exact instant, where the next cycle begins."""
        end = self.tenant.subscription.period_end
        assert end is not None
        self.tenant.now = max(end, self.tenant.now)

    @rule()
    def roll_over(self) -> None:
        self.attempt(self.tenant.roll_over)

    # What must hold.

    @invariant()
    def l0_the_balance_is_open_grants_less_debt(self) -> None:
        wallet = self.account.wallet
        assert wallet.balance == sum(g.remaining for g in wallet.grants) - wallet.debt
        assert all(g.remaining > 0 for g in wallet.grants)
        assert not (wallet.debt and wallet.grants)

    @invariant()
    def l1_all_money_is_somewhere(self) -> None:
        """What came in = what is available, held, or spent and not given back, or expired."""
        moved: Counter[str] = Counter()
        running = 0
        for fact in self.tenant.facts():
            if (move := fact.wallet_move()) is not None:
                running += move[0] if isinstance(fact, Debited) else fact.amount
                moved[type(fact).__name__] += fact.amount
                assert move == (move[0], running)
        spent = moved["Debited"] - moved["UsageVoided"]
        assert moved["Credited"] == (
            self.account.available + self.account.held + spent + moved["CreditsExpired"]
        )

    @invariant()
    def all_holds_are_what_is_held(self) -> None:
        account = self.account
        assert account.reserved == sum(hold.amount for hold in account.holds.values())
        assert account.reserved <= account.held
        for name, bucket in account.buckets.items():
            held = sum(h.units for h in account.holds.values() if h.bucket == name)
            assert bucket.held == held
        expiries = [hold.expires_at for hold in account.holds.values()]
        assert account.next_hold_expiry == min(expiries, default=None)
        assert set(account.holds) == self.standing()

    @invariant()
    def l9_all_units_are_somewhere(self) -> None:
        """In every window of every bucket: granted = remaining + held + used and not given back,
        unless a smaller plan granted less than was used and held already."""
        for name, bucket in self.account.buckets.items():
            granted, used = self.units.open[name]
            assert (bucket.granted, bucket.used) == (granted, used)
            assert bucket.used >= 0
            assert bucket.remaining == max(granted - used - bucket.held, 0)
        for closed in self.account.closed:
            assert closed.unused == self.units.unused[closed.bucket, closed.cycle_id] >= 0

    @invariant()
    def overage_is_what_was_drawn_and_not_settled(self) -> None:
        open = {name: v for name, v in self.account.overage.items() if v != (0, 0)}
        assert open == {name: v for name, v in self.units.overage.items() if v != (0, 0)}

    @invariant()
    def replay_agrees(self) -> None:
        for id, state in self.tenant.book.states.items():
            if isinstance(state, CreditAccount | Subscription):
                assert project(None, self.tenant.book.stream(id)) == state

    @invariant()
    def a_clone_goes_its_own_way(self) -> None:
        before, twin = self.account.snapshot(), self.account.clone()
        now = self.tenant.context
        twin.credit(1_000_000, "promo", "clone", now)
        usage = Usage(event_id="clone", meter=METERS[self.kind][0], llm_model="gpt-5.4-mini")
        twin.charge(Usage(**(_fields(usage) | {"mode": "record"})), self.shop, self.book, now)
        for hold_id in list(twin.holds)[:1]:
            twin.release_hold(hold_id, "voided", now)
        assert self.account.snapshot() == before

    @invariant()
    def cycles_abut(self) -> None:
        subscription = self.tenant.subscription
        assert subscription.anchor_at is not None
        closed, opened = self.tenant.facts(CycleClosed), self.tenant.facts(CycleOpened)
        for n, (before, after) in enumerate(zip(closed, opened, strict=True), 1):
            assert before.period_end == after.period_start == boundary(subscription.anchor_at, n)
        assert self.account.policy is not None
        assert self.account.policy.cycle_id == subscription.cycle_id
        assert self.account.policy.overage_enabled == subscription.overage_enabled
        assert self.switches.on == subscription.overage_enabled

    # How the machine asks, and what it makes of the answer.

    @property
    def account(self) -> CreditAccount:
        return self.tenant.account

    @property
    def book(self) -> Any:
        return next(s for s in self.tenant.book.states.values() if hasattr(s, "rate") and hasattr(s, "starts"))

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
            cycles = [e for e in self.tenant.book.events[before:]]
            if isinstance(refused, PaymentRequired):
                assert refused.is_frozen == self.account.is_frozen
                assert not (refused.is_frozen and (refused.needs_oauth or refused.needs_credits))
            # A cycle that was over is closed first: that is a decision of its own.
            assert all(e.fact.cause.startswith(CLOSING) for e in cycles), "a refusal left events"
            assert cycles or self.account.snapshot() == snapshot, "a refusal left a trace"
        recorded = self.tenant.book.events[before:]
        self.look()
        return recorded

    def report(self, meter: str, tokens: int, **fields: Any) -> list[Recorded]:
        """Report an act, and check what it drew."""
        if self.kind == "flarex":
            fields["action"] = "proposal"
        hold = self.promises.get(fields.get("hold_id") or "")
        frozen = self.account.is_frozen
        model = fields.pop("llm_model", None) or "gpt-5.4-mini"
        recorded = self.attempt(self.tenant.act, meter, tokens, model=model, **fields)
        acts = [e.fact for e in recorded if isinstance(e.fact, Debited | UsageRecorded)]
        standing = hold is not None and hold.placed.hold_id in self.settled_by(recorded)
        for act in acts:
            assert not (frozen and fields.get("mode", "strict") == "strict" and hold is None), "L5"
            self.check(act, hold if standing else None)
        return recorded

    def settled_by(self, recorded: list[Recorded]) -> set[str]:
        """Holds that these events ended by paying."""
        expired = {e.fact.hold_id for e in recorded if isinstance(e.fact, HoldExpired)}
        return self.stood - expired

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
        self.check_conservation(act)
        if "oauth" in draws:
            assert set(draws) == {"oauth"}, "L2: nothing is funded twice"
        agreed = self.switches.agreed(act, hold)
        if "overage" in draws:
            assert draws["overage"].unit_price == agreed, "L6"
            left = self.units.left(act, self.account, hold)
            assert left <= 0, "L3: included first"
        if "overage_off" in {d.reason for d in act.draws}:
            assert agreed is None, "what was agreed to is not given away"

    def check_conservation(self, act: Debited | UsageRecorded) -> None:
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
            exact = beyond * total / act.units
            assert abs(wallet + money["absorbed"] - exact) <= 1.5
        else:
            assert beyond == 0 or total * beyond < 2 * act.units

    def look(self) -> None:
        """Enter what happened since into the machine's books."""
        self.stood = self.standing(self.seen)
        for recorded in self.tenant.book.events[self.seen :]:
            if recorded.originator_id == ACCOUNT:
                self.units.enter(recorded.fact)
            REACHED[type(recorded.fact).__name__] += 1
        self.seen = self.tenant.book.position

    def standing(self, until: int | None = None) -> set[str]:
        """Holds that the events left open."""
        open: set[str] = set()
        for recorded in self.tenant.book.events[:until]:
            fact = recorded.fact
            if isinstance(fact, HoldPlaced):
                open.add(fact.hold_id)
            elif isinstance(fact, HoldReleased | HoldExpired):
                open.discard(fact.hold_id)
            elif isinstance(fact, Debited | UsageRecorded) and fact.usage is not None:
                open.discard(fact.usage.hold_id or "")
            else:
                assert not isinstance(fact, HoldExtended) or fact.hold_id in open
        return open

    def acts(self) -> list[Any]:
        """Metered acts that nobody voided."""
        voided = {fact.usage.event_id for fact in self.tenant.facts(UsageVoided)}
        acts = self.tenant.facts(Debited, UsageRecorded)
        return [a for a in acts if a.usage is not None and a.usage.event_id not in voided][-6:]

    def _how(self, how: str) -> tuple[str, ...]:
        return () if how == "link" else (how,)
