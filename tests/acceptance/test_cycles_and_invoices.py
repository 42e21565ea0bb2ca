"""Spec 8.8 and 8.11: overage on invoices, itemised and exactly once; cycles that nobody watches."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from adapters.postgres.database import Database
from tests.acceptance.paying import deliver, events_of, settle
from tests.acceptance.spending import done, generate, put, refused
from tests.acceptance.subscribing import (
    asked,
    at,
    change,
    events,
    happened,
    last,
    lines_of,
    replace_card,
    spend,
    stripe_invoices,
    subscribed,
    subscription,
)
from tests.acceptance.workspaces import status
from tests.api.sandboxed import KEY, Sandboxed, sandboxed

END, FINAL = "2026-07-01T00:00:00Z", "2026-07-01T01:00:00Z"


@pytest.fixture
def shop(database: Database) -> Iterator[Sandboxed]:
    """`flarex` with its sandbox, whose webhooks wait to be delivered."""
    with sandboxed(database, "flarex", mode="held") as both:
        yield both


def with_overage(shop: Sandboxed, plan: str, included: int) -> str:
    """A workspace that used what its plan includes, and agreed to more."""
    workspace = subscribed(shop, plan)
    switch(shop, workspace, on=True)
    if included:
        spend(shop, workspace, included)
    return workspace


def switch(shop: Sandboxed, workspace: str, *, on: bool) -> None:
    """Agree to overage, or end it."""
    assert put(shop.app, "/v1/billing/overage", {"enabled": on}, workspace)["enabled"] is on


def overage_lines(shop: Sandboxed, invoice: str) -> list[int]:
    """The amounts of an invoice's lines of overage, in minor units, largest first."""
    lines = [one for one in lines_of(shop, invoice) if one["metadata"].get("kind") == "overage"]
    return sorted((int(one["amount"]) for one in lines), reverse=True)


def test_s61_and_s60_only_what_was_used_while_it_was_on_is_billed(shop: Sandboxed) -> None:
    workspace = subscribed(shop, "starter")
    spend(shop, workspace, 995)
    spend(shop, workspace, 14)
    switch(shop, workspace, on=True)
    spend(shop, workspace, 14)
    at(shop, END)
    at(shop, FINAL)

    renewal = stripe_invoices(shop, workspace)[0]
    assert overage_lines(shop, renewal["id"]) == [28]
    assert (renewal["total"], renewal["status"]) == (1028, "paid")


def test_s63_a_plan_without_a_rate_has_no_overage(shop: Sandboxed) -> None:
    workspace = shop.app.workspace()
    switched = shop.app.call("PUT", "/v1/billing/overage", {"enabled": True}, workspace=workspace)
    refused(switched, 403, "overage_not_available_on_plan")
    assert asked(shop, "POST", "/v1/subscriptions") == []


def test_s64_the_switch_is_told_to_stripe_and_costs_nothing(shop: Sandboxed) -> None:
    workspace = subscribed(shop, "starter")
    before = stripe_invoices(shop, workspace)
    switch(shop, workspace, on=True)
    switch(shop, workspace, on=True)
    switch(shop, workspace, on=False)

    updates = asked(shop, "POST", "/v1/subscriptions/")
    assert [one["params"]["proration_behavior"] for one in updates] == ["create_prorations"] * 2
    assert [one["params"]["metadata"]["overage"] for one in updates] == ["on", "off"]
    assert last(shop, workspace, "OverageEnabled")["stripe_request_id"].startswith("req_")
    settle(shop)
    assert stripe_invoices(shop, workspace) == before
    at(shop, FINAL)
    assert stripe_invoices(shop, workspace)[0]["total"] == 1000


