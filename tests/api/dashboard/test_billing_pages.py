"""The Billing page and Stripe's hosted pages in a real browser, against a real sandbox."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, expect

from adapters.postgres.database import Database
from tests.api.dashboard.browsing import CHROMIUM, Visit, chromium
from tests.api.deployments import deployed
from tests.api.sandboxed import Sandboxed, sandboxed

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"there is no browser at {CHROMIUM}"),
]

SOON = 20_000  # ms: webhooks, the inbox and the read models lie between an act and the page
REFUSED_PAGE = re.compile(r"status of 40[0-9]")


class Payer(Visit):
    """Somebody at the Billing page, who is sent to Stripe's pages and comes back."""

    def __init__(self, browser: Browser, url: str, stripe: str) -> None:
        self.stripe = urlsplit(stripe).netloc
        super().__init__(browser, url)

    def _note_origin(self, address: str) -> None:
        if urlsplit(address).netloc != self.stripe:
            super()._note_origin(address)

    def _note(self, kind: str, text: str) -> None:
        if not REFUSED_PAGE.search(text):  # a refusal is a page with its status
            super()._note(kind, text)

    def billing(self, box: Sandboxed, workspace: str, *scopes: str) -> None:
        """Sign in, and go to the Billing page of the workspace."""
        key = box.app.key(*(scopes or ("billing:read", "billing:write")), workspace_id=workspace)
        self.sign_in(key)
        self.page.get_by_role("link", name="Billing").click()
        expect(self.page.get_by_role("heading", name="Credits")).to_be_visible()

    def press(self, name: str) -> None:
        """A button of the page."""
        self.page.get_by_role("button", name=name, exact=True).click()

    def pay_with(self, number: str, button: str) -> None:
        """Type a card's number on a page of Stripe's, and go on."""
        self.page.get_by_label("Card number").fill(number)
        self.press(button)

    def save_card(self, number: str = "4242424242424242") -> None:
        """From the Billing page to Stripe's, and back with the card saved."""
        self.press("Save a card")
        expect(self.page.get_by_text("no money moves")).to_be_visible()
        self.pay_with(number, "Save card")
        expect(self["#card"]).to_contain_text(number[-4:], timeout=SOON)

    def expect_balance(self, text: str) -> None:
        """The balance, once it is there."""
        for _ in range(SOON // 500):
            if self["#balance-figure"].inner_text() == text:
                return
            self.page.wait_for_timeout(500)
            self.page.reload()
        expect(self["#balance-figure"]).to_have_text(text)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture
def box(database: Database) -> Iterator[Sandboxed]:
    with sandboxed(database, following=True) as made:
        made.to("2026-06-01T00:00:00Z")
        yield made


@pytest.fixture
def flarex(database: Database) -> Iterator[Sandboxed]:
    with sandboxed(database, "flarex", following=True) as made:
        made.to("2026-06-01T00:00:00Z")
        yield made


@pytest.fixture
def visit(box: Sandboxed, browser: Browser) -> Iterator[Payer]:
    made = Payer(browser, box.app.url, box.sandbox.url)
    yield made
    made.context.close()
    assert made.faults == []


def test_a_card_is_saved_at_stripe_and_then_pays_for_credits(box: Sandboxed, visit: Payer) -> None:
    workspace = box.app.workspace("5.00")
    visit.billing(box, workspace)
    expect(visit["#card"]).to_have_text("None")
    visit.save_card()
    visit["#amount"].fill("20.00")
    visit.press("Add credits")
    expect(visit["#done"]).to_contain_text("have been added")
    expect(visit["#balance-figure"]).to_have_text("$25.00")
    expect(visit["#invoices"]).to_contain_text("$20.00", timeout=SOON)


def test_a_decline_is_said_plainly_and_charges_nothing(box: Sandboxed, visit: Payer) -> None:
    workspace = box.app.workspace("5.00")
    visit.billing(box, workspace)
    visit.save_card("4000000000000341")
    visit.press("Add credits")
    expect(visit["#refused"]).to_contain_text("The card was declined. Nothing was charged.")
    expect(visit["#balance-figure"]).to_have_text("$5.00")


def test_a_bank_that_asks_who_it_is_is_answered_and_the_credit_comes_once(
    box: Sandboxed, visit: Payer
) -> None:
    workspace = box.app.workspace("5.00")
    visit.billing(box, workspace)
    visit.press("Save a card")
    visit.pay_with("4000002760003184", "Save card")
    visit.press("Complete authentication")
    expect(visit["#card"]).to_contain_text("3184", timeout=SOON)
    visit["#amount"].fill("10.00")
    visit.press("Add credits")
    expect(visit["#refused"]).to_contain_text("The bank asks whether it is you")
    visit["#onward"].click()
    expect(visit.page.get_by_text("$10.00")).to_be_visible()
    visit.press("Complete authentication")
    visit.expect_balance("$15.00")
    box.tick()
    assert box.app.balance(workspace) == 15_000_000


def test_a_card_refused_at_checkout_can_be_followed_by_another(
    box: Sandboxed, visit: Payer
) -> None:
    workspace = box.app.workspace()
    visit.billing(box, workspace)
    visit.press("Save a card")
    visit.pay_with("4000000000000002", "Save card")
    expect(visit.page.get_by_role("alert")).to_contain_text("declined")
    visit.page.get_by_role("button", name=re.compile("Mastercard, succeeds")).click()
    expect(visit["#card"]).to_contain_text("4444", timeout=SOON)


def test_who_leaves_checkout_is_back_without_a_card(box: Sandboxed, visit: Payer) -> None:
    workspace = box.app.workspace()
    visit.billing(box, workspace)
    visit.press("Save a card")
    visit.page.get_by_role("link", name="Cancel and go back").click()
    expect(visit["#card"]).to_have_text("None")


def test_automatic_top_up_is_ordered_and_charges_when_credit_runs_low(
    box: Sandboxed, visit: Payer
) -> None:
    workspace = box.app.workspace("5.01")
    visit.billing(box, workspace)
    visit.save_card()
    visit["#auto"].get_by_label("Top up by itself").check()
    visit["#threshold"].fill("5.00")
    visit["#auto-amount"].fill("20.00")
    visit.press("Save automatic top-up")
    expect(visit["#done"]).to_contain_text("has been saved")
    expect(visit["#auto"].get_by_label("Top up by itself")).to_be_checked()
    box.app.charge(workspace, llm_model="gpt-5.4-mini", tokens={"input": 80_000})
    visit.expect_balance("$24.989")


def test_the_portal_replaces_and_removes_the_card(box: Sandboxed, visit: Payer) -> None:
    workspace = box.app.workspace()
    visit.billing(box, workspace)
    visit.save_card()
    visit.press("Manage billing")
    expect(visit.page.get_by_role("heading", name="Your billing")).to_be_visible()
    visit["#add-card"].click()
    visit.pay_with("5555555555554444", "Save card")
    visit.page.get_by_role("button", name="Remove the card ending in 4242").click()
    expect(visit.page.get_by_role("status")).to_contain_text("removed")
    visit.page.get_by_role("link", name="Return").click()
    expect(visit["#card"]).to_contain_text("4444", timeout=SOON)


def test_a_key_that_may_only_look_changes_nothing(box: Sandboxed, visit: Payer) -> None:
    workspace = box.app.workspace("5.00")
    visit.billing(box, workspace, "billing:read")
    visit.press("Save a card")
    expect(visit["#refused"]).to_contain_text("may look, but not change")


def test_a_form_of_another_site_is_refused(box: Sandboxed) -> None:
    workspace = box.app.workspace("5.00")
    key = box.app.key("billing:read", "billing:write", workspace_id=workspace)
    where = f"/w/{workspace}/billing/topup"
    headers = {"Origin": "http://evil.example", "Cookie": f"daybook_session={key}"}
    answer = box.app.http.post(where, data={"amount_usd": "20.00"}, headers=headers)
    assert answer.status_code == 403
    assert box.app.balance(workspace) == 5_000_000


def test_a_form_that_is_sent_twice_charges_once(box: Sandboxed) -> None:
    workspace = box.app.workspace("5.00")
    key = box.app.key("billing:read", "billing:write", workspace_id=workspace)
    setup = box.app.call("POST", "/v1/billing/card-setup", {}, workspace=workspace).json()
    box.sandbox.control.post(f"/checkout/{setup['session_id']}", card="4242424242424242")
    box.tick()
    headers = {"Origin": box.app.url, "Cookie": f"daybook_session={key}"}
    form = {"amount_usd": "20.00", "key": "0123456789abcdef"}
    for _ in range(2):
        where = f"/w/{workspace}/billing/topup"
        answer = box.app.http.post(where, data=form, headers=headers)
        assert (answer.status_code, answer.headers["location"][-10:]) == (303, "done=topup")
    assert box.app.balance(workspace) == 25_000_000


def test_another_workspaces_billing_is_not_there(box: Sandboxed) -> None:
    mine, theirs = box.app.workspace(), box.app.workspace()
    key = box.app.key("billing:read", "billing:write", workspace_id=mine)
    headers = {"Origin": box.app.url, "Cookie": f"daybook_session={key}"}
    assert box.app.http.get(f"/w/{theirs}/billing", headers=headers).status_code == 404
    answer = box.app.http.post(f"/w/{theirs}/billing/card", headers=headers)
    assert answer.status_code == 404


def test_a_free_workspace_subscribes_changes_its_plan_and_cancels(
    flarex: Sandboxed, browser: Browser
) -> None:
    workspace = flarex.app.workspace()
    visit = Payer(browser, flarex.app.url, flarex.sandbox.url)
    visit.billing(flarex, workspace)
    expect(visit["#plan"]).to_have_text("free")
    visit.page.get_by_role("button", name="Subscribe to starter").click()
    expect(visit["#total"]).to_contain_text("$10.00")
    visit.pay_with("4242424242424242", "Subscribe $10.00")
    expect(visit["#plan"]).to_have_text("starter", timeout=SOON)

    flarex.to("2026-06-16T00:00:00Z")
    visit.page.get_by_role("button", name="Change to pro").click()
    expect(visit["#due"]).to_contain_text("$15.00")
    expect(visit["#next"]).to_have_text("$40.00")
    visit.press("Confirm the change")
    expect(visit["#plan"]).to_have_text("pro", timeout=SOON)
    expect(visit["#done"]).to_contain_text("has been changed")

    visit.press("Switch overage on")
    expect(visit["#overage"]).to_contain_text("On.")

    visit.page.get_by_role("button", name="Change to starter").click()
    expect(visit["#due"]).to_contain_text("$0.00")
    visit.press("Confirm the change")
    expect(visit["#scheduled"]).to_contain_text("starter on 1 Jul 2026")
    visit.press("Keep pro")
    expect(visit["#scheduled"]).to_have_count(0)

    visit.press("Cancel plan")
    expect(visit["#ends"]).to_contain_text("1 Jul 2026")
    visit.press("Don't cancel")
    expect(visit["#ends"]).to_have_count(0)
    expect(visit["#invoices"].get_by_role("row")).to_have_count(3)
    link = visit["#invoices"].get_by_role("link", name="PDF").first.get_attribute("href")
    assert visit.page.request.get(str(link)).body().startswith(b"%PDF")
    visit.context.close()
    assert visit.faults == []


def test_an_unpaid_renewal_shows_a_banner_that_leads_to_a_new_card(
    flarex: Sandboxed, browser: Browser
) -> None:
    workspace = flarex.app.workspace()
    visit = Payer(browser, flarex.app.url, flarex.sandbox.url)
    visit.billing(flarex, workspace)
    visit.page.get_by_role("button", name="Subscribe to starter").click()
    visit.pay_with("4242424242424242", "Subscribe $10.00")
    expect(visit["#plan"]).to_have_text("starter", timeout=SOON)
    customer = flarex.sandbox.control.requests("POST", "/v1/checkout/sessions")[-1]
    spoilt(flarex, customer["params"]["customer"])
    flarex.to("2026-07-01T02:00:00Z")
    flarex.tick()
    visit.page.reload()
    expect(visit["#past-due"]).to_be_visible()
    visit["#past-due"].get_by_role("button").click()
    visit.pay_with("5555555555554444", "Save card")
    visit.page.get_by_role("link", name=re.compile("-0002$")).click()
    expect(visit["#status"]).to_have_text("open")
    visit.pay_with("4242424242424242", "Pay $10.00")
    expect(visit["#status"]).to_have_text("paid")
    flarex.tick()
    visit.page.goto(f"/w/{workspace}/billing")
    expect(visit["#card"]).to_contain_text("4444")
    expect(visit["#past-due"]).to_have_count(0)
    visit.context.close()
    assert visit.faults == []


def spoilt(box: Sandboxed, customer: str) -> None:
    """From now on the customer's subscription is charged to a card that is refused."""
    card = box.sandbox.control.card(customer, "pm_card_chargeCustomerFail")
    books = box.sandbox.books
    assert books is not None
    with books.transaction():
        for subscription in books.find("subscription", customer=customer):
            books.put(subscription | {"default_payment_method": card["id"]})


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where a database server may keep its data."""
    from tests.conftest import _new_state

    made = _new_state()
    yield made
    shutil.rmtree(made, ignore_errors=True)


def test_what_scripts_run_starts_has_all_of_it(browser: Browser, folder: Path) -> None:
    with deployed(folder, "--empty") as started:
        workspace = started.call("POST", "/v1/workspaces", {"name": "Acme"})["workspace_id"]
        visit = Payer(browser, started.url, started.line["stripe"]["url"])
        visit.sign_in(str(started.line["admin_key"]))
        visit.page.goto(f"/w/{workspace}/billing")
        visit.save_card()
        visit.press("Add credits")
        visit.expect_balance("$20.00")
        visit.context.close()
        assert visit.faults == []
