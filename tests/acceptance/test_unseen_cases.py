"""Cases whose numbers specification 8 leaves out, read from its rules: switches and holds, figures
that move, the order of a close, failures told late and twice, stale news, and the clock."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from adapters.postgres.database import Database
from tests.acceptance.paying import deliver, events_of, settle
from tests.acceptance.spending import done, generate, put, refused
from tests.acceptance.subscribing import (
    asked,
    at,
    change,
    confirm,
    events,
    happened,
    last,
    preview,
    replace_card,
    spend,
    stripe_invoices,
    subscribed,
    subscription,
    with_bots,
)
from tests.acceptance.test_dunning import pay, renewal, replace_card_silently, unpaid
from tests.acceptance.workspaces import bots, status
from tests.api.sandboxed import KEY, Sandboxed, sandboxed, send

CLOSE = ("CycleClosed", "PlanChanged", "CycleOpened")
FAILS = "pm_card_chargeCustomerFail"
HALF, END, FINAL = "2026-06-16T00:00:00Z", "2026-07-01T00:00:00Z", "2026-07-01T01:00:00Z"


@pytest.fixture
def shop(database: Database) -> Iterator[Sandboxed]:
    """`flarex` with its sandbox, whose webhooks wait to be delivered."""
    with sandboxed(database, "flarex", mode="held") as both:
        yield both


def switch(shop: Sandboxed, workspace: str, *, on: bool) -> Any:
    """Agree to overage, or end it; what is told then."""
    return put(shop.app, "/v1/billing/overage", {"enabled": on}, workspace)


def held(shop: Sandboxed, workspace: str, credits: int) -> str:
    """A hold for a call of so many credits."""
    body = {
        "meter": "chat_generation",
        "estimate": {"input_tokens": credits * 1_000, "max_output_tokens": 0},
    }
    return str(done(shop.app.post("/v1/usage/authorize", body, workspace), 201)["hold_id"])


def settled(shop: Sandboxed, workspace: str, hold: str, credits: int) -> dict[str, int]:
    """What a held call used: units by source."""
    told = done(generate(shop.app, workspace, credits * 1_000, hold_id=hold))
    return {draw["source"]: draw["units"] for draw in told["funding"]}


@pytest.mark.scenario("S62")
def test_s62_only_what_ran_while_the_switch_was_on_is_billed(shop: Sandboxed) -> None:
    workspace = subscribed(shop, "starter")
    spend(shop, workspace, 1_000)
    switch(shop, workspace, on=True)
    spend(shop, workspace, 10)
    told = switch(shop, workspace, on=False)
    assert (told["accrued_units"], str(told["accrued_usd"])) == (10, "0.2")
    refused(generate(shop.app, workspace, 1_000), 402, "ai_credits_exhausted")
    done(generate(shop.app, workspace, 7_000, mode="record"))
    assert switch(shop, workspace, on=True)["accrued_units"] == 10
    spend(shop, workspace, 5)
    at(shop, END)
    at(shop, FINAL)

    [line] = last(shop, workspace, "CycleClosed")["overage"]
    assert (line["units"], line["amount_minor"]) == (15, 30)
    assert stripe_invoices(shop, workspace)[0]["total"] == 1_030


@pytest.mark.scenario("S65")
def test_s65_a_call_is_paid_as_it_was_agreed_when_it_began(shop: Sandboxed) -> None:
    workspace = subscribed(shop, "starter")
    spend(shop, workspace, 995)
    before = held(shop, workspace, 14)
    switch(shop, workspace, on=True)
    assert settled(shop, workspace, before, 14) == {"allowance": 5, "absorbed": 9}
    during = held(shop, workspace, 14)
    switch(shop, workspace, on=False)
    assert settled(shop, workspace, during, 14) == {"overage": 14}
    at(shop, END)
    at(shop, FINAL)
    assert stripe_invoices(shop, workspace)[0]["total"] == 1_028


@pytest.mark.scenario("S72")
def test_s72_a_figure_that_moved_at_stripe_is_told_and_nothing_is_done(shop: Sandboxed) -> None:
    workspace = subscribed(shop, "starter")
    at(shop, HALF)
    quoted = done(preview(shop, workspace, "pro"), 200)
    assert quoted["amount_due_now_minor"] == 1_500
    books = shop.sandbox.books
    assert books is not None
    [customer] = books.find("customer", metadata__workspace_id=workspace)
    url = f"{shop.sandbox.url}/v1/customers/{customer['id']}"
    httpx.post(url, data={"balance": "-300"}, auth=(KEY, "")).raise_for_status()
    before = len(asked(shop, "POST", "/v1/subscriptions/"))

    problem = refused(confirm(shop, workspace, quoted["preview_id"]), 409, "preview_stale")

    assert problem["amount_due_now_minor"] == 1_200
    assert len(asked(shop, "POST", "/v1/subscriptions/")) == before
    assert subscription(shop, workspace)["plan"] == "starter"
    again = done(preview(shop, workspace, "pro"), 200)
    assert again["amount_due_now_minor"] == 1_200
    assert done(confirm(shop, workspace, again["preview_id"]), 200)["charged_minor"] == 1_200


@pytest.mark.scenario("S77")
def test_s77_overage_before_a_downgrade_is_billed_at_the_old_rate(shop: Sandboxed) -> None:
    workspace = subscribed(shop, "pro")
    with_bots(shop, workspace, 4)
    switch(shop, workspace, on=True)
    spend(shop, workspace, 5_100)
    change(shop, workspace, "starter")
    at(shop, END)
    spend(shop, workspace, 1_010)
    at(shop, FINAL)

    [line] = last(shop, workspace, "CycleClosed")["overage"]
    assert (line["plan_id"], line["unit_price"], line["amount_minor"]) == ("pro", 15_000, 150)
    renewed = stripe_invoices(shop, workspace)[0]
    assert renewed["total"] == 1_000 + 150
    told = shop.app.get("/v1/billing/overage", workspace)
    assert (str(told["unit_price_usd"]), told["accrued_units"]) == ("0.02", 10)
    close = [
        one["type"]
        for one in events(shop, workspace)
        if one["type"] in ("CycleClosed", "CycleOpened", "PlanChanged")
    ]
    assert close[-3:] == list(CLOSE)
    account = happened(shop, workspace, "credit_account")
    first = account.index("OverageSettled")
    assert account[first : first + 4] == [
        "OverageSettled",
        "AllowanceClosed",
        "SpendPolicySet",
        "AllowanceGranted",
    ]
    assert happened(shop, workspace, "workspace")[-2:] == ["LimitsChanged", "BotPaused"]


@pytest.mark.scenario("S78")
def test_s78_an_upgrade_back_lifts_the_plans_pauses_only(shop: Sandboxed) -> None:
    workspace = subscribed(shop, "pro")
    names = with_bots(shop, workspace, 10)
    done(shop.app.call("POST", f"/v1/workspaces/{workspace}/bots/b02/pause"), 200)
    change(shop, workspace, "starter")
    at(shop, END)
    at(shop, FINAL)
    assert bots(shop.app, workspace) == ["b01", "b03", "b04"]

    assert change(shop, workspace, "pro")["status"] == "applied"
    settle(shop)

    assert bots(shop.app, workspace) == [name for name in names if name != "b02"]
    resumed = [
        one["data"]["by"]
        for one in events(shop, workspace, "workspace")
        if one["type"] == "BotResumed"
    ]
    assert resumed == ["upgrade"] * 6


@pytest.mark.scenario("S87")
def test_s87_the_same_failure_twice_and_a_stale_one_count_once(shop: Sandboxed) -> None:
    workspace = unpaid(shop)
    owed = renewal(shop, workspace)
    books = shop.sandbox.books
    assert books is not None
    [failure] = books.find("event", type="invoice.payment_failed")
    ends = subscription(shop, workspace)["past_due"]["grace_ends_at"]
    count = happened(shop, owed, "invoice").count("InvoicePaymentFailed")
    again = failure | {"data": {"object": failure["data"]["object"] | {"attempt_count": 1}}}
    other = again | {"id": "evt_later1", "created": failure["created"] + 86_400}
    for told in (failure, failure, other):
        send_event(shop, told)

    assert subscription(shop, workspace)["past_due"]["grace_ends_at"] == ends
    assert happened(shop, owed, "invoice").count("InvoicePaymentFailed") == count + 1
    assert happened(shop, workspace).count("SubscriptionPastDue") == 1
    assert "DunningMoved" not in happened(shop, workspace)

    at(shop, "2026-07-02T00:00:00Z")
    replace_card_silently(shop, workspace)
    pay(shop, owed)
    settle(shop)
    send_event(shop, other | {"id": "evt_stale1", "created": failure["created"] + 60})
    assert status(shop.app, workspace)["status"] == "active"
    assert happened(shop, workspace)[-1] == "SubscriptionRecovered"


def send_event(shop: Sandboxed, told: dict[str, Any]) -> None:
    """Deliver an event of Stripe's as it stands."""
    body = json.dumps(told).encode()
    done(send(shop.app, body, at=shop.sandbox.control.now()), 200)


