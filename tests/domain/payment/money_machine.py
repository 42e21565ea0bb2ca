"""The machine of spending with money and time: credits that come, expire and are taken back, a
card that is charged by itself, and steps of the clock."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from domain.account.credit_account import CreditAccount
from domain.account.topup_facts import AutoTopUpSuspended
from domain.commands import Command, Stream
from domain.facts import Fact
from domain.payment.cards import remove, save
from domain.payment.facts import attempt_stream
from domain.payment.paying import Urls
from domain.payment.processor import Card, Intent, IntentStatus, Refund
from domain.places import account_stream
from domain.workspace.facts import StripeCustomerLinked
from domain.workspace.workspace import Workspace, workspace_stream
from tests.domain.account.spending_machine import REACHED, SpendingMachine
from tests.domain.memory import run
from tests.domain.payment.money_books import DebtBook, TopUpBook
from tests.domain.tenant import WORKSPACE

if TYPE_CHECKING:
    from domain.payment.processor import Payments

CENT, CUSTOMER = 10_000, "cus_1"
BOUNDS = (CENT, 10**10)
NOBODY = cast("Payments", None)  # these ends of a charge ask Stripe for nothing
URLS = Urls("https://daybook.test/ok", "https://daybook.test/no")


class MoneyMachine(SpendingMachine):
    """With the rules that move money and time, and books of debt and of automatic charges."""

    def __init__(self) -> None:
        super().__init__()
        self.debt = DebtBook()
        self.topups = TopUpBook()
        self.paid: dict[str, Intent] = {}

    def enter(self, fact: Fact) -> None:
        super().enter(fact)
        self.debt.enter(fact)
        self.topups.enter(fact)
        if isinstance(fact, AutoTopUpSuspended):
            REACHED[f"suspended: {fact.reason}"] += 1

    # Credits.

    @rule(micros=st.sampled_from([1, 100, 5_000, 1_000_000]))
    def credit(self, micros: int) -> None:
        self.attempt(self.tenant.credit, micros)

    @rule(
        micros=st.sampled_from([100, 5_000, 60_000]),
        days=st.sampled_from([None, 0, 1, 20]),
        priority=st.sampled_from([10, 50, 90]),
    )
    def gift(self, micros: int, days: int | None, priority: int) -> None:
        """Credits without a payment; most of them end."""
        ends = None if days is None else self.account.moment(self.tenant.context)
        if ends is not None:
            ends += timedelta(days=days or 0, minutes=30)
        self.attempt(
            lambda: run(
                self.tenant.ledger.grant(
                    WORKSPACE,
                    micros,
                    self.tenant.new_id(),
                    self.tenant.context,
                    priority=priority,
                    expires_at=ends,
                )
            )
        )

    @rule()
    def write_off_what_expired(self) -> None:
        self.attempt(self.tenant.ask, self.tenant.ledger.expire_credits)

    @rule()
    def tidy(self) -> None:
        """What the sweeper asks."""
        self.attempt(self.tenant.ask, self.tenant.ledger.tidy)

    # The card.

    @rule(
        threshold=st.sampled_from([1, 5_000, 50_000]),
        amount=st.sampled_from([CENT, 10 * CENT]),
        charges=st.sampled_from([None, None, 1, 3]),
        enabled=st.sampled_from([True, True, True, False]),
    )
    def order_topups(self, threshold: int, amount: int, charges: int | None, enabled: bool) -> None:
        """``charges``: how many a month the customer lets happen."""
        cap = None if charges is None else charges * amount
        order = (enabled, threshold, amount, None, cap, BOUNDS)
        self.attempt(self.tenant.ask, self.tenant.ledger.configure_auto_topup, *order)

    @rule(on=st.sampled_from([True, True, False]))
    def card(self, on: bool) -> None:
        """A card is saved, or taken off, as in the portal."""
        id = self.tenant.new_id()

        def decide(workspace: Workspace, account: CreditAccount) -> None:
            context = self.tenant.context
            if workspace.stripe_customer_id is None:
                stamp = workspace.stamp(context, "customer")
                workspace.record(StripeCustomerLinked(**stamp, stripe_customer_id=CUSTOMER))
            if on:
                now = context.now
                saved = Card(id=id, brand="visa", last4="4242", customer=CUSTOMER, created=now)
                save(workspace, account, saved, context)
            else:
                remove(workspace, account, context)

        place = Stream(Workspace, workspace_stream(WORKSPACE))
        command = Command((place, account_stream(WORKSPACE)), decide)
        self.attempt(lambda: run(self.tenant.book.submit(command)))

    @precondition(lambda self: not self.topups.enabled)
    @rule(
        charges=st.sampled_from([None, 1]),
        end=st.sampled_from([None, "succeeded", "requires_action"]),
    )
    def pay_by_card(self, charges: int | None, end: IntentStatus | None) -> None:
        """A card, and an order that one charge does not fulfil; perhaps it ends at once."""
        self.card(True)
        self.order_topups(50_000, CENT, charges, True)
        if end is not None and self.topups.in_flight is not None:
            self.hear(self.topups.in_flight, end)

    @precondition(lambda self: self.topups.in_flight)
    @rule(times=st.integers(2, 4))
    def decline(self, times: int) -> None:
        """The card says no, again and again; whatever moves money asks it once more."""
        for _ in range(times):
            if self.topups.in_flight is not None:
                self.hear(self.topups.in_flight, "failed")
            self.credit(1)

    @rule()
    def freeze_and_move_money(self) -> None:
        self.switch("freeze", True)
        self.credit(1)

    @precondition(lambda self: self.topups.charges)
    @rule(
        data=st.data(),
        newest=st.sampled_from([True, True, True, False]),
        end=st.sampled_from(["succeeded", "succeeded", "failed", "failed", "requires_action"]),
        again=st.booleans(),
    )
    def charge_ends(self, data: st.DataObject, newest: bool, end: Any, again: bool) -> None:
        """Stripe says how a charge ended: perhaps of an old one, perhaps twice."""
        charges = sorted(self.topups.charges)
        payment = self.topups.in_flight if newest else data.draw(st.sampled_from(charges))
        if payment is None:
            return
        for _ in range(1 + again):
            self.hear(payment, end)

    @precondition(lambda self: self.paid)
    @rule(data=st.data(), part=st.sampled_from([1, 2]))
    def refund(self, data: st.DataObject, part: int) -> None:
        """Money of a charge goes back, the first time in part or in whole."""
        intent = self.paid[data.draw(st.sampled_from(sorted(self.paid)))]
        refund = Refund(id="re_1", amount=intent.amount_received // part, state="succeeded")
        refunds = (intent, intent.charge or "", (refund,), self.tenant.context)
        self.attempt(lambda: run(self.tenant.ledger.note_refunds(*refunds)))

    def hear(self, payment: str, status: IntentStatus) -> None:
        """Take in a charge as it is at Stripe."""
        intent = Intent(
            id=f"pi_{payment}",
            status=status,
            amount_received=self.topups.charges[payment].amount if status == "succeeded" else 0,
            currency="usd",
            customer=CUSTOMER,
            payment_attempt_id=payment,
            workspace_id=WORKSPACE,
            charge=f"ch_{payment}",
            code="card_declined" if status == "failed" else None,
        )
        self.attempt(self._hear, intent)
        if status == "succeeded":
            self.paid[payment] = intent

    def _hear(self, intent: Intent) -> None:
        ledger, context = self.tenant.ledger, self.tenant.context
        payment = intent.payment_attempt_id or ""
        asked, stream = self.topups.charges[payment].amount, attempt_stream(payment)
        run(ledger.request_payment(WORKSPACE, "auto_topup", stream, asked, context))
        run(ledger.note_payment(NOBODY, intent, URLS, context))

    # Time.

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
