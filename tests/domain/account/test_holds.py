"""Stories of holds: what a call sets aside before it runs, and every way in which that ends."""

from __future__ import annotations

from datetime import timedelta

import pytest

from domain.account.hold_facts import HoldExpired, HoldExtended, HoldPlaced, HoldReleased, Labels
from domain.account.usage import Tokens
from domain.account.usage_facts import Debited
from domain.errors import (
    AccountFrozen,
    CreditsExhausted,
    HoldClosed,
    InsufficientCredits,
    NotFound,
    QuotaExceeded,
)
from tests.domain.given import NOW, USD
from tests.domain.tenant import WORKSPACE, Tenant, catalogue, drawn, shipped


def whole_or_nothing() -> Tenant:
    """Chat with the entry rule `covers_estimate`, and 10 000 µ."""
    meters = shipped("faces")["meters"]
    chat = meters["chat"] | {"entry_rule": "covers_estimate"}
    return Tenant(catalogue("faces", meters=meters | {"chat": chat}), micros=10_000)


@pytest.mark.scenario("S12")
def test_a_hold_sets_aside_what_the_call_may_cost_and_its_settlement_frees_the_rest() -> None:
    tenant = Tenant("faces", micros=50_000)

    hold = tenant.hold("chat", 1_000, 2_000, "gpt-5.4")
    assert (hold.route, hold.amount, hold.units) == ("wallet", 33_000, 0)
    assert (tenant.account.available, tenant.account.balance) == (17_000, 50_000)

    debit = tenant.settle(hold, 1_000, 800)
    assert drawn(debit) == {"wallet": (0, 15_000)}
    assert tenant.account.available == tenant.account.balance == 35_000
    assert tenant.account.holds == {}
    assert tenant.facts(HoldReleased) == [], "its settlement is what ends it"


@pytest.mark.scenario("S11")
def test_an_entry_rule_that_covers_the_estimate_lets_nothing_larger_start() -> None:
    tenant = whole_or_nothing()

    with pytest.raises(InsufficientCredits):
        tenant.hold("chat", 40_004)  # 10 001 µ
    assert tenant.hold("chat", 40_000).amount == 10_000
    assert tenant.account.available == 0


def test_a_hold_is_never_more_than_what_is_there_and_then_nobody_else_comes_in() -> None:
    tenant = Tenant("faces", micros=10_000)

    hold = tenant.hold("chat", 400_000)  # 100 000 µ
    assert hold.amount == 10_000
    for refused in (tenant.hold, tenant.act):
        with pytest.raises(InsufficientCredits) as why:
            refused("chat", 4)
        assert (why.value.available, why.value.balance) == (0, 10_000)

    tenant.settle(hold, 400_000)
    assert tenant.account.balance == tenant.account.available == -90_000


@pytest.mark.parametrize(("tokens", "balance"), [(40_000, 40_000), (160_000, 10_000)])
def test_a_call_costs_what_it_costs_whatever_was_held(tokens: int, balance: int) -> None:
    tenant = Tenant("faces", micros=50_000)
    hold = tenant.hold("chat", 80_000)  # 20 000 µ

    tenant.settle(hold, tokens)

    assert tenant.account.balance == tenant.account.available == balance


def test_a_settlement_may_spend_its_own_hold_when_nothing_else_is_left() -> None:
    """An interview whose money another call's hold has not touched."""
    tenant = Tenant("faces", micros=1_000)
    tenant.act("compile", 5_000)
    hold = tenant.hold("interview", 4_000)
    assert (hold.amount, tenant.account.available) == (1_000, 0)

    assert drawn(tenant.settle(hold, 4_000)) == {"wallet": (0, 1_000)}


def test_held_units_are_nobody_elses() -> None:
    tenant = Tenant("flarex", "starter")
    hold = tenant.hold("chat_generation", 1_000_000)

    assert (hold.route, hold.units, tenant.remaining()) == ("allowance", 1_000, 0)
    with pytest.raises(CreditsExhausted):
        tenant.generate(1)

    act = tenant.settle(hold, 400_000, action="proposal")
    assert drawn(act) == {"allowance": (400, 0)}
    assert tenant.remaining() == 600


