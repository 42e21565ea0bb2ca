"""Spec 8.6: subscribing by checkout and ending again, over HTTP against the sandbox."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from adapters.postgres.database import Database
from tests.acceptance.paying import deliver, settle
from tests.acceptance.spending import authorize, done, link, refused
from tests.acceptance.subscribing import (
    asked,
    at,
    checkout,
    happened,
    last,
    on_page,
    stripe_invoices,
    subscribe,
    subscribed,
    subscription,
)
from tests.api.sandboxed import KEY, Sandboxed, event, sandboxed, send

LAST, END = "2026-06-30T23:59:59Z", "2026-07-01T00:00:00Z"


@pytest.fixture
def faces_shop(database: Database) -> Iterator[Sandboxed]:
    """`faces` with its sandbox, whose webhooks wait to be delivered."""
    with sandboxed(database, "faces", mode="held") as both:
        yield both


@pytest.fixture
def shop(database: Database) -> Iterator[Sandboxed]:
    """`flarex` with its sandbox, whose webhooks wait to be delivered."""
    with sandboxed(database, "flarex", mode="held") as both:
        yield both


def test_s42_a_page_that_is_paid_puts_the_plan_in_force_once(faces_shop: Sandboxed) -> None:
    shop = faces_shop
    workspace = shop.app.workspace()
    opened = done(checkout(shop, workspace, "connect"), 200)
    assert opened["checkout_url"].startswith(shop.sandbox.url)
    assert subscription(shop, workspace)["plan"] == "free"

    assert on_page(shop, opened["session_id"])["error"] is None  # the way back, and no more
    assert subscription(shop, workspace)["plan"] == "free"

    [first] = deliver(shop, "invoice.paid")
    assert first["status"] == 200
    assert _deferred(shop) == [first["id"]]
    twice = deliver(shop, "checkout.session.completed", times=2)
    assert [one["status"] for one in twice] == [200, 200]
    settle(shop)

    seen = subscription(shop, workspace)
    assert (seen["plan"], seen["status"]) == ("connect", "active")
    assert happened(shop, workspace).count("PlanChanged") == 1
    assert last(shop, workspace, "PlanChanged")["to_plan"] == "connect"
    quota = shop.app.get("/v1/billing/compile-quota", workspace)
    assert quota["tokens_limit"] == 100_000
    refused(checkout(shop, workspace, "connect"), 409, "already_subscribed")
    refused(checkout(shop, shop.app.workspace(), "pro"), 409, "plan_not_available")
    refused(checkout(shop, shop.app.workspace(), "free"), 409, "plan_not_available")
    refused(checkout(shop, shop.app.workspace(), "nothing"), 404, "not_found")


def test_s42_a_bank_debit_puts_the_plan_in_force_when_its_money_comes(shop: Sandboxed) -> None:
    workspace = shop.app.workspace()
    session = done(checkout(shop, workspace, "starter"), 200)["session_id"]
    on_page(shop, session, "delayed")
    settle(shop)
    assert subscription(shop, workspace)["plan"] == "free"

    on_page(shop, session, "settle")
    settle(shop)
    assert subscription(shop, workspace)["plan"] == "starter"
    assert happened(shop, workspace).count("PlanChanged") == 1


def test_s42_the_same_key_opens_one_page_and_an_abandoned_one_changes_nothing(
    shop: Sandboxed,
) -> None:
    workspace = shop.app.workspace()
    key = {"Idempotency-Key": "K"}
    path = "/v1/billing/checkout?plan=starter"
    first = done(shop.app.call("POST", path, {}, workspace=workspace, headers=key), 200)
    again = shop.app.call("POST", path, {}, workspace=workspace, headers=key)
    assert done(again, 200) == first
    assert again.headers["Idempotent-Replayed"] == "true"
    assert len(asked(shop, "POST", "/v1/checkout/sessions")) == 1

    at(shop, "2026-06-03T00:00:00Z")
    assert subscription(shop, workspace)["plan"] == "free"


def test_s107_an_invoice_of_an_unknown_subscription_waits_for_its_checkout(
    shop: Sandboxed,
) -> None:
    workspace = shop.app.workspace()
    session = done(checkout(shop, workspace, "starter"), 200)["session_id"]
    on_page(shop, session)
    [early] = deliver(shop, "invoice.paid")
    assert _deferred(shop) == [early["id"]]
    [invoice] = stripe_invoices(shop, workspace)

    settle(shop)

    paid = [one for one in _mirrored(shop, invoice["id"]) if one == "InvoicePaid"]
    assert paid == ["InvoicePaid"]
    assert _deferred(shop) == []


def test_s107_an_invoice_that_stripe_does_not_have_waits_if_it_is_of_a_subscription(
    shop: Sandboxed,
) -> None:
    of = {"parent": {"subscription_details": {"subscription": "sub_nowhere"}}}
    for told, said in ((of, "deferred"), ({}, "ignored")):
        body = event("invoice.paid", {"id": "in_nowhere", "object": "invoice", **told})
        assert done(send(shop.app, body), 200)["disposition"] == said


def test_s49_a_cancelled_plan_works_until_its_period_ends(faces_shop: Sandboxed) -> None:
    shop = faces_shop
    workspace = shop.app.workspace("5.00")
    subscribe(shop, workspace, "connect")
    link(shop.app, workspace)
    at(shop, "2026-06-10T00:00:00Z")
    ends = done(shop.app.post("/v1/billing/subscription/cancel", {}, workspace), 200)
    assert ends == {"cancel_at": END}
    assert subscription(shop, workspace)["cancel_at"] == END
    settle(shop)
    assert happened(shop, workspace).count("CancellationScheduled") == 1

    shop.to(LAST)
    assert _chat_paid_by(shop, workspace) == "oauth"
    shop.to(END)
    assert _chat_paid_by(shop, workspace) == "wallet"
    settle(shop)
    assert subscription(shop, workspace)["plan"] == "free"
    assert happened(shop, workspace).count("SubscriptionEnded") == 1
    assert last(shop, workspace, "SubscriptionEnded")["reverted_to_plan"] == "free"


def test_x43_a_cancellation_in_the_portal_is_ours_too_and_can_be_taken_back(
    shop: Sandboxed,
) -> None:
    workspace = subscribed(shop, "starter")
    books = shop.sandbox.books
    assert books is not None
    stripe_id = subscription(shop, workspace)["stripe_subscription_id"]
    _at_stripe(shop, stripe_id, cancel_at_period_end=True)
    settle(shop)
    assert subscription(shop, workspace)["cancel_at"] == END
    assert last(shop, workspace, "CancellationScheduled")["source"] == "portal"

    done(shop.app.post("/v1/billing/subscription/resume", {}, workspace), 200)
    settle(shop)
    assert subscription(shop, workspace)["cancel_at"] is None
    at(shop, END)
    assert subscription(shop, workspace)["plan"] == "starter"


def test_a_page_that_is_paid_after_an_end_that_nobody_heard_of_is_not_paid_twice(
    shop: Sandboxed,
) -> None:
    workspace = shop.app.workspace()
    pages = [
        done(checkout(shop, workspace, plan), 200)["session_id"] for plan in ("starter", "pro")
    ]
    on_page(shop, pages[0])
    settle(shop)
    ended = subscription(shop, workspace)["stripe_subscription_id"]
    shop.to("2026-06-01T05:00:00Z")
    url = f"{shop.sandbox.url}/v1/subscriptions/{ended}"
    httpx.delete(url, auth=(KEY, "")).raise_for_status()
    on_page(shop, pages[1])

    deliver(shop, "checkout.session.completed")  # and then what happened before it
    settle(shop)

    seen = subscription(shop, workspace)
    assert (seen["plan"], seen["status"]) == ("pro", "active")
    assert seen["stripe_subscription_id"] != ended
    assert shop.app.get("/v1/admin/payments", status="quarantined")["data"] == []
    assert happened(shop, workspace)[-3:] == [
        "SubscriptionStarted", "PlanChanged", "SubscriptionStarted",
    ]  # fmt: skip


def _deferred(shop: Sandboxed) -> list[str]:
    """Events of Stripe's that wait for their object."""
    data = shop.app.get("/v1/admin/webhooks", disposition="deferred")["data"]
    return [one["event_id"] for one in data]


def _mirrored(shop: Sandboxed, invoice: str) -> list[str]:
    data = shop.app.get("/v1/audit/events", stream=f"invoice/{invoice}", limit=100)["data"]
    return [one["type"] for one in data]


def _chat_paid_by(shop: Sandboxed, workspace: str) -> str:
    """Who pays for a chat completion now, as an authorisation says."""
    held = authorize(shop.app, workspace, 10, 10)
    return str(done(held)["route"])


def _at_stripe(shop: Sandboxed, stripe_id: str, **fields: object) -> None:
    """Somebody changes a subscription at Stripe, not through us."""
    told = {name: str(value).lower() for name, value in fields.items()}
    url = f"{shop.sandbox.url}/v1/subscriptions/{stripe_id}"
    httpx.post(url, data=told, auth=(KEY, "")).raise_for_status()
