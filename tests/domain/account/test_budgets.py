"""Stories of budgets: caps that a customer sets on its own spending."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.account.budget import BudgetRemoved, BudgetWarned, On
from domain.errors import BudgetExhausted, InsufficientCredits, InvalidInput, NotFound
from tests.domain.given import NOW, USD
from tests.domain.tenant import Tenant

JULY = datetime(2026, 7, 1, tzinfo=UTC)
PLACES: list[tuple[On, str, str]] = [
    ("api_key", "api_key_id", "key_1"),
    ("face", "face_id", "alice"),
    ("bot", "bot_id", "b1"),
    ("thread", "thread_id", "t1"),
]


def capped(limit: int, *, hard: bool = True, micros: int = USD, **terms: str) -> Tenant:
    """A workspace with money and one cap on all of its spending."""
    tenant = Tenant("faces", "connect", micros)
    tenant.budget(limit, hard=hard, **terms)  # type: ignore[arg-type]
    return tenant


def test_a_hard_cap_is_reached_exactly_and_not_passed() -> None:
    tenant = capped(3_000)
    for _ in range(3):
        tenant.act("chat", 4_000)
    before = tenant.book.position

    for refused in (tenant.act, tenant.hold):
        with pytest.raises(BudgetExhausted) as why:
            refused("chat", 4)
        assert (why.value.budget_id, why.value.limit_micros, why.value.left_micros) == (
            "b1",
            3_000,
            0,
        )
        assert not why.value.needs_credits
        assert why.value.rule == "hard_budget"
    assert tenant.book.position == before


def test_a_call_that_does_not_fit_is_refused_and_a_smaller_one_runs() -> None:
    tenant = capped(3_000)

    with pytest.raises(BudgetExhausted) as refused:
        tenant.act("chat", 12_004)
    assert refused.value.left_micros == 3_000
    tenant.act("chat", 12_000)


def test_what_is_held_counts_so_that_calls_at_once_cannot_slip_past() -> None:
    tenant = capped(3_000)
    first = tenant.hold("chat", 8_000)

    for refused in (tenant.hold, tenant.act):
        with pytest.raises(BudgetExhausted) as why:
            refused("chat", 4_004)
        assert why.value.left_micros == 1_000
    second = tenant.hold("chat", 4_000)
    tenant.release(first)
    tenant.settle(second, 4_000)
    tenant.act("chat", 8_000)
    with pytest.raises(BudgetExhausted):
        tenant.act("chat", 4)


def test_overage_that_is_held_counts_too() -> None:
    tenant = Tenant("flarex", "starter")
    tenant.generate(1_000)
    tenant.overage(True)
    tenant.budget(200_000)  # ten credits

    hold = tenant.hold("chat_generation", 6_000)
    with pytest.raises(BudgetExhausted) as refused:
        tenant.hold("chat_generation", 5_000)
    assert refused.value.left_micros == 80_000
    tenant.settle(hold, 6_000, action="chat")
    tenant.generate(4)
    with pytest.raises(BudgetExhausted):
        tenant.generate(1)


def test_what_is_included_costs_nothing_of_a_budget() -> None:
    tenant = capped(1)

    tenant.act("compile", 50_000)
    tenant.hold("compile", 50_000)

    assert tenant.account.budgets["b1"].spent == 0


def test_a_spent_cap_stops_no_call_that_takes_exactly_what_is_included() -> None:
    tenant = capped(1_000)
    tenant.act("chat", 4_000)
    tenant.overflow(True)
    with pytest.raises(BudgetExhausted):
        tenant.hold("chat", 4)

    tenant.act("compile", 60_000)
    tenant.hold("compile", 40_000)

    assert tenant.remaining() == 0


def test_what_the_users_own_account_pays_costs_nothing_of_a_budget() -> None:
    tenant = capped(1)
    tenant.link()

    tenant.settle(tenant.hold("chat", 4_000, model="gpt-5.4"), 4_000)

    assert tenant.account.budgets["b1"].spent == 0


@pytest.mark.parametrize(("on", "label", "value"), PLACES)
def test_a_cap_stands_where_it_was_set_and_nowhere_else(on: On, label: str, value: str) -> None:
    tenant = Tenant("faces", micros=USD)
    here: dict[str, Any] = {label: value}
    elsewhere: dict[str, Any] = {label: "another"}
    tenant.budget(1_000, on, value)
    tenant.act("chat", 4_000, **here)

    with pytest.raises(BudgetExhausted):
        tenant.act("chat", 4, **here)
    with pytest.raises(BudgetExhausted):
        tenant.hold("chat", 4, **here)
    tenant.act("chat", 4_000, **elsewhere)
    tenant.act("chat", 4_000)


def test_the_tightest_of_several_caps_decides() -> None:
    tenant = capped(10_000)
    tenant.budget(1_000, "bot", "b1", id="b2")

    with pytest.raises(BudgetExhausted) as refused:
        tenant.act("chat", 8_000, bot_id="b1")
    assert refused.value.budget_id == "b2"
    tenant.act("chat", 8_000, bot_id="b2")


def test_a_day_ends_at_midnight_utc() -> None:
    tenant = capped(1_000, per="day")
    tenant.act("chat", 4_000)

    tenant.to(NOW + timedelta(days=1) - timedelta(microseconds=1))
    with pytest.raises(BudgetExhausted):
        tenant.act("chat", 4)
    tenant.to(NOW + timedelta(days=1))
    tenant.act("chat", 4_000)


def test_a_cycle_cap_starts_anew_with_the_cycle_although_no_timer_fired() -> None:
    tenant = capped(1_000)
    tenant.act("chat", 4_000)

    tenant.to(JULY - timedelta(seconds=1))
    with pytest.raises(BudgetExhausted):
        tenant.act("chat", 4)
    tenant.to(JULY)
    tenant.act("chat", 4_000)


def test_a_soft_cap_warns_once_a_window_and_refuses_nothing() -> None:
    tenant = capped(2_000, hard=False, per="day")

    tenant.act("chat", 4_000)
    assert tenant.facts(BudgetWarned) == []
    for _ in range(3):
        tenant.act("chat", 4_000)
    [warned] = tenant.facts(BudgetWarned)
    assert (warned.budget_id, warned.window, warned.spent) == ("b1", "2026-06-01", 2_000)
    tenant.later(days=1)
    tenant.act("chat", 8_000)
    assert [w.window for w in tenant.facts(BudgetWarned)] == ["2026-06-01", "2026-06-02"]


def test_a_changed_cap_keeps_what_was_spent_and_may_warn_again() -> None:
    tenant = capped(1_000, hard=False)
    tenant.act("chat", 4_000)
    tenant.budget(2_000, hard=False)
    tenant.act("chat", 4_000)
    tenant.budget(2_000, hard=True)

    assert [w.spent for w in tenant.facts(BudgetWarned)] == [1_000, 2_000]
    with pytest.raises(BudgetExhausted):
        tenant.act("chat", 4)


def test_a_cap_that_now_counts_something_else_starts_from_nothing() -> None:
    tenant = capped(1_000)
    tenant.act("chat", 4_000, bot_id="b1")
    tenant.budget(1_000, "bot", "b1")

    tenant.act("chat", 4_000, bot_id="b1")


def test_a_lifted_cap_stops_nothing() -> None:
    tenant = capped(1)
    tenant.ask(tenant.ledger.remove_budget, "b1")

    tenant.act("chat", 4_000)

    assert len(tenant.facts(BudgetRemoved)) == 1
    with pytest.raises(NotFound):
        tenant.ask(tenant.ledger.remove_budget, "b1")


def test_facts_and_calls_under_way_are_recorded_whatever_the_cap() -> None:
    tenant = capped(2_000)
    hold = tenant.hold("chat", 4_000)

    tenant.act("chat", 40_000, mode="record")
    tenant.settle(hold, 8_000)

    assert tenant.account.budgets["b1"].spent == 12_000


def test_the_wallet_is_asked_before_the_cap() -> None:
    tenant = capped(0, micros=0)

    with pytest.raises(InsufficientCredits):
        tenant.act("chat", 4)


@pytest.mark.parametrize(("on", "value"), [("workspace", "acme"), ("bot", None)])
def test_a_cap_says_what_it_is_on(on: On, value: str | None) -> None:
    with pytest.raises(InvalidInput):
        Tenant("faces").budget(1, on, value)


def test_a_workspace_has_at_most_a_hundred() -> None:
    tenant = Tenant("faces")
    for n in range(100):
        tenant.budget(1, id=f"b{n}")

    tenant.budget(2, id="b0")
    with pytest.raises(InvalidInput, match="100"):
        tenant.budget(1, id="b100")
