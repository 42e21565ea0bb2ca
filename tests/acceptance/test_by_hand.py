"""What people do at Stripe past our API: plans changed by hand there (X43, P13), and two pages that
are both paid."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pytest

from adapters.postgres.database import Database
from adapters.stripe.sandbox.books import Json
from tests.acceptance.paying import settle
from tests.acceptance.spending import done, refused
from tests.acceptance.subscribing import (
    at,
    change,
    checkout,
    happened,
    last,
    on_page,
    preview,
    spend,
    stripe_invoices,
    subscribed,
    subscription,
    with_bots,
)
from tests.acceptance.workspaces import bots, status
from tests.api.sandboxed import KEY, Sandboxed, sandboxed

HALF, END, FINAL = "2026-06-16T00:00:00Z", "2026-07-01T00:00:00Z", "2026-07-01T02:00:00Z"


@pytest.fixture
def shop(database: Database) -> Iterator[Sandboxed]:
    """`flarex` with its sandbox, whose webhooks wait to be delivered."""
    with sandboxed(database, "flarex", mode="held") as both:
        yield both


def at_stripe(shop: Sandboxed, path: str, **form: Any) -> Any:
    """Somebody with a key of Stripe's asks for something."""
    response = httpx.post(f"{shop.sandbox.url}/v1/{path}", data=form, auth=(KEY, ""))
    assert response.status_code == 200, response.text
    return response.json()


def price_of(shop: Sandboxed, plan: str) -> str:
    """The price at Stripe of a plan that somebody asked a preview of."""
    assert shop.sandbox.books is not None
    [price] = shop.sandbox.books.find("price", metadata__plan_id=plan)
    return str(price["id"])


def new_price(shop: Sandboxed, plan: str | None, version: int, cents: int) -> str:
    """A price that somebody made at Stripe, which may say that it is of a plan."""
    product = at_stripe(shop, "products", name="Something else")
    of = {"metadata[plan_id]": plan, "metadata[plan_version]": version} if plan else {}
    terms = {"currency": "usd", "unit_amount": cents, "recurring[interval]": "month"} | of
    return str(at_stripe(shop, "prices", product=product["id"], **terms)["id"])


def by_hand(shop: Sandboxed, workspace: str, price: str, behaviour: str = "always_invoice") -> None:
    """Put a subscription on another price, and let it be known."""
    put_on(shop, workspace, price, behaviour)
    settle(shop)


def put_on(shop: Sandboxed, workspace: str, price: str, behaviour: str) -> None:
    """Put a subscription on another price, as an operator can in Stripe's dashboard."""
    books = shop.sandbox.books
    assert books is not None
    stripe_id = subscription(shop, workspace)["stripe_subscription_id"]
    [item] = books.find("subscription", id=stripe_id)[0]["items"]["data"]
    at_stripe(
        shop,
        f"subscriptions/{stripe_id}",
        **{"items[0][id]": item["id"], "items[0][price]": price, "proration_behavior": behaviour},
    )


def reported(shop: Sandboxed, what: str) -> list[Json]:
    """Differences of this kind that reconciling finds."""
    run = done(shop.app.post("/v1/admin/reconcile", {}), 200)
    return [one for one in run["mismatches"] if one["what"] == what]


BILLS_ANOTHER = "the subscription bills another plan"


def test_an_upgrade_by_hand_does_what_ours_does(shop: Sandboxed) -> None:
    workspace = subscribed(shop, "starter")
    with_bots(shop, workspace, 3)
    spend(shop, workspace, 600)
    at(shop, HALF)
    done(preview(shop, workspace, "pro"), 200)
    before = len(happened(shop, workspace))

    by_hand(shop, workspace, price_of(shop, "pro"))

    assert happened(shop, workspace)[before:] == ["PlanChanged"]
    changed = last(shop, workspace, "PlanChanged")
    assert (changed["direction"], changed["charged"]) == ("upgrade", 1_500)
    account = happened(shop, workspace, "credit_account")
    assert account[-2:] == ["SpendPolicySet", "AllowanceGranted"]
    balance = shop.app.get("/v1/billing/balance", workspace, consistency="strong")
    assert balance["buckets"][0]["remaining"] == 4_400
    assert shop.app.get(f"/v1/workspaces/{workspace}/status")["bots"]["limit"] == 10
    assert reported(shop, BILLS_ANOTHER) == []
    at(shop, FINAL)
    assert stripe_invoices(shop, workspace)[0]["total"] == 4_000
    assert shop.app.get("/v1/audit/compare")["differences"] == []


