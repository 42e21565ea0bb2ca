"""Scenarios S62, S65 and S94: overage is switched on and off while calls run and reports are late.
What was consumed while it was off can never be billed; what was agreed to is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from adapters.postgres.database import Database
from tests.acceptance.spending import authorize, done, funding, generate, on_plan, put, refused, to
from tests.api.conftest import Served, serve, settings_of

OVERAGE = "/v1/billing/overage"


@pytest.fixture
def flarex(database: Database) -> Iterator[Served]:
    """Appendix A."""
    with serve(settings_of(database, "flarex")) as served:
        yield served


@pytest.fixture
def starter(flarex: Served) -> str:
    """A workspace on Starter whose 1,000 credits are used up; $0.02 beyond."""
    workspace = on_plan(flarex, "starter")
    assert funding(generate(flarex, workspace, 1_000_000)) == {"allowance": (0, 1_000)}
    return workspace


def switch(app: Served, workspace: str, on: bool) -> None:
    """Agree to overage, or not any more."""
    assert put(app, OVERAGE, {"enabled": on}, workspace)["enabled"] is on


def call(app: Served, workspace: str, credits: int = 10) -> Any:
    """A generation is let run."""
    asked = {"meter": "chat_generation", "llm_model": None}
    return done(authorize(app, workspace, credits * 1_000, 0, **asked))


def accrued(app: Served, workspace: str) -> tuple[int, int]:
    """Units and µ of the cycle that runs."""
    shown = app.get(OVERAGE, workspace)
    return shown["accrued_units"], shown["accrued_micros"]


def statements(app: Served) -> list[list[tuple[int, int]]]:
    """(units, cents) of each closed cycle's lines."""
    closed = app.get("/v1/audit/events", type="CycleClosed")["data"]
    return [[(x["units"], x["amount_minor"]) for x in one["data"]["overage"]] for one in closed]


@pytest.mark.scenario("S62")
def test_only_what_is_consumed_while_it_is_on_is_billed(flarex: Served, starter: str) -> None:
    switch(flarex, starter, True)
    assert funding(generate(flarex, starter, 3_000)) == {"overage": (60_000, 3)}
    switch(flarex, starter, False)
    problem = refused(generate(flarex, starter, 5_000), 402, "ai_credits_exhausted")
    assert problem["overage_available"] is True
    assert funding(generate(flarex, starter, 5_000, mode="record")) == {"absorbed": (0, 5)}
    switch(flarex, starter, True)
    assert funding(generate(flarex, starter, 4_000)) == {"overage": (80_000, 4)}

    assert accrued(flarex, starter) == (7, 140_000)
    to(flarex, "2026-07-01T00:00:00Z")
    assert funding(generate(flarex, starter, 1)) == {"allowance": (0, 1)}
    assert statements(flarex) == [[(7, 14)]]


@pytest.mark.scenario("S65")
def test_a_call_is_billed_by_what_was_agreed_when_it_was_let_run(
    flarex: Served, starter: str
) -> None:
    """off → on → off → on, with a call before, within and after each."""
    switch(flarex, starter, True)
    while_on = call(flarex, starter)
    switch(flarex, starter, False)
    asked = {"meter": "chat_generation", "llm_model": None}
    refused(authorize(flarex, starter, 10, 0, **asked), 402, "ai_credits_exhausted")
    assert while_on["route"] == "overage"

    settled = generate(flarex, starter, 10_000, hold_id=while_on["hold_id"])
    assert funding(settled) == {"overage": (200_000, 10)}, "it was agreed to"
    switch(flarex, starter, True)
    assert accrued(flarex, starter) == (10, 200_000)


@pytest.mark.scenario("S65")
@pytest.mark.parametrize("end", ["settled", "expired"])
def test_a_call_that_was_let_run_while_it_was_off_is_never_billed(flarex: Served, end: str) -> None:
    workspace = on_plan(flarex, "starter")
    done(generate(flarex, workspace, 995_000))
    while_off = call(flarex, workspace)
    assert (while_off["route"], while_off["held_units"]) == ("allowance", 5)
    switch(flarex, workspace, True)
    fact: dict[str, Any] = {"hold_id": while_off["hold_id"]}
    if end == "expired":
        to(flarex, "2026-06-01T01:00:00Z")
        refused(generate(flarex, workspace, 10_000, **fact), 409, "hold_closed")
        fact["mode"] = "record"

    act = generate(flarex, workspace, 10_000, **fact)

    assert funding(act) == {"allowance": (0, 5), "absorbed": (0, 5)}
    assert accrued(flarex, workspace) == (0, 0)


