"""Spec 8.9: changing plans, over HTTP against the sandbox."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from adapters.postgres.database import Database
from tests.acceptance.conftest import catalogue
from tests.acceptance.paying import settle
from tests.acceptance.spending import done, refused
from tests.acceptance.subscribing import (
    asked,
    at,
    change,
    confirm,
    happened,
    last,
    preview,
    replace_card,
    spend,
    stripe_invoices,
    subscribe,
    subscribed,
    subscription,
    with_bots,
)
from tests.acceptance.workspaces import bots
from tests.api.sandboxed import KEY, Sandboxed, sandboxed

HALF, LAST, END = "2026-06-16T00:00:00Z", "2026-06-30T23:59:59Z", "2026-07-01T00:00:00Z"
PRORATED_AT = 1_781_568_000
FAILS = "pm_card_chargeCustomerFail"


@pytest.fixture
def shop(database: Database) -> Iterator[Sandboxed]:
    """`flarex` with its sandbox, whose webhooks wait to be delivered."""
    with sandboxed(database, "flarex", mode="held") as both:
        yield both


def test_s70_an_upgrade_costs_what_stripe_previewed(shop: Sandboxed) -> None:
    workspace = subscribed(shop, "starter")
    spend(shop, workspace, 600)
    at(shop, HALF)

    quoted = done(preview(shop, workspace, "pro"), 200)

    assert len(asked(shop, "POST", "/v1/invoices/create_preview")) == 1
    assert [line["amount_minor"] for line in quoted["lines"]] == [-500, 2000]
    assert quoted["amount_due_now_minor"] == 1500
    assert quoted["proration_date"] == PRORATED_AT
    assert quoted["next_invoice_total_minor"] == 4000
    assert quoted["effects"]["allowance"] == {"ai_credits": {"from": 1000, "to": 5000}}
    assert (quoted["direction"], quoted["requires_checkout"]) == ("upgrade", False)

    result = done(confirm(shop, workspace, quoted["preview_id"]), 200)
    assert (result["status"], result["charged_minor"]) == ("applied", 1500)
    update = asked(shop, "POST", "/v1/subscriptions/")[-1]["params"]
    assert update["proration_behavior"] == "always_invoice"
    assert int(update["proration_date"]) == PRORATED_AT
    assert update["payment_behavior"] == "pending_if_incomplete"
    settle(shop)
    assert last(shop, workspace, "PlanChanged")["charged"] == 1500
    bucket = shop.app.get("/v1/billing/balance", workspace, consistency="strong")["buckets"][0]
    assert (bucket["granted"], bucket["remaining"]) == (5000, 4400)
    assert subscription(shop, workspace)["current_period_end"] == END
    assert shop.app.get(f"/v1/workspaces/{workspace}/status")["bots"]["limit"] == 10
    invoice = stripe_invoices(shop, workspace)[0]
    assert (invoice["billing_reason"], invoice["total"], invoice["status"]) == (
        "subscription_update",
        1500,
        "paid",
    )
    assert happened(shop, workspace).count("PlanChanged") == 2


def test_s70_prorated_allowances(database: Database, tmp_path: object) -> None:
    path = catalogue(
        tmp_path,  # type: ignore[arg-type]
        "flarex",
        ("allowance_on_upgrade: full", "allowance_on_upgrade: prorate"),
    )
    with sandboxed(database, path, mode="held") as shop:
        workspace = subscribed(shop, "starter")
        spend(shop, workspace, 600)
        at(shop, HALF)
        change(shop, workspace, "pro")
        balance = shop.app.get("/v1/billing/balance", workspace, consistency="strong")
        assert balance["buckets"][0]["remaining"] == 2400


def test_s71_a_stale_preview_is_refused_and_stripe_is_not_asked(shop: Sandboxed) -> None:
    workspace = subscribed(shop, "starter")
    before = len(asked(shop, "POST", "/v1/subscriptions/"))
    expired = done(preview(shop, workspace, "pro"), 200)
    shop.to(expired["expires_at"])
    refused(confirm(shop, workspace, expired["preview_id"]), 409, "preview_stale")

    overtaken = done(preview(shop, workspace, "pro"), 200)
    done(shop.app.post("/v1/billing/subscription/cancel", {}, workspace), 200)
    done(shop.app.post("/v1/billing/subscription/resume", {}, workspace), 200)
    refused(confirm(shop, workspace, overtaken["preview_id"]), 409, "preview_stale")

    at(shop, "2026-06-30T23:59:00Z")
    late = done(preview(shop, workspace, "pro"), 200)
    shop.to(END)
    refused(confirm(shop, workspace, late["preview_id"]), 409, "preview_stale")
    refused(confirm(shop, workspace, "pcq_unknown"), 404, "not_found")

    updates = asked(shop, "POST", "/v1/subscriptions/")[before:]
    assert all("items" not in one["params"] for one in updates)
    assert subscription(shop, workspace)["plan"] == "starter"


def test_s73_a_declined_upgrade_waits_and_is_in_force_when_its_invoice_is_paid(
    shop: Sandboxed,
) -> None:
    workspace = subscribed(shop, "starter")
    at(shop, HALF)
    replace_card(shop, workspace, FAILS)
    result = change(shop, workspace, "pro")

    assert (result["status"], result["charged_minor"]) == ("pending_payment", 0)
    assert result["payment_url"].startswith(shop.sandbox.url)
    settle(shop)
    seen = subscription(shop, workspace)
    assert (seen["plan"], seen["status"]) == ("starter", "active")
    assert seen["pending_change"]["plan"] == "pro"
    assert happened(shop, workspace)[-1] == "PlanChangePending"
    assert shop.app.get(f"/v1/workspaces/{workspace}/status")["bots"]["limit"] == 3

    replace_card(shop, workspace, "pm_card_visa")
    _pay(shop, stripe_invoices(shop, workspace)[0]["id"])
    settle(shop)
    assert subscription(shop, workspace)["plan"] == "pro"
    assert last(shop, workspace, "PlanChanged")["charged"] == 1500


def test_s73_a_declined_upgrade_that_nobody_pays_never_happens(shop: Sandboxed) -> None:
    workspace = subscribed(shop, "starter")
    at(shop, HALF)
    replace_card(shop, workspace, FAILS)
    change(shop, workspace, "pro")
    settle(shop)

    at(shop, "2026-06-17T12:00:00Z")

    seen = subscription(shop, workspace)
    assert (seen["plan"], seen["pending_change"], seen["status"]) == ("starter", None, "active")
    assert last(shop, workspace, "PlanChangeFailed")["code"] == "expired"


def test_a_confirmation_that_was_lost_on_the_way_is_done_once(shop: Sandboxed) -> None:
    workspace = subscribed(shop, "starter")
    at(shop, HALF)
    quoted = done(preview(shop, workspace, "pro"), 200)
    stripe_id = subscription(shop, workspace)["stripe_subscription_id"]
    shop.sandbox.control.script(
        {"path": f"/v1/subscriptions/{stripe_id}", "fault": "drop_after", "method": "POST",
         "times": 2}
    )  # fmt: skip
    lost = confirm(shop, workspace, quoted["preview_id"], "K")
    assert lost.status_code in (200, 503)

    result = done(confirm(shop, workspace, quoted["preview_id"], "K"), 200)
    settle(shop)
    assert (result["status"], result["charged_minor"]) == ("applied", 1500)
    updates = [i for i in stripe_invoices(shop, workspace) if i["total"] == 1500]
    assert len(updates) == 1
    assert happened(shop, workspace).count("PlanChanged") == 2


# Down.


def test_s74_a_downgrade_waits_for_the_close_of_the_cycle(shop: Sandboxed) -> None:
    workspace = subscribed(shop, "pro")
    names = with_bots(shop, workspace, 10)
    at(shop, HALF)
    quoted = done(preview(shop, workspace, "starter"), 200)
    assert (quoted["amount_due_now_minor"], quoted["effective_at"]) == (0, END)
    assert sorted(quoted["effects"]["bots_to_pause"]) == names[3:]
    result = done(confirm(shop, workspace, quoted["preview_id"]), 200)
    assert (result["status"], result["effective_at"]) == ("scheduled", END)
    schedule = asked(shop, "POST", "/v1/subscription_schedules/")[-1]["params"]
    assert len(schedule["phases"]) == 2
    assert schedule["proration_behavior"] == "none"
    settle(shop)
    coming = subscription(shop, workspace)["scheduled_change"]
    assert (coming["plan"], coming["effective_at"]) == ("starter", END)

    shop.to(LAST)
    assert len(bots(shop.app, workspace)) == 10
    assert subscription(shop, workspace)["plan"] == "pro"
    at(shop, END)

    seen = subscription(shop, workspace)
    assert (seen["plan"], seen["scheduled_change"]) == ("starter", None)
    assert bots(shop.app, workspace) == names[:3]
    assert happened(shop, workspace, "workspace").count("BotPaused") == 7
    order = [one for one in happened(shop, workspace) if one in CLOSE]
    assert order[-3:] == list(CLOSE)
    at(shop, "2026-07-01T02:00:00Z")
    renewal = stripe_invoices(shop, workspace)[0]
    assert (renewal["billing_reason"], renewal["total"]) == ("subscription_cycle", 1000)
    assert happened(shop, workspace).count("CycleOpened") == 1
    assert not asked(shop, "POST", "/v1/credit_notes")


CLOSE = ("CycleClosed", "PlanChanged", "CycleOpened")


def test_s75_the_bots_that_the_customer_named_stay(shop: Sandboxed) -> None:
    workspace = subscribed(shop, "pro")
    with_bots(shop, workspace, 10)
    change(shop, workspace, "starter", keep_bot_ids=["b07", "b08"])
    at(shop, END)
    assert sorted(bots(shop.app, workspace)) == ["b01", "b07", "b08"]


def test_s76_a_downgrade_is_taken_back(shop: Sandboxed) -> None:
    workspace = subscribed(shop, "pro")
    with_bots(shop, workspace, 10)
    change(shop, workspace, "starter")
    at(shop, "2026-06-20T00:00:00Z")
    back = shop.app.call("DELETE", "/v1/billing/plan-change", workspace=workspace)
    assert done(back, 200) == {"scheduled_change": None}
    assert asked(shop, "POST", "/v1/subscription_schedules/")[-1]["path"].endswith("/release")
    settle(shop)

    at(shop, "2026-07-01T02:00:00Z")
    assert subscription(shop, workspace)["plan"] == "pro"
    assert len(bots(shop.app, workspace)) == 10
    assert stripe_invoices(shop, workspace)[0]["total"] == 4000


def test_s80_bots_that_the_user_paused_are_not_counted(shop: Sandboxed) -> None:
    workspace = subscribed(shop, "pro")
    for name in with_bots(shop, workspace, 10)[:4]:
        done(shop.app.call("POST", f"/v1/workspaces/{workspace}/bots/{name}/pause"), 200)
    change(shop, workspace, "starter")
    at(shop, END)
    paused = [one for one in happened(shop, workspace, "workspace") if one == "BotPaused"]
    assert len(paused) == 4 + 3
    assert len(bots(shop.app, workspace)) == 3


def test_s111_from_free_by_checkout_and_to_free_with_the_period(shop: Sandboxed) -> None:
    workspace = shop.app.workspace()
    quoted = done(preview(shop, workspace, "starter"), 200)
    assert (quoted["requires_checkout"], quoted["amount_due_now_minor"]) == (True, 1000)
    refused(confirm(shop, workspace, quoted["preview_id"]), 409, "checkout_required")
    assert shop.sandbox.control.requests("POST") == []

    subscribe(shop, workspace, "pro")
    with_bots(shop, workspace, 4)
    result = change(shop, workspace, "free")
    assert (result["status"], result["effective_at"]) == ("scheduled", END)
    assert subscription(shop, workspace)["cancel_at"] == END
    settle(shop)
    at(shop, END)
    assert subscription(shop, workspace)["plan"] == "free"
    assert bots(shop.app, workspace) == ["b01"]


def test_an_upgrade_after_a_scheduled_downgrade_takes_its_place(shop: Sandboxed) -> None:
    workspace = subscribed(shop, "pro")
    change(shop, workspace, "starter")
    settle(shop)
    result = change(shop, workspace, "enterprise")
    assert result["status"] == "applied"
    settle(shop)
    at(shop, "2026-07-01T02:00:00Z")
    assert subscription(shop, workspace)["plan"] == "enterprise"
    assert stripe_invoices(shop, workspace)[0]["total"] == 40_000


def test_another_workspaces_preview_is_not_found(shop: Sandboxed) -> None:
    mine, other = subscribed(shop, "starter"), subscribed(shop, "starter")
    quoted = done(preview(shop, mine, "pro"), 200)
    refused(confirm(shop, other, quoted["preview_id"]), 404, "not_found")


def test_unknown_fields_and_missing_keys_are_refused(shop: Sandboxed) -> None:
    workspace = subscribed(shop, "starter")
    refused(preview(shop, workspace, "pro", keep_bots=[]), 422, "validation_error")
    refused(preview(shop, workspace, "starter"), 409, "already_subscribed")
    path = "/v1/billing/plan-change/confirm"
    response = shop.app.http.post(
        path,
        json={"preview_id": "x"},
        headers={"Authorization": f"Bearer {shop.app.admin_key}", "X-Workspace-Id": workspace},
    )
    refused(response, 400, "idempotency_key_missing")


def _pay(shop: Sandboxed, invoice: str) -> None:
    url = f"{shop.sandbox.url}/v1/invoices/{invoice}/pay"
    httpx.post(url, auth=(KEY, "")).raise_for_status()
