"""The workspace's page of a product that is sold in plans: included units, overage, what may run,
and what is unpaid; in a real browser, against the sandbox of Stripe."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from adapters.postgres.database import Database
from tests.acceptance.spending import done, generate, put
from tests.acceptance.subscribing import at, replace_card, subscribed
from tests.api.dashboard.browsing import CHROMIUM, Visit, chromium
from tests.api.sandboxed import Sandboxed, sandboxed

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"there is no browser at {CHROMIUM}"),
]

SECOND = 1000  # ms


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for the module; every visit has a profile of its own."""
    with chromium() as running:
        yield running


@pytest.fixture
def shop(database: Database) -> Iterator[Sandboxed]:
    """`flarex` with its sandbox, whose webhooks wait to be delivered."""
    with sandboxed(database, "flarex", mode="held") as both:
        yield both


@pytest.fixture
def visit(shop: Sandboxed, browser: Browser) -> Iterator[Visit]:
    """A visit that must end without faults."""
    made = Visit(browser, shop.app.url)
    yield made
    made.context.close()
    assert made.faults == []


def open_page(shop: Sandboxed, visit: Visit, workspace: str) -> None:
    """The workspace's own people look at it."""
    visit.open(shop.app.key("billing:read", workspace_id=workspace))


@pytest.mark.scenario("S60")
def test_units_are_the_headline_where_they_pay_for_everything(
    shop: Sandboxed, visit: Visit
) -> None:
    workspace = subscribed(shop, "starter")
    put(shop.app, "/v1/billing/overage", {"enabled": True}, workspace)
    bot = {"bot_id": "b1", "name": "Support desk"}
    done(shop.app.post(f"/v1/workspaces/{workspace}/bots", bot))
    done(generate(shop.app, workspace, 995_000, bot_id="b1"))
    open_page(shop, visit, workspace)
    expect(visit["#balance-figure"]).to_have_text("5 of 1,000 left")
    expect(visit["#balance .beyond"]).to_contain_text(re.compile(r"Overage\s+\$0\.02 each"))
    expect(visit["#balance .limits"]).to_contain_text(re.compile(r"Active bots\s*1 of 3"))

    usage_id = done(generate(shop.app, workspace, 13_500))["usage_id"]

    # Without a reload: the headline, the overage, the chart, and where it went.
    expect(visit["#balance-figure"]).to_have_text("0 of 1,000 left", timeout=SECOND)
    expect(visit["#balance .beyond"]).to_contain_text(re.compile(r"\$0\.18\s*for 9"))
    expect(visit["#usage-total"]).to_have_text("1,009")
    expect(visit["#usage-calls"]).to_have_text("AI credits in 2 calls")
    expect(visit["#legend li"]).to_have_text(["Included", "Overage"])
    rows = visit["#breakdown-rows tbody tr"]
    expect(rows).to_have_count(2)
    expect(rows.nth(0)).to_contain_text(re.compile(r"Support desk\s*1\s*995,000\s*0\s*995\s*0"))
    expect(rows.nth(1)).to_contain_text(re.compile(r"\(none\)\s*1\s*13,500\s*0\s*5\s*9\s*0"))
    visit[f"#{usage_id} .why a"].click()
    expect(visit["dialog[open] .figure"]).to_contain_text("$0.180000")
    expect(visit["dialog[open] #conversion"]).to_have_text(
        "(13,500 + 0) tokens / 1,000 = 13.5 → 14 AI credits"
    )


def test_the_list_says_what_is_left_of_each_plan(shop: Sandboxed, visit: Visit) -> None:
    workspace = subscribed(shop, "starter")
    put(shop.app, "/v1/billing/overage", {"enabled": True}, workspace)
    done(generate(shop.app, workspace, 1_009_000))
    visit.sign_in(shop.app.admin_key)
    row = visit["table.tenants tbody tr"].filter(has_text="Acme")
    expect(row).to_contain_text(re.compile(r"starter\s*Open\s*0 of 1,000 AI credits\s*\$0\.18"))


@pytest.mark.scenario("S81")
def test_an_unpaid_invoice_is_a_banner_that_leads_to_the_card(
    shop: Sandboxed, visit: Visit
) -> None:
    workspace = subscribed(shop, "starter")
    replace_card(shop, workspace, "pm_card_chargeCustomerFail")
    open_page(shop, visit, workspace)
    expect(visit["#due"]).to_have_count(0)

    at(shop, "2026-07-01T00:00:00Z")
    at(shop, "2026-07-01T01:00:00Z")

    expect(visit["#due.warn"]).to_contain_text("deploys go on until 2026-07-04 01:00 UTC")
    link = visit["#due a"].get_attribute("href") or ""
    opened = shop.app.http.get(link)
    assert opened.status_code == 303
    assert opened.headers["location"].startswith(shop.sandbox.url)
    visit.page.goto("/")

    at(shop, "2026-07-04T01:00:00Z")

    visit.page.goto(f"/w/{workspace}")
    expect(visit["#due.stop"]).to_contain_text("new deploys are blocked")