@pytest.mark.scenario("S109")
def test_s109_news_that_is_older_than_what_is_known_changes_nothing(shop: Sandboxed) -> None:
    workspace = subscribed(shop, "starter")
    at(shop, HALF)
    done(shop.app.post("/v1/billing/subscription/cancel", {}, workspace), 200)
    [cancelled] = events_of(shop, "customer.subscription.updated")
    done(shop.app.post("/v1/billing/subscription/resume", {}, workspace), 200)
    change(shop, workspace, "pro")
    newer = [one for one in events_of(shop, "customer.subscription.updated") if one != cancelled]
    shop.sandbox.control.deliver(newer)
    before = happened(shop, workspace)

    shop.sandbox.control.deliver([cancelled], times=2)
    settle(shop)

    assert happened(shop, workspace) == before
    seen = subscription(shop, workspace)
    assert (seen["plan"], seen["cancel_at"], seen["status"]) == ("pro", None, "active")
    deliver(shop)


@pytest.mark.scenario("S110")
def test_s110_an_upgrade_that_is_declined_and_then_fails_the_renewal_is_dunned_for_that_only(
    shop: Sandboxed,
) -> None:
    workspace = subscribed(shop, "starter")
    at(shop, HALF)
    replace_card(shop, workspace, FAILS)
    assert change(shop, workspace, "pro")["status"] == "pending_payment"
    settle(shop)
    assert subscription(shop, workspace)["past_due"] is None
    at(shop, END)
    at(shop, FINAL)
    assert status(shop.app, workspace)["grace"]["first_failed_at"] == FINAL
    assert happened(shop, workspace).count("SubscriptionPastDue") == 1


