"""What the simulated year found out, told one by one: what comes after its contract is over, and
what never came into force."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from adapters.postgres.database import Database
from tests.acceptance.paying import settle
from tests.acceptance.spending import done, put, refused
from tests.acceptance.subscribing import (
    FAILS_LATER,
    at,
    checkout,
    confirm,
    happened,
    lines_of,
    on_page,
    preview,
    replace_card,
    spend,
    stripe_invoices,
    subscribe,
    subscribed,
    subscription,
)
from tests.acceptance.test_previews import change_at_stripe
from tests.api.sandboxed import KEY, Sandboxed, sandboxed

END, SECOND_END = "2026-07-01T00:00:00Z", "2026-08-01T00:00:00Z"


@pytest.fixture
def shop(database: Database) -> Iterator[Sandboxed]:
    """`flarex` with its sandbox, whose webhooks wait to be delivered."""
    with sandboxed(database, "flarex", mode="held") as both:
        yield both


def at_stripe(shop: Sandboxed, method: str, path: str) -> None:
    """Somebody does something at Stripe, not through us."""
    url = f"{shop.sandbox.url}/v1{path}"
    httpx.request(method, url, auth=(KEY, "")).raise_for_status()


def reconciled(shop: Sandboxed) -> Any:
    """What a comparison with Stripe reports."""
    return done(shop.app.post("/v1/admin/reconcile", {"days": 30}), 200)


def test_an_invoice_is_followed_to_its_end_whatever_came_after_its_contract(
    shop: Sandboxed,
) -> None:
    workspace = subscribed(shop, "starter")
    replace_card(shop, workspace, "pm_card_chargeCustomerFail")
    at(shop, END)
    at(shop, "2026-07-01T01:00:00Z")
    [unpaid] = [one["id"] for one in stripe_invoices(shop, workspace) if one["status"] == "open"]
    for plan in ("starter", "pro"):
        stripe_id = subscription(shop, workspace)["stripe_subscription_id"]
        at_stripe(shop, "DELETE", f"/subscriptions/{stripe_id}")
        settle(shop)
        subscribe(shop, workspace, plan)

    at_stripe(shop, "POST", f"/invoices/{unpaid}/void")
    settle(shop)

    assert happened(shop, unpaid, "invoice")[-1] == "InvoiceVoided"
    assert reconciled(shop)["mismatches"] == []


def test_overage_that_is_given_back_after_the_plan_ended_is_owed_to_the_customer(
    shop: Sandboxed,
) -> None:
    workspace = subscribed(shop, "starter")
    put(shop.app, "/v1/billing/overage", {"enabled": True}, workspace)
    spend(shop, workspace, 1_000)
    act = spend(shop, workspace, 82)["usage_id"]
    done(shop.app.post("/v1/billing/subscription/cancel", {}, workspace), 200)
    at(shop, END)
    at(shop, "2026-07-01T02:00:00Z")
    assert subscription(shop, workspace)["plan"] == "free"

    done(shop.app.post(f"/v1/usage/{act}/void", {"reason": "a mistake"}, workspace), 200)
    at(shop, SECOND_END)
    at(shop, "2026-08-01T02:00:00Z")

    credit, charge = stripe_invoices(shop, workspace)[:2]
    assert (charge["total"], credit["total"], credit["amount_due"]) == (164, -164, 0)
    assert [line["amount"] for line in lines_of(shop, credit["id"])] == [-164]
    assert shop.sandbox.books is not None
    [customer] = shop.sandbox.books.find("customer", metadata__workspace_id=workspace)
    assert customer["balance"] == -164


def test_a_first_payment_that_never_came_is_no_mismatch(shop: Sandboxed) -> None:
    workspace = shop.app.workspace()
    session = done(checkout(shop, workspace, "starter"), 200)["session_id"]
    assert on_page(shop, session, card=FAILS_LATER)["error"] is not None
    settle(shop)
    assert reconciled(shop)["mismatches"] == []

    at(shop, "2026-06-03T00:00:00Z")

    [invoice] = stripe_invoices(shop, workspace)
    assert invoice["status"] == "void"
    assert reconciled(shop)["mismatches"] == []
    assert subscription(shop, workspace)["plan"] == "free"


def test_a_debit_that_arrives_after_its_subscription_is_over_stops_no_clock(
    shop: Sandboxed,
) -> None:
    workspace = shop.app.workspace()
    session = done(checkout(shop, workspace, "starter"), 200)["session_id"]
    on_page(shop, session, outcome="delayed")
    settle(shop)

    at(shop, "2026-06-05T00:00:00Z")  # its 23 hours are over, and then the debit's three days

    assert shop.sandbox.control.now() == 1_780_617_600
    assert subscription(shop, workspace)["plan"] == "free"


def test_what_was_changed_at_stripe_meanwhile_is_not_charged_twice(shop: Sandboxed) -> None:
    workspace = subscribed(shop, "starter")
    at(shop, "2026-06-16T00:00:00Z")
    promised = done(preview(shop, workspace, "pro"), 200)
    shop.to("2026-06-16T00:05:00Z")
    change_at_stripe(shop, workspace, "pro")
    before = stripe_invoices(shop, workspace)

    problem = refused(confirm(shop, workspace, promised["preview_id"]), 409, "preview_stale")

    assert problem["amount_due_now_minor"] == 0
    assert stripe_invoices(shop, workspace) == before


def test_overage_of_a_contract_that_another_followed_at_once_is_billed(shop: Sandboxed) -> None:
    workspace = subscribed(shop, "starter")
    put(shop.app, "/v1/billing/overage", {"enabled": True}, workspace)
    spend(shop, workspace, 1_082)
    done(shop.app.post("/v1/billing/subscription/cancel", {}, workspace), 200)
    shop.to("2026-07-01T00:10:00Z")  # and no timer fires

    subscribe(shop, workspace, "pro")
    settle(shop)

    first, *others = sorted(stripe_invoices(shop, workspace), key=lambda one: one["total"])
    assert (first["billing_reason"], first["total"]) == ("manual", 164)
    assert [one["total"] for one in others] == [1_000, 4_000]
