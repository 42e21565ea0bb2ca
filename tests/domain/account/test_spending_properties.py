"""Whatever is asked of spending, in whatever order, on either catalogue: L0 to L7, and L9.

The machine drives the use cases on account and subscription together. It keeps books of its own,
made from what it asked and from the events, never from the state: when overage was agreed to and
at which price, what every hold was promised, what every bucket was granted, how far the calls under
way are uncovered, which automatic charge is in flight. After every step the state is compared with
them, with a fold of the events, and with what must hold of each act.
"""

from __future__ import annotations

from collections import Counter

from hypothesis import settings
from hypothesis.stateful import (
    invariant,
    run_state_machine_as_test,
)

from domain.account.credit_account import CreditAccount
from domain.contract.cycle import boundary
from domain.contract.subscription import (
    CycleClosed,
    CycleOpened,
    Subscription,
)
from domain.facts import project
from tests.domain.account.spending_machine import METERS, REACHED
from tests.domain.account.story_machine import StoryMachine
from tests.domain.given import chat

ROUNDS_MAX = 12


class AnySpending(StoryMachine):
    """With what must hold after every step."""

    @invariant()
    def l0_the_balance_is_open_grants_less_debt(self) -> None:
        wallet = self.account.wallet
        assert wallet.balance == sum(g.remaining for g in wallet.grants) - wallet.debt
        assert all(g.remaining > 0 for g in wallet.grants)
        assert not (wallet.debt and wallet.grants)

    @invariant()
    def l1_all_money_is_somewhere(self) -> None:
        """What came in = what is available, held, or spent and not given back (voided), or
        expired, or taken back."""
        moved: Counter[str] = Counter()
        running = 0
        for fact in self.tenant.facts():
            if (move := fact.wallet_move()) is not None:
                running += move[0]
                moved[type(fact).__name__] += fact.amount
                assert move == (move[0], running)
        spent = moved["Debited"] - moved["UsageVoided"]
        assert moved["Credited"] == (
            self.account.available
            + self.account.held
            + spent
            + moved["CreditsExpired"]
            + moved["CreditsReversed"]
        )

    @invariant()
    def l4_no_more_than_one_call_is_uncovered(self) -> None:
        """Of all that calls under way may need and of all debt, what the balance does not cover is
        one call's want, and what came on top without being asked (see `DebtBook`)."""
        assert self.debt.uncovered <= self.debt.call + self.debt.beyond, "L4"
        REACHED["uncovered"] += self.debt.uncovered > 0
        for hold_id, (amount, short) in self.debt.open.items():
            hold = self.account.holds[hold_id]
            assert (hold.amount, hold.short) == (amount, short)
            assert amount >= 0
            assert short >= 0

    @invariant()
    def l7_one_automatic_charge_is_in_flight(self) -> None:
        """`TopUpBook` has refused a second one; here the state agrees, and none is missing."""
        auto, book = self.account.auto_topup, self.topups
        assert (auto.in_flight if auto else None) == book.in_flight
        if auto is None:
            return
        assert (auto.enabled, auto.suspended) == (book.enabled, book.suspended)
        low = book.enabled and book.suspended is None and self.account.balance < auto.threshold
        assert not low or book.in_flight or book.waits, "nobody has asked the card"

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
            granted, used = self.units.open(name)
            assert (bucket.granted, bucket.used) == (granted, used)
            assert bucket.used >= 0
            assert bucket.remaining == max(granted - used - bucket.held, 0)
        for closed in self.account.closed:
            window = self.units.late(closed.bucket, closed.cycle_id)
            assert closed.unused == self.units.unused[window] >= 0

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
        action = "proposal" if self.kind == "flarex" else None
        usage = chat("clone", input=10, meter=METERS[self.kind][0], mode="record", action=action)
        twin.charge(usage, self.shop, self.book, now)
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


ENDS = {
    "allowance", "wallet", "overage", "oauth", "late",
    "absorbed:overage_off", "absorbed:quota_overrun", "absorbed:write_off",
    "on allowance", "on wallet", "on overage", "on oauth",
    "HoldReleased", "HoldExpired", "HoldExtended", "hold_closed",
    "account_frozen", "insufficient_credits", "ai_credits_exhausted", "compile_quota_exceeded",
    "no_payment_source", "oauth_rejected", "budget_exhausted", "BudgetWarned",
    "overage_not_available_on_plan", "oauth_not_available_on_plan", "occurred_at_out_of_range",
    "UsageVoided", "CycleClosed", "AllowanceClosed", "OverageSettled", "PlanChanged",
    "only oauth", "only compile", "only credits", "uncovered", "CreditsExpired", "CreditsReversed",
    "AutoTopUpConfigured", "AutoTopUpTriggered", "AutoTopUpResolved", "AutoTopUpResumed",
    "suspended: declines", "suspended: authentication_required", "suspended: cap",
    "suspended: frozen", "suspended: no_card",
}  # fmt: skip


def test_whatever_is_asked_of_spending_its_invariants_hold_and_every_end_is_reached() -> None:
    REACHED.clear()

    for _ in range(ROUNDS_MAX):
        # Random in CI too, where hypothesis would play the same histories every round.
        run_state_machine_as_test(
            AnySpending,
            settings=settings(
                max_examples=120, stateful_step_count=40, deadline=None, derandomize=False
            ),
        )
        if set(REACHED) >= ENDS:
            return
    raise AssertionError(f"the machine does not reach {ENDS - set(REACHED)} any more")