def test_a_settlement_above_its_units_takes_what_is_free_and_absorbs_the_rest() -> None:
    tenant = Tenant("flarex", "starter")
    hold = tenant.hold("chat_generation", 900_000)

    act = tenant.settle(hold, 1_010_000, action="proposal")

    assert drawn(act) == {"allowance": (1_000, 0), "absorbed": (10, 0)}


@pytest.mark.parametrize("reason", ["upstream_failed", "client_cancelled", "voided"])
def test_a_released_hold_charges_nothing(reason: str) -> None:
    tenant = Tenant("faces", micros=50_000)
    hold = tenant.hold("chat", 1_000, 2_000, "gpt-5.4")

    tenant.release(hold, reason)  # type: ignore[arg-type]

    assert [f.reason for f in tenant.facts(HoldReleased)] == [reason]
    assert tenant.account.available == tenant.account.balance == 50_000


def test_a_closed_hold_is_refused_but_what_happened_is_recorded() -> None:
    tenant = Tenant("faces", micros=50_000)
    settled, released, expired = (tenant.hold("chat", 4_000) for _ in range(3))
    tenant.settle(settled, 4_000)
    tenant.release(released)
    tenant.later(minutes=15)

    for hold in (settled, released, expired):
        before = tenant.book.position
        with pytest.raises(HoldClosed):
            tenant.settle(hold, 4_000)
        with pytest.raises(HoldClosed):
            tenant.release(hold)
        with pytest.raises(HoldClosed):
            tenant.extend(hold, minutes=1)
        assert tenant.book.position == before
        assert drawn(tenant.settle(hold, 4_000, mode="record")) == {"wallet": (0, 1_000)}
    assert tenant.account.balance == 46_000


def test_a_hold_that_never_was_is_refused() -> None:
    with pytest.raises(NotFound):
        Tenant("faces", micros=USD).act("chat", 4, hold_id="hold_nobody")


def test_a_hold_ends_at_its_moment_although_nobody_notices() -> None:
    """No sweeper runs: the next decision sees the log and the clock."""
    tenant = Tenant("faces", micros=10_000)
    tenant.hold("chat", 40_000)

    tenant.to(NOW + timedelta(minutes=15) - timedelta(microseconds=1))
    with pytest.raises(InsufficientCredits):
        tenant.hold("chat", 4)
    assert tenant.facts(HoldExpired) == []

    tenant.to(NOW + timedelta(minutes=15))
    assert tenant.hold("chat", 40_000).amount == 10_000
    [expired] = tenant.facts(HoldExpired)
    assert expired.expired_at == NOW + timedelta(minutes=15)


def test_the_sweeper_only_tidies() -> None:
    tenant = Tenant("faces", micros=10_000)
    tenant.hold("chat", 40_000)

    tenant.ask(tenant.ledger.expire_holds)
    assert tenant.facts(HoldExpired) == []
    tenant.later(hours=1)
    tenant.ask(tenant.ledger.expire_holds)
    tenant.ask(tenant.ledger.expire_holds)

    assert len(tenant.facts(HoldExpired)) == 1
    assert tenant.account.available == 10_000
    assert tenant.account.next_hold_expiry is None


def test_a_hold_stands_longer_while_tokens_flow() -> None:
    tenant = Tenant("faces", micros=10_000)
    hold = tenant.hold("chat", 40_000, minutes=5)

    tenant.later(minutes=4)
    assert tenant.extend(hold, minutes=5).answer == NOW + timedelta(minutes=9)
    assert tenant.extend(hold, minutes=1).answer == NOW + timedelta(minutes=9), "never shorter"
    tenant.later(minutes=4)
    assert tenant.account.available == 0
    tenant.settle(hold, 40_000)

    assert len(tenant.facts(HoldExtended)) == 2
    assert tenant.account.balance == 0


def test_a_frozen_account_starts_nothing_but_finishes_what_runs() -> None:
    tenant = Tenant("faces", micros=50_000)
    hold, other = tenant.hold("chat", 4_000), tenant.hold("chat", 4_000)
    tenant.freeze()

    with pytest.raises(AccountFrozen):
        tenant.hold("chat", 4_000)
    with pytest.raises(AccountFrozen):
        tenant.act("chat", 4_000)
    assert drawn(tenant.settle(hold, 4_000)) == {"wallet": (0, 1_000)}
    assert drawn(tenant.act("chat", 4_000, mode="record")) == {"wallet": (0, 1_000)}
    tenant.release(other)
    assert tenant.account.available == 48_000


