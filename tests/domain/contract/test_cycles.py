"""Stories of cycles: how one becomes the next, and what starts anew with it."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest

from domain.account.allowance_facts import AllowanceClosed, AllowanceGranted, OverageSettled
from domain.account.credit_facts import SpendPolicySet
from domain.catalogue.catalogue import PlanCatalogue
from domain.contract.cycle import boundary
from domain.contract.cycle_close import roll_over
from domain.contract.subscription import CycleClosed, CycleOpened
from domain.errors import CreditsExhausted, QuotaExceeded
from domain.places import PLANS
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
    assert ends == list(itertools.pairwise(points[1:]))
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
    assert [(f.period_start, f.period_end) for f in closed] == list(itertools.pairwise(months[:5]))
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

    granted = tenant.facts(AllowanceGranted)
    assert [f.since for f in granted if f.since] == [NOW + n * window for n in (1, 2, 3, 4)]
    closed = tenant.facts(AllowanceClosed)
    assert [(f.period_start, f.unused) for f in closed] == [
        (NOW, 0), (NOW + window, 0), (NOW + 2 * window, 50_000), (NOW + 3 * window, 0),
    ]  # fmt: skip


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


def test_twenty_years_of_silence_are_caught_up_in_one_save() -> None:
    tenant = starter()
    tenant.to(boundary(NOW, 240))
    account, subscription = tenant.account.clone(), tenant.subscription.clone()
    workspace = tenant.workspace.clone()
    plans = tenant.book.states[PLANS.id]
    assert isinstance(plans, PlanCatalogue)

    assert roll_over(account, subscription, workspace, plans, "timer", tenant.context) == 240
    assert subscription.period_start == boundary(NOW, 240)
    assert len([e for e in account.collect_events() if isinstance(e.fact, SpendPolicySet)]) == 240


@pytest.mark.scenario("S77")
def test_the_log_tells_of_a_close_in_the_order_in_which_it_happens() -> None:
    tenant = starter(1_000, overage=True)
    tenant.generate(14)
    tenant.to(JULY)
    tenant.roll_over()

    kinds = [type(f).__name__ for f in tenant.facts()[-6:]]
    assert kinds == [
        "CycleClosed", "OverageSettled", "AllowanceClosed",
        "CycleOpened", "SpendPolicySet", "AllowanceGranted",
    ]  # fmt: skip
