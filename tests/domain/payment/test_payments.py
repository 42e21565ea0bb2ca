"""Payments: whatever Stripe says, again and in any order, the account follows once."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import permutations
from typing import Any

import pytest
from msgspec.structs import replace

from domain.account.credit_account import CreditAccount
from domain.account.credit_facts import CreditAccountOpened
from domain.errors import Conflict
from domain.facts import Context
from domain.identity import account_id
from domain.payment.attempt import PaymentAttempt
from domain.payment.errors import NotRefundable
from domain.payment.facts import attempt_id, attempt_stream, payment_stream
from domain.payment.processor import Contest, Intent, Refund
from domain.payment.settlement import disputed, refunded, resolve, settle

NOW = Context(datetime(2026, 6, 1, tzinfo=UTC))
USD = 1_000_000
PAID = Intent(
    id="pi_1",
    status="succeeded",
    amount_received=20 * USD,
    currency="usd",
    customer="cus_1",
    workspace_id="ws",
    charge="ch_1",
)


class Order:
    """A top-up of 20 USD and its account."""

    def __init__(self, **terms: Any) -> None:
        self.account = CreditAccount(account_id("ws"))
        stamp = self.account.stamp(NOW, "open")
        self.account.record(CreditAccountOpened(**stamp, workspace_id="ws", currency="usd"))
        stream = payment_stream("topup", "ws", "key")
        self.attempt = PaymentAttempt(stream)
        said = {"workspace_id": "ws", "currency": "usd", "stripe_customer_id": "cus_1"} | terms
        self.attempt.request("topup", 20 * USD, NOW, **said)

    def hear(self, intent: Intent, received: int | None = None) -> str:
        """Stripe says how the payment is."""
        net = intent.amount_received if received is None else received
        return settle(self.account, self.attempt, intent, net, NOW)

    def refund(self, *refunds: Refund) -> str:
        """Stripe says what went back."""
        return refunded(self.account, self.attempt, PAID, "ch_1", refunds, NOW)

    def dispute(self, contest: Contest) -> str:
        """Stripe says how a dispute is."""
        return disputed(self.account, self.attempt, contest, NOW)


def test_an_attempts_id_is_its_streams_name() -> None:
    stream = payment_stream("topup", "ws", "key")

    assert attempt_stream(attempt_id(stream)) == stream
    assert attempt_stream("pay_of_nobody") != attempt_stream("pay_of_somebody")


def test_a_payment_credits_once_however_often_it_is_told() -> None:
    order = Order()

    assert [order.hear(PAID) for _ in range(3)] == ["applied"] * 3

    assert order.account.balance == 20 * USD
    assert (order.attempt.status, order.attempt.credited) == ("succeeded", 20 * USD)


def test_a_decline_is_final_unless_stripe_says_it_was_paid_after_all() -> None:
    order = Order()
    no = replace(PAID, status="failed", code="card_declined", decline_code="insufficient_funds")

    assert order.hear(no) == order.hear(no) == "applied"
    assert (order.attempt.status, order.attempt.decline_code) == ("failed", "insufficient_funds")
    order.hear(PAID)

    assert order.account.balance == 20 * USD
    assert order.hear(no) == "ignored"
    assert order.attempt.status == "succeeded"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"amount_received": 19 * USD}, "amount"),
        ({"amount_received": 21 * USD}, "amount"),
        ({"currency": "eur"}, "currency"),
        ({"workspace_id": "other"}, "workspace"),
        ({"customer": "cus_2"}, "workspace"),
    ],
)
def test_money_that_is_not_what_was_asked_for_waits(change: dict[str, Any], why: str) -> None:
    order = Order()
    strange = replace(PAID, **change)

    order.hear(strange)
    order.hear(strange)

    assert order.account.balance == 0
    assert [doubt for _, _, doubt in order.attempt.quarantined.values()] == [why]
    # The order itself can still be paid, by another payment.
    order.hear(replace(PAID, id="pi_2"))
    assert order.account.balance == 20 * USD


def test_a_second_payment_of_one_order_cannot_be_credited_to_it() -> None:
    order = Order()
    order.hear(PAID)
    order.hear(replace(PAID, id="pi_2"))

    assert order.attempt.quarantined == {"pi_2": (20 * USD, "usd", "paid_twice")}
    with pytest.raises(Conflict, match="paid already"):
        resolve(order.account.clone(), order.attempt.clone(), "pi_2", "credited", "T", NOW)
    resolve(order.account, order.attempt, "pi_2", "refunded", "T", NOW)
    assert order.attempt.quarantined == {}
    order.hear(replace(PAID, id="pi_2"))
    assert order.attempt.quarantined == {}


def test_tax_on_a_page_is_not_credited() -> None:
    order = Order(via="checkout")

    order.hear(replace(PAID, amount_received=23_800_000), received=20 * USD)

    assert order.account.balance == 20 * USD


def test_a_declined_card_on_a_page_is_not_the_end_of_it() -> None:
    order = Order(via="checkout")

    assert order.hear(replace(PAID, status="failed", code="card_declined")) == "ignored"
    assert order.attempt.is_open


FIVE = Refund(id="re_1", amount=5 * USD, state="succeeded")
SEVEN = Refund(id="re_2", amount=7 * USD, state="pending")


def test_a_refund_waits_for_its_payment() -> None:
    order = Order()

    assert order.refund(FIVE) == "deferred"
    order.hear(PAID)
    assert order.refund(FIVE) == "applied"

    assert order.account.balance == 15 * USD


@pytest.mark.parametrize(
    "told", list(permutations([(FIVE,), (FIVE, SEVEN), (FIVE, replace(SEVEN, state="failed"))]))
)
def test_refunds_add_up_and_one_that_failed_gives_the_credits_back(
    told: tuple[tuple[Refund, ...], ...],
) -> None:
    order = Order()
    order.hear(PAID)

    for refunds in told:
        order.refund(*refunds)

    assert order.account.balance == 15 * USD
    assert order.account.reversed[order.attempt.payment_attempt_id] == 5 * USD


def test_never_more_is_taken_back_than_was_credited() -> None:
    order = Order()
    order.hear(PAID)
    order.refund(replace(FIVE, amount=15 * USD))
    order.dispute(Contest(id="dp_1", amount=20 * USD, charge="ch_1", intent="pi_1"))
    taken = Contest(id="dp_1", amount=20 * USD, charge="ch_1", intent="pi_1", withdrawn=20 * USD)
    order.dispute(taken)
    assert order.account.balance == 0

    order.dispute(replace(taken, reinstated=20 * USD, outcome="won"))

    assert order.account.balance == 5 * USD
    assert not order.account.is_frozen
    with pytest.raises(NotRefundable, match="left to refund"):
        order.attempt.request_refund("k", 6 * USD, None, NOW)


CONTEST = Contest(id="dp_1", amount=20 * USD, charge="ch_1", intent="pi_1")
TAKEN = replace(CONTEST, withdrawn=20 * USD)
GIVEN = replace(TAKEN, reinstated=20 * USD)
STATES = (CONTEST, TAKEN, GIVEN, replace(GIVEN, outcome="won"))


@pytest.mark.parametrize("told", list(permutations([None, *STATES])))
def test_a_dispute_ends_the_same_in_any_order_also_before_its_payment(
    told: tuple[Contest | None, ...],
) -> None:
    order = Order()

    for contest in (*told, *STATES):
        if contest is None:
            order.hear(PAID)
        else:
            assert order.dispute(contest) == "applied"

    assert order.account.balance == 20 * USD
    assert not order.account.freezes


def test_money_given_back_before_it_was_taken_waits() -> None:
    order = Order()
    order.hear(PAID)

    assert order.dispute(replace(CONTEST, reinstated=20 * USD)) == "deferred"
    order.dispute(TAKEN)
    assert order.dispute(replace(CONTEST, reinstated=20 * USD)) == "applied"

    assert order.account.balance == 20 * USD
