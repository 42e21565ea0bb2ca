"""The compile quota, subscriptions, links and preferences beyond what the scenarios ask."""

from __future__ import annotations

from typing import Any

import pytest

from tests.acceptance.spending import authorize, done, link, on_plan, refused, to, use
from tests.api.conftest import Served

QUOTA = "/v1/billing/compile-quota"


def test_what_calls_under_way_set_aside_is_no_longer_there(app: Served) -> None:
    workspace = app.workspace()
    hold = done(authorize(app, workspace, 3_000, 1_000, meter="compile"))
    assert (hold["route"], hold["held_units"]) == ("allowance", 4_000)

    assert app.get(QUOTA, workspace)["tokens_remaining"] == 1_000
    refused(use(app, workspace, "compile", 1_001), 402, "compile_quota_exceeded")

    to(app, "2026-06-01T00:15:00Z")
    assert app.get(QUOTA, workspace)["tokens_remaining"] == 5_000


def test_reading_records_nothing_even_after_the_end_of_a_cycle(app: Served) -> None:
    workspace = on_plan(app, "connect")
    done(use(app, workspace, "compile", 100_000))
    to(app, "2026-07-15T00:00:00Z")
    before = app.position()

    assert app.get(QUOTA, workspace)["tokens_remaining"] == 100_000
    subscription = app.get("/v1/billing/subscription", workspace)
    assert subscription["current_period_start"] == "2026-07-01T00:00:00Z"
    assert app.position() == before


def test_overflow_is_switched_once(app: Served) -> None:
    workspace = app.workspace()
    body = {"allow_compile_overflow": True}
    for _ in range(2):
        assert app.call("PATCH", QUOTA, body, workspace=workspace).status_code == 200
    body = {"allow_compile_overflow": False}
    assert app.call("PATCH", QUOTA, body, workspace=workspace).status_code == 200
    assert [fact for fact in app.facts(workspace) if "Overflow" in fact] == [
        "CompileOverflowEnabled", "CompileOverflowDisabled",
    ]  # fmt: skip


@pytest.mark.parametrize("body", [{}, {"allow_compile_overflow": 1}, {"overflow": True}, []])
def test_a_switch_that_makes_no_sense_is_refused(app: Served, body: Any) -> None:
    workspace = app.workspace()

    answer = app.call("PATCH", QUOTA, body, workspace=workspace)

    refused(answer, 422, "validation_error")


def test_a_new_workspace_is_on_the_free_plan(app: Served) -> None:
    workspace = app.workspace()

    subscription = app.get("/v1/billing/subscription", workspace)

    assert subscription == {
        "plan": "free",
        "plan_version": 1,
        "status": "active",
        "face_count": 0,
        "face_limit": None,
        "current_period_start": "2026-06-01T00:00:00Z",
        "current_period_end": "2026-07-01T00:00:00Z",
        "cancel_at": None,
        "scheduled_change": None,
        "pending_change": None,
        "overage_enabled": False,
        "past_due": None,
        "stripe_subscription_id": None,
        "cycle_id": subscription["cycle_id"],
        "as_of_position": subscription["as_of_position"],
    }


def test_an_administrator_changes_the_plan_at_once(app: Served) -> None:
    workspace = app.workspace()
    done(use(app, workspace, "compile", 4_000))

    changed = app.post(f"/v1/admin/workspaces/{workspace}/plan", {"plan": "connect"})

    assert done(changed, 200)["plan"] == "connect"
    quota = app.get(QUOTA, workspace)
    assert quota["tokens_limit"] == 100_000
    assert quota["quota_reset_at"] == "2026-07-01T00:00:00Z"
    unknown = app.post(f"/v1/admin/workspaces/{workspace}/plan", {"plan": "gold"})
    refused(unknown, 422, "validation_error")
    nobody = app.post("/v1/admin/workspaces/ws_nobody/plan", {"plan": "connect"})
    refused(nobody, 404, "not_found")


def test_a_link_can_be_ended_and_made_again(app: Served) -> None:
    workspace = on_plan(app, "connect")
    assert app.get("/v1/oauth", workspace) == [
        {"provider": "openai", "connected": False, "connected_at": None, "status": "none"}
    ]
    for _ in range(2):
        link(app, workspace)
    assert app.get("/v1/oauth/openai", workspace) == {
        "provider": "openai",
        "connected": True,
        "connected_at": "2026-06-01T00:00:00Z",
        "status": "active",
    }
    assert done(authorize(app, workspace, 10, 10))["route"] == "oauth"

    assert app.call("DELETE", "/v1/oauth", workspace=workspace).json()["connected"] is False
    assert refused(authorize(app, workspace, 10, 10), 402, "insufficient_credits")["needs_oauth"]
    assert app.post("/v1/oauth", {"provider": "openai"}, workspace).status_code == 200
    events = [event["type"] for event in app.get("/v1/audit/events")["data"]]
    assert (events.count("OAuthConnected"), events.count("OAuthDisconnected")) == (2, 1)
    refused(app.post("/v1/oauth/acme", workspace=workspace), 404, "not_found")


def test_a_plan_without_the_route_does_not_use_the_link(app: Served) -> None:
    workspace = on_plan(app, "connect", "1")
    link(app, workspace)

    app.post(f"/v1/admin/workspaces/{workspace}/plan", {"plan": "free"})

    assert done(authorize(app, workspace, 10, 10))["route"] == "wallet"
    assert app.get("/v1/oauth/openai", workspace)["connected"] is False


def test_preferences_start_as_the_catalogue_says(app: Served) -> None:
    workspace = app.workspace()

    assert app.get("/v1/billing/preferences", workspace) == {"api_fallback": True}

    body = {"api_fallback": False}
    changed = app.call("PUT", "/v1/billing/preferences", body, workspace=workspace)
    assert done(changed, 200) == body == app.get("/v1/billing/preferences", workspace)
