"""Stories of cycles: how one becomes the next, and what is reported after its own has ended."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from domain.account_facts import SpendPolicySet
from domain.allowance_facts import AllowanceClosed, AllowanceGranted, OverageSettled
from domain.cycle import boundary
from domain.errors import CreditsExhausted, QuotaExceeded
from domain.policy import roll_over
from domain.subscription import CycleClosed, CycleOpened
from tests.domain.given import NOW
from tests.domain.tenant import Tenant, catalogue, drawn, shipped

JULY = datetime(2026, 7, 1, tzinfo=UTC)
JAN31 = datetime(2026, 1, 31, 10, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def starter(used: int = 0, *, overage: bool = False) -> Tenant:
    """A workspace on Starter: 1 000 credits a cycle, $0.02 beyond."""
    tenant = Tenant("flarex", "starter")
    if used:
        tenant.generate(used)
    if overage:
        tenant.overage(True)
    return tenant


@pytest.mark.scenario("S54")
def test_cycles_abut_and_are_counted_from_the_original_anchor() -> None:
    tenant = Tenant("faces", "connect", now=JAN31)
    tenant.act("compile", 100_000)
    ends = []

    for n in (1, 2, 3):
        end = boundary(JAN31, n)
        tenant.to(end - SECOND)
        with pytest.raises(QuotaExceeded) as refused:
            tenant.act("compile", 1)
        assert refused.value.resets_at == end
        tenant.to(end)
        tenant.act("compile", 100_000)
        ends.append((tenant.subscription.period_start, tenant.subscription.period_end))
    months = [(1, 31), (2, 28), (3, 31), (4, 30), (5, 31)]
    points = [datetime(2026, m, d, 10, tzinfo=UTC) for m, d in months]
    assert ends == list(zip(points[1:4], points[2:], strict=True))
    opened = tenant.facts(CycleOpened)
    assert [(f.period_start, f.period_end) for f in opened] == ends


@pytest.mark.scenario("S95")
def test_the_first_call_of_a_cycle_is_paid_from_it_although_no_timer_fired() -> None:
    tenant = starter(1_000)

    tenant.to(JULY - SECOND)
    with pytest.raises(CreditsExhausted):
        tenant.generate(1)
    tenant.to(JULY)
    assert drawn(tenant.generate(1)) == {"allowance": (1, 0)}

    tenant.roll_over()  # The webhook, later.
    assert len(tenant.facts(CycleOpened)) == 1
    assert tenant.facts(CycleOpened)[0].trigger == "inline"


def test_a_hold_opens_the_cycle_too() -> None:
    tenant = starter(1_000)
    tenant.to(JULY)

    assert tenant.hold("chat_generation", 1_000).units == 1
    assert tenant.subscription.period_start == JULY


def test_a_clock_that_lags_behind_the_stream_does_not_charge_the_old_cycle() -> None:
    """Another process, a second ahead, recorded something at the boundary."""
    tenant = starter(1_000)
    tenant.to(JULY)
    tenant.credit(1)
    tenant.to(JULY - SECOND)

    assert drawn(tenant.generate(1)) == {"allowance": (1, 0)}
    assert tenant.account.recorded_at == JULY


def test_silent_months_are_closed_one_by_one() -> None:
    tenant = starter(10, overage=True)
    tenant.to(datetime(2026, 10, 15, tzinfo=UTC))

    assert tenant.roll_over().answer == 4
    assert tenant.roll_over().answer == 0

    closed, opened = tenant.facts(CycleClosed), tenant.facts(CycleOpened)
    months = [datetime(2026, m, 1, tzinfo=UTC) for m in range(6, 12)]
    assert [(f.period_start, f.period_end) for f in closed] == list(
        zip(months[:4], months[1:5], strict=True)
    )
    assert [f.period_start for f in opened] == months[1:5]
    assert [(f.granted, f.used, f.unused) for f in tenant.facts(AllowanceClosed)] == [
        (1_000, 10, 990),
        *[(1_000, 0, 1_000)] * 3,
    ]
    assert tenant.remaining() == 1_000
    assert tenant.account.overage_price_at("ai_credits", tenant.now) == 20_000, "it stays on"
    assert tenant.account.policy is not None
    assert tenant.account.policy.cycle_id == tenant.subscription.cycle_id
    # Only what late usage may still belong to is kept.
    assert [c.period_end for c in tenant.account.closed] == [months[3], months[4]]


def test_a_cycle_that_is_not_over_is_not_closed() -> None:
    tenant = starter()
    tenant.to(JULY - SECOND)

    assert tenant.roll_over().answer == 0
    assert tenant.facts(CycleClosed) == []


def test_closing_settles_overage_once_and_starts_from_nothing() -> None:
    tenant = starter(1_000, overage=True)
    tenant.generate(14)
    tenant.to(JULY)
    tenant.roll_over()

    [closed], [settled] = tenant.facts(CycleClosed), tenant.facts(OverageSettled)
    assert [(x.units, x.amount, x.amount_minor) for x in closed.overage] == [(14, 280_000, 28)]
    assert (settled.units, settled.amount) == (14, 280_000)
    assert settled.statement_id == closed.statement_id
    assert tenant.accrued == (0, 0)
    kinds = [type(f).__name__ for f in tenant.facts()[-6:]]
    assert sorted(kinds) == sorted(
        [
            "CycleClosed", "OverageSettled", "AllowanceClosed",
            "CycleOpened", "SpendPolicySet", "AllowanceGranted",
        ]
    )  # fmt: skip


# What starts anew, and what does not.


@pytest.mark.scenario("S55")
def test_units_that_never_reset_are_granted_once() -> None:
    tenant = Tenant("faces")
    tenant.act("compile", 5_000)
    tenant.later(days=90)

    with pytest.raises(QuotaExceeded) as refused:
        tenant.act("compile", 1)
    assert refused.value.resets_at is None
    assert len(tenant.facts(AllowanceGranted)) == 1


def test_windows_of_days_roll_from_the_first_grant_whether_anybody_looks_or_not() -> None:
    tenant = Tenant("faces", "standard")
    tenant.act("compile", 50_000)
    window = timedelta(days=30)

    tenant.to(NOW + window - SECOND)
    with pytest.raises(QuotaExceeded):
        tenant.act("compile", 1)
    tenant.to(NOW + window)
    tenant.act("compile", 50_000)
    # Two silent windows later, in the middle of one: it ends when it would have ended anyway.
    tenant.to(NOW + 3 * window + timedelta(days=7))
    tenant.act("compile", 50_000)
    tenant.to(NOW + 4 * window - SECOND)
    with pytest.raises(QuotaExceeded):
        tenant.act("compile", 1)
    tenant.to(NOW + 4 * window)
    tenant.act("compile", 50_000)

    since = [f.since for f in tenant.facts(AllowanceGranted) if f.since]
    assert since == [NOW + n * window for n in (1, 3, 4)]


def test_another_plan_does_not_move_the_window_of_days() -> None:
    tenant = Tenant("faces", "standard")
    tenant.act("compile", 50_000)
    tenant.later(days=20)
    tenant.plan("pro")
    assert tenant.remaining() == 950_000

    tenant.to(NOW + timedelta(days=30))
    tenant.act("compile", 1)
    assert tenant.remaining() == 999_999


def test_what_the_next_plan_does_not_include_ends_with_the_cycle() -> None:
    plans = shipped("flarex")["plans"]
    tenant = Tenant(catalogue("flarex", plans=plans | {"bare": {"price_minor": 0}}), "starter")
    tenant.overage(True)
    tenant.plan("bare")
    assert not tenant.subscription.overage_enabled, "the plan lost it"
    tenant.to(JULY)
    tenant.roll_over()

    with pytest.raises(CreditsExhausted):
        tenant.generate(1)
    assert tenant.remaining() == 0


# What is reported after its cycle has ended.


def test_late_usage_takes_what_its_own_cycle_left_over() -> None:
    tenant = starter(900)
    tenant.to(JULY)
    tenant.generate(1)
    statement = tenant.facts(CycleClosed)[0]

    act = tenant.generate(60, occurred_at=JULY - SECOND)

    assert act.late
    assert drawn(act) == {"allowance": (60, 0)}
    assert act.draws[0].cycle_id == statement.cycle_id
    assert act.draws[0].remaining_after == 40
    assert tenant.remaining() == 999, "the cycle that runs pays nothing"
    assert [c.unused for c in tenant.account.closed] == [40]
    assert tenant.facts(CycleClosed) == [statement]


@pytest.mark.parametrize("switched", ["never", "before", "after"])
def test_what_exceeds_the_remainder_is_overage_only_if_it_was_agreed_to_then(
    switched: str,
) -> None:
    tenant = starter(990)
    consumed = datetime(2026, 6, 20, tzinfo=UTC)
    if switched == "before":
        tenant.to(consumed - SECOND)
        tenant.overage(True)
    tenant.to(JULY)
    tenant.generate(1)
    if switched == "after":
        tenant.overage(True)

    act = tenant.generate(14, occurred_at=consumed, mode="record")

    if switched == "before":
        assert drawn(act) == {"allowance": (10, 0), "overage": (4, 80_000)}
        assert tenant.accrued == (4, 80_000), "on the statement of the cycle that runs"
    else:
        assert drawn(act) == {"allowance": (10, 0), "absorbed": (4, 0)}
        assert tenant.accrued == (0, 0)
    assert tenant.remaining() == 999


def test_overage_that_was_switched_off_again_is_not_billed_late() -> None:
    """Both when it was consumed and when it is recorded the customer must agree."""
    tenant = starter(1_000, overage=True)
    tenant.later(days=5)
    tenant.overage(False)

    act = tenant.generate(4, occurred_at=NOW + timedelta(days=1), mode="record")

    assert drawn(act) == {"absorbed": (4, 0)}


def test_usage_of_the_running_cycle_is_not_late_however_old() -> None:
    tenant = starter()
    tenant.to(JULY - SECOND)

    act = tenant.generate(1, occurred_at=NOW)

    assert not act.late
    assert tenant.remaining() == 999


def test_usage_at_the_boundary_belongs_to_the_next_cycle() -> None:
    tenant = starter(1_000)
    tenant.to(JULY + SECOND)

    act = tenant.generate(1, occurred_at=JULY)

    assert not act.late
    assert tenant.remaining() == 999


def test_late_money_is_debited_now() -> None:
    tenant = Tenant("faces", "connect", 10_000)
    tenant.to(JULY + timedelta(days=1))

    act = tenant.act("chat", 4_000, occurred_at=JULY - SECOND)

    assert act.late
    assert drawn(act) == {"wallet": (0, 1_000)}


def test_late_compilation_without_overflow_is_absorbed_past_its_cycles_quota() -> None:
    tenant = Tenant("faces", "connect", 10_000)
    tenant.act("compile", 99_000)
    tenant.to(JULY)

    act = tenant.act("compile", 4_000, occurred_at=JULY - SECOND, mode="record")

    assert drawn(act) == {"allowance": (1_000, 0), "absorbed": (3_000, 0)}
    assert tenant.remaining() == 100_000
    assert tenant.account.balance == 10_000


def test_a_call_that_began_before_the_boundary_is_settled_in_the_cycle_it_ended_in() -> None:
    tenant = starter(900)
    tenant.to(JULY - SECOND)
    hold = tenant.hold("chat_generation", 50_000)
    tenant.to(JULY + SECOND)
    tenant.generate(1)
    assert tenant.remaining() == 949, "what is held stays held"

    late = tenant.settle(hold, 50_000, action="chat", occurred_at=JULY - SECOND)

    assert late.draws[0].cycle_id is not None
    assert tenant.remaining() == 999
    assert tenant.account.buckets["ai_credits"].held == 0


# What is taken back.


def test_a_void_gives_units_back_where_they_were_taken() -> None:
    tenant = starter(995, overage=True)
    act = tenant.generate(14)

    tenant.void(act)

    assert (tenant.remaining(), tenant.accrued) == (5, (0, 0))


def test_a_void_after_the_close_is_a_credit_on_the_next_statement() -> None:
    tenant = starter(995, overage=True)
    act = tenant.generate(14)
    tenant.to(JULY)
    tenant.generate(1)
    statement = tenant.facts(CycleClosed)[0]

    tenant.void(act)
    assert tenant.remaining() == 999
    assert [c.unused for c in tenant.account.closed] == [5], "its own cycle has them again"
    assert tenant.accrued == (-9, -180_000)

    tenant.to(datetime(2026, 8, 1, tzinfo=UTC))
    tenant.roll_over()
    first, second = tenant.facts(CycleClosed)
    assert first == statement
    assert [(x.units, x.amount, x.amount_minor) for x in second.overage] == [(-9, -180_000, -18)]
    assert second.overage[0].unit_price == 20_000


def test_a_void_gives_back_what_never_resets_in_any_cycle() -> None:
    tenant = Tenant("faces")
    act = tenant.act("compile", 5_000)
    tenant.later(days=90)
    tenant.roll_over()

    tenant.void(act)

    assert tenant.remaining() == 5_000


def test_a_void_does_not_fill_a_window_of_days_that_came_later() -> None:
    tenant = Tenant("faces", "standard")
    first = tenant.act("compile", 10_000)
    tenant.later(days=30)
    second = tenant.act("compile", 7_000)

    tenant.void(first)
    assert tenant.remaining() == 43_000
    tenant.void(second)
    assert tenant.remaining() == 50_000


def test_twenty_years_of_silence_are_caught_up_in_one_save() -> None:
    tenant = starter()
    tenant.to(boundary(NOW, 240))
    account, subscription = tenant.account.clone(), tenant.subscription.clone()
    plans = tenant.book.states[
        next(
            s
            for s in tenant.book.states
            if s not in {tenant.account.id, tenant.subscription.id}
            and type(tenant.book.states[s]).__name__ == "PlanCatalogue"
        )
    ]

    assert roll_over(account, subscription, plans, "timer", tenant.context) == 240  # type: ignore[arg-type]
    assert subscription.period_start == boundary(NOW, 240)
    assert len([e for e in account.collect_events() if isinstance(e.fact, SpendPolicySet)]) == 240
