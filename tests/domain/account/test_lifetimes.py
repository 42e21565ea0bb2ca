"""Stories of included units that plans count differently: by cycle, by days, and once for ever.
Whoever comes back to a plan finds its units as they were left."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from domain.account.allowance_facts import AllowanceGranted
from domain.account.credit_account import CreditAccount
from domain.account.credit_facts import SpendPolicySet
from domain.errors import QuotaExceeded
from domain.facts import project
from tests.domain.given import NOW, at, new_account
from tests.domain.tenant import ACCOUNT, Tenant, catalogue, drawn, shipped

QUOTA = "compile_tokens"


def free(used: int = 0, **changes: Any) -> Tenant:
    """A workspace on Free, 5 000 compile tokens once for ever, some of them used."""
    tenant = Tenant("faces", **changes)
    if used:
        tenant.act("compile", used)
    return tenant


def terms(**resets: tuple[int, str]) -> Any:
    """The plans of `faces`, with other terms of the quota: (units, reset)."""
    plans = dict(shipped("faces")["plans"])
    for name, (units, reset) in resets.items():
        plans[name] = plans[name] | {"buckets": {QUOTA: {"units": units, "reset": reset}}}
    return catalogue("faces", plans=plans)


@pytest.mark.parametrize("used", [5_000, 1_200])
@pytest.mark.parametrize("on_connect", [0, 40_000])
def test_a_lifetime_is_not_granted_anew_after_a_subscription(used: int, on_connect: int) -> None:
    tenant = free(used)
    tenant.later(days=3)
    tenant.subscribe("connect")
    assert tenant.remaining() == 100_000
    if on_connect:
        tenant.act("compile", on_connect)
    tenant.cancel()
    end = tenant.subscription.period_end
    assert end is not None

    tenant.to(end)
    tenant.roll_over()

    assert tenant.remaining() == 5_000 - used
    with pytest.raises(QuotaExceeded) as refused:
        tenant.act("compile", 5_001 - used)
    assert refused.value.tokens_remaining == 5_000 - used
    assert project(None, tenant.book.stream(ACCOUNT)) == tenant.account


def test_coming_and_going_again_and_again_changes_nothing_of_a_lifetime() -> None:
    tenant = free(2_000)
    for n in range(3):
        tenant.plan("connect")
        assert tenant.remaining() == 100_000 - 10 * n, "within a cycle its use is kept too"
        tenant.act("compile", 10)
        tenant.plan("free")
        assert tenant.remaining() == 3_000 - n
        tenant.act("compile", 1)


def test_a_void_finds_the_window_that_its_act_was_counted_in() -> None:
    tenant = free()
    first = tenant.act("compile", 4_000)
    tenant.later(days=3)
    tenant.subscribe("connect")
    second = tenant.act("compile", 60_000)

    tenant.void(first)
    assert tenant.remaining() == 40_000, "the window that runs is another"
    tenant.cancel()
    tenant.later(days=40)
    tenant.roll_over()
    assert tenant.remaining() == 5_000, "and the one that was set aside has its units again"

    third = tenant.act("compile", 3_000)
    tenant.void(second)
    assert tenant.remaining() == 2_000, "Connect's units are not a lifetime's"
    tenant.void(third)
    assert tenant.remaining() == 5_000


def test_a_void_after_the_close_finds_the_terms_that_counted_between() -> None:
    tenant = free()
    tenant.plan("connect")
    tenant.plan("free")
    act = tenant.act("compile", 3_000)
    tenant.plan("connect")
    end = tenant.subscription.period_end
    assert end is not None
    tenant.to(end)
    tenant.roll_over()

    tenant.void(act)

    assert [closed.unused for closed in tenant.account.closed] == [100_000]
    tenant.plan("free")
    assert tenant.remaining() == 5_000


def test_units_that_are_held_stay_held_over_a_change_of_plan() -> None:
    tenant = free(1_000)
    hold = tenant.hold("compile", 1_000, minutes=60)
    tenant.plan("connect")
    assert tenant.remaining() == 99_000
    tenant.plan("free")
    assert tenant.remaining() == 3_000

    assert drawn(tenant.settle(hold, 1_000)) == {"allowance": (1_000, 0)}
    assert tenant.remaining() == 3_000


def test_coming_back_within_a_window_of_days_finds_what_was_left_of_it() -> None:
    tenant = Tenant("faces", "standard")  # 50 000 every 30 days
    tenant.act("compile", 30_000)
    tenant.later(days=10)
    tenant.plan("free")
    assert tenant.remaining() == 5_000

    tenant.later(days=10)
    tenant.plan("standard")
    assert tenant.remaining() == 20_000
    bucket = tenant.account.buckets[QUOTA]
    assert bucket.since == NOW, "windows roll from the first grant on"
    tenant.to(NOW + timedelta(days=30))
    tenant.act("compile", 1)
    assert tenant.remaining() == 49_999


def test_coming_back_after_it_finds_the_window_that_runs_and_not_a_whole_new_one() -> None:
    tenant = Tenant("faces", "standard")
    tenant.act("compile", 30_000)
    tenant.later(days=10)
    tenant.plan("free")

    tenant.later(days=35)  # the forty-fifth: the second window is half over
    tenant.plan("standard")
    assert tenant.remaining() == 50_000
    assert tenant.account.buckets[QUOTA].since == NOW + timedelta(days=30)
    tenant.act("compile", 50_000)
    tenant.to(NOW + timedelta(days=60))
    tenant.act("compile", 1)
    assert tenant.remaining() == 49_999


def test_a_larger_plan_with_the_same_windows_keeps_what_was_used() -> None:
    tenant = Tenant("faces", "standard")
    tenant.act("compile", 30_000)
    tenant.plan("pro")

    assert tenant.remaining() == 970_000


def test_a_smaller_plan_at_the_close_grants_what_it_counts_otherwise() -> None:
    """From units of a cycle to units of a lifetime, by a downgrade that was scheduled."""
    tenant = Tenant(terms(connect=(700, "never"), pro=(9_000, "cycle")), "pro")
    tenant.subscribe("pro")
    tenant.act("compile", 9_000)
    tenant.confirm(tenant.preview("connect"))
    end = tenant.subscription.period_end
    assert end is not None

    tenant.to(end)
    tenant.roll_over()

    assert tenant.subscription.plan_id == "connect"
    assert tenant.remaining() == 700


def test_a_plan_without_a_bucket_leaves_nothing_in_it() -> None:
    plans = dict(shipped("faces")["plans"])
    plans["pro"] = plans["pro"] | {"buckets": {}}
    tenant = Tenant(catalogue("faces", plans=plans), "standard")
    tenant.act("compile", 10)

    tenant.plan("pro")
    assert tenant.remaining() == 0
    tenant.later(days=30)
    tenant.roll_over()
    with pytest.raises(QuotaExceeded):
        tenant.act("compile", 1)

    tenant.plan("standard")
    assert tenant.remaining() == 50_000


def test_grants_of_an_older_log_are_folded_as_they_were_decided() -> None:
    """A lifetime's window was once named after the cycle that it was granted in: a plan of the
    same cycle went on counting in it, and came back to it."""
    account = new_account()
    for units, reset, version in ((100_000, "cycle", 1), (5_000, "never", 2)):
        account.record(
            AllowanceGranted(
                **account.stamp(at(), f"granted:{version}"),
                bucket=QUOTA,
                units=units,
                cycle_id="cycle-1",
                reset=reset,
                why="upgrade",
            )
        )
    assert isinstance(account.policy, SpendPolicySet)
    assert isinstance(account, CreditAccount)
    bucket = account.buckets[QUOTA]
    assert (bucket.granted, bucket.used, bucket.reset) == (5_000, 0, "never")
