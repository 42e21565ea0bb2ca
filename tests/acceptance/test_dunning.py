"""Spec 8.10: unpaid invoices, the grace, and recovery; over HTTP against the sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from adapters.postgres.database import Database
from tests.acceptance.paying import deliver, events_of, settle
from tests.acceptance.spending import done, put, refused
from tests.acceptance.subscribing import (
    at,
    change,
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
from tests.acceptance.workspaces import deploy, status
from tests.api.sandboxed import KEY, Sandboxed, event, sandboxed, send

FAILS = "pm_card_chargeCustomerFail"
END, FAILED, GRACE = "2026-07-01T00:00:00Z", "2026-07-01T01:00:00Z", "2026-07-04T01:00:00Z"


@pytest.fixture
def shop(database: Database) -> Iterator[Sandboxed]:
    """`flarex` with its sandbox, whose webhooks wait to be delivered."""
    with sandboxed(database, "flarex", mode="held") as both:
        yield both


def unpaid(shop: Sandboxed, plan: str = "starter", bots: int = 0) -> str:
    """A workspace whose renewal on 07-01 fails."""
    workspace = subscribed(shop, plan)
    with_bots(shop, workspace, bots)
    replace_card(shop, workspace, FAILS)
    at(shop, END)
    at(shop, FAILED)
    return workspace


def pay(shop: Sandboxed, invoice: str) -> None:
    """Somebody pays an invoice at Stripe with a card that works."""
    url = f"{shop.sandbox.url}/v1/invoices/{invoice}/pay"
    httpx.post(url, auth=(KEY, "")).raise_for_status()


def renewal(shop: Sandboxed, workspace: str, nth: int = 0) -> str:
    """The id of the workspace's newest (0), second newest, … renewal invoice."""
    found = stripe_invoices(shop, workspace)
    cycles = [one["id"] for one in found if one["billing_reason"] == "subscription_cycle"]
    return str(cycles[nth])


def banner(shop: Sandboxed, workspace: str) -> str:
    """The banner's level now."""
    return str(status(shop.app, workspace)["banner"]["level"])


def test_s81_deploys_go_on_for_the_grace_and_running_bots_for_ever(shop: Sandboxed) -> None:
    workspace = unpaid(shop, bots=2)

    seen = status(shop.app, workspace)
    assert (seen["status"], seen["banner"]["level"]) == ("past_due", "yellow")
    assert seen["grace"]["first_failed_at"] == FAILED
    assert seen["grace"]["ends_at"] == GRACE
    owed = subscription(shop, workspace)
    assert (owed["status"], owed["past_due"]["grace_ends_at"]) == ("past_due", GRACE)
    refused(preview(shop, workspace, "pro"), 409, "subscription_past_due")

    shop.to("2026-07-04T00:59:59Z")
    done(deploy(shop.app, workspace, "d1"), 200)
    shop.to(GRACE)
    refused(deploy(shop.app, workspace, "d2"), 402, "deploy_blocked_past_due")
    assert banner(shop, workspace) == "red"
    assert "BotPaused" not in happened(shop, workspace, "workspace")
    spend(shop, workspace, 14)


def test_s82_further_failures_never_move_the_grace(shop: Sandboxed) -> None:
    workspace = unpaid(shop)
    for later in ("2026-07-04T01:00:00Z", "2026-07-09T01:00:00Z"):
        at(shop, later)
    assert subscription(shop, workspace)["past_due"]["grace_ends_at"] == GRACE
    assert happened(shop, workspace).count("SubscriptionPastDue") == 1
    failures = [
        one
        for one in happened(shop, renewal(shop, workspace), "invoice")
        if one == "InvoicePaymentFailed"
    ]
    assert len(failures) == 3


@pytest.mark.parametrize(
    ("plan", "ends"), [("pro", "2026-07-08T01:00:00Z"), ("enterprise", "2026-07-15T01:00:00Z")]
)
def test_s83_the_plan_says_how_many_days(shop: Sandboxed, plan: str, ends: str) -> None:
    workspace = unpaid(shop, plan)
    assert status(shop.app, workspace)["grace"]["ends_at"] == ends


