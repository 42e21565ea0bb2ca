"""Stories of what is reported after its window of days has ended, or was broken off."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from domain.account.allowance_facts import AllowanceGranted
from domain.facts import project
from tests.domain.given import NOW
from tests.domain.tenant import ACCOUNT, Tenant, drawn

SECOND = timedelta(seconds=1)
WINDOW = timedelta(days=30)


def standard(used: int = 0) -> Tenant:
    """A workspace on Standard: 50 000 compile tokens every 30 days."""
    tenant = Tenant("faces", "standard")
    if used:
        tenant.act("compile", used)
    return tenant


def test_late_usage_takes_what_its_own_window_of_days_left_over() -> None:
    tenant = standard(49_000)
    tenant.to(NOW + WINDOW)
    tenant.act("compile", 1)

    act = tenant.act("compile", 600, occurred_at=NOW + WINDOW - SECOND)
    more = tenant.act("compile", 600, occurred_at=NOW, mode="record")

    assert (act.late, drawn(act)) == (True, {"allowance": (600, 0)})
    assert act.draws[0].remaining_after == 400
    assert drawn(more) == {"allowance": (400, 0), "absorbed": (200, 0)}
    assert act.cycle_id == tenant.subscription.cycle_id, "its report is found where it was made"
    assert tenant.remaining() == 49_999, "the window that runs pays nothing"
    assert project(None, tenant.book.stream(ACCOUNT)) == tenant.account


def test_usage_of_a_closed_cycle_whose_window_still_runs_is_that_windows() -> None:
    """The third window runs from July 31st to August 30th, and a cycle begins within it."""
    tenant = standard()
    tenant.to(datetime(2026, 8, 15, tzinfo=UTC))
    tenant.roll_over()
    act = tenant.act("compile", 9, occurred_at=NOW + 2 * WINDOW)

    assert (act.late, drawn(act)) == (True, {"allowance": (9, 0)})
    assert act.draws[0].cycle_id is None
    assert tenant.remaining() == 49_991


def test_a_window_that_nobody_looked_at_has_its_own_units_for_what_is_reported_late() -> None:
    tenant = standard(50_000)
    tenant.to(NOW + 2 * WINDOW + timedelta(days=3))

    act = tenant.act("compile", 50_000, occurred_at=NOW + 2 * WINDOW - SECOND)
    first = tenant.act("compile", 1, occurred_at=NOW + WINDOW - SECOND, mode="record")

    assert drawn(act) == {"allowance": (50_000, 0)}
    assert drawn(first) == {"absorbed": (1, 0)}, "its own window was used up"
    assert tenant.remaining() == 50_000


def test_after_years_only_the_windows_that_usage_may_still_be_of_are_opened() -> None:
    tenant = standard(50_000)
    tenant.to(NOW + 100 * WINDOW + SECOND)

    account, policy = tenant.account.clone(), tenant.account.policy
    assert policy is not None
    account.renew_windows(policy, tenant.catalogue, tenant.context)

    opened = [e.fact.since for e in account.pending if isinstance(e.fact, AllowanceGranted)]
    assert opened == [NOW + number * WINDOW for number in (98, 99, 100)]


def test_a_void_gives_back_to_the_window_of_days_that_paid() -> None:
    tenant = standard()
    act = tenant.act("compile", 50_000)
    tenant.to(NOW + WINDOW)
    late = tenant.act("compile", 7, occurred_at=NOW, mode="record")
    assert drawn(late) == {"absorbed": (7, 0)}

    tenant.void(act)
    again = tenant.act("compile", 7, occurred_at=NOW)

    assert drawn(again) == {"allowance": (7, 0)}
    assert [closed.unused for closed in tenant.account.closed] == [49_993]
    tenant.void(again)
    assert [closed.unused for closed in tenant.account.closed] == [50_000]
    assert tenant.remaining() == 50_000


def test_a_window_that_ends_unnoticed_before_another_plan_is_closed_all_the_same() -> None:
    tenant = standard(49_000)
    tenant.to(NOW + WINDOW + SECOND)
    tenant.plan("pro")  # a million every 30 days

    act = tenant.act("compile", 1_000, occurred_at=NOW + WINDOW - SECOND)

    assert (drawn(act), act.draws[0].remaining_after) == ({"allowance": (1_000, 0)}, 0)
    assert tenant.remaining() == 1_000_000


@pytest.mark.parametrize("then", ["free", "connect"])
def test_a_window_that_another_plan_broke_off_pays_what_is_reported_of_it(then: str) -> None:
    """Once for ever, or by the cycle: units that count otherwise pay nothing of it. The window
    began in July, and was broken off in August."""
    begins = NOW + 2 * WINDOW
    tenant = standard()
    tenant.to(begins)
    tenant.act("compile", 49_990)
    tenant.to(begins + timedelta(days=10))
    tenant.plan(then)
    left = tenant.remaining()

    act = tenant.act("compile", 8, occurred_at=begins)
    more = tenant.act("compile", 8, occurred_at=begins, mode="record")

    assert (act.late, drawn(act)) == (True, {"allowance": (8, 0)})
    assert drawn(more) == {"allowance": (2, 0), "absorbed": (6, 0)}
    assert tenant.remaining() == left
    tenant.void(act)
    again = tenant.act("compile", 9, occurred_at=begins, mode="record")
    assert drawn(again) == {"allowance": (8, 0), "absorbed": (1, 0)}
    assert project(None, tenant.book.stream(ACCOUNT)) == tenant.account
