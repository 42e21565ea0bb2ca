"""Stories of credits and overage, by the numbers of the specification's section 8.8."""

from __future__ import annotations

from datetime import timedelta

import pytest

from domain.account.usage_facts import UsageRecorded
from domain.contract.subscription import OverageEnabled
from domain.errors import (
    CreditsExhausted,
    OAuthNotAvailable,
    OverageNotAvailable,
    UnknownAction,
)
from tests.domain.given import NOW
from tests.domain.tenant import Tenant, drawn, shipped

JULY = NOW + timedelta(days=30)


def starter(used: int = 0) -> Tenant:
    """A workspace on Starter: 1 000 credits a cycle, $0.02 beyond."""
    tenant = Tenant("flarex", "starter")
    if used:
        tenant.generate(used)
    return tenant


@pytest.mark.scenario("S57")
def test_tokens_become_credits_call_by_call() -> None:
    tenant = starter()

    units = [
        tenant.act("chat_generation", input, output, action=action).units
        for input, output, action in [
            (12_345, 678, "proposal"),
            (500, 400, "explanation"),
            (1_000, 1, "diff"),
            (1, 0, "chat"),
        ]
    ]

    assert units == [14, 1, 2, 1]
    assert tenant.account.buckets["ai_credits"].used == 18


@pytest.mark.scenario("S58")
def test_what_is_not_metered_leaves_no_event() -> None:
    tenant = starter(18)
    before = tenant.book.position
    act = tenant.facts(UsageRecorded)[-1].usage

    for action in ("message_edit", "diff_view"):
        for i in range(100):
            event_id = f"{action}{i}"
            usage = type(act)(event_id=event_id, meter="chat_generation", action=action)
            assert not tenant.use(usage).metered

    assert tenant.book.position == before
    with pytest.raises(UnknownAction):
        tenant.generate(1, action="dance")


@pytest.mark.scenario("S59")
def test_credits_run_out_within_a_call_and_then_it_stops() -> None:
    tenant = starter(995)

    assert drawn(tenant.generate(14)) == {"allowance": (5, 0), "absorbed": (9, 0)}
    assert tenant.remaining() == 0

    for refused in (tenant.generate, lambda n: tenant.hold("chat_generation", n * 1_000)):
        with pytest.raises(CreditsExhausted) as why:
            refused(14)
        assert why.value.resets_at == JULY
        assert why.value.overage_available
        assert not why.value.needs_credits


@pytest.mark.scenario("S60")
def test_overage_pays_what_exceeds_the_credits() -> None:
    tenant = starter(995)
    tenant.overage(True)

    act = tenant.generate(14)

    assert drawn(act) == {"allowance": (5, 0), "overage": (9, 180_000)}
    assert act.draws[1].unit_price == 20_000
    assert tenant.accrued == (9, 180_000)
    assert tenant.account.balance == 0


@pytest.mark.scenario("S61")
def test_switching_overage_on_bills_nothing_that_was_consumed_before() -> None:
    tenant = starter(995)
    tenant.generate(14)

    tenant.overage(True)
    assert tenant.accrued == (0, 0)
    assert drawn(tenant.generate(14)) == {"overage": (14, 280_000)}

    tenant.to(JULY)
    tenant.roll_over()
    closed = tenant.facts()[-1]
    [line] = next(f for f in tenant.facts() if hasattr(f, "overage") and f.overage).overage
    assert (line.units, line.amount, line.amount_minor) == (14, 280_000, 28), closed


@pytest.mark.scenario("S63")
def test_the_free_plan_offers_no_overage() -> None:
    tenant = Tenant("flarex")
    before = tenant.book.position

    with pytest.raises(OverageNotAvailable):
        tenant.overage(True)
    tenant.overage(False)

    assert tenant.book.position == before
    tenant.generate(50)
    with pytest.raises(CreditsExhausted) as refused:
        tenant.generate(1)
    assert not refused.value.overage_available


@pytest.mark.scenario("S64")
def test_a_switch_that_stands_already_is_not_said_again() -> None:
    tenant = starter()

    for on in (True, True, False, False):
        tenant.overage(on)

    assert len(tenant.facts(OverageEnabled)) == 1
    assert tenant.account.overage_switch[-1][1] == {}, "and it is off"


def test_faces_has_no_overage_and_flarex_no_link() -> None:
    assert "overage" not in str(shipped("faces")["meters"])
    with pytest.raises(OverageNotAvailable):
        Tenant("faces", "connect").overage(True)
    with pytest.raises(OAuthNotAvailable):
        starter().link()


def test_a_unit_costs_what_it_cost_when_it_was_consumed() -> None:
    """Reported after an upgrade, but consumed at Starter's rate."""
    tenant = starter(1_000)
    tenant.overage(True)
    tenant.later(hours=1)
    consumed = tenant.now
    tenant.later(hours=1)
    tenant.plan("pro")
    tenant.generate(4_000)

    late = tenant.generate(10, occurred_at=consumed)
    now = tenant.generate(10)

    assert [late.draws[0].unit_price, now.draws[0].unit_price] == [20_000, 15_000]
