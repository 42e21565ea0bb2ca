"""The machine of spending and money with short stories: what needs several steps in one order, so
that chance alone tells it too seldom. Their ends are still checked by the rules' own books."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from domain.account.hold_facts import BillingSource
from tests.domain.account.spending_machine import UNIT, sizes
from tests.domain.payment.money_machine import MoneyMachine


class StoryMachine(MoneyMachine):
    """With stories of one call each."""

    def a_call(self, meter: str, size: int, source: BillingSource | None = None) -> set[str]:
        """Ask for a hold; the hold that was placed, if one was."""
        before = set(self.promises)
        self.place(meter, size * UNIT[self.kind], "gpt-5.4-mini", source, 60)
        return set(self.promises) - before

    @precondition(lambda self: self.kind == "flarex")
    @rule(size=sizes, on=st.booleans())
    def call_over_a_switch(self, size: int, on: bool) -> None:
        """Overage is switched while a call runs that needs more than was expected."""
        self.overage(not on)
        held = self.a_call("chat_generation", size)
        self.overage(on)
        for id in held:
            self.report("chat_generation", 3 * size * UNIT[self.kind], hold_id=id)

    @precondition(lambda self: self.kind != "flarex" and not self.account.is_frozen)
    @rule(
        size=sizes,
        source=st.sampled_from(["oauth", "compile", "credits"]),
        end=st.sampled_from(["report", "report", "release", "extend"]),
    )
    def call_for_one_source(self, size: int, source: BillingSource, end: str) -> None:
        """A call says who pays for it, on a plan where all three may."""
        self.change_plan("connect")
        self.switch("link", True)
        for id in self.a_call("compile" if source == "compile" else "chat", size, source):
            placed = self.promises[id].placed
            match end:
                case "report":
                    self.report(placed.meter, size * UNIT[self.kind], hold_id=id)
                case "release":
                    self.attempt(self.tenant.release, placed)
                case _:
                    self.attempt(self.tenant.extend, placed, minutes=90)

    @precondition(lambda self: self.kind != "flarex" and not self.account.is_frozen)
    @rule(size=sizes, source=st.sampled_from([None, "oauth"]))
    def call_over_a_revoked_link(self, size: int, source: BillingSource | None) -> None:
        """The user's own account is gone, and nothing else may pay for it."""
        self.change_plan("connect")
        self.switch("link", True)
        self.switch("revoke", True)
        self.switch("fallback", False)
        self.a_call("chat", size, source)

    @precondition(lambda self: self.kind != "flarex" and not self.account.is_frozen)
    @rule(plan=st.sampled_from(["standard", "free"]), more=st.integers(1, 50))
    def compile_past_the_quota(self, plan: str, more: int) -> None:
        """Compilation may not cost money, and more is asked for than is left."""
        self.change_plan(plan)
        self.switch("revoke", False)
        self.switch("overflow", False)
        scale = self.shop.meters["compile"].tokens_per_unit
        beyond = self.tenant.remaining() * scale // UNIT[self.kind] + more
        self.a_call("compile", beyond)

    @precondition(lambda self: not self.account.is_frozen)
    @rule(size=sizes, hard=st.booleans())
    def use_under_a_cap(self, size: int, hard: bool) -> None:
        """A budget that a few acts fill, lifted when one of them was refused."""
        meter = "chat_generation" if self.kind == "flarex" else "chat"
        self.credit(5_000)
        self.overage(True)
        self.switch("cap", hard)
        for _ in range(3):
            self.report(meter, size * UNIT[self.kind])
        self.switch("ease", True)

    @precondition(lambda self: self.kind != "flarex" and not self.account.is_frozen)
    @rule(micros=st.integers(100, 5_000))
    def call_beyond_the_money(self, micros: int) -> None:
        """A call that costs more than it asked for and than there is, and another one after it."""
        self.switch("revoke", False)
        self.switch("ease", True)
        self.credit(micros)
        for id in self.a_call("chat", 1):
            self.report("chat", 100 * self.account.available, hold_id=id)
        self.a_call("chat", 1)

    @precondition(lambda self: not self.topups.enabled)
    @rule()
    def a_month_of_one_charge(self) -> None:
        """The one charge that the customer lets happen is paid, and not enough."""
        self.pay_by_card(1, "succeeded")
        self.credit(1)
