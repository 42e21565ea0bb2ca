"""Acceptance scenarios of section 8.12: plans quoted to one workspace, and the two catalogues."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adapters.catalogues import CatalogueUnusable
from adapters.postgres.database import Database
from api.app import create_app
from tests.acceptance.paying import settle, topup, with_card
from tests.acceptance.spending import refused
from tests.acceptance.subscribing import (
    at,
    preview,
    replace_card,
    spend,
    subscribe,
    subscribed,
    subscription,
)
from tests.acceptance.test_by_hand import by_hand, new_price
from tests.acceptance.test_dunning import pay, renewal, replace_card_silently
from tests.acceptance.workspaces import status
from tests.api.conftest import Served, serve, settings_of
from tests.api.sandboxed import Sandboxed, sandboxed
from tests.projections.stories import differences

FAILS = "pm_card_chargeCustomerFail"
QUOTE = {
    "base": "enterprise",
    "overrides": {
        "price_minor": 120_000,
        "buckets": {"ai_credits": {"units": 200_000}},
        "limits": {"bots": 80},
        "grace_days": 21,
        "overage_unit_usd": 0.008,
    },
    "quote_ref": "Q-17",
    "valid_until": "2026-06-20T00:00:00Z",
}


@pytest.fixture
def flarex(database: Database) -> Iterator[Served]:
    """Appendix A."""
    with serve(settings_of(database, "flarex")) as served:
        yield served


@pytest.fixture
def shop(database: Database) -> Iterator[Sandboxed]:
    """As `flarex`, with its sandbox, whose webhooks wait to be delivered."""
    with sandboxed(database, "flarex", mode="held") as both:
        yield both


def quote(app: Served, workspace: str, **changes: Any) -> dict[str, Any]:
    """A custom plan for a workspace."""
    done = app.post(f"/v1/admin/workspaces/{workspace}/custom-plan", QUOTE | changes)
    assert done.status_code == 201, done.text
    made: dict[str, Any] = done.json()
    return made


@pytest.mark.scenario("S96")
def test_s96_a_custom_plan_is_visible_only_to_its_workspace(flarex: Served) -> None:
    mine, other = flarex.workspace(), flarex.workspace()

    made = quote(flarex, mine)

    plan_id = made["plan_id"]
    assert (made["version"], made["price_minor"], made["quote_ref"]) == (1, 120_000, "Q-17")
    assert (made["base"], made["accepted_version"]) == ("enterprise", None)
    [shown] = [one for one in flarex.get("/v1/billing/plans", mine)["data"] if one["custom"]]
    assert shown["plan"] == plan_id
    assert shown["buckets"]["ai_credits"] == {"units": 200_000, "reset": "cycle"}
    assert (shown["limits"]["bots"], shown["grace_days"]) == (80, 21)
    assert (shown["overage_unit_price_micros"], shown["price_minor"]) == (8_000, 120_000)
    assert shown["entitlements"]["sla"] == "contract"

    assert plan_id not in str(flarex.get("/v1/billing/plans", other))
    assert plan_id not in str(flarex.get("/v1/plans"))
    for method, path, body in (
        ("GET", f"/v1/billing/plans/{plan_id}", None),
        ("POST", f"/v1/billing/checkout?plan={plan_id}", None),
        ("POST", "/v1/billing/plan-change/preview", {"plan": plan_id}),
    ):
        refused(flarex.call(method, path, body, workspace=other), 404, "not_found")


@pytest.mark.scenario("S96")
def test_s96_a_thousand_credits_beyond_it_cost_eight_dollars(flarex: Served) -> None:
    workspace = flarex.workspace()
    plan_id = quote(flarex, workspace)["plan_id"]
    put = flarex.post(f"/v1/admin/workspaces/{workspace}/plan", {"plan": plan_id})
    assert put.status_code == 200, put.text
    on = flarex.call("PUT", "/v1/billing/overage", {"enabled": True}, workspace=workspace)
    assert on.status_code == 200, on.text

    call = {"meter": "chat_generation", "action": "chat"}
    used = flarex.charge(workspace, tokens={"input": 200_000_000}, llm_model=None, **call)
    assert used.status_code == 201, used.text
    over = flarex.charge(workspace, tokens={"input": 1_000_000}, llm_model=None, **call)

    assert over.status_code == 201, over.text
    shown = flarex.get("/v1/billing/overage", workspace)
    assert (shown["accrued_units"], shown["accrued_usd"]) == (1_000, 8)
    assert shown["included"] == {"granted": 200_000, "used": 200_000, "remaining": 0}
    subscription = flarex.get("/v1/billing/subscription", workspace)
    assert (subscription["plan"], subscription["plan_version"]) == (plan_id, 1)
    flarex.post("/v1/test/tick")
    [listed] = flarex.get(f"/v1/admin/workspaces/{workspace}/custom-plan")["data"]
    assert listed["accepted_version"] == 1


@pytest.mark.scenario("S96")
def test_s96_it_is_bought_renewed_with_its_overage_and_given_its_grace(shop: Sandboxed) -> None:
    workspace = shop.app.workspace()
    plan_id = quote(shop.app, workspace)["plan_id"]
    subscribe(shop, workspace, plan_id)
    put = shop.app.call("PUT", "/v1/billing/overage", {"enabled": True}, workspace=workspace)
    assert put.status_code == 200, put.text
    spend(shop, workspace, 200_000)
    spend(shop, workspace, 1_000, "b1")
    replace_card(shop, workspace, FAILS)

    at(shop, "2026-07-01T00:00:00Z")
    at(shop, "2026-07-01T01:00:00Z")

    renewal, first = shop.app.get("/v1/billing/invoices", workspace)["data"]
    assert (first["total_minor"], first["status"]) == (120_000, "paid")
    [over] = [line for line in renewal["lines"] if line["kind"] == "overage"]
    assert (over["amount_minor"], over["quantity"], over["bot_id"]) == (800, 1_000, "b1")
    assert float(over["unit_price_usd"]) == 0.008
    assert (renewal["total_minor"], renewal["status"]) == (120_800, "open")
    assert renewal["first_failed_at"] == "2026-07-01T01:00:00Z"
    grace = status(shop.app, workspace)["grace"]
    assert (grace["days"], grace["ends_at"]) == (21, "2026-07-22T01:00:00Z")
    made = shop.app.call("GET", renewal["pdf_url"], workspace=workspace)
    assert made.content.startswith(b"%PDF-")
    [listed] = shop.app.get(f"/v1/admin/workspaces/{workspace}/custom-plan")["data"]
    assert listed["accepted_version"] == 1
    assert differences(shop.app.database) == []


@pytest.mark.scenario("S112")
def test_s112_the_grace_is_what_the_contract_said_when_the_first_invoice_failed(
    shop: Sandboxed,
) -> None:
    workspace = shop.app.workspace()
    plan_id = quote(shop.app, workspace)["plan_id"]
    subscribe(shop, workspace, plan_id)
    replace_card(shop, workspace, FAILS)
    at(shop, "2026-07-01T00:00:00Z")
    at(shop, "2026-07-01T01:00:00Z")
    quote(shop.app, workspace, plan_id=plan_id, overrides={"grace_days": 2}, valid_until=None)
    refused(preview(shop, workspace, plan_id), 409, "subscription_past_due")
    by_hand(shop, workspace, new_price(shop, plan_id, 2, 40_000), "none")
    assert subscription(shop, workspace)["plan_version"] == 2, "it allows a grace of two days"
    at(shop, "2026-08-01T00:00:00Z")
    at(shop, "2026-08-01T01:00:00Z")

    grace = status(shop.app, workspace)["grace"]
    assert (grace["days"], grace["ends_at"]) == (21, "2026-07-22T01:00:00Z")
    replace_card_silently(shop, workspace)
    pay(shop, renewal(shop, workspace, 1))
    settle(shop)
    grace = status(shop.app, workspace)["grace"]
    assert (grace["days"], grace["ends_at"]) == (21, "2026-08-22T01:00:00Z")

    # Once all is paid, the next failure is given what the plan says then.
    pay(shop, renewal(shop, workspace))
    settle(shop)
    replace_card(shop, workspace, FAILS)
    at(shop, "2026-09-01T00:00:00Z")
    at(shop, "2026-09-01T01:00:00Z")
    grace = status(shop.app, workspace)["grace"]
    assert (grace["days"], grace["ends_at"]) == (2, "2026-09-03T01:00:00Z")


def test_a_card_top_up_has_its_receipt(shop: Sandboxed) -> None:
    workspace = with_card(shop)
    paid = topup(shop, workspace, "20.00")
    assert paid.status_code == 200, paid.text
    settle(shop)

    [receipt] = shop.app.get("/v1/billing/invoices", workspace, kind="receipt")["data"]

    assert receipt["id"] == paid.json()["payment_attempt_id"]
    assert (receipt["total_minor"], receipt["status"], receipt["currency"]) == (
        2_000,
        "paid",
        "usd",
    )
    made = shop.app.call("GET", receipt["pdf_url"], workspace=workspace)
    assert made.content.startswith(b"%PDF-")


def test_a_migrated_subscriber_pays_the_new_price_from_the_next_cycle_on(shop: Sandboxed) -> None:
    workspace = subscribed(shop, "starter")
    text = Path("adapters/catalogues/flarex.yaml").read_text()
    words = "starter:    {status: live, price_minor: 1000, "
    dearer = text.replace(words, words.replace("1000", "1200"))
    assert shop.app.post("/v1/admin/catalogue", {"document": dearer}).status_code == 201

    done = shop.app.post("/v1/admin/plans/starter/migrate", {"dry_run": False}).json()

    assert [step["outcome"] for step in done["data"]] == ["scheduled"]
    settle(shop)
    assert subscription(shop, workspace)["plan_version"] == 1
    at(shop, "2026-07-01T00:00:00Z")
    at(shop, "2026-07-01T01:00:00Z")
    assert subscription(shop, workspace)["plan_version"] == 2
    renewal, first = shop.app.get("/v1/billing/invoices", workspace)["data"]
    assert (first["total_minor"], renewal["total_minor"]) == (1_000, 1_200)
    assert renewal["status"] == "paid"
    at(shop, "2026-08-01T00:00:00Z")
    at(shop, "2026-08-01T01:00:00Z")
    assert shop.app.get("/v1/billing/invoices", workspace)["data"][0]["total_minor"] == 1_200


def test_a_quote_is_over_when_its_time_is_or_when_it_is_withdrawn(flarex: Served) -> None:
    workspace = flarex.workspace()
    path = f"/v1/admin/workspaces/{workspace}/custom-plan"
    first, second = quote(flarex, workspace), quote(flarex, workspace, plan_id="acme-2026")
    assert first["plan_id"] != second["plan_id"]

    gone = flarex.call("DELETE", f"{path}/acme-2026")

    assert (gone.status_code, gone.json()["withdrawn"]) == (200, True)
    assert flarex.call("DELETE", f"{path}/acme-2026").status_code == 200
    refused(flarex.call("DELETE", f"{path}/none"), 404, "not_found")
    own = flarex.get("/v1/billing/plans", workspace)["data"]
    assert [one["plan"] for one in own if one["custom"]] == [first["plan_id"]]
    flarex.post("/v1/test/clock", {"now": QUOTE["valid_until"]})
    assert not any(one["custom"] for one in flarex.get("/v1/billing/plans", workspace)["data"])
    checkout = f"/v1/billing/checkout?plan={first['plan_id']}"
    refused(flarex.call("POST", checkout, workspace=workspace), 409, "plan_not_available")
    assert len(flarex.get(path)["data"]) == 2


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"base": "pro"}, 422),
        ({"base": "none"}, 422),
        ({"plan_id": "starter"}, 409),
        ({"plan_id": "no spaces"}, 422),
        ({"valid_until": "2026-06-20T00:00:00"}, 422),
        ({"valid_until": "2026-05-20T00:00:00Z"}, 422),
        ({"overrides": {"status": "live"}}, 422),
        ({"overrides": {"limits": {"dragons": 1}}}, 422),
        ({"overrides": {"limits": {"bots": -1}}}, 422),
        ({"overrides": {"limits": {"seats": "9"}}}, 422),
        ({"overrides": {"limits": {"vcpu": "-0.5"}}}, 422),
        ({"overrides": {"overage_unit_usd": "0.0000001"}}, 422),
        ({"overrides": {"price_minor": -1}}, 422),
        ({"overrides": {"price_minor": 100_000_000}}, 422),
    ],
)
def test_a_quote_that_makes_no_sense_is_refused(
    flarex: Served, changes: dict[str, Any], status: int
) -> None:
    workspace = flarex.workspace()
    before = flarex.position()

    done = flarex.post(f"/v1/admin/workspaces/{workspace}/custom-plan", QUOTE | changes)

    assert done.status_code == status, done.text
    assert flarex.position() == before


def test_only_for_a_workspace_that_there_is(flarex: Served) -> None:
    refused(flarex.post("/v1/admin/workspaces/ws_none/custom-plan", QUOTE), 404, "not_found")
    refused(flarex.call("GET", "/v1/admin/workspaces/ws_none/custom-plan"), 404, "not_found")


@pytest.mark.scenario("S97")
def test_s97_a_faces_deployment_answers_403_to_overage(faces: Served) -> None:
    workspace = faces.workspace()

    refused(
        faces.call("PUT", "/v1/billing/overage", {"enabled": True}, workspace=workspace),
        403,
        "overage_not_available_on_plan",
    )
    assert any(one["oauth"] for one in faces.get("/v1/plans")["data"])


@pytest.mark.scenario("S97")
def test_s97_flarex_lists_no_oauth_source(flarex: Served) -> None:
    workspace = flarex.workspace()

    assert [one["oauth"] for one in flarex.get("/v1/plans")["data"]] == [[], [], [], []]
    assert flarex.get("/v1/oauth", workspace) == []
    linked = flarex.call("POST", "/v1/oauth/openai", {}, workspace=workspace)
    refused(linked, 404, "not_found")  # the catalogue knows no provider


@pytest.mark.scenario("S97")
@pytest.mark.parametrize("shipped", ["faces", "flarex"])
def test_s97_invalid_yaml_refuses_to_start(
    database: Database, tmp_path: Path, shipped: str
) -> None:
    text = Path(f"adapters/catalogues/{shipped}.yaml").read_text()
    line = text[: text.index("default_plan")].count("\n") + 1
    file = tmp_path / "catalogue.yaml"

    file.write_text(text.replace("default_plan: free", "default_plan: nothing"))
    with pytest.raises(CatalogueUnusable, match=f"catalogue.yaml:{line}: default_plan"):
        create_app(settings_of(database, str(file)))
    file.write_text(text + "\n  - [")
    with pytest.raises(CatalogueUnusable, match="is not a catalogue"):
        create_app(settings_of(database, str(file)))