def test_s66_overage_is_rounded_once_and_itemised_by_bot(shop: Sandboxed) -> None:
    workspace = with_overage(shop, "pro", 5_000)
    for bot, credits in (("b1", 60), ("b2", 41), ("b3", 22)):
        spend(shop, workspace, credits, bot)
    at(shop, END)
    at(shop, FINAL)

    renewal = stripe_invoices(shop, workspace)[0]
    assert overage_lines(shop, renewal["id"]) == [90, 61, 33]
    assert renewal["total"] == 4000 + 184
    closed = last(shop, workspace, "CycleClosed")
    assert sum(line["amount_minor"] for line in closed["overage"]) == 184
    said = [one["description"] for one in lines_of(shop, renewal["id"])]
    assert any(
        "60 ai credits" in text and "0.015" in text and "bot b1" in text and "2026-06-01" in text
        for text in said
    )
    told = shop.app.get(f"/v1/billing/invoices/{renewal['id']}", workspace)
    kinds = sorted(line["kind"] for line in told["lines"])
    assert kinds == ["overage", "overage", "overage", "plan"]
    assert sum(line["amount_minor"] for line in told["lines"]) == told["total_minor"] == 4184


def test_two_prices_in_one_cycle_are_two_lines(shop: Sandboxed) -> None:
    workspace = with_overage(shop, "starter", 1_000)
    spend(shop, workspace, 10, "b1")
    at(shop, "2026-06-16T00:00:00Z")
    change(shop, workspace, "pro")
    spend(shop, workspace, 4_000)
    spend(shop, workspace, 100, "b1")
    at(shop, END)
    at(shop, FINAL)

    lines = last(shop, workspace, "CycleClosed")["overage"]
    seen = {(one["plan_id"], one["unit_price"]): one["units"] for one in lines}
    assert seen == {("starter", 20_000): 10, ("pro", 15_000): 100}
    renewal = stripe_invoices(shop, workspace)[0]
    assert sum(overage_lines(shop, renewal["id"])) == 20 + 150


def test_s67_the_draft_gets_its_lines_once(shop: Sandboxed) -> None:
    workspace = with_overage(shop, "starter", 1_000)
    for bot in ("b1", "b2"):
        spend(shop, workspace, 10, bot)
    shop.to(END)
    created = events_of(shop, "invoice.created")[-1:]
    with ThreadPoolExecutor(2) as two:
        list(two.map(lambda _: shop.sandbox.control.deliver(created), range(2)))
    shop.sandbox.control.deliver(created)
    settle(shop)
    at(shop, FINAL)

    renewal = stripe_invoices(shop, workspace)[0]
    assert overage_lines(shop, renewal["id"]) == [20, 20]
    assert renewal["total"] == 1040
    assert happened(shop, workspace).count("OverageInvoiced") == 1
    assert happened(shop, workspace).count("CycleOpened") == 1


def test_s69_the_last_cycles_overage_gets_an_invoice_of_its_own(shop: Sandboxed) -> None:
    workspace = with_overage(shop, "starter", 1_000)
    spend(shop, workspace, 10)
    done(shop.app.post("/v1/billing/subscription/cancel", {}, workspace), 200)
    at(shop, END)
    at(shop, "2026-07-01T02:00:00Z")

    final = stripe_invoices(shop, workspace)[0]
    assert (final["billing_reason"], final["total"]) == ("manual", 20)
    assert final["status"] != "draft"
    seen = subscription(shop, workspace)
    assert (seen["plan"], seen["overage_enabled"]) == ("free", False)
    told = happened(shop, final["id"], "invoice")
    assert "InvoiceFinalized" in told


@pytest.mark.scenario("S68")
def test_overage_whose_draft_is_final_already_gets_an_invoice_of_its_own(shop: Sandboxed) -> None:
    workspace = with_overage(shop, "starter", 1_000)
    spend(shop, workspace, 100)
    shop.to("2026-07-01T03:00:00Z")  # and no webhook came
    settle(shop)

    own, renewal = stripe_invoices(shop, workspace)[:2]
    assert (renewal["billing_reason"], renewal["total"]) == ("subscription_cycle", 1000)
    assert (own["total"], overage_lines(shop, own["id"])) == (200, [200])
    settle(shop)
    assert len(stripe_invoices(shop, workspace)) == 3


def test_unpaid_overage_makes_past_due_like_the_renewal(shop: Sandboxed) -> None:
    workspace = with_overage(shop, "starter", 1_000)
    spend(shop, workspace, 100)
    shop.to("2026-07-01T03:00:00Z")  # the renewal is paid, and we have not heard of it
    replace_card(shop, workspace, "pm_card_chargeCustomerFail")
    at(shop, "2026-07-01T05:00:00Z")

    assert status(shop.app, workspace)["status"] == "past_due"