def test_a_smaller_plan_by_hand_waits_for_the_close_as_ours_does(shop: Sandboxed) -> None:
    workspace, other = subscribed(shop, "pro"), subscribed(shop, "starter")
    with_bots(shop, workspace, 5)
    at(shop, HALF)

    by_hand(shop, workspace, price_of(shop, "starter"), "none")
    by_hand(shop, workspace, price_of(shop, "starter"), "none")

    assert happened(shop, workspace).count("DowngradeScheduled") == 1
    seen = subscription(shop, workspace)
    assert (seen["plan"], seen["scheduled_change"]["plan"]) == ("pro", "starter")
    assert seen["scheduled_change"]["effective_at"] == END
    assert status(shop.app, workspace)["bots"]["limit"] == 10, "what was paid for goes on"
    assert reported(shop, BILLS_ANOTHER) == []
    kept = done(shop.app.call("DELETE", "/v1/billing/plan-change", workspace=workspace), 200)
    assert kept == {"scheduled_change": seen["scheduled_change"]}, "Stripe bills it already"
    at(shop, "2026-06-30T23:59:59Z")
    assert len(bots(shop.app, workspace)) == 5
    at(shop, END)
    at(shop, FINAL)
    changed = last(shop, workspace, "PlanChanged")
    assert (changed["to_plan"], changed["direction"]) == ("starter", "downgrade")
    assert (changed["charged"], changed["effective_at"]) == (0, END)
    assert bots(shop.app, workspace) == ["b01", "b02", "b03"]
    assert stripe_invoices(shop, workspace)[0]["total"] == 1_000
    assert subscription(shop, other)["plan"] == "starter"
    assert shop.app.get("/v1/audit/compare")["differences"] == []


def test_a_smaller_plan_by_hand_can_be_put_back_or_passed_by_an_upgrade(shop: Sandboxed) -> None:
    workspace, other = subscribed(shop, "pro"), subscribed(shop, "pro")
    done(preview(shop, subscribed(shop, "starter"), "pro"), 200)
    subscribed(shop, "starter")
    at(shop, HALF)
    for one in (workspace, other):
        by_hand(shop, one, price_of(shop, "starter"), "none")
        assert subscription(shop, one)["scheduled_change"]["plan"] == "starter"

    by_hand(shop, workspace, price_of(shop, "pro"), "none")
    assert last(shop, workspace, "DowngradeUnscheduled")["reason"] == "superseded"
    assert change(shop, other, "enterprise")["status"] == "applied"
    settle(shop)

    for one, plan in ((workspace, "pro"), (other, "enterprise")):
        seen = subscription(shop, one)
        assert (seen["plan"], seen["scheduled_change"]) == (plan, None)
    at(shop, FINAL)
    assert stripe_invoices(shop, workspace)[0]["total"] == 4_000
    assert happened(shop, workspace).count("PlanChanged") == 1, "the one that began it"


def test_a_smaller_plan_by_hand_that_is_heard_of_after_its_renewal_is_in_force(
    shop: Sandboxed,
) -> None:
    workspace = subscribed(shop, "pro")
    subscribed(shop, "starter")
    at(shop, HALF)
    put_on(shop, workspace, price_of(shop, "starter"), "none")  # and nobody tells
    shop.to(FINAL)
    assert subscription(shop, workspace)["plan"] == "pro"

    settle(shop)

    seen = subscription(shop, workspace)
    assert (seen["plan"], seen["scheduled_change"]) == ("starter", None)
    assert stripe_invoices(shop, workspace)[0]["total"] == 1_000


def test_a_price_that_is_none_of_ours_is_reported_and_changes_nothing(shop: Sandboxed) -> None:
    workspace = subscribed(shop, "starter")
    strange, unheard = new_price(shop, None, 1, 700), new_price(shop, "pro", 9, 700)
    before = happened(shop, workspace)

    for price in (strange, unheard):
        by_hand(shop, workspace, price)

        assert happened(shop, workspace) == before
        seen = subscription(shop, workspace)
        assert (seen["plan"], seen["plan_version"], seen["status"]) == ("starter", 1, "active")
        assert shop.app.get(f"/v1/workspaces/{workspace}/status")["bots"]["limit"] == 3
        assert len(reported(shop, BILLS_ANOTHER)) == 1
        spend(shop, workspace, 1)
        refused(preview(shop, workspace, "pro"), 409, "plan_change_pending")
    at(shop, FINAL)
    assert happened(shop, workspace).count("CycleOpened") == 1, "the cycles go on"


def test_a_plan_that_was_quoted_to_somebody_else_is_none_of_ours(shop: Sandboxed) -> None:
    workspace, other = subscribed(shop, "starter"), subscribed(shop, "starter")
    quote = {"base": "enterprise", "overrides": {"price_minor": 50_000}, "quote_ref": "Q"}
    made = shop.app.post(f"/v1/admin/workspaces/{other}/custom-plan", quote).json()
    done(preview(shop, other, made["plan_id"]), 200)

    by_hand(shop, workspace, price_of(shop, made["plan_id"]))

    assert subscription(shop, workspace)["plan"] == "starter"
    assert len(reported(shop, BILLS_ANOTHER)) == 1


