"""Scenarios S57–S61, S63, S64 and S95: credits and overage on `flarex`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from adapters.postgres.database import Database
from tests.acceptance.spending import done, funding, generate, on_plan, put, refused, to
from tests.api.conftest import Served, serve, settings_of

OVERAGE = "/v1/billing/overage"


@pytest.fixture
def flarex(database: Database) -> Iterator[Served]:
    """Appendix A."""
    with serve(settings_of(database, "flarex")) as served:
        yield served


@pytest.fixture
def starter(flarex: Served) -> str:
    """A workspace on Starter: 1,000 credits, $0.02 beyond."""
    return on_plan(flarex, "starter")


def used(flarex: Served, starter: str, credits: int) -> None:
    """Use this many credits, one call each thousand tokens."""
    assert funding(generate(flarex, starter, credits * 1_000)) == {"allowance": (0, credits)}


@pytest.mark.scenario("S57")
def test_credits_are_broken_down_by_bot_and_thread(flarex: Served, starter: str) -> None:
    calls = [
        (12_345, 678, {"action": "proposal", "bot_id": "b1", "thread_id": "t1"}),
        (500, 400, {"action": "explanation", "bot_id": "b1", "thread_id": "t2"}),
        (1_000, 1, {"action": "diff", "bot_id": "b2", "thread_id": "t3"}),
        (1, 0, {}),
    ]
    charged = [generate(flarex, starter, i, o, **labels) for i, o, labels in calls]
    assert [funding(c)["allowance"][1] for c in charged] == [14, 1, 2, 1]

    path = f"/v1/workspaces/{starter}/usage/breakdown"
    shown = flarex.get(path, min_position=charged[-1].headers["X-Ledger-Position"])

    bots = {bot["bot_id"]: bot["credits"] for bot in shown["bots"]}
    assert bots == {"b1": 15, "b2": 2, None: 1}
    threads = {t["thread_id"]: t["credits"] for t in shown["bots"][0]["threads"]}
    assert threads == {"t1": 14, "t2": 1}
    assert shown["totals"] == {"credits": 18, "included": 18, "overage": 0, "absorbed": 0}
    assert flarex.get(OVERAGE, starter)["included"]["used"] == 18
    assert flarex.call("GET", path, cycle="previous").status_code == 404

    to(flarex, "2026-07-01T00:00:00Z")
    assert flarex.get(path)["totals"]["credits"] == 0
    previous = flarex.get(path, cycle="previous")
    assert previous["totals"]["credits"] == 18
    done(generate(flarex, starter, 1))
    assert flarex.get(path, cycle="previous")["cycle"] == previous["cycle"]
    assert flarex.get(path, cycle=previous["cycle"]["cycle_id"])["totals"]["credits"] == 18


@pytest.mark.scenario("S58")
def test_edits_and_diff_views_are_not_metered(flarex: Served, starter: str) -> None:
    used(flarex, starter, 17)
    last = generate(flarex, starter, 1_000).headers["X-Ledger-Position"]
    before = flarex.position()

    for action in ("message_edit", "diff_view"):
        for _ in range(10):
            answer = generate(flarex, starter, 5_000, action=action)
            assert done(answer, 200) == {"metered": False}
            assert answer.headers["X-Ledger-Position"] == last

    assert flarex.position() == before
    assert flarex.get(OVERAGE, starter)["included"]["used"] == 18
    refused(generate(flarex, starter, 1, action="dance"), 422, "unknown_action")


@pytest.mark.scenario("S59")
def test_what_exceeds_the_credits_is_absorbed_and_then_it_stops(
    flarex: Served, starter: str
) -> None:
    used(flarex, starter, 995)

    assert funding(generate(flarex, starter, 14_000)) == {"allowance": (0, 5), "absorbed": (0, 9)}
    before = flarex.position()
    problem = refused(generate(flarex, starter, 14_000), 402, "ai_credits_exhausted")

    assert problem["resets_at"] == "2026-07-01T00:00:00Z"
    assert problem["overage_available"] is True
    assert problem["plan"] == "starter"
    assert flarex.position() == before


@pytest.mark.scenario("S60")
def test_overage_pays_for_what_exceeds_the_credits(flarex: Served, starter: str) -> None:
    used(flarex, starter, 995)
    put(flarex, OVERAGE, {"enabled": True}, starter)

    assert funding(generate(flarex, starter, 14_000)) == {
        "allowance": (0, 5), "overage": (180_000, 9),
    }  # fmt: skip

    shown = flarex.get(OVERAGE, starter)
    assert (shown["enabled"], shown["accrued_units"], shown["accrued_micros"]) == (True, 9, 180_000)
    assert shown["included"] == {"granted": 1_000, "used": 1_000, "remaining": 0}


@pytest.mark.scenario("S61")
def test_what_was_consumed_while_it_was_off_is_never_billed(flarex: Served, starter: str) -> None:
    used(flarex, starter, 995)
    assert funding(generate(flarex, starter, 14_000))["absorbed"] == (0, 9)

    assert put(flarex, OVERAGE, {"enabled": True}, starter)["accrued_units"] == 0
    assert funding(generate(flarex, starter, 14_000)) == {"overage": (280_000, 14)}

    shown = flarex.get(OVERAGE, starter)
    assert (shown["accrued_units"], str(shown["accrued_usd"])) == (14, "0.28")
    # Reported late, consumed before the agreement: nobody's to pay, for ever.
    to(flarex, "2026-06-02T00:00:00Z")
    late = generate(flarex, starter, 14_000, occurred_at="2026-05-31T23:59:00Z", mode="record")
    assert "overage" not in funding(late)
    to(flarex, "2026-07-01T00:00:00Z")
    done(generate(flarex, starter, 1))
    closed = flarex.get("/v1/audit/events", type="CycleClosed")["data"]
    assert [line["amount_minor"] for line in closed[0]["data"]["overage"]] == [28]


@pytest.mark.scenario("S63")
def test_the_free_plan_has_no_overage(flarex: Served) -> None:
    workspace = flarex.workspace()
    before = flarex.position()

    on = flarex.call("PUT", OVERAGE, {"enabled": True}, workspace=workspace)

    refused(on, 403, "overage_not_available_on_plan")
    assert flarex.position() == before
    shown = flarex.get(OVERAGE, workspace)
    assert (shown["enabled"], shown["bucket"], shown["unit_price_usd"]) == (
        False,
        "ai_credits",
        None,
    )
    assert shown["included"] == {"granted": 50, "used": 0, "remaining": 50}


@pytest.mark.scenario("S64")
def test_toggling_changes_nothing_that_is_due(flarex: Served, starter: str) -> None:
    assert flarex.get(OVERAGE, starter)["enabled"] is False

    for enabled in (True, False):
        shown = put(flarex, OVERAGE, {"enabled": enabled}, starter)
        assert (shown["enabled"], shown["accrued_micros"]) == (enabled, 0)

    before = flarex.position()
    put(flarex, OVERAGE, {"enabled": False}, starter)
    assert flarex.position() == before
    events = [event["type"] for event in flarex.get("/v1/audit/events")["data"]]
    assert events.count("OverageEnabled") == events.count("OverageDisabled") == 1


@pytest.mark.scenario("S95")
def test_a_call_at_the_end_of_the_period_is_paid_from_the_new_grant(
    flarex: Served, starter: str
) -> None:
    used(flarex, starter, 1_000)

    to(flarex, "2026-06-30T23:59:59Z")
    refused(generate(flarex, starter, 1), 402, "ai_credits_exhausted")
    to(flarex, "2026-07-01T00:00:00Z")
    # Nobody has recorded it yet, and it shows already.
    assert flarex.get(OVERAGE, starter)["included"]["remaining"] == 1_000
    assert flarex.get("/v1/audit/events", type="CycleOpened")["data"] == []
    assert funding(generate(flarex, starter, 1)) == {"allowance": (0, 1)}
    done(generate(flarex, starter, 1))

    assert len(flarex.get("/v1/audit/events", type="CycleOpened")["data"]) == 1
    to(flarex, "2026-10-15T00:00:00Z")
    assert flarex.get("/v1/billing/subscription", starter)["current_period_end"] == (
        "2026-11-01T00:00:00Z"
    )
