"""Stories of one credit account, by the numbers of the specification's section 8.1 and 8.1b."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from domain.account_facts import (
    Credited,
    CreditsExpired,
    CreditsReversed,
    Debited,
    UsageRecorded,
    UsageVoided,
)
from domain.credit_account import CreditAccount
from domain.errors import (
    AccountFrozen,
    InsufficientCredits,
    InvalidInput,
    NotReversible,
    OccurredAtOutOfRange,
    QuotaExceeded,
    UnknownMeter,
    UnknownModel,
)
from domain.facts import Fact
from tests.domain.given import (
    NOW,
    USD,
    account_with,
    at,
    call,
    charged,
    chat,
    faces,
    new_account,
    prices,
    publish,
    s01,
)


def pending(account: CreditAccount) -> list[Fact]:
    return [recorded.fact for recorded in account.collect_events()]


def credited(account: CreditAccount, **credit: object) -> Credited:
    """Credit an account and return the fact."""
    account.credit(**credit)  # type: ignore[arg-type]
    fact = account.collect_events()[-1].fact
    assert isinstance(fact, Credited)
    return fact


def promo(account: CreditAccount, amount: int, **terms: object) -> Credited:
    cause = f"grant:{account.version}"
    return credited(
        account,
        amount=amount,
        source="promo",
        cause=cause,
        context=at(),
        category="promotional",
        **terms,
    )


# 8.1 Rating and debit


@pytest.mark.scenario("S01")
def test_a_charge_debits_what_it_costs_and_says_what_is_left() -> None:
    account = account_with(20_000_000)

    [debit] = charged(account, s01())

    assert isinstance(debit, Debited)
    assert (debit.amount, debit.balance_after) == (37_035, 19_962_965)
    assert account.balance == 19_962_965
    assert debit.unique_cause() == "usage:u1"


@pytest.mark.scenario("S02")
def test_output_tokens_have_their_own_price() -> None:
    account = account_with(20_000_000)

    charged(account, s01(output=678))

    assert account.balance == 19_952_795


@pytest.mark.scenario("S03")
def test_the_event_explains_its_price() -> None:
    account = account_with(20_000_000)

    [debit] = charged(account, s01(output=678), book=prices(500))

    assert isinstance(debit, Debited)
    assert debit.rated is not None
    assert (debit.rated.provider_cost, debit.rated.markup, debit.amount) == (47_205, 2_360, 49_565)
    assert debit.rated.price == (3_000_000, 300_000, 15_000_000, 500)
    assert account.balance == 19_950_435


@pytest.mark.scenario("S05")
def test_an_act_that_costs_nothing_is_recorded_and_moves_no_money() -> None:
    account = account_with(10)

    [act] = charged(account, chat(model="gpt-4o-mini", input=1))

    assert isinstance(act, UsageRecorded)
    assert act.rated is not None
    assert act.rated.total == 0
    assert account.balance == 10


@pytest.mark.scenario("S06")
def test_cached_tokens_have_their_own_price() -> None:
    account = account_with(20_000_000)

    [debit] = charged(account, chat(input=12_000, cached=8_000, output=500), book=prices(500))

    assert isinstance(debit, Debited)
    assert debit.rated is not None
    assert (debit.rated.provider_cost, debit.amount) == (21_900, 22_995)


@pytest.mark.scenario("S08")
def test_at_zero_the_next_call_is_refused_and_records_nothing() -> None:
    account = account_with(37_035)
    charged(account, s01("u1"))
    assert account.balance == 0

    with pytest.raises(InsufficientCredits) as refused:
        charged(account, s01("u2"))

    assert refused.value.needs_credits
    assert not refused.value.needs_oauth
    assert (refused.value.plan, refused.value.available) == ("free", 0)
    assert pending(account) == []


@pytest.mark.scenario("S09")
def test_one_call_may_cost_more_than_there_is_and_leaves_a_debt() -> None:
    account = account_with(10_000)

    [debit] = charged(account, s01("u1"))

    assert isinstance(debit, Debited)
    assert (debit.amount, debit.balance_after) == (37_035, -27_035)
    assert (account.balance, account.wallet.debt, account.wallet.grants) == (-27_035, 27_035, ())
    with pytest.raises(InsufficientCredits):
        charged(account, s01("u2"))
    credited(account, amount=USD, source="manual_payment_ref", cause="credit:b", context=at())
    assert account.balance == 972_965
    charged(account, s01("u2"))


@pytest.mark.scenario("S09")
def test_written_off_overdraft_is_absorbed_and_never_owed() -> None:
    account = account_with(10_000)

    [debit] = charged(account, s01(), catalogue=faces(overdraft="write_off"))

    assert isinstance(debit, Debited)
    assert (debit.amount, account.balance, account.wallet.debt) == (10_000, 0, 0)
    absorbed = [draw for draw in debit.draws if draw.source == "absorbed"]
    assert [(draw.amount, draw.reason) for draw in absorbed] == [(27_035, "write_off")]


@pytest.mark.scenario("S09")
def test_a_recorded_act_of_an_empty_wallet_is_written_off_whole() -> None:
    account = account_with(0)

    [act] = charged(
        account, chat(input=1_000, mode="record"), catalogue=faces(overdraft="write_off")
    )

    assert isinstance(act, UsageRecorded)
    assert [(d.source, d.amount) for d in act.draws] == [("absorbed", 3_000)]
    assert account.balance == 0


@pytest.mark.scenario("S10")
def test_the_last_cent_is_spent_once() -> None:
    account = account_with(10_000)

    charged(account, call("u1", 10_000))

    with pytest.raises(InsufficientCredits):
        charged(account, call("u2", 10_000))
    assert account.balance == 0


@pytest.mark.scenario("S13")
def test_a_single_micro_admits_a_call() -> None:
    account = account_with(1)

    charged(account, s01())

    assert account.balance == 1 - 37_035


@pytest.mark.scenario("S22")
def test_a_model_without_a_price_is_refused_or_recorded_and_priced_once_later() -> None:
    account, book = account_with(1_000_000), prices()
    strict = chat(model="gpt-9", input=1_000)
    with pytest.raises(UnknownModel):
        charged(account, strict)
    assert pending(account) == []

    [act] = charged(account, chat(model="gpt-9", input=1_000, mode="record"))
    assert isinstance(act, UsageRecorded)
    assert act.rated is None
    assert account.rate("use_1", act, book.versions[0], at()) is False

    known = chat(model="gpt-5.4", input=1_000, mode="record")
    assert account.rate(
        "use_1", UsageRecorded(recorded_at=NOW, usage=known), book.versions[0], at()
    )
    rating, debit = pending(account)
    assert rating.unique_cause() == "rating:use_1"
    assert isinstance(debit, Debited)
    assert (debit.amount, debit.rates_usage_id, account.balance) == (3_000, "use_1", 997_000)


@pytest.mark.scenario("S23")
@pytest.mark.parametrize("off", [timedelta(seconds=301), -timedelta(days=35, microseconds=1)])
def test_acts_from_the_future_or_from_long_ago_are_refused(off: timedelta) -> None:
    account = account_with(20_000_000)

    with pytest.raises(OccurredAtOutOfRange):
        charged(account, chat(input=1_000, occurred_at=NOW + off))
    assert pending(account) == []


@pytest.mark.scenario("S23")
@pytest.mark.parametrize("off", [timedelta(seconds=299), timedelta(seconds=300)])
def test_clocks_may_differ_by_five_minutes(off: timedelta) -> None:
    assert charged(account_with(USD), chat(input=1_000, occurred_at=NOW + off))


@pytest.mark.scenario("S23")
def test_an_act_may_be_thirty_five_days_old() -> None:
    [act] = charged(account_with(USD), chat(input=1_000, occurred_at=NOW - timedelta(days=35)))

    assert isinstance(act, Debited)
    assert not act.late  # no cycle had closed before it: there was none yet


@pytest.mark.scenario("S17")
def test_a_frozen_account_refuses_calls_but_takes_money_and_records_facts() -> None:
    account = account_with(100_000_000)
    account.freeze("admin", "ticket-1", None, at())
    account.freeze("admin", "ticket-1", None, at())
    account.freeze("fraud", "case-2", None, at())
    assert len(pending(account)) == 2

    with pytest.raises(AccountFrozen) as refused:
        charged(account, s01())
    assert refused.value.is_frozen
    assert not refused.value.needs_credits
    credited(account, amount=5 * USD, source="manual_payment_ref", cause="credit:x", context=at())
    assert charged(account, chat("u2", input=12_345, mode="record"))

    account.unfreeze("admin", "t", None, at())
    assert account.is_frozen
    account.unfreeze(None, "t", None, at())
    assert not account.is_frozen
    assert [getattr(f, "still_frozen", None) for f in pending(account)] == [True, False]


@pytest.mark.scenario("S11")
def test_an_entry_rule_that_covers_the_whole_act_refuses_what_does_not_fit() -> None:
    """The compile meter: 5 000 tokens are included, overflow is off."""
    account = account_with(USD)

    with pytest.raises(QuotaExceeded) as refused:
        charged(account, chat("u1", input=5_001, meter="compile"))
    assert (refused.value.tokens_remaining, refused.value.tokens_requested) == (5_000, 5_001)

    [act] = charged(account, chat("u1", input=5_000, meter="compile"))
    assert isinstance(act, UsageRecorded)
    assert [(d.source, d.units, d.remaining_after) for d in act.draws] == [("allowance", 5_000, 0)]


def test_included_units_come_first_and_only_the_excess_costs_money() -> None:
    """The example of section 3.3: 1 000 tokens are left, 3 000 used, 1 890 µ exactly."""
    account = account_with(USD)
    charged(account, chat("u0", input=4_000, meter="interview"))

    act = chat("u1", "gpt-5.4-mini", input=2_400, output=600, meter="interview")
    [debit] = charged(account, act, book=prices(500))

    assert isinstance(debit, Debited)
    assert debit.rated is not None
    assert debit.rated.total == 1_890
    assert [(d.source, d.units, d.amount) for d in debit.draws] == [
        ("allowance", 1_000, 0),
        ("wallet", 0, 1_260),
    ]
    assert account.balance == USD - 1_260


def test_an_empty_source_never_pays_for_the_rest() -> None:
    """An interview with 100 tokens left and an empty wallet turns out to need 500."""
    account = account_with(0)
    charged(account, chat("u0", input=4_900, meter="interview"))

    [act] = charged(account, chat("u1", input=500, meter="interview"))

    assert isinstance(act, UsageRecorded)
    assert [(d.source, d.units, d.reason) for d in act.draws] == [
        ("allowance", 100, None),
        ("absorbed", 400, "quota_overrun"),
    ]


def test_a_meter_that_the_catalogue_does_not_know_is_refused() -> None:
    with pytest.raises(UnknownMeter):
        charged(account_with(USD), chat(input=1, meter="images"))


# 8.1b Grants, expiry, voids


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

    opened = {gift.grant_id: gift}
    account.void("use_1", debit, opened, "mistake", None, False, at())

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

    account.void("use_1", debit, {gift.grant_id: gift}, None, None, reinstate, at(days=2))

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

    account.void("use_1", debit, {}, None, None, False, at())

    assert (account.balance, account.wallet.debt) == (10_000, 0)
    assert [g.grant_id for g in account.wallet.grants] == [paid.grant_id]


@pytest.mark.scenario("G05")
def test_a_void_after_the_debt_was_repaid_gives_back_all_of_it() -> None:
    account = account_with(10_000)
    [debit] = charged(account, s01())
    assert isinstance(debit, Debited)
    credited(account, amount=USD, source="card_topup", cause="credit:b", context=at())

    account.void("use_1", debit, {}, None, None, False, at())

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
