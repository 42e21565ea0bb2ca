"""Stories of cycles that wait a while for their usage before they are closed (spec 4, close
grace). Without a window everything is as in `test_cycles.py` and `test_late_usage.py`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from domain.account.allowance_facts import AllowanceClosed, CycleEnded, OverageSettled
from domain.contract.facts import SubscriptionEnded
from domain.contract.subscription import CycleClosed, CycleOpened
from domain.errors import CreditsExhausted
from domain.facts import project
from tests.domain.tenant import Tenant, drawn, subscriber

JULY = datetime(2026, 7, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
BEFORE = JULY - SECOND
CLOSES = JULY + timedelta(minutes=30)


def starter(used: int = 0, *, overage: bool = False, sells: str = "starter") -> Tenant:
    """A workspace whose catalogue waits 30 minutes, on a plan that a card pays."""
    tenant = subscriber(sells, late_window_minutes=30)
    if overage:
        tenant.overage(True)
    if used:
        tenant.generate(used)
    return tenant


@pytest.mark.scenario("S95")
def test_the_next_cycle_pays_at_once_while_the_old_one_waits() -> None:
    tenant = starter(1_000)
    tenant.to(BEFORE)
    with pytest.raises(CreditsExhausted):
        tenant.generate(1)
    tenant.to(JULY)

    act = tenant.generate(1)

    assert drawn(act) == {"allowance": (1, 0)}
    assert tenant.remaining() == 999
    assert [f.trigger for f in tenant.facts(CycleOpened)] == ["inline"]
    assert tenant.facts(CycleClosed) == []
    assert [f.closes_at for f in tenant.facts(CycleEnded)] == [CLOSES]


def test_a_straggler_counts_in_its_own_cycle_as_if_that_ran() -> None:
    tenant = starter(900, overage=True)
    tenant.to(JULY + SECOND)
    tenant.generate(1)

    act = tenant.generate(114, bot_id="b1", occurred_at=BEFORE)

    [ended] = tenant.facts(CycleEnded)
    assert not act.late
    assert act.cycle_id == ended.cycle_id
    assert drawn(act) == {"allowance": (100, 0), "overage": (14, 280_000)}
    assert {draw.cycle_id for draw in act.draws} == {ended.cycle_id}
    assert act.draws[0].remaining_after == 0
    assert (tenant.remaining(), tenant.accrued) == (999, (0, 0)), "the next cycle pays nothing"

    tenant.to(CLOSES)
    tenant.roll_over()

    [closed], [settled] = tenant.facts(CycleClosed), tenant.facts(OverageSettled)
    [allowance] = tenant.facts(AllowanceClosed)
    assert closed.cycle_id == ended.cycle_id
    assert (closed.period_end, closed.recorded_at) == (JULY, CLOSES)
    [line] = closed.overage
    assert (line.bot_id, line.units, line.amount_minor, line.late) == ("b1", 14, 28, False)
    assert (settled.units, settled.amount) == (14, 280_000)
    assert (allowance.granted, allowance.used, allowance.unused) == (1_000, 1_000, 0)
    assert tenant.account.waiting == ()
    assert tenant.remaining() == 999


def test_what_comes_when_the_window_is_over_is_late() -> None:
    """Even if no timer fired: the cycle is closed first."""
    tenant = starter(900)
    tenant.to(JULY)
    tenant.generate(1)
    tenant.to(CLOSES - SECOND)
    assert not tenant.generate(10, occurred_at=BEFORE).late
    tenant.to(CLOSES)

    act = tenant.generate(10, occurred_at=BEFORE)

    assert act.late
    [closed] = tenant.facts(CycleClosed)
    assert act.draws[0].cycle_id == closed.cycle_id
    assert act.draws[0].remaining_after == 80
    assert len(tenant.facts(AllowanceClosed)) == 1


def test_a_straggler_that_nothing_of_its_cycle_pays_for_is_refused_like_then() -> None:
    tenant = starter(1_000)
    tenant.to(JULY)
    with pytest.raises(CreditsExhausted):
        tenant.generate(1, occurred_at=BEFORE)
    assert drawn(tenant.generate(3, occurred_at=BEFORE, mode="record")) == {"absorbed": (3, 0)}


def test_a_boundary_that_is_noticed_after_the_window_waits_no_more() -> None:
    tenant = starter(1_000, overage=True)
    tenant.generate(14)
    tenant.to(CLOSES)
    tenant.roll_over()

    assert tenant.facts(CycleEnded) == []
    order = [type(f) for f in tenant.facts(CycleClosed, CycleOpened)]
    assert order == [CycleClosed, CycleOpened]
    assert tenant.facts(CycleClosed)[0].amount_minor == 28


def test_what_a_call_of_the_old_cycle_set_aside_is_left_to_it() -> None:
    tenant = starter(900)
    tenant.to(BEFORE)
    hold = tenant.hold("chat_generation", 60_000)
    tenant.to(JULY)

    other = tenant.generate(90, occurred_at=BEFORE)
    assert drawn(other) == {"allowance": (40, 0), "absorbed": (50, 0)}
    own = tenant.settle(hold, 60_000, action="proposal", occurred_at=BEFORE)
    assert drawn(own) == {"allowance": (60, 0)}


@pytest.mark.parametrize("when", ["before", "after"])
def test_what_is_voided_goes_back_to_the_cycle_it_was_taken_from(when: str) -> None:
    tenant = starter(900, overage=True)
    act = tenant.generate(114, bot_id="b1")
    tenant.to(JULY)
    if when == "after":
        tenant.void(tenant.generate(30, occurred_at=BEFORE))
    else:
        tenant.roll_over()
    tenant.void(act)
    assert tenant.accrued == (0, 0)

    tenant.to(CLOSES)
    tenant.roll_over()
    [closed], [allowance] = tenant.facts(CycleClosed), tenant.facts(AllowanceClosed)
    assert closed.overage == ()
    assert (allowance.used, allowance.unused) == (900, 100)
    assert tenant.remaining() == 1_000


@pytest.mark.scenario("S77")
def test_stragglers_of_a_larger_plan_are_billed_at_its_rates() -> None:
    tenant = starter(5_000, overage=True, sells="pro")
    tenant.confirm(tenant.preview("starter"))
    tenant.to(JULY)
    tenant.stripe.renew()
    tenant.roll_over()
    assert tenant.subscription.plan_id == "starter"

    tenant.generate(100, occurred_at=BEFORE)
    tenant.generate(1_010)
    tenant.to(CLOSES)
    tenant.roll_over()

    [line] = tenant.facts(CycleClosed)[0].overage
    assert (line.plan_id, line.unit_price, line.units, line.amount_minor) == (
        "pro",
        15_000,
        100,
        150,
    )
    assert tenant.accrued == (10, 200_000)


def test_overage_that_was_switched_off_since_is_not_billed() -> None:
    tenant = starter(1_000, overage=True)
    tenant.to(JULY)
    tenant.overage(False)

    act = tenant.generate(4, occurred_at=BEFORE, mode="record")

    assert drawn(act) == {"absorbed": (4, 0)}


def test_the_last_cycle_of_a_contract_waits_too_and_is_billed_alone() -> None:
    tenant = starter(1_000, overage=True)
    tenant.cancel()
    tenant.to(JULY)
    tenant.roll_over()
    assert (tenant.subscription.plan_id, tenant.remaining()) == ("free", 50)
    assert tenant.bill() == []

    tenant.generate(10, occurred_at=BEFORE)
    tenant.to(CLOSES)
    tenant.roll_over()

    order = [type(f) for f in tenant.facts(SubscriptionEnded, CycleClosed)]
    assert order == [SubscriptionEnded, CycleClosed]
    assert len(tenant.bill()) == 1
    assert [minor for _, minor in tenant.stripe.items.values()] == [20]
    assert tenant.remaining() == 50


def test_a_plan_without_a_card_waits_and_bills_nobody() -> None:
    tenant = Tenant("flarex", "starter", late_window_minutes=30)
    tenant.overage(True)
    tenant.generate(1_010)
    tenant.to(JULY)
    tenant.roll_over()
    tenant.subscribe("pro")
    tenant.to(CLOSES)
    tenant.roll_over()

    assert tenant.facts(CycleClosed)[0].amount_minor == 20
    assert tenant.subscription.unbilled == {}


def test_money_and_units_that_never_reset_do_not_wait() -> None:
    tenant = Tenant("faces", None, 10_000, late_window_minutes=30)
    tenant.to(JULY)
    act = tenant.act("chat", 4_000, occurred_at=BEFORE)
    assert drawn(act) == {"wallet": (0, 1_000)}
    assert len(tenant.facts(CycleClosed)) == 1
    assert tenant.facts(CycleEnded) == []


def test_a_budget_of_the_cycle_is_the_running_one() -> None:
    tenant = starter(1_000, overage=True)
    tenant.budget(100_000)
    tenant.generate(4)
    tenant.to(JULY)

    tenant.generate(4, occurred_at=BEFORE)

    assert tenant.account.budgets["b1"].spent == 80_000
    assert tenant.account.budgets["b1"].window == tenant.subscription.cycle_id


def test_waiting_is_what_replay_says() -> None:
    tenant = starter(900, overage=True)
    tenant.to(JULY)
    tenant.generate(114, occurred_at=BEFORE)
    again = tenant.account.clone()
    own = [e for e in tenant.book.events if e.originator_id == again.id]
    replayed = project(None, own)
    assert replayed is not None
    assert replayed.state() == again.state()
