"""The catalogue over HTTP: compared, published, pinned, retired, and subscribers migrated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

from tests.acceptance.spending import on_plan, refused
from tests.api.conftest import Served, serve, settings_of

PLANS, OWN = "/v1/plans", "/v1/billing/plans"
FLAREX = Path("adapters/catalogues/flarex.yaml").read_text()
STARTER = "starter:    {status: live, price_minor: 1000, "
DEARER = FLAREX.replace(STARTER, STARTER.replace("1000", "1200")).replace(
    "limits: {bots: 3,  seats: 3,", "limits: {bots: 4,  seats: 3,"
)


def publish(app: Served, document: str, **more: Any) -> httpx.Response:
    """The next version of the catalogue."""
    return app.post("/v1/admin/catalogue", {"document": document} | more)


def plan(found: Any, name: str) -> Any:
    """One plan of a comparison."""
    [one] = [one for one in found["data"] if one["plan"] == name]
    return one


def test_anybody_can_compare_plans(flarex: Served) -> None:
    found = httpx.get(f"{flarex.url}{PLANS}", trust_env=False).json()

    names = [one["plan"] for one in found["data"]]
    assert names == ["free", "starter", "pro", "enterprise"], "the cheapest first"
    assert (found["catalogue"], found["catalogue_version"]) == ("flarex", 1)
    assert (found["currency"], found["default_plan"]) == ("usd", "free")
    pro = plan(found, "pro")
    assert (pro["price_minor"], pro["price_usd"], pro["interval"]) == (4_000, 40, "month")
    assert pro["buckets"] == {"ai_credits": {"units": 5_000, "reset": "cycle"}}
    assert (pro["overage_unit_usd"], pro["grace_days"]) == (0.015, 7)
    assert (pro["limits"]["bots"], pro["limits"]["vcpu"]) == (10, "1")
    assert [one["log_retention_days"] for one in found["data"]] == [0, 3, 7, 14]
    assert plan(found, "free")["overage_unit_usd"] is None
    enterprise = plan(found, "enterprise")
    assert enterprise["entitlements"] == {
        "runner_pool": "dedicated",
        "sla": "contract",
        "sso": "planned",
    }
    assert (enterprise["custom_base"], enterprise["grace_days"]) == (True, 14)
    assert {one["custom"] or one["current"] for one in found["data"]} == {False}


def test_faces_lists_what_is_sold_and_hides_dormant_plans(app: Served) -> None:
    found = app.get(PLANS)

    assert [one["plan"] for one in found["data"]] == ["free", "connect"]
    connect = plan(found, "connect")
    assert (connect["price_minor"], connect["oauth"]) == (1_700, ["openai"])
    assert connect["limits"] == {"faces": None}


def test_a_workspace_sees_which_plan_it_has(flarex: Served) -> None:
    workspace = on_plan(flarex, "pro")

    found = flarex.get(OWN, workspace)

    assert [one["plan"] for one in found["data"] if one["current"]] == ["pro"]
    assert flarex.get(f"{OWN}/pro", workspace)["current"] is True
    assert flarex.call("GET", OWN, key="dbk_nobody").status_code == 401
    refused(flarex.call("GET", f"{OWN}/platinum", workspace=workspace), 404, "not_found")


def test_a_new_version_is_for_new_subscribers_only(flarex: Served) -> None:
    old = on_plan(flarex, "starter")

    done = publish(flarex, DEARER)

    assert (done.status_code, done.json()["version"]) == (201, 2)
    assert publish(flarex, DEARER).json()["version"] == 2, "the same content again is a no-op"
    new = on_plan(flarex, "starter")
    assert plan(flarex.get(PLANS), "starter")["price_minor"] == 1_200
    mine = [one for one in flarex.get(OWN, old)["data"] if one["current"]]
    assert [(one["version"], one["price_minor"], one["limits"]["bots"]) for one in mine] == [
        (1, 1_000, 3)
    ]
    [theirs] = [one for one in flarex.get(OWN, new)["data"] if one["current"]]
    assert (theirs["version"], theirs["price_minor"]) == (2, 1_200)
    [second, first] = flarex.get("/v1/admin/catalogue")["data"]
    assert (second["version"], second["source"]) == (2, "admin")
    assert (first["version"], first["source"]) == (1, "file")


def test_a_document_that_is_wrong_names_line_and_field_and_changes_nothing(flarex: Served) -> None:
    before = flarex.position()
    line = FLAREX[: FLAREX.index("  pro:")].count("\n") + 2

    for document, said in (
        (FLAREX.replace('vcpu: "1"', "vcpu: [1]"), f"document:{line}: plans.pro.limits"),
        (FLAREX.replace("price_minor: 4000", "price_minor: -1"), "plans.pro.price_minor"),
        (FLAREX.replace("grace_days: 7", "grace: 7"), "plans.pro.grace: there is no such field"),
        (FLAREX.replace("units: 5000", "units: many"), "plans.pro.buckets.ai_credits.units"),
        (FLAREX.replace("currency: usd", "currency: eur"), "never changes its currency"),
        (FLAREX.replace("catalogue: flarex", "catalogue: other"), "opened with `flarex`"),
        (FLAREX.replace("bots: 10,", "bots: -1,"), "plans.pro.limits.bots: must be 0 or more"),
        (FLAREX.replace("storage_gb: 25,", 'storage_gb: "25",'), "plans.pro.limits.storage_gb"),
        (FLAREX.replace("invoice_items", "stripe_meter"), "settled by invoice_items only"),
        ("[", "is not a catalogue"),
    ):
        for dry_run in (True, False):
            problem = refused(publish(flarex, document, dry_run=dry_run), 422, "validation_error")
            assert said in problem["detail"], problem["detail"]
    assert flarex.position() == before


def test_a_dry_run_publishes_nothing(flarex: Served) -> None:
    before = flarex.position()

    done = publish(flarex, DEARER, dry_run=True)

    assert (done.status_code, done.json()["version"], done.json()["dry_run"]) == (200, 1, True)
    assert flarex.position() == before


def test_a_retired_plan_is_kept_by_who_has_it(flarex: Served) -> None:
    workspace = on_plan(flarex, "pro")
    path = "/v1/admin/plans/pro/status"

    done = flarex.call("PUT", path, {"status": "dormant"})

    assert (done.status_code, done.json()["status"]) == (200, "dormant")
    assert "pro" not in [one["plan"] for one in flarex.get(PLANS)["data"]]
    assert [one["plan"] for one in flarex.get(OWN, workspace)["data"] if one["current"]] == ["pro"]
    other = flarex.workspace()
    assert "pro" not in [one["plan"] for one in flarex.get(OWN, other)["data"]]
    refused(
        flarex.call("POST", "/v1/billing/checkout?plan=pro", workspace=other),
        409,
        "plan_not_available",
    )
    flarex.call("PUT", path, {"status": "live"})
    assert "pro" in [one["plan"] for one in flarex.get(PLANS)["data"]]
    refused(flarex.call("PUT", "/v1/admin/plans/none/status", {"status": "live"}), 404, "not_found")
    refused(
        flarex.call("PUT", "/v1/admin/plans/free/status", {"status": "hidden"}),
        422,
        "validation_error",
    )


def test_subscribers_are_migrated_when_their_cycle_closes_and_a_dry_run_says_how(
    flarex: Served,
) -> None:
    one, two = on_plan(flarex, "starter"), on_plan(flarex, "starter")
    publish(flarex, DEARER)
    new = on_plan(flarex, "starter")
    path = "/v1/admin/plans/starter/migrate"
    before = flarex.position()

    dry = flarex.post(path, {"dry_run": True}).json()

    assert flarex.position() == before
    assert {step["workspace_id"] for step in dry["data"]} == {one, two}
    assert new not in str(dry)
    assert dry["data"][0]["changes"] == [
        {"field": "limits.bots", "before": 3, "after": 4},
        {"field": "price_minor", "before": 1_000, "after": 1_200},
    ]
    assert {step["outcome"] for step in dry["data"]} == {"would_change"}

    done = flarex.post(path, {"dry_run": False, "workspace_ids": [one]}).json()
    assert [(step["workspace_id"], step["outcome"]) for step in done["data"]] == [
        (one, "scheduled")
    ]
    [again] = flarex.post(path, {"dry_run": False, "workspace_ids": [one]}).json()["data"]
    assert (again["outcome"], again["reason"]) == ("left_alone", "it is scheduled already")
    assert flarex.get("/v1/billing/subscription", one)["plan_version"] == 1

    end = flarex.get("/v1/billing/subscription", one)["current_period_end"]
    assert flarex.post("/v1/test/clock", {"now": end}).status_code == 200
    assert flarex.post("/v1/test/tick").status_code == 200
    assert flarex.get("/v1/billing/subscription", one)["plan_version"] == 2
    assert flarex.get("/v1/billing/subscription", two)["plan_version"] == 1
    [first] = [v for v in flarex.get("/v1/admin/catalogue")["data"] if v["version"] == 1]
    assert first["subscribers"] == {"starter": 1}
    refused(flarex.post("/v1/admin/plans/none/migrate", {"dry_run": True}), 404, "not_found")


def test_a_restart_keeps_what_an_administrator_published(flarex: Served) -> None:
    publish(flarex, DEARER)

    with serve(settings_of(flarex.database, "flarex")) as again:
        assert plan(again.get(PLANS), "starter")["price_minor"] == 1_200


def test_the_comparison_is_up_to_date_as_soon_as_a_version_is_published(flarex: Served) -> None:
    for price in range(2_000, 2_010):
        document = FLAREX.replace(STARTER, STARTER.replace("1000", str(price)))
        assert publish(flarex, document).status_code == 201
        assert plan(flarex.get(PLANS), "starter")["price_minor"] == price


def test_administrators_only(flarex: Served) -> None:
    workspace = flarex.workspace()
    key = flarex.key("billing:read", "billing:write", workspace_id=workspace)

    for method, path, body in (
        ("POST", "/v1/admin/catalogue", {"document": FLAREX}),
        ("GET", "/v1/admin/catalogue", None),
        ("PUT", "/v1/admin/plans/pro/status", {"status": "live"}),
        ("POST", "/v1/admin/plans/pro/migrate", {"dry_run": True}),
        ("POST", f"/v1/admin/workspaces/{workspace}/custom-plan", {"base": "enterprise"}),
        ("GET", f"/v1/admin/workspaces/{workspace}/custom-plan", None),
        ("DELETE", f"/v1/admin/workspaces/{workspace}/custom-plan/x", None),
    ):
        assert flarex.call(method, path, body, key=key).status_code == 403, path