def test_s84_a_paid_invoice_ends_it_without_anybody(shop: Sandboxed) -> None:
    workspace = unpaid(shop, bots=1)
    at(shop, "2026-07-06T00:00:00Z")
    assert banner(shop, workspace) == "red"
    replace_card(shop, workspace, "pm_card_visa")
    pay(shop, renewal(shop, workspace))
    settle(shop)

    assert (status(shop.app, workspace)["status"], banner(shop, workspace)) == ("active", "none")
    assert happened(shop, workspace)[-1] == "SubscriptionRecovered"
    back = last(shop, workspace, "WorkspaceReactivated", "workspace")
    assert back["deploys_were_blocked"] is True
    done(deploy(shop.app, workspace, "d9"), 200)


def test_s85_a_failure_that_is_told_after_the_payment_is_history(shop: Sandboxed) -> None:
    workspace = subscribed(shop, "starter")
    replace_card(shop, workspace, FAILS)
    at(shop, END)
    shop.to(FAILED)
    failures = events_of(shop, "invoice.payment_failed")
    replace_card_silently(shop, workspace)
    shop.to("2026-07-01T02:00:00Z")
    pay(shop, renewal(shop, workspace))
    deliver(shop, "invoice.paid")
    shop.sandbox.control.deliver(failures)
    settle(shop)

    assert status(shop.app, workspace)["status"] == "active"
    told = happened(shop, renewal(shop, workspace), "invoice")
    assert told.count("InvoicePaymentFailed") == 1
    assert "SubscriptionPastDue" not in happened(shop, workspace)


@pytest.mark.scenario("S86")
def test_s86_an_earlier_failure_that_is_told_late_counts(shop: Sandboxed) -> None:
    workspace = subscribed(shop, "starter")
    replace_card(shop, workspace, FAILS)
    at(shop, END)
    shop.to(FAILED)
    [first] = events_of(shop, "invoice.payment_failed")
    shop.to("2026-07-04T01:00:00Z")
    second = [one for one in events_of(shop, "invoice.payment_failed") if one != first]
    shop.sandbox.control.deliver(second)
    assert subscription(shop, workspace)["past_due"]["grace_ends_at"] == "2026-07-07T01:00:00Z"

    shop.sandbox.control.deliver([first], times=2)
    settle(shop)
    assert subscription(shop, workspace)["past_due"]["grace_ends_at"] == GRACE
    assert last(shop, workspace, "DunningMoved")["reason"] == "earlier_failure_learned"
    assert happened(shop, workspace).count("DunningMoved") == 1


def test_s88_of_two_unpaid_invoices_the_older_one_counts(shop: Sandboxed) -> None:
    workspace = unpaid(shop, bots=1)
    at(shop, "2026-08-01T00:00:00Z")
    at(shop, "2026-08-01T01:00:00Z")
    assert subscription(shop, workspace)["past_due"]["unpaid_invoices"] == 2
    at(shop, "2026-08-02T00:00:00Z")
    replace_card_silently(shop, workspace)
    pay(shop, renewal(shop, workspace, 1))
    settle(shop)

    seen = status(shop.app, workspace)
    assert (seen["status"], seen["banner"]["level"]) == ("past_due", "yellow")
    assert seen["grace"]["ends_at"] == "2026-08-04T01:00:00Z"
    done(deploy(shop.app, workspace, "d1"), 200)
    pay(shop, renewal(shop, workspace))
    settle(shop)
    assert status(shop.app, workspace)["status"] == "active"


def test_s90_a_subscription_that_stripe_gives_up_pauses_no_bot(shop: Sandboxed) -> None:
    shop.sandbox.control.post("/billing", after_last="cancel")
    workspace = unpaid(shop, "pro", bots=10)
    for day in ("04", "09", "16"):
        at(shop, f"2026-07-{day}T01:00:00Z")

    ended = last(shop, workspace, "SubscriptionEnded")
    assert (ended["involuntary"], ended["reason"]) == (True, "payment_failed")
    assert subscription(shop, workspace)["plan"] == "free"
    assert "BotPaused" not in happened(shop, workspace, "workspace")
    refused(deploy(shop.app, workspace, "d1"), 402, "deploy_blocked_past_due")
    at(shop, "2026-09-01T00:00:00Z")
    assert "BotPaused" not in happened(shop, workspace, "workspace")


