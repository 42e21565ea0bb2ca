"""Stories of calls that ask for one source (`billing_source`): it pays, or nobody does, from the
authorisation to the settlement."""

from __future__ import annotations

import pytest

from domain.account.hold_facts import HoldPlaced
from domain.account.usage_facts import UsageRecorded
from domain.codec import decode_fact, encode_fact
from domain.errors import NoPaymentSource
from tests.domain.given import USD
from tests.domain.tenant import Tenant, drawn


def connect(micros: int = 0, *, used: int = 0) -> Tenant:
    """A workspace on Connect: 100 000 compile tokens a cycle, some of them used."""
    tenant = Tenant("faces", "connect", micros)
    if used:
        tenant.act("compile", used)
    return tenant


def test_the_quota_that_was_asked_for_pays_and_what_it_lacks_is_absorbed() -> None:
    """The wallet is full and comes next in the interview's waterfall: it was not asked."""
    tenant = connect(5 * USD, used=99_900)
    hold = tenant.hold("interview", 500, source="compile")
    assert (hold.route, hold.units, hold.amount, hold.source) == ("allowance", 100, 0, "compile")

    act = tenant.settle(hold, 500)

    assert [(d.source, d.units, d.reason) for d in act.draws] == [
        ("allowance", 100, None),
        ("absorbed", 400, "quota_overrun"),
    ]
    assert tenant.account.balance == 5 * USD


def test_the_balance_that_was_asked_for_pays_although_the_quota_is_full() -> None:
    tenant = connect(5 * USD)
    hold = tenant.hold("interview", 4_000, source="credits")
    assert (hold.route, hold.units, hold.amount) == ("wallet", 0, 1_000)

    assert drawn(tenant.settle(hold, 8_000)) == {"wallet": (0, 2_000)}
    assert tenant.remaining() == 100_000


def test_the_balance_that_was_asked_for_becomes_debt_by_its_own_rules() -> None:
    """A hold smaller than its estimate, as for any call that the wallet pays."""
    tenant = connect(100)
    hold = tenant.hold("interview", 4_000, source="credits")
    assert (hold.amount, hold.short) == (100, 900)

    tenant.settle(hold, 4_000)

    assert (tenant.account.balance, tenant.remaining()) == (-900, 100_000)


def test_an_account_that_was_asked_for_pays_although_it_was_unlinked_meanwhile() -> None:
    tenant = connect(5 * USD)
    tenant.link()
    hold = tenant.hold("interview", 1_000, model="gpt-5.4", source="oauth")
    tenant.unlink("user")

    act = tenant.settle(hold, 1_000)

    assert isinstance(act, UsageRecorded)
    assert drawn(act) == {"oauth": (1_000, 3_000)}


def test_overage_is_not_asked_for_by_asking_for_the_quota() -> None:
    tenant = Tenant("flarex", "starter")
    tenant.generate(995)
    tenant.overage(True)
    hold = tenant.hold("chat_generation", 14_000, source="compile")

    act = tenant.settle(hold, 14_000, action="proposal")

    assert drawn(act) == {"allowance": (5, 0), "absorbed": (9, 0)}
    assert tenant.accrued == (0, 0)


def test_overflow_does_not_pay_for_a_compilation_that_asked_for_the_quota() -> None:
    tenant = connect(5 * USD, used=90_000)
    tenant.overflow(True)

    with pytest.raises(NoPaymentSource) as refused:
        tenant.hold("compile", 15_000, source="compile")
    assert not refused.value.needs_credits
    hold = tenant.hold("compile", 10_000, source="compile")
    act = tenant.settle(hold, 15_000)

    assert drawn(act) == {"allowance": (10_000, 0), "absorbed": (5_000, 0)}


def test_a_compilation_that_asks_for_the_balance_needs_the_overflow_switch() -> None:
    tenant = connect(5 * USD)
    with pytest.raises(NoPaymentSource):
        tenant.hold("compile", 4_000, source="credits")

    tenant.overflow(True)

    assert tenant.hold("compile", 4_000, source="credits").amount == 1_000
    with pytest.raises(NoPaymentSource):
        tenant.hold("compile", 20_000_000, source="credits")  # 5 000 000 µ, 4 999 000 are left


@pytest.mark.parametrize("end", ["expires", "is released", "is settled"])
def test_a_fact_of_a_call_whose_hold_is_over_is_paid_by_whom_it_named(end: str) -> None:
    tenant = connect(5 * USD, used=99_900)
    hold = tenant.hold("interview", 400, source="compile")
    if end == "expires":
        tenant.later(hours=1)
    elif end == "is released":
        tenant.release(hold)
    else:
        tenant.settle(hold, 50)

    act = tenant.settle(hold, 400, mode="record")

    left = 50 if end == "is settled" else 100
    assert drawn(act) == {"allowance": (left, 0), "absorbed": (400 - left, 0)}
    assert tenant.account.balance == 5 * USD


def test_a_fact_of_a_call_that_ran_on_the_users_own_account_costs_nothing_of_ours() -> None:
    tenant = connect(5 * USD)
    tenant.link()
    hold = tenant.hold("chat", 1_000, model="gpt-5.4")
    tenant.later(hours=1)

    assert drawn(tenant.settle(hold, 1_000, mode="record")) == {"oauth": (0, 3_000)}


def test_a_call_that_was_let_run_without_overage_is_never_billed_for_it() -> None:
    """L6: its hold expires, overage is switched on, and then its tokens are reported."""
    tenant = Tenant("flarex", "starter")
    tenant.generate(995)
    hold = tenant.hold("chat_generation", 14_000)
    tenant.later(hours=1)
    tenant.overage(True)

    act = tenant.settle(hold, 14_000, mode="record", action="proposal")

    assert drawn(act) == {"allowance": (5, 0), "absorbed": (9, 0)}


def test_one_source_is_asked_for_whatever_falling_back_would_be() -> None:
    """402, as for any source that cannot pay: there is nothing to fall back to."""
    tenant = connect(5 * USD)
    tenant.link()
    tenant.unlink("revoked")
    tenant.fallback(False)

    with pytest.raises(NoPaymentSource) as refused:
        tenant.hold("chat", 1_000, model="gpt-5.4", source="oauth")
    assert (refused.value.needs_oauth, refused.value.needs_credits) == (True, False)


def test_a_hold_from_before_sources_were_kept_is_read_as_one_that_asked_for_none() -> None:
    tenant = connect(5 * USD)
    placed = tenant.hold("interview", 500)

    stored = encode_fact(placed)

    assert b"source" not in stored
    again = decode_fact(HoldPlaced.TOPIC, stored)
    assert isinstance(again, HoldPlaced)
    assert (again, again.source) == (placed, None)