def test_asking_again_for_the_same_hold_finds_the_first() -> None:
    tenant = Tenant("faces", micros=50_000)
    asked = ("hold_1", "chat", Tokens(4_000), Labels("gpt-5.4-mini"))

    first, second = (tenant.ask(tenant.ledger.authorize, *asked) for _ in range(2))

    assert (first.replayed, second.replayed) == (False, True)
    assert second.facts[0].fact == first.facts[-1].fact
    assert len(tenant.facts(HoldPlaced)) == 1


def test_a_hold_is_settled_once() -> None:
    tenant = Tenant("faces", micros=50_000)
    hold = tenant.hold("chat", 4_000)
    tenant.settle(hold, 4_000)

    with pytest.raises(HoldClosed):
        tenant.settle(hold, 4_000)
    assert len(tenant.facts(Debited)) == 1


def test_overflow_that_was_on_at_the_start_pays_only_while_it_is_on() -> None:
    tenant = Tenant("faces", "connect", USD)
    tenant.act("compile", 90_000)
    tenant.overflow(True)
    hold = tenant.hold("compile", 14_000)
    assert (hold.units, hold.amount) == (10_000, 1_000)

    tenant.overflow(False)
    act = tenant.settle(hold, 14_000)

    assert drawn(act) == {"allowance": (10_000, 0), "absorbed": (4_000, 0)}
    assert tenant.account.available == USD


def test_overage_that_was_on_at_the_start_pays_although_it_is_off_at_the_end() -> None:
    """L6: what counts for a hold is when the call was authorised."""
    tenant = Tenant("flarex", "starter")
    tenant.generate(1_000)
    tenant.overage(True)
    on = tenant.hold("chat_generation", 10_000)
    tenant.overage(False)
    with pytest.raises(CreditsExhausted):
        tenant.hold("chat_generation", 10_000)

    assert (on.route, on.overage_on) == ("overage", True)
    assert drawn(tenant.settle(on, 10_000, action="chat")) == {"overage": (10, 200_000)}


def test_overage_that_was_off_at_the_start_never_pays() -> None:
    tenant = Tenant("flarex", "starter")
    tenant.generate(995)
    off = tenant.hold("chat_generation", 10_000)
    tenant.overage(True)

    act = tenant.settle(off, 10_000, action="chat")

    assert drawn(act) == {"allowance": (5, 0), "absorbed": (5, 0)}
    assert tenant.accrued == (0, 0)


def test_included_units_that_come_back_are_used_before_overage() -> None:
    """L3: a call that was admitted on overage finds that another gave its units back."""
    tenant = Tenant("flarex", "starter")
    tenant.overage(True)
    held = tenant.hold("chat_generation", 1_000_000)
    beyond = tenant.hold("chat_generation", 10_000)
    assert beyond.route == "overage"
    tenant.release(held)

    act = tenant.settle(beyond, 10_000, action="chat")

    assert drawn(act) == {"allowance": (10, 0)}
    assert tenant.accrued == (0, 0)


def test_units_that_a_smaller_plan_no_longer_has_are_not_given_to_a_hold() -> None:
    """L9: Pro's 3 000 held units are more than Starter includes."""
    tenant = Tenant("flarex", "pro")
    hold = tenant.hold("chat_generation", 3_000_000)
    tenant.plan("starter")
    tenant.later(minutes=1)

    act = tenant.settle(hold, 3_000_000, action="chat")

    assert drawn(act) == {"allowance": (1_000, 0), "absorbed": (2_000, 0)}
    bucket = tenant.account.buckets["ai_credits"]
    assert (bucket.used, bucket.held, bucket.remaining) == (1_000, 0, 0)


def test_a_quota_that_is_held_is_not_there_for_another_compilation() -> None:
    tenant = Tenant("faces")
    tenant.hold("compile", 4_000)

    with pytest.raises(QuotaExceeded) as refused:
        tenant.hold("compile", 1_001)
    assert refused.value.tokens_remaining == 1_000
    assert tenant.hold("compile", 1_000).units == 1_000


def test_a_hold_of_a_workspace_that_is_not_there_is_not_found() -> None:
    tenant = Tenant("faces")
    tenant.book.states.clear()

    with pytest.raises(NotFound, match=WORKSPACE):
        tenant.ask(tenant.ledger.release_hold, "hold_1", "voided")