def test_s91_another_invoice_that_is_paid_changes_nothing(shop: Sandboxed) -> None:
    workspace = unpaid(shop)
    owed = renewal(shop, workspace)
    stripe_id = subscription(shop, workspace)["stripe_subscription_id"]
    other = invoice(shop, workspace, stripe_id, "in_other1", "subscription_update")
    done(send(shop.app, event("invoice.paid", other), at=shop.sandbox.control.now()), 200)
    top_up = invoice(shop, workspace, None, "in_other2", "manual")
    done(send(shop.app, event("invoice.paid", top_up), at=shop.sandbox.control.now()), 200)
    assert status(shop.app, workspace)["status"] == "past_due"

    void = f"{shop.sandbox.url}/v1/invoices/{owed}/void"
    httpx.post(void, auth=(KEY, "")).raise_for_status()
    settle(shop)
    assert status(shop.app, workspace)["status"] == "active"
    assert happened(shop, owed, "invoice")[-1] == "InvoiceVoided"


@pytest.mark.scenario("S110")
def test_s110_a_declined_upgrade_is_no_dunning(shop: Sandboxed) -> None:
    workspace = subscribed(shop, "starter")
    at(shop, "2026-06-16T00:00:00Z")
    replace_card(shop, workspace, FAILS)
    assert change(shop, workspace, "pro")["status"] == "pending_payment"
    settle(shop)
    assert status(shop.app, workspace)["status"] == "active"


def invoice(
    shop: Sandboxed, workspace: str, stripe_id: str | None, id: str, reason: str
) -> dict[str, Any]:
    """A paid invoice as a webhook shows it, of an id that the sandbox does not know."""
    [newest, *_] = stripe_invoices(shop, workspace)
    parent = newest["parent"] if stripe_id else None
    return newest | {
        "id": id,
        "billing_reason": reason,
        "status": "paid",
        "parent": parent,
        "metadata": {},
    }


def replace_card_silently(shop: Sandboxed, workspace: str) -> None:
    """As `replace_card` with one that works, but nothing is delivered."""
    books = shop.sandbox.books
    assert books is not None
    [customer] = books.find("customer", metadata__workspace_id=workspace)
    saved = shop.sandbox.control.card(customer["id"], "pm_card_visa")
    [one] = books.find("subscription", customer=customer["id"])
    books.put(one | {"default_payment_method": saved["id"]})


@pytest.mark.scenario("S90")
def test_s90_told_all_at_once_and_late_it_is_the_same_debt_and_the_same_way_out(
    shop: Sandboxed,
) -> None:
    shop.sandbox.control.post("/billing", after_last="cancel")
    workspace = subscribed(shop, "starter")
    replace_card(shop, workspace, FAILS)
    shop.to("2026-09-05T00:00:00Z")
    settle(shop)

    assert subscription(shop, workspace)["plan"] == "free"
    owed = subscription(shop, workspace)["past_due"]
    assert (owed["first_failed_at"], owed["unpaid_invoices"]) == (FAILED, 1)
    grace = status(shop.app, workspace)["grace"]
    assert (grace["first_failed_at"], grace["ends_at"], grace["days"]) == (FAILED, GRACE, 3)
    refused(deploy(shop.app, workspace, "d1"), 402, "deploy_blocked_past_due")

    replace_card_silently(shop, workspace)
    pay(shop, renewal(shop, workspace))
    settle(shop)
    assert banner(shop, workspace) == "none"
    done(deploy(shop.app, workspace, "d1"), 200)


def test_who_subscribes_anew_is_not_dunned_for_what_stripe_still_collects(
    shop: Sandboxed,
) -> None:
    shop.sandbox.control.post("/billing", after_last="cancel")
    workspace = unpaid(shop, "pro")
    put(shop.app, "/v1/billing/overage", {"enabled": True}, workspace)
    spend(shop, workspace, 5_200)
    for day in ("04", "09", "16"):
        at(shop, f"2026-07-{day}T01:00:00Z")
    at(shop, "2026-07-18T00:00:00Z")
    subscribe(shop, workspace, "starter")

    at(shop, "2026-07-30T00:00:00Z")  # by then the overage of Pro was asked for again

    own = stripe_invoices(shop, workspace)[1]
    assert (own["total"], own["status"]) == (300, "open")
    assert happened(shop, own["id"], "invoice").count("InvoicePaymentFailed") > 1
    assert (status(shop.app, workspace)["status"], banner(shop, workspace)) == ("active", "none")
    done(deploy(shop.app, workspace, "d1"), 200)
