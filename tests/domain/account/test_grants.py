"""Stories of grants, expiry, voids and corrections, by the numbers of section 8.1b."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from domain.account.credit_facts import Credited, CreditsExpired, CreditsReversed
from domain.account.usage_facts import Debited, UsageVoided
from domain.errors import (
    InsufficientCredits,
    InvalidInput,
    NotReversible,
)
from domain.identity import usage_id
from tests.domain.given import (
    NOW,
    USD,
    account_with,
    at,
    call,
    charged,
    chat,
    credited,
    new_account,
    pending,
    prices,
    promo,
    publish,
    s01,
)


@pytest.mark.scenario("G01")
def test_grants_burn_by_priority_then_expiry_then_promotional_first() -> None:
    account = account_with(1_000_000)
    expiring = promo(account, 500_000, expires_at=NOW + timedelta(days=30))
    urgent = promo(account, 300_000, priority=10)

    [debit] = charged(account, call("u1", 600_000))

    assert isinstance(debit, Debited)
    assert debit.draws[0].grants == {urgent.grant_id: 300_000, expiring.grant_id: 300_000}
    assert list(debit.draws[0].grants) == [urgent.grant_id, expiring.grant_id]
    assert account.balance == 1_200_000


@pytest.mark.parametrize("paid_first", [True, False])
def test_promotional_burns_before_paid_whichever_came_first(paid_first: bool) -> None:
    account = new_account()
    if paid_first:
        credited(account, amount=10, source="card_topup", cause="credit:a", context=at())
    gift = promo(account, 10)
    if not paid_first:
        credited(account, amount=10, source="card_topup", cause="credit:a", context=at())

    [debit] = charged(account, call("u1", 5))

    assert isinstance(debit, Debited)
    assert debit.draws[0].grants == {gift.grant_id: 5}


def test_of_equal_grants_the_earlier_burns_first_also_past_the_tenth() -> None:
    account = new_account()
    gifts = [promo(account, 10).grant_id for _ in range(12)]

    [debit] = charged(account, call("u1", 115))

    assert isinstance(debit, Debited)
    assert list(debit.draws[0].grants) == gifts


@pytest.mark.scenario("G02")
def test_a_grant_expires_by_an_event_before_the_first_act_at_its_instant() -> None:
    end = datetime(2026, 6, 10, tzinfo=UTC)
    account = account_with(1_000_000)
    gift = promo(account, 500_000, expires_at=end)

    [first] = charged(account, call("u1", 200_000), context=at(end, seconds=-1))
    assert isinstance(first, Debited)
    assert first.draws[0].grants == {gift.grant_id: 200_000}
    assert account.balance == 1_300_000

    gone, second = charged(account, call("u2", 1_000), context=at(end))
    assert isinstance(gone, CreditsExpired)
    assert (gone.amount, gone.balance_after) == (300_000, 1_000_000)
    assert isinstance(second, Debited)
    assert gift.grant_id not in second.draws[0].grants
    assert account.balance == 999_000


def test_a_refused_call_finds_the_expired_grant_gone() -> None:
    account = new_account()
    promo(account, 500_000, expires_at=NOW + timedelta(days=1))

    with pytest.raises(InsufficientCredits) as refused:
        charged(account, call("u1", 1_000), context=at(days=1))

    assert refused.value.available == 0


@pytest.mark.scenario("G03")
def test_a_credit_repays_the_debt_and_opens_its_grant_with_the_rest() -> None:
    account = account_with(10_000)
    charged(account, s01())

    credit = credited(account, amount=USD, source="card_topup", cause="credit:b", context=at())

    assert credit.amount == 1_000_000
    assert account.wallet.debt == 0
    assert [g.remaining for g in account.wallet.grants] == [972_965]


@pytest.mark.scenario("G04")
def test_a_refund_takes_its_own_grant_then_others_then_debt() -> None:
    account = account_with(20 * USD)
    charged(account, call("u1", 15 * USD))
    payment = Credited(
        recorded_at=NOW,
        amount=20 * USD,
        source="card_topup",
        grant_id=account.wallet.grants[0].grant_id,
        balance_after=20 * USD,
        payment_attempt_id="pay_a",
    )
    gift = promo(account, 10 * USD)

    account.reverse(payment, 20 * USD, "refund", "reversal:1", at())

    [reversed_] = pending(account)
    assert isinstance(reversed_, CreditsReversed)
    assert reversed_.grants == {payment.grant_id: 5 * USD, gift.grant_id: 10 * USD}
    assert (account.balance, account.wallet.debt) == (-5 * USD, 5 * USD)
    with pytest.raises(NotReversible):
        account.reverse(payment, 1, "refund", "reversal:2", at())


@pytest.mark.scenario("G05")
def test_a_void_gives_back_exactly_what_the_act_drew() -> None:
    account = account_with(500)
    paid = account.wallet.grants[0].grant_id
    gift = promo(account, 1_000)
    charged(account, chat("u0", input=4_900, meter="interview"))
    before = account.clone()
    act = call("u1", 1_300, meter="interview")  # 100 of its 5 200 tokens are included
    [debit] = charged(account, act)
    assert isinstance(debit, Debited)
    assert debit.draws[1].grants == {gift.grant_id: 1_000, paid: 275}

    opened, id = {gift.grant_id: gift}, usage_id(account.id, account.version)
    account.void(id, debit, NOW, opened, {}, "mistake", None, False, at())

    [void] = pending(account)
    assert isinstance(void, UsageVoided)
    assert (void.amount, void.balance_after) == (1_275, 1_500)
    assert account.wallet == before.wallet
    assert account.buckets == before.buckets


@pytest.mark.scenario("G05")
@pytest.mark.parametrize("reinstate", [False, True])
def test_a_void_reopens_an_expired_grant_only_when_asked(reinstate: bool) -> None:
    account = new_account()
    gift = promo(account, 1_000, expires_at=NOW + timedelta(days=1))
    [debit] = charged(account, call("u1", 400))
    assert isinstance(debit, Debited)

    account.void("use_1", debit, NOW, {gift.grant_id: gift}, {}, None, None, reinstate, at(days=2))

    gone, void = pending(account)
    assert isinstance(gone, CreditsExpired)
    assert isinstance(void, UsageVoided)
    assert (gone.amount, void.amount) == (600, 400 if reinstate else 0)
    assert account.balance == void.amount
    account.expire_credits(at(days=3))
    assert account.balance == void.amount


@pytest.mark.scenario("G05")
def test_a_void_of_an_act_that_left_a_debt_takes_the_debt_away() -> None:
    account = account_with(10_000)
    paid = account.wallet.grants[0]
    [debit] = charged(account, s01())
    assert isinstance(debit, Debited)

    account.void("use_1", debit, NOW, {}, {}, None, None, False, at())

    assert (account.balance, account.wallet.debt) == (10_000, 0)
    assert [g.grant_id for g in account.wallet.grants] == [paid.grant_id]


@pytest.mark.scenario("G05")
def test_a_void_after_the_debt_was_repaid_gives_back_all_of_it() -> None:
    account = account_with(10_000)
    [debit] = charged(account, s01())
    assert isinstance(debit, Debited)
    credited(account, amount=USD, source="card_topup", cause="credit:b", context=at())

    account.void("use_1", debit, NOW, {}, {}, None, None, False, at())

    assert account.balance == 10_000 + USD
    assert sum(g.remaining for g in account.wallet.grants) == 10_000 + USD


# Other decisions about money


@pytest.mark.parametrize("amount", [0, -1])
def test_a_credit_of_nothing_is_refused(amount: int) -> None:
    account = new_account()

    with pytest.raises(InvalidInput, match="positive"):
        account.credit(amount, "promo", "grant:1", at())
    assert pending(account) == []


def test_a_grant_that_is_over_already_is_refused() -> None:
    with pytest.raises(InvalidInput, match="future"):
        promo(new_account(), 10, expires_at=NOW)


def test_an_adjustment_adds_and_never_overwrites() -> None:
    account = account_with(1_000)

    account.adjust(-1_500, "typo", "t-1", "adjustment:1", at())
    account.adjust(700, "typo", "t-2", "adjustment:2", at())

    down, up = pending(account)
    assert isinstance(down, Debited)
    assert isinstance(up, Credited)
    assert (down.balance_after, up.balance_after) == (-500, 200)
    assert down.unique_cause() == "adjustment:1"
    with pytest.raises(InvalidInput, match="nothing"):
        account.adjust(0, "typo", "t-3", "adjustment:3", at())


def test_time_never_runs_backwards_in_a_stream() -> None:
    account = account_with(USD)
    charged(account, call("u1"), context=at(hours=2))

    [debit] = charged(account, call("u2"), context=at(hours=1))

    assert debit.recorded_at == at(hours=2).now


def test_a_price_that_comes_into_force_is_used_from_its_instant() -> None:
    account, book = account_with(10 * USD), prices()
    publish(book, NOW + timedelta(days=1), 2_000_000)

    [before] = charged(account, chat("u1", input=10**6), book=book, context=at(hours=23))
    [after] = charged(account, chat("u2", input=10**6), book=book, context=at(days=1))

    assert isinstance(before, Debited)
    assert isinstance(after, Debited)
    assert (before.amount, after.amount) == (3_000_000, 2_000_000)