@pytest.mark.parametrize("told", ["in order", "of its end first"])
def test_a_draft_that_was_thrown_away_is_listed_no_more(shop: Sandboxed, told: str) -> None:
    workspace = with_overage(shop, "starter", 1_000)
    spend(shop, workspace, 50)
    done(shop.app.post("/v1/billing/subscription/cancel", {}, workspace), 200)
    shop.to(END)
    shop.sandbox.control.script(
        {"path": "/v1/invoices/{id}/finalize", "fault": "error", "times": 99}
    )
    deliver(shop, "customer.subscription.deleted")
    shop.tick()
    draft = stripe_invoices(shop, workspace)[0]
    assert (draft["status"], draft["total"]) == ("draft", 100)
    url = f"{shop.sandbox.url}/v1/invoices/{draft['id']}"
    if told == "in order":
        deliver(shop, "invoice.created")
        assert draft["id"] in listed(shop, workspace)

    assert httpx.delete(url, auth=(KEY, ""), trust_env=False).status_code == 200
    deliver(shop, "invoice.deleted")
    settle(shop)

    assert draft["id"] not in listed(shop, workspace)
    gone = shop.app.call("GET", f"/v1/billing/invoices/{draft['id']}", workspace=workspace)
    refused(gone, 404, "not_found")
    assert happened(shop, draft["id"], "invoice") == ["InvoiceDrafted", "InvoiceDeleted"]
    assert shop.app.get("/v1/audit/compare")["differences"] == []


def listed(shop: Sandboxed, workspace: str) -> list[str]:
    """The ids of the workspace's invoices."""
    seen = shop.app.get("/v1/billing/invoices", workspace, consistency="strong")
    return [one["id"] for one in seen["data"]]


def test_s95_a_cycle_ends_even_if_nobody_looks(shop: Sandboxed) -> None:
    workspace = subscribed(shop, "starter")
    spend(shop, workspace, 1_000)
    shop.to("2026-06-30T23:59:59Z")
    refused(generate(shop.app, workspace, 1_000), 402, "ai_credits_exhausted")
    shop.to(END)
    done(generate(shop.app, workspace, 1_000))
    settle(shop)
    at(shop, FINAL)

    opened = [one["data"] for one in events(shop, workspace) if one["type"] == "CycleOpened"]
    assert [one["trigger"] for one in opened] == ["inline"]
    assert subscription(shop, workspace)["current_period_start"] == END


def test_month_ends_are_counted_from_the_first_day(shop: Sandboxed) -> None:
    at(shop, "2027-01-31T10:00:00Z")
    workspace = subscribed(shop, "starter")
    ends = []
    for now in ("2027-02-28T10:00:00Z", "2027-03-31T10:00:00Z", "2027-04-30T10:00:00Z"):
        ends.append(subscription(shop, workspace)["current_period_end"])
        at(shop, now)
    assert ends == ["2027-02-28T10:00:00Z", "2027-03-31T10:00:00Z", "2027-04-30T10:00:00Z"]
    cycles = [one["data"] for one in events(shop, workspace) if one["type"] == "CycleOpened"]
    assert [one["period_end"] for one in cycles[:-1]] == [one["period_start"] for one in cycles[1:]]
    assert "StripeSubscriptionSynced" not in happened(shop, workspace)


def test_a_refunded_invoice_says_how_much_was_given_back(shop: Sandboxed) -> None:
    workspace = subscribed(shop, "starter")
    books = shop.sandbox.books
    assert books is not None
    [charge] = [one for one in books.find("charge") if one["amount"] == 1000]
    url = f"{shop.sandbox.url}/v1/refunds"
    for amount in ("300", "200"):
        told = {"charge": charge["id"], "amount": amount}
        httpx.post(url, data=told, auth=(KEY, "")).raise_for_status()
        settle(shop)

    [invoice] = stripe_invoices(shop, workspace)
    refunds = [
        one["data"]["cumulative"]
        for one in events(shop, invoice["id"], "invoice")
        if one["type"] == "InvoiceRefunded"
    ]
    assert refunds[-1] == 500
    assert shop.app.get(f"/v1/billing/invoices/{invoice['id']}", workspace)["status"] == "paid"