def quarantined(shop: Sandboxed) -> list[Json]:
    """Payments that wait for an administrator."""
    with psycopg.connect(shop.app.database.conninfo()) as connection:
        [now] = connection.execute("SELECT max(notification_id) FROM events").fetchone() or (0,)
    found = shop.app.get("/v1/admin/payments", status="quarantined", min_position=now)
    data: list[Json] = found["data"]
    return data


def two_pages(shop: Sandboxed) -> tuple[str, list[str]]:
    """A workspace that opened a page for Starter and one for Pro and paid on both, and their ids;
    nobody has heard of it yet."""
    workspace = shop.app.workspace()
    pages = [
        done(checkout(shop, workspace, plan), 200)["session_id"] for plan in ("starter", "pro")
    ]
    for page in pages:
        assert on_page(shop, page)["error"] is None
    return workspace, pages


def test_of_two_paid_pages_one_is_in_force_and_the_other_is_an_open_problem(
    shop: Sandboxed,
) -> None:
    workspace, _ = two_pages(shop)
    settle(shop)
    settle(shop)

    books = shop.sandbox.books
    assert books is not None
    [customer] = books.find("customer", metadata__workspace_id=workspace)
    live = [
        one
        for one in books.find("subscription", customer=customer["id"])
        if one["status"] != "canceled"
    ]
    seen = subscription(shop, workspace)
    assert [one["id"] for one in live] == [seen["stripe_subscription_id"]]
    assert happened(shop, workspace).count("PlanChanged") == 1
    other = {"starter": 40, "pro": 10}[seen["plan"]]
    [waiting] = quarantined(shop)
    assert (waiting["workspace_id"], waiting["kind"]) == (workspace, "subscription_checkout")
    assert (waiting["quarantined_usd"], waiting["doubt"]) == (other, "paid_twice")
    assert shop.app.get("/v1/admin/webhooks", disposition="deferred")["data"] == []

    path = f"/v1/admin/payments/{waiting['payment_attempt_id']}/resolve"
    if seen["plan"] == "starter":
        [charge] = [c for c in books.find("charge") if c["amount"] == other * 100]
        at_stripe(shop, "refunds", charge=charge["id"])
        settle(shop)
    told = {"remedy": "refunded", "ticket_ref": "T-1"}
    assert done(shop.app.post(path, told), 200)["still_quarantined"] == 0
    assert quarantined(shop) == []
    settle(shop)  # what became of that money had waited for the administrator's word
    assert shop.app.get("/v1/admin/webhooks", disposition="deferred")["data"] == []
    at(shop, FINAL)
    assert len([i for i in stripe_invoices(shop, workspace) if i["total"]]) == 3
    assert shop.app.get("/v1/audit/compare")["differences"] == []


def test_what_was_paid_for_the_second_page_can_become_credits(shop: Sandboxed) -> None:
    workspace, _ = two_pages(shop)
    settle(shop)
    [waiting] = quarantined(shop)
    path = f"/v1/admin/payments/{waiting['payment_attempt_id']}/resolve"
    told = {"remedy": "credited", "ticket_ref": "T-2"}
    resolved = done(shop.app.post(path, told), 200)
    assert resolved["balance_micros"] == waiting["quarantined_usd"] * 1_000_000
    balance = shop.app.get("/v1/billing/balance", workspace, consistency="strong")
    assert balance["balance_usd"] == waiting["quarantined_usd"]


def test_credits_for_the_second_page_go_back_with_its_money(shop: Sandboxed) -> None:
    workspace, _ = two_pages(shop)
    settle(shop)
    [waiting] = quarantined(shop)
    attempt = waiting["payment_attempt_id"]
    told = {"remedy": "credited", "ticket_ref": "T-2"}
    done(shop.app.post(f"/v1/admin/payments/{attempt}/resolve", told), 200)

    path = f"/v1/admin/workspaces/{workspace}/refunds"
    body = {"payment_attempt_id": attempt, "amount_usd": 4, "ticket_ref": "T-3"}
    asked = done(shop.app.post(path, body), 201)
    settle(shop)

    assert asked["refund_id"].startswith("re_")
    balance = shop.app.get("/v1/billing/balance", workspace, consistency="strong")
    assert balance["balance_usd"] == waiting["quarantined_usd"] - 4
    assert shop.app.get("/v1/audit/compare")["differences"] == []


def test_a_second_page_whose_end_stripe_did_not_hear_is_tried_again(shop: Sandboxed) -> None:
    workspace, _ = two_pages(shop)
    shop.sandbox.control.script(
        {"path": "/v1/subscriptions/{id}", "fault": "error", "method": "DELETE", "times": 3}
    )
    settle(shop)
    at(shop, "2026-06-01T01:00:00Z")
    settle(shop)

    books = shop.sandbox.books
    assert books is not None
    [customer] = books.find("customer", metadata__workspace_id=workspace)
    statuses = sorted(s["status"] for s in books.find("subscription", customer=customer["id"]))
    assert statuses == ["active", "canceled"]
    assert len(quarantined(shop)) == 1
