"""Workspaces over HTTP: bots, seats, storage, and the feed for services."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from adapters.postgres.database import Database
from tests.acceptance.spending import done, on_plan, refused, to
from tests.acceptance.workspaces import (
    PAUSED,
    RESUMED,
    START,
    bot,
    bots,
    facts,
    staffed,
    status,
    switch,
)
from tests.api.conftest import Served, serve, settings_of


@pytest.fixture
def shop(database: Database) -> Iterator[Served]:
    """`flarex`, the clock at 2026-06-01."""
    with serve(settings_of(database, "flarex")) as served:
        to(served, START)
        yield served


def test_x6_the_cap_counts_active_bots_only(shop: Served) -> None:
    workspace = staffed(shop, "starter", 3)
    problem = refused(bot(shop, workspace, "b04"), 403, "plan_limit_reached")
    assert (problem["resource"], problem["limit"], problem["current"]) == ("bots", 3, 3)

    done(switch(shop, workspace, "b02", "pause"), 200)
    done(bot(shop, workspace, "b04"))

    refused(switch(shop, workspace, "b02", "resume"), 403, "plan_limit_reached")
    assert bots(shop, workspace) == ["b01", "b03", "b04"]


def test_a_bot_is_made_once_however_often_it_is_asked_for(shop: Served) -> None:
    workspace = on_plan(shop, "starter")
    first = done(bot(shop, workspace, "b01"))
    again = done(bot(shop, workspace, "b01"), 200)

    assert first == again
    assert (first["state"], first["paused_by"]) == ("active", None)
    body = {"bot_id": "b01", "name": "another"}
    refused(shop.post(f"/v1/workspaces/{workspace}/bots", body), 409, "bot_conflict")
    assert len(facts(shop, workspace, "BotCreated")) == 1


@pytest.mark.scenario("S74")
@pytest.mark.scenario("S79")
def test_s79_a_removed_bot_makes_room_for_the_next_one(shop: Served) -> None:
    """G ten bots of Pro, of which a cap of 3 paused seven."""
    workspace = staffed(shop, "pro", 10)
    done(shop.post(f"/v1/admin/workspaces/{workspace}/plan", {"plan": "starter"}), 200)
    assert bots(shop, workspace) == ["b01", "b02", "b03"]
    paused = facts(shop, workspace, PAUSED)
    assert [one["data"]["bot_id"] for one in paused] == [f"b{n:02}" for n in range(10, 3, -1)]
    assert {(one["data"]["by"], one["data"]["limit"]) for one in paused} == {("plan_limit", 3)}

    gone = done(shop.call("DELETE", f"/v1/workspaces/{workspace}/bots/b01"), 200)
    assert gone["resumed"] == ["b04"]

    [resumed] = facts(shop, workspace, RESUMED)
    assert resumed["data"] == {"bot_id": "b04", "by": "slot_freed"}
    problem = refused(switch(shop, workspace, "b05", "resume"), 403, "plan_limit_reached")
    assert (problem["limit"], problem["current"]) == (3, 3)


def test_x29_an_upgrade_lifts_the_plans_pauses_and_no_others(shop: Served) -> None:
    workspace = staffed(shop, "pro", 6)
    done(switch(shop, workspace, "b06", "pause"), 200)
    done(shop.post(f"/v1/admin/workspaces/{workspace}/plan", {"plan": "starter"}), 200)
    assert status(shop, workspace)["bots"] == {
        "active": 3,
        "paused_by_plan": 2,
        "paused_by_user": 1,
        "limit": 3,
    }

    done(shop.post(f"/v1/admin/workspaces/{workspace}/plan", {"plan": "pro"}), 200)

    assert bots(shop, workspace, "paused") == ["b06"]


@pytest.mark.scenario("S80")
def test_s80_only_active_bots_are_counted_when_the_cap_falls(shop: Served) -> None:
    workspace = staffed(shop, "pro", 10)
    for bot_id in ("b01", "b02", "b03", "b04"):
        done(switch(shop, workspace, bot_id, "pause"), 200)

    done(shop.post(f"/v1/admin/workspaces/{workspace}/plan", {"plan": "starter"}), 200)

    by_plan = [one for one in facts(shop, workspace, PAUSED) if one["data"]["by"] == "plan_limit"]
    assert [one["data"]["bot_id"] for one in by_plan] == ["b10", "b09", "b08"]


def test_x7_the_owner_takes_a_seat(shop: Served) -> None:
    """Owner and two fill a plan of three seats; the fourth is refused."""
    workspace = on_plan(shop, "starter")
    path = f"/v1/workspaces/{workspace}/members"
    for member in ("user_1", "user_2"):
        done(shop.post(path, {"member_id": member}))
    problem = refused(shop.post(path, {"member_id": "user_3"}), 403, "plan_limit_reached")
    assert (problem["resource"], problem["limit"], problem["current"]) == ("seats", 3, 3)
    done(shop.post(path, {"member_id": "user_2"}), 200)

    assert done(shop.call("DELETE", f"{path}/user_1"), 200)["seats"] == 2
    done(shop.post(path, {"member_id": "user_3"}))

    people = shop.get(path)
    assert [one["member_id"] for one in people["data"][1:]] == ["user_2", "user_3"]
    assert people["data"][0]["role"] == "owner"
    refused(shop.call("DELETE", f"{path}/user_1"), 404, "not_found")
    refused(shop.post(path, {"member_id": "ann@example.com"}), 422, "validation_error")


def test_x9_storage_is_one_gauge_and_deletes_nothing(shop: Served) -> None:
    workspace = on_plan(shop, "starter")
    path = f"/v1/workspaces/{workspace}/storage"

    for used, growth in ((4_000_000_000, True), (6_000_000_000, False), (4_999_999_999, True)):
        said = done(shop.call("PUT", path, {"used_bytes": used}), 200)
        assert said["allowed_growth"] is growth
    assert shop.get(path)["used_bytes"] == 4_999_999_999
    refused(shop.call("PUT", path, {"used_bytes": -1}), 422, "validation_error")
    refused(shop.call("PUT", path, {"used": 1}), 422, "validation_error")


def test_the_feed_goes_on_where_a_service_left_it(shop: Served) -> None:
    workspace, other = staffed(shop, "starter", 2), staffed(shop, "starter", 1)
    page = shop.get("/v1/events", workspace, types="BotCreated", limit=1)
    assert [one["data"]["bot_id"] for one in page["data"]] == ["b01"]
    assert page["has_more"]

    page = shop.get("/v1/events", workspace, types="BotCreated", after=page["next_after"])
    assert [one["data"]["bot_id"] for one in page["data"]] == ["b02"]
    assert not page["has_more"]
    assert page["next_after"] == page["as_of_position"]

    done(switch(shop, other, "b01", "pause"), 200)
    assert shop.get("/v1/events", workspace, after=page["next_after"])["data"] == []
    done(switch(shop, workspace, "b02", "pause"), 200)
    [paused] = shop.get("/v1/events", workspace, after=page["next_after"])["data"]
    assert (paused["type"], paused["workspace_id"]) == ("BotPaused", workspace)
    shop.call("POST", "/v1/test/tick")
    every = shop.get("/v1/events", types="BotPaused")["data"]
    assert [one["workspace_id"] for one in every] == [other, workspace]


ROUTES = [
    ("GET", "/v1/workspaces/{ws}/bots", None),
    ("POST", "/v1/workspaces/{ws}/bots", {"bot_id": "b02"}),
    ("GET", "/v1/workspaces/{ws}/bots/b01", None),
    ("POST", "/v1/workspaces/{ws}/bots/b01/pause", None),
    ("POST", "/v1/workspaces/{ws}/bots/b01/resume", None),
    ("DELETE", "/v1/workspaces/{ws}/bots/b01", None),
    ("GET", "/v1/workspaces/{ws}/members", None),
    ("POST", "/v1/workspaces/{ws}/members", {"member_id": "user_1"}),
    ("DELETE", "/v1/workspaces/{ws}/members/user_1", None),
    ("DELETE", "/v1/workspaces/{ws}/members?member_id=user_1", None),
    ("POST", "/v1/workspaces/{ws}/deploys/authorize", {"bot_id": "b01", "deploy_id": "d1"}),
    ("GET", "/v1/workspaces/{ws}/storage", None),
    ("PUT", "/v1/workspaces/{ws}/storage", {"used_bytes": 1}),
    ("GET", "/v1/workspaces/{ws}/status", None),
]
SCOPES = ("billing:read", "billing:write", "usage:write")


@pytest.mark.parametrize(("method", "path", "body"), ROUTES)
def test_tenants_see_and_change_their_own_only(
    shop: Served, method: str, path: str, body: Any
) -> None:
    own, other = staffed(shop, "starter", 1), staffed(shop, "starter", 1)
    shop.post(f"/v1/workspaces/{own}/members", {"member_id": "user_1"})
    key = shop.key(*SCOPES, workspace_id=own)
    before = shop.position()

    for workspace in (other, "ws_nobody"):
        answer = shop.call(method, path.format(ws=workspace), body, key=key)
        refused(answer, 404, "not_found")
    refused(shop.call(method, path.format(ws="ws_nobody"), body), 404, "not_found")
    weak = shop.key("audit:read", workspace_id=own)
    refused(shop.call(method, path.format(ws=own), body, key=weak), 403, "forbidden")
    assert shop.position() == before

    assert shop.call(method, path.format(ws=own), body, key=key).status_code in (200, 201)


def test_the_feed_tells_a_tenant_of_itself_only(shop: Served) -> None:
    own, other = staffed(shop, "starter", 1), staffed(shop, "starter", 1)
    key = shop.key("billing:read", workspace_id=own)

    refused(shop.call("GET", "/v1/events", workspace=other, key=key), 404, "not_found")
    page = shop.call("GET", "/v1/events", key=key).json()
    assert {one["workspace_id"] for one in page["data"]} == {own}
