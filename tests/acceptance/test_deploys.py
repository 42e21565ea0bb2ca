"""Deploys over HTTP: an unpaid invoice blocks new ones by the clock, and stops nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from adapters.postgres.database import Database
from tests.acceptance.conftest import catalogue
from tests.acceptance.spending import done, generate, link, on_plan, refused, to
from tests.acceptance.workspaces import (
    PAUSED,
    RESUMED,
    START,
    bots,
    deploy,
    facts,
    past_due,
    staffed,
    status,
    within,
)
from tests.api.conftest import Served, serve, settings_of


@pytest.fixture
def shop(database: Database) -> Iterator[Served]:
    """`flarex`, the clock at 2026-06-01."""
    with serve(settings_of(database, "flarex")) as served:
        to(served, START)
        yield served


def test_x8_a_deploy_is_told_the_plans_compute(shop: Served) -> None:
    workspace = staffed(shop, "starter", 1)

    allowed = done(deploy(shop, workspace, "d1"), 200)

    assert allowed["allowed"] is True
    assert (float(allowed["compute"]["vcpu"]), allowed["compute"]["ram_mb"]) == (0.5, 512)
    done(deploy(shop, workspace, "d1"), 200)
    assert len(facts(shop, workspace, "DeployAuthorised")) == 1
    refused(deploy(shop, workspace, "d1", "b02"), 409, "deploy_conflict")


@pytest.mark.scenario("S81")
@pytest.mark.scenario("S83")
@pytest.mark.parametrize(("plan", "days"), [("starter", 3), ("pro", 7), ("enterprise", 14)])
def test_s81_deploys_go_on_until_the_grace_is_over(shop: Served, plan: str, days: int) -> None:
    """The deploy part: banner, deploys and bots; what a renewal is, other tests know."""
    workspace = staffed(shop, plan, 2)
    assert status(shop, workspace)["banner"]["level"] == "none"
    to(shop, "2026-07-01T01:00:00Z")
    past_due(shop, workspace, "2026-07-01T01:00:00Z", days)
    ends = datetime(2026, 7, 1 + days, 1, tzinfo=UTC)

    to(shop, (ends - timedelta(seconds=1)).isoformat())
    now = status(shop, workspace)
    assert (now["status"], now["banner"]["level"]) == ("past_due", "yellow")
    assert now["banner"]["action_url"].startswith("/v1/billing/portal")
    assert now["grace"] == {
        "first_failed_at": "2026-07-01T01:00:00Z",
        "ends_at": ends.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "days": days,
    }
    assert now["deploys"] == {"allowed": True, "blocked_since": None}
    done(deploy(shop, workspace, "d1"), 200)

    to(shop, ends.isoformat())
    problem = refused(deploy(shop, workspace, "d2"), 402, "deploy_blocked_past_due")
    assert problem["grace_ended_at"] == now["grace"]["ends_at"]
    assert problem["portal"].startswith("/v1/billing/portal")
    now = status(shop, workspace)
    assert now["banner"]["level"] == "red"
    assert now["deploys"] == {"allowed": False, "blocked_since": now["grace"]["ends_at"]}
    assert facts(shop, workspace, PAUSED) == []
    assert now["chat"] == {"paused": False, "reason": None}
    done(generate(shop, workspace, 1000))


@pytest.mark.scenario("S89")
def test_s89_no_timer_is_needed_for_the_block(shop: Served) -> None:
    workspace = staffed(shop, "starter", 1)
    past_due(shop, workspace, START, 3)
    to(shop, "2026-06-04T00:00:01Z")

    refused(deploy(shop, workspace, "d1"), 402, "deploy_blocked_past_due")
    assert facts(shop, workspace, "DeploysBlocked") == []

    done(shop.call("POST", "/v1/test/tick"), 200)
    [noticed] = facts(shop, workspace, "DeploysBlocked")
    assert noticed["data"] == {
        "since": "2026-06-04T00:00:00Z",
        "noticed_at": "2026-06-04T00:00:01Z",
    }
    done(shop.call("POST", "/v1/test/tick"), 200)
    assert len(facts(shop, workspace, "DeploysBlocked")) == 1


@pytest.mark.parametrize("counts", [True, False])
def test_a14_a_restart_is_no_deploy_and_a_rollback_what_the_catalogue_says(
    database: Database, tmp_path: Path, counts: bool
) -> None:
    said = ("rollback_is_deploy: true", f"rollback_is_deploy: {str(counts).lower()}")
    with serve(settings_of(database, catalogue(tmp_path, "flarex", said))) as app:
        workspace = staffed(app, "starter", 1)
        past_due(app, workspace, START, 3)
        to(app, "2026-06-04T00:00:00Z")
        path = f"/v1/workspaces/{workspace}/deploys/authorize"

        for kind, passes in (("deploy", False), ("rollback", not counts), ("restart", True)):
            answer = app.post(path, {"bot_id": "b01", "deploy_id": kind, "kind": kind})
            if passes:
                assert done(answer, 200)["allowed"] is True
            else:
                refused(answer, 402, "deploy_blocked_past_due")
        [*_, last] = facts(app, workspace, "DeployAuthorised", "DeployDenied")
        assert (last["type"], last["data"]["deploy_kind"]) == ("DeployAuthorised", "restart")
        wrong = app.post(path, {"bot_id": "b01", "kind": "redeploy"})
        refused(wrong, 422, "validation_error")


@pytest.mark.scenario("S84")
def test_s84_paying_lets_deploys_go_on(shop: Served) -> None:
    workspace = staffed(shop, "starter", 1)
    past_due(shop, workspace, START, 3)
    to(shop, "2026-06-06T00:00:00Z")
    refused(deploy(shop, workspace, "d1"), 402, "deploy_blocked_past_due")

    within(shop, workspace, lambda w, c: w.reactivate(c))

    done(deploy(shop, workspace, "d1"), 200)
    [back] = facts(shop, workspace, "WorkspaceReactivated")
    assert back["data"]["deploys_were_blocked"] is True
    now = status(shop, workspace)
    assert (now["status"], now["banner"]["level"], now["grace"]) == ("active", "none", None)


@pytest.mark.scenario("S17")
def test_s17_a_frozen_account_deploys_nothing(faces: Served) -> None:
    workspace = on_plan(faces, "connect", "100")
    link(faces, workspace)
    done(deploy(faces, workspace, "d1"), 200)
    done(faces.post(f"/v1/admin/workspaces/{workspace}/freeze", {"reason": "fraud"}), 200)

    problem = refused(deploy(faces, workspace, "d2"), 402, "account_frozen")

    assert (problem["needs_credits"], problem["is_frozen"]) == (False, True)
    now = status(faces, workspace)
    assert now["deploys"]["allowed"] is False
    assert now["chat"] == {"paused": True, "reason": "account_frozen"}
    [denied] = facts(faces, workspace, "DeployDenied")
    assert denied["data"]["reason"] == "account_frozen"
    done(faces.post(f"/v1/admin/workspaces/{workspace}/unfreeze", {}), 200)
    done(deploy(faces, workspace, "d2"), 200)


@pytest.mark.scenario("S59")
def test_s59_exhausted_credits_pause_the_chat_and_touch_no_bot(shop: Served) -> None:
    workspace = staffed(shop, "starter", 2)
    done(generate(shop, workspace, 1_000_000))
    before = shop.position()
    refused(generate(shop, workspace, 1000), 402, "ai_credits_exhausted")

    assert status(shop, workspace)["chat"] == {"paused": True, "reason": "ai_credits_exhausted"}
    assert shop.position() == before
    done(deploy(shop, workspace, "d1"), 200)
    assert facts(shop, workspace, PAUSED, RESUMED) == []
    assert bots(shop, workspace) == ["b01", "b02"]


@pytest.mark.scenario("S95")
def test_s95_limits_are_those_of_the_cycle_that_runs(shop: Served) -> None:
    """Timers and webhooks off: the first to ask at the cycle's end closes it."""
    workspace = staffed(shop, "starter", 1)
    done(generate(shop, workspace, 1_000_000))
    to(shop, "2026-06-30T23:59:59Z")
    assert status(shop, workspace)["chat"]["paused"] is True

    to(shop, "2026-07-01T00:00:00Z")
    before = shop.position()
    assert status(shop, workspace)["chat"]["paused"] is False
    assert shop.position() == before

    done(deploy(shop, workspace, "d1"), 200)
    done(shop.call("POST", "/v1/test/tick"), 200)
    opened = facts(shop, workspace, "CycleOpened")
    assert [one["data"]["trigger"] for one in opened] == ["inline"]
