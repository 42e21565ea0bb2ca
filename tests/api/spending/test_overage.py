"""Overage and budgets beyond what the scenarios ask."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adapters.postgres.database import Database
from tests.acceptance.conftest import catalogue
from tests.acceptance.spending import (
    authorize,
    done,
    funding,
    generate,
    on_plan,
    put,
    refused,
    to,
    use,
)
from tests.api.conftest import Served, serve, settings_of

OVERAGE = "/v1/billing/overage"
BUDGETS = "/v1/billing/budgets"
GENERATION = {"meter": "chat_generation", "llm_model": None}


@pytest.fixture
def two(database: Database, tmp_path: Path) -> Iterator[Served]:
    """`flarex` with drafts, ten for a lifetime: they end where they end."""
    path = catalogue(
        tmp_path,
        "flarex",
        ("meters:\n", "meters:\n  draft: {bucket: a_drafts, waterfall: [allowance]}\n"),
        (
            "{ai_credits: {units: 1000,",
            "{a_drafts: {units: 10, reset: never}, ai_credits: {units: 1000,",
        ),
    )
    with serve(settings_of(database, path)) as served:
        yield served


def test_overage_is_of_the_bucket_that_has_it(two: Served) -> None:
    workspace = on_plan(two, "starter")
    done(use(two, workspace, "draft", 10))
    alone = refused(use(two, workspace, "draft", 1), 402, "ai_credits_exhausted")
    assert alone["overage_available"] is False, "no switch helps this meter"
    done(generate(two, workspace, 1_000_000))
    assert refused(generate(two, workspace, 1), 402, "ai_credits_exhausted")["overage_available"]

    put(two, OVERAGE, {"enabled": True}, workspace)
    done(generate(two, workspace, 3_000))

    told = two.get(OVERAGE, workspace)
    assert (told["bucket"], told["accrued_units"]) == ("ai_credits", 3)
    assert told["included"] == {"granted": 1_000, "used": 1_000, "remaining": 0}
    refused(use(two, workspace, "draft", 1), 402, "ai_credits_exhausted")


def test_a_hold_that_was_placed_while_it_was_on_is_settled_so(flarex: Served) -> None:
    workspace = on_plan(flarex, "starter")
    done(generate(flarex, workspace, 1_000_000))
    off = refused(authorize(flarex, workspace, 10, **GENERATION), 402, "ai_credits_exhausted")
    assert off["overage_available"] is True
    put(flarex, OVERAGE, {"enabled": True}, workspace)
    hold = done(authorize(flarex, workspace, 5_000, **GENERATION))
    put(flarex, OVERAGE, {"enabled": False}, workspace)

    settled = generate(flarex, workspace, 5_000, hold_id=hold["hold_id"])

    assert hold["route"] == "overage"
    assert funding(settled) == {"overage": (100_000, 5)}


def test_a_hold_that_was_placed_while_it_was_off_is_never_billed(flarex: Served) -> None:
    workspace = on_plan(flarex, "starter")
    done(generate(flarex, workspace, 999_000))
    hold = done(authorize(flarex, workspace, 1_000, **GENERATION))
    put(flarex, OVERAGE, {"enabled": True}, workspace)

    settled = generate(flarex, workspace, 5_000, hold_id=hold["hold_id"])

    assert funding(settled) == {"allowance": (0, 1), "absorbed": (0, 4)}
    assert flarex.get(OVERAGE, workspace)["accrued_units"] == 0


def test_it_stays_on_over_cycles_and_ends_with_the_plan(flarex: Served) -> None:
    workspace = on_plan(flarex, "starter")
    put(flarex, OVERAGE, {"enabled": True}, workspace)
    done(generate(flarex, workspace, 1_009_000))
    assert flarex.get(OVERAGE, workspace)["accrued_units"] == 9

    to(flarex, "2026-07-01T00:00:00Z")
    shown = flarex.get(OVERAGE, workspace)
    assert (shown["enabled"], shown["accrued_units"]) == (True, 0)
    flarex.post(f"/v1/admin/workspaces/{workspace}/plan", {"plan": "free"})
    shown = flarex.get(OVERAGE, workspace)
    assert (shown["enabled"], shown["unit_price_usd"]) == (False, None)
    assert shown["included"]["granted"] == 50


def test_a_faces_deployment_has_none(app: Served) -> None:
    workspace = on_plan(app, "connect")

    shown = app.get(OVERAGE, workspace)

    assert (shown["enabled"], shown["bucket"], shown["unit_price_usd"]) == (False, None, None)
    on = app.call("PUT", OVERAGE, {"enabled": True}, workspace=workspace)
    refused(on, 403, "overage_not_available_on_plan")
    assert flarex_only(app, workspace) == 404


def flarex_only(app: Served, workspace: str) -> int:
    """A cycle of another deployment is not found here."""
    path = f"/v1/workspaces/{workspace}/usage/breakdown"
    return app.call("GET", path, cycle="sub_x:2026").status_code


def test_a_hard_budget_refuses_and_a_soft_one_warns(app: Served) -> None:
    workspace = app.workspace("5")
    alice = {"on": "api_key", "value": "alice", "limit_usd": "0.0063", "per": "day", "hard": True}
    put(app, f"{BUDGETS}/alice", alice, workspace)
    put(app, f"{BUDGETS}/all", {"limit_usd": "0.003"}, workspace)

    done(use(app, workspace, "chat", 1_000, api_key_id="alice"))  # 3,150 µ
    problem = refused(
        use(app, workspace, "chat", 1_001, api_key_id="alice"), 402, "budget_exhausted"
    )
    assert (problem["budget_id"], problem["limit_micros"], problem["left_micros"]) == (
        "alice",
        6_300,
        3_150,
    )
    assert problem["needs_credits"] is False
    done(use(app, workspace, "chat", 1_001, api_key_id="bob"))
    done(use(app, workspace, "chat", 1_000, api_key_id="alice"))
    refused(use(app, workspace, "chat", 1, api_key_id="alice"), 402, "budget_exhausted")

    shown = {budget["budget_id"]: budget for budget in app.get(BUDGETS, workspace)["data"]}
    assert (shown["alice"]["spent_micros"], shown["alice"]["left_micros"]) == (6_300, 0)
    assert shown["alice"]["window"] == "2026-06-01"
    assert (shown["all"]["spent_micros"], shown["all"]["warned"]) == (9_453, True)
    assert app.facts(workspace).count("BudgetWarned") == 2

    to(app, "2026-06-02T00:00:00Z")
    done(use(app, workspace, "chat", 1_000, api_key_id="alice"))
    assert app.call("DELETE", f"{BUDGETS}/alice", workspace=workspace).status_code == 200
    done(use(app, workspace, "chat", 100_000, api_key_id="alice"))
    refused(app.call("DELETE", f"{BUDGETS}/alice", workspace=workspace), 404, "not_found")


def test_included_units_cost_no_budget(app: Served) -> None:
    workspace = on_plan(app, "connect", "5")
    put(app, f"{BUDGETS}/none", {"limit_usd": 0, "hard": True}, workspace)

    assert funding(use(app, workspace, "compile", 100_000)) == {"allowance": (0, 100_000)}
    refused(use(app, workspace, "chat", 1), 402, "budget_exhausted")


@pytest.mark.parametrize(
    "change",
    [
        {"limit_usd": -1},
        {"limit_usd": "0.0000001"},
        {"on": "planet"},
        {"on": "face"},
        {"value": "alice"},
        {"per": "week"},
        {"hard": 1},
    ],
)
def test_a_budget_that_makes_no_sense_is_refused(app: Served, change: dict[str, Any]) -> None:
    workspace = app.workspace()
    before = app.position()

    answer = app.call("PUT", f"{BUDGETS}/b", {"limit_usd": 1} | change, workspace=workspace)

    refused(answer, 422, "validation_error")
    assert app.position() == before