@pytest.mark.scenario("S112")
def test_s112_plans_do_not_change_while_something_is_unpaid(shop: Sandboxed) -> None:
    workspace = subscribed(shop, "starter")
    replace_card(shop, workspace, FAILS)
    shop.to(END)
    early = done(preview(shop, workspace, "pro"), 200)
    settle(shop)
    at(shop, FINAL)
    for plan in ("pro", "free"):
        refused(preview(shop, workspace, plan), 409, "subscription_past_due")
    late = confirm(shop, workspace, early["preview_id"])
    assert late.status_code == 409
    assert late.json()["code"] in ("subscription_past_due", "preview_stale")
    refused(
        shop.app.post("/v1/billing/checkout?plan=pro", {}, workspace), 409, "already_subscribed"
    )
    spend(shop, workspace, 1)
    assert switch(shop, workspace, on=True)["enabled"] is True
    assert subscription(shop, workspace)["plan"] == "starter"

    replace_card_silently(shop, workspace)
    pay(shop, renewal(shop, workspace))
    settle(shop)
    assert done(preview(shop, workspace, "pro"), 200)["direction"] == "upgrade"


@pytest.mark.scenario("S92")
def test_s92_the_clock_goes_forward_and_knows_its_offset(shop: Sandboxed) -> None:
    for wrong in ("2026-06-10T00:00:00", "yesterday", 1_781_568_000, None):
        refused(shop.app.post("/v1/test/clock", {"now": wrong}), 422, "validation_error")
    workspace = subscribed(shop, "starter")
    naive = generate(shop.app, workspace, 1_000, occurred_at="2026-06-01T00:00:00")
    refused(naive, 422, "validation_error")
    at(shop, "2028-02-29T12:00:00+02:00")
    back = shop.app.post("/v1/test/clock", {"now": "2028-02-29T09:59:59Z"})
    assert back.status_code in (409, 422), back.text
    leap = subscribed(shop, "starter")
    ends = []
    for now in ("2028-03-29T10:00:00Z", "2028-04-29T10:00:00Z"):
        ends.append(subscription(shop, leap)["current_period_end"])
        at(shop, now)
    assert ends == ["2028-03-29T10:00:00Z", "2028-04-29T10:00:00Z"], "summer time moves nothing"
    for _ in range(10):
        end = subscription(shop, leap)["current_period_end"]
        at(shop, end)
    assert subscription(shop, leap)["current_period_end"] == "2029-03-29T10:00:00Z"
    cycles = [
        one["data"]["period_end"] for one in events(shop, leap) if one["type"] == "CycleOpened"
    ]
    assert "2029-02-28T10:00:00Z" in cycles


@pytest.mark.scenario("S112")
def test_s112_what_is_unpaid_at_stripe_is_unpaid_though_nobody_told_us(shop: Sandboxed) -> None:
    """A19 by the state of the object, not by the arrival of its webhook."""
    workspace = subscribed(shop, "pro")
    replace_card(shop, workspace, FAILS)
    shop.to(END)
    early = [done(preview(shop, workspace, plan), 200) for plan in ("enterprise", "starter")]
    shop.to("2026-07-01T00:14:59Z")
    [draft] = [one for one in stripe_invoices(shop, workspace) if one["status"] == "draft"]
    url = f"{shop.sandbox.url}/v1/invoices/{draft['id']}"
    httpx.post(f"{url}/finalize", auth=(KEY, "")).raise_for_status()
    httpx.post(f"{url}/pay", auth=(KEY, ""))
    replace_card_silently(shop, workspace)

    for quote in early:
        refused(confirm(shop, workspace, quote["preview_id"]), 409, "subscription_past_due")
    refused(preview(shop, workspace, "enterprise"), 409, "subscription_past_due")

    assert subscription(shop, workspace)["scheduled_change"] is None
    assert all(one["total"] == 4_000 for one in stripe_invoices(shop, workspace))
    settle(shop)
    assert status(shop.app, workspace)["grace"]["days"] == 7