@pytest.mark.scenario("S65")
def test_a_direct_call_must_be_agreed_to_when_it_ran_and_when_it_is_reported(
    flarex: Served, starter: str
) -> None:
    to(flarex, "2026-06-02T00:00:00Z")
    switch(flarex, starter, True)
    to(flarex, "2026-06-03T00:00:00Z")
    switch(flarex, starter, False)
    to(flarex, "2026-06-04T00:00:00Z")
    switch(flarex, starter, True)

    paid = {
        day: funding(
            generate(flarex, starter, 1, occurred_at=f"2026-06-{day:02}T12:00:00Z", mode="record")
        )
        for day in (1, 2, 3)
    }

    assert paid == {
        1: {"absorbed": (0, 1)}, 2: {"overage": (20_000, 1)}, 3: {"absorbed": (0, 1)},
    }  # fmt: skip
    switch(flarex, starter, False)
    late = generate(flarex, starter, 1, occurred_at="2026-06-02T12:00:00Z", mode="record")
    assert funding(late) == {"absorbed": (0, 1)}, "and now it is off"


@pytest.mark.scenario("S94")
@pytest.mark.parametrize("agreed", [True, False])
@pytest.mark.parametrize("mode", ["strict", "record"])
def test_late_usage_uses_what_its_cycle_left_then_what_was_agreed_and_never_todays_units(
    flarex: Served, agreed: bool, mode: str
) -> None:
    workspace = on_plan(flarex, "starter")
    done(generate(flarex, workspace, 995_000))
    if agreed:
        switch(flarex, workspace, True)
    to(flarex, "2026-07-02T00:00:00Z")
    done(generate(flarex, workspace, 1))
    if not agreed:
        switch(flarex, workspace, True)  # too late for June

    late = generate(flarex, workspace, 14_000, occurred_at="2026-06-20T00:00:00Z", mode=mode)

    rest = {"overage": (180_000, 9)} if agreed else {"absorbed": (0, 9)}
    assert funding(late) == {"allowance": (0, 5)} | rest
    assert done(late)["late"] is True
    assert accrued(flarex, workspace) == ((9, 180_000) if agreed else (0, 0))
    assert flarex.get(OVERAGE, workspace)["included"]["used"] == 1
    assert statements(flarex) == [[]], "a closed statement never changes"
    # The line stands on the cycle in which it was reported.
    to(flarex, "2026-08-01T00:00:00Z")
    done(generate(flarex, workspace, 1))
    assert statements(flarex)[1] == ([(9, 18)] if agreed else [])


@pytest.mark.scenario("S94")
def test_usage_of_the_last_second_is_late_and_of_the_boundary_is_not(
    flarex: Served, starter: str
) -> None:
    to(flarex, "2026-07-01T00:00:01Z")

    before = generate(flarex, starter, 1, occurred_at="2026-06-30T23:59:59.999999Z")
    after = generate(flarex, starter, 1, occurred_at="2026-07-01T00:00:00Z")

    assert (funding(before), done(before)["late"]) == ({"absorbed": (0, 1)}, True)
    assert (funding(after), done(after)["late"]) == ({"allowance": (0, 1)}, False)


@pytest.mark.scenario("S94")
def test_late_usage_is_billed_at_the_price_of_its_own_time(flarex: Served) -> None:
    workspace = on_plan(flarex, "starter")
    done(generate(flarex, workspace, 1_000_000))
    switch(flarex, workspace, True)
    to(flarex, "2026-07-02T00:00:00Z")
    flarex.post(f"/v1/admin/workspaces/{workspace}/plan", {"plan": "pro"})
    assert str(flarex.get(OVERAGE, workspace)["unit_price_usd"]) == "0.015"

    late = generate(flarex, workspace, 10_000, occurred_at="2026-06-20T00:00:00Z")

    assert funding(late) == {"overage": (200_000, 10)}
