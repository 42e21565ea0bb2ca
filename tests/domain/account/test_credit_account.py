"""Stories of charges, by the numbers of the specification's section 8.1."""

from __future__ import annotations

from datetime import timedelta

import pytest

from domain.account.usage_facts import Debited, UsageRecorded
from domain.errors import (
    AccountFrozen,
    InsufficientCredits,
    OccurredAtOutOfRange,
    QuotaExceeded,
    UnknownMeter,
    UnknownModel,
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
    faces,
    pending,
    prices,
    s01,
)


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
    id = usage_id(account.id, account.version)
    assert account.rate(id, act, faces(), book.versions[0], at()) is False

    known = UsageRecorded(recorded_at=NOW, usage=chat(model="gpt-5.4", input=1_000, mode="record"))
    assert account.rate(id, known, faces(), book.versions[0], at())
    rating, debit = pending(account)
    assert rating.unique_cause() == f"rating:{id}"
    assert isinstance(debit, Debited)
    assert (debit.amount, debit.rates_usage_id, account.balance) == (3_000, id, 997_000)
    assert account.rate(id, known, faces(), book.versions[0], at()) is False


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
