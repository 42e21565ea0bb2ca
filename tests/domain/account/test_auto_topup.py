"""Automatic top-ups: strictly below the threshold, one at a time, and not for ever."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.account.credit_account import CreditAccount
from domain.account.credit_facts import CreditAccountOpened
from domain.account.topup_facts import (
    AutoTopUp,
    AutoTopUpResolved,
    AutoTopUpResumed,
    AutoTopUpSuspended,
    AutoTopUpTriggered,
)
from domain.facts import Context, project
from domain.identity import account_id

NOW = datetime(2026, 6, 1, tzinfo=UTC)
USD = 1_000_000


def account(
    balance: int,
    threshold: int = 5 * USD,
    amount: int | None = 20 * USD,
    target: int | None = None,
    monthly_cap: int | None = None,
) -> CreditAccount:
    """An account with a card, and an order: 20 below 5, unless the order says otherwise."""
    made = CreditAccount(account_id("ws"))
    stamp = made.stamp(at(0), "open")
    made.record(CreditAccountOpened(**stamp, workspace_id="ws", currency="usd"))
    if balance:
        made.adjust(balance, "start", "T", "start", at(0))
    terms = (True, threshold, amount, target, monthly_cap, 10_000 * USD)
    made.configure_auto_topup(*terms, has_card=True, context=at(0))
    return made


def order(made: CreditAccount) -> AutoTopUp:
    """The order in force."""
    assert made.auto_topup is not None
    return made.auto_topup


def at(seconds: int) -> Context:
    """An instant."""
    return Context(NOW + timedelta(seconds=seconds))


def facts(made: CreditAccount) -> list[str]:
    """The names of what was decided about automatic top-ups."""
    names = [type(event.fact).__name__ for event in made.pending]
    return [name for name in names if name.startswith("AutoTopUp")]


def take(made: CreditAccount, amount: int, cause: str = "take") -> None:
    """Spend."""
    made.adjust(-amount, "spent", "T", cause, at(1))


@pytest.mark.parametrize(("balance", "triggered"), [(5 * USD, 0), (5 * USD - 1, 1), (-USD, 1)])
def test_it_is_triggered_strictly_below_the_threshold(balance: int, triggered: int) -> None:
    assert facts(account(balance)).count("AutoTopUpTriggered") == triggered


@pytest.mark.parametrize(
    ("balance", "charged"), [(4_990_000, 15_010_000), (-1, 20_010_000), (4_999_999, 15_010_000)]
)
def test_a_target_charges_what_is_missing_in_whole_cents(balance: int, charged: int) -> None:
    made = account(balance, amount=None, target=20 * USD)

    [fact] = [e.fact for e in made.pending if isinstance(e.fact, AutoTopUpTriggered)]
    assert fact.amount == charged


def test_a_charge_that_ends_in_credit_is_followed_by_another_if_it_was_not_enough() -> None:
    made = account(-30 * USD)
    first = made.auto_topup and made.auto_topup.in_flight
    assert first is not None

    made.credit(20 * USD, "auto_topup", "credit:1", at(1), payment_attempt_id=first)
    assert made.auto_topup is not None
    assert made.auto_topup.in_flight == first
    made.topup_ended(first, "credited", 20 * USD, at(1))

    assert made.auto_topup.in_flight not in (None, first)


def test_three_failures_suspend_and_a_success_counts_from_nothing() -> None:
    made = account(0)
    for number in range(5):
        assert made.auto_topup is not None
        if made.auto_topup.in_flight is not None:
            made.topup_ended(made.auto_topup.in_flight, "failed", 20 * USD, at(2))
        take(made, 1, f"take{number}")

    assert facts(made).count("AutoTopUpTriggered") == 3
    assert order(made).suspended == "declines"
    made.card_saved(at(3))
    assert (order(made).suspended, order(made).failures) == (None, 0)
    assert order(made).in_flight is not None


def test_what_failed_and_was_paid_after_all_lets_it_go_on() -> None:
    made = account(0)
    payment = order(made).in_flight
    assert payment is not None
    made.topup_ended(payment, "failed", 20 * USD, at(1), suspend="authentication_required")

    made.credit(20 * USD, "auto_topup", "credit:1", at(2), payment_attempt_id=payment)
    made.topup_ended(payment, "credited", 20 * USD, at(2))

    assert made.auto_topup is not None
    assert made.auto_topup.suspended is None
    assert made.auto_topup.spent == 20 * USD


def test_what_is_paid_after_all_counts_in_the_month_in_which_it_is_paid() -> None:
    made, july = account(0, monthly_cap=20 * USD), 40 * 86_400
    june = order(made).in_flight
    assert june is not None
    made.topup_ended(june, "failed", 20 * USD, at(1), suspend="authentication_required")
    made.adjust(-20 * USD, "spent", "T", "spent", at(july))

    made.credit(20 * USD, "auto_topup", "credit:1", at(july), payment_attempt_id=june)
    made.topup_ended(june, "credited", 20 * USD, at(july))

    assert order(made).spent_in("2026-07") == 20 * USD
    assert (order(made).in_flight, order(made).suspended) == (None, "cap")


def test_what_fails_in_another_month_than_it_was_asked_in_frees_nothing_of_that_month() -> None:
    made, july = account(-30 * USD, monthly_cap=40 * USD), 40 * 86_400
    first = order(made).in_flight
    assert first is not None
    made.topup_ended(first, "failed", 20 * USD, at(1))
    take(made, 1)
    second = order(made).in_flight
    assert second is not None
    made.credit(20 * USD, "auto_topup", "credit:1", at(july), payment_attempt_id=first)
    made.topup_ended(first, "credited", 20 * USD, at(july))

    made.topup_ended(second, "failed", 20 * USD, at(july))

    assert order(made).spent_in("2026-07") == 20 * USD


def test_credits_that_are_over_when_the_account_is_frozen_leave_the_card_alone() -> None:
    made = account(0, threshold=2 * USD)
    first = order(made).in_flight
    assert first is not None
    ends = NOW + timedelta(seconds=5)
    made.credit(2 * USD, "promo", "promo", at(1), priority=90, expires_at=ends)
    made.topup_ended(first, "failed", 20 * USD, at(1))

    made.freeze("admin", "T", None, at(6))

    assert order(made).suspended == "frozen"
    assert order(made).in_flight is None


def test_a_frozen_account_waits_and_goes_on_when_it_is_released() -> None:
    made = account(6 * USD)
    made.freeze("admin", "T", None, at(1))
    take(made, 2 * USD)
    assert made.auto_topup is not None
    assert made.auto_topup.suspended == "frozen"

    made.unfreeze(None, "T", None, at(2))

    assert facts(made)[-2:] == ["AutoTopUpResumed", "AutoTopUpTriggered"]


def test_credits_that_expire_trigger_it_too() -> None:
    made = account(2 * USD, threshold=2 * USD)
    ends = NOW + timedelta(seconds=5)
    made.credit(2 * USD, "promo", "promo", at(1), priority=90, expires_at=ends)
    take(made, 1 * USD)
    assert "AutoTopUpTriggered" not in facts(made)

    made.expire_credits(at(6))
    made.consider_topup(at(6))

    assert "AutoTopUpTriggered" in facts(made)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["spend", "credit", "failed", "paid", "freeze", "release", "card", "no_card", "month"]
        ),
        st.integers(1, 12 * USD),
    ),
    max_size=40,
)


@given(STEPS)
def test_whatever_happens_one_charge_is_in_flight_and_the_cap_is_kept(
    steps: list[tuple[str, int]],
) -> None:
    cap = 50 * USD
    made, seconds = account(10 * USD, monthly_cap=cap), 0
    for number, (what, amount) in enumerate(steps):
        seconds += 40 * 86_400 if what == "month" else 1
        now, auto = at(seconds), made.auto_topup
        assert auto is not None
        if what == "spend":
            made.adjust(-amount, "spent", "T", f"s{number}", now)
        elif what == "credit":
            made.credit(amount, "promo", f"c{number}", now)
        elif what in ("failed", "paid") and auto.in_flight is not None:
            payment = auto.in_flight
            if what == "paid":
                made.credit(20 * USD, "auto_topup", f"p{number}", now)
            ended = "failed" if what == "failed" else "credited"
            made.topup_ended(payment, ended, 20 * USD, now)  # type: ignore[arg-type]
        elif what == "freeze":
            made.freeze("admin", "T", None, now)
        elif what == "release":
            made.unfreeze(None, "T", None, now)
        elif what == "card":
            made.card_saved(now)
        elif what == "no_card":
            made.suspend_topup("no_card", now)
        auto = made.auto_topup
        assert auto is not None
        assert auto.spent <= cap
    in_flight: str | None = None
    suspended = False
    for event in made.pending:
        match event.fact:
            case AutoTopUpTriggered(payment_attempt_id=payment):
                assert in_flight is None
                assert not suspended
                in_flight = payment
            case AutoTopUpResolved(payment_attempt_id=payment):
                assert in_flight == payment
                in_flight = None
            case AutoTopUpSuspended():
                suspended = True
            case AutoTopUpResumed():
                suspended = False
    twin = project(None, made.pending)
    assert twin is not None
    assert twin.state() == made.state()
