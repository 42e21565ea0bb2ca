"""Stories of what is reported, or taken back, after its cycle has ended."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from domain.contract.subscription import CycleClosed
from domain.facts import project
from tests.domain.given import NOW
from tests.domain.tenant import ACCOUNT, Tenant, drawn

JULY = datetime(2026, 7, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def starter(used: int = 0, *, overage: bool = False) -> Tenant:
    """A workspace on Starter: 1 000 credits a cycle, $0.02 beyond."""
    tenant = Tenant("flarex", "starter")
    if used:
        tenant.generate(used)
    if overage:
        tenant.overage(True)
    return tenant


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


# What is granted once, and was set aside by another plan since.


def test_late_usage_takes_what_its_lifetime_has_left() -> None:
    tenant = Tenant("faces")  # free: 5,000 compile tokens, once
    tenant.act("compile", 1_200)
    consumed = tenant.now
    tenant.later(days=3)
    tenant.subscribe("connect")

    first = tenant.act("compile", 3_000, occurred_at=consumed)
    second = tenant.act("compile", 1_000, occurred_at=tenant.now - SECOND)

    assert first.late
    assert drawn(first) == {"allowance": (3_000, 0)}
    assert first.draws[0].remaining_after == 800
    assert drawn(second) == {"allowance": (800, 0), "absorbed": (200, 0)}
    assert tenant.remaining() == 100_000, "the cycle that runs pays nothing"
    assert project(None, tenant.book.stream(ACCOUNT)) == tenant.account


@pytest.mark.parametrize("when", ["while it is set aside", "when it runs again"])
def test_a_void_of_it_gives_back_to_the_lifetime(when: str) -> None:
    tenant = Tenant("faces")
    consumed = tenant.now
    tenant.later(days=3)
    tenant.subscribe("connect")
    act = tenant.act("compile", 3_000, occurred_at=consumed)
    if when == "while it is set aside":
        tenant.void(act)
        assert tenant.remaining() == 100_000
    end = tenant.cancel()
    tenant.to(end)
    tenant.roll_over()
    assert tenant.remaining() == (5_000 if when == "while it is set aside" else 2_000)
    if when == "when it runs again":
        tenant.void(act)

    assert tenant.remaining() == 5_000
    assert project(None, tenant.book.stream(ACCOUNT)) == tenant.account


def test_late_usage_of_a_cycle_does_not_reach_for_a_lifetime() -> None:
    tenant = Tenant("faces")
    tenant.subscribe("connect")
    tenant.act("compile", 100_000)
    end = tenant.subscription.period_end
    assert end is not None
    tenant.to(end)
    tenant.roll_over()

    act = tenant.act("compile", 10, occurred_at=end - SECOND)

    assert drawn(act) == {"absorbed": (10, 0)}
