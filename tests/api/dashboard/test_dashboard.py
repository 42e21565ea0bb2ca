"""The dashboard in a real browser, on the real application, its runner and its database."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import psycopg
import pytest
from playwright.sync_api import Browser, expect
from playwright.sync_api import Error as BrowserError

from adapters.postgres import keys
from tests.api.conftest import Served, until
from tests.api.dashboard.browsing import CHROMIUM, Visit, chromium

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"there is no browser at {CHROMIUM}"),
]

SECOND = 1000  # ms
S03: dict[str, Any] = {"tokens": {"input": 12345, "output": 678}}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for the module; every visit has a profile of its own."""
    with chromium() as running:
        yield running


@pytest.fixture
def visit(app: Served, browser: Browser, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """A visit that must end without faults, unless the test takes them out."""
    made = Visit(browser, app.url, **getattr(request, "param", {}))
    yield made
    made.context.close()
    assert made.faults == []


def key_of(app: Served, workspace: str) -> str:
    """What the workspace's own people sign in with."""
    return app.key("billing:read", workspace_id=workspace)


def charged(app: Served, workspace: str, **changes: Any) -> str:
    """The usage_id of a charge that was accepted."""
    response = app.charge(workspace, **changes)
    assert response.status_code == 201, response.text
    return str(response.json()["usage_id"])


def test_a_workspaces_key_leads_to_its_balance_and_what_it_is_made_of(
    app: Served, visit: Visit
) -> None:
    workspace = app.workspace("20.00")
    welcome = {"amount_usd": "5.00", "expires_at": "2026-06-13T00:00:00Z", "reason": "Welcome"}
    app.post(f"/v1/admin/workspaces/{workspace}/credits", welcome)
    visit.open(key_of(app, workspace))
    expect(visit["#balance-figure"]).to_have_text("$25.00")
    expect(visit["ol.grants li"]).to_have_count(2)
    first, second = visit["ol.grants li"].all()
    expect(first).to_contain_text("Welcome")
    expect(first).to_contain_text("Promotional")
    expect(first).to_contain_text("Expires 13 Jun 2026, in 12 days")
    expect(first).to_contain_text("$5.000000")
    expect(second).to_contain_text("Paid")
    expect(second).to_contain_text("Never expires")


def test_a_charge_appears_within_a_second_and_the_balance_moves_without_a_reload(
    app: Served, visit: Visit
) -> None:
    workspace = app.workspace("20.00")
    visit.open(key_of(app, workspace))
    expect(visit["#no-charges"]).to_be_visible()
    visit.page.evaluate("() => { window.untouched = true }")
    usage_id = charged(app, workspace, **S03)
    row = visit[f"#{usage_id}"]
    expect(row).to_be_visible(timeout=SECOND)
    expect(visit["#balance-figure"]).to_have_text("$19.950435", timeout=SECOND)
    expect(row).to_contain_text("gpt-5.4")
    expect(row).to_contain_text("$0.049565")
    expect(visit["#no-charges"]).to_be_hidden()
    expect(visit["#usage-total"]).to_have_text("$0.049565")  # the chart follows, less hurried
    assert visit.page.evaluate("() => window.untouched") is True


def test_the_explanation_is_the_exact_formula_of_the_event(app: Served, visit: Visit) -> None:
    workspace = app.workspace("20.00")
    usage_id = charged(app, workspace, **S03)
    visit.open(key_of(app, workspace))
    visit[f"#{usage_id}"].get_by_role("link", name="Why? $0.049565, gpt-5.4").press("Enter")
    dialog = visit["dialog[open]"]
    expect(dialog).to_contain_text("49,565 µ")
    expect(dialog.locator("#exact")).to_have_text("198261/4")
    expect(dialog.locator(".formula")).to_contain_text(
        "(12,345 × 3,000,000 + 678 × 15,000,000) / 1,000,000 × 10,500 / 10,000"
        " = 198261/4 = 49,565.25 → 49,565 µ"
    )
    expect(dialog).to_contain_text("Price book version 1")
    balances = dialog.locator(".facts:not(.wide) dd")
    expect(balances).to_have_text(["$20.000000", "−$0.049565", "$19.950435"])
    position = visit[f"#{usage_id}"].get_attribute("data-position")
    expect(dialog).to_contain_text(f"Debited at position {position}")
    visit.page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(visit[f"#{usage_id} .why a"]).to_be_focused()


def test_a_freeze_is_said_clearly_as_soon_as_it_happens_and_so_is_its_end(
    app: Served, visit: Visit
) -> None:
    workspace = app.workspace("20.00")
    visit.open(key_of(app, workspace))
    expect(visit[".banner"]).to_have_count(0)
    ticket = {"reason": "under review", "ticket_ref": "T-1201"}
    assert app.post(f"/v1/admin/workspaces/{workspace}/freeze", ticket).status_code == 200
    expect(visit[".banner.stop"]).to_contain_text("This account is frozen", timeout=SECOND)
    expect(visit[".banner.stop"]).to_contain_text("T-1201")
    assert app.post(f"/v1/admin/workspaces/{workspace}/unfreeze", ticket).status_code == 200
    expect(visit[".banner"]).to_have_count(0, timeout=SECOND)


def test_a_negative_balance_is_debt_in_words(app: Served, visit: Visit) -> None:
    workspace = app.workspace("0.01")
    charged(app, workspace)  # 38,887 µ at 5 % markup; half-even of 38,886.75
    visit.open(key_of(app, workspace))
    expect(visit["#balance-figure"]).to_have_text("−$0.028887")
    expect(visit[".banner.warn"]).to_contain_text("This account owes $0.028887")
    expect(visit["#balance"]).to_contain_text("Debt")


def test_a_void_strikes_its_charge_out_and_gives_the_money_back(app: Served, visit: Visit) -> None:
    workspace = app.workspace("20.00")
    usage_id = charged(app, workspace)
    visit.open(key_of(app, workspace))
    assert app.post(f"/v1/usage/{usage_id}/void", {"reason": "twice"}, workspace).status_code == 200
    expect(visit[f"#{usage_id}"]).to_contain_text("Voided", timeout=SECOND)
    expect(visit["#balance-figure"]).to_have_text("$20.00", timeout=SECOND)
    visit[f"#{usage_id} .why a"].click()
    expect(visit["dialog[open]"]).to_contain_text("This charge was voided")
    expect(visit["dialog[open]"]).to_contain_text("twice")


def test_more_charges_than_a_page_holds_are_listed_once_each(app: Served, visit: Visit) -> None:
    workspace = app.workspace("20.00")
    items = [
        {"event_id": f"e{n}", "meter": "chat", "llm_model": "gpt-5.4", "tokens": {"input": 100}}
        for n in range(60)
    ]
    assert app.post("/v1/usage/batch", {"items": items[:30]}, workspace).status_code == 200
    visit.open(key_of(app, workspace))
    expect(visit["#charges tr"]).to_have_count(25)
    assert app.post("/v1/usage/batch", {"items": items[30:]}, workspace).status_code == 200
    expect(visit["#balance-figure"]).to_have_text("$19.9811", timeout=SECOND)
    older = visit.page.get_by_role("button", name="Older charges")
    while older.is_visible():
        count = visit["#charges tr"].count()
        older.click()
        expect(visit["#charges tr"]).not_to_have_count(count)
    expect(visit["#charges tr"]).to_have_count(60)
    ids = visit["#charges tr"].evaluate_all("rows => rows.map(row => row.id)")
    positions = visit["#charges tr"].evaluate_all("rows => rows.map(r => +r.dataset.position)")
    assert len(set(ids)) == 60
    assert positions == sorted(positions, reverse=True)
    expect(visit["#older"]).to_be_hidden()


def test_the_chart_stacks_the_days_by_model_and_says_the_same_as_a_table(
    app: Served, visit: Visit
) -> None:
    workspace = app.workspace("20.00")
    charged(app, workspace, **S03)
    charged(app, workspace, llm_model="gpt-4o-mini", tokens={"input": 10_000})
    visit.open(key_of(app, workspace))
    expect(visit["#chart canvas"]).to_be_visible()
    expect(visit["#legend li"]).to_have_text(["gpt-5.4", "gpt-4o-mini"])
    expect(visit["#usage-total"]).to_have_text("$0.05114")
    visit["summary"].click()
    expect(visit["#usage-table tbody tr"].first).to_have_text(
        re.compile(r"2026-06-01\s*\$0\.049565\s*\$0\.001575\s*\$0\.051140")
    )


@pytest.mark.parametrize("visit", [{"java_script_enabled": False}], indirect=True)
def test_without_scripting_the_same_pages_say_the_same(app: Served, visit: Visit) -> None:
    workspace = app.workspace("20.00")
    usage_id = charged(app, workspace, **S03)
    visit.sign_in(key_of(app, workspace))
    until(lambda: visit.page.reload() is not None and visit[f"#{usage_id}"].count() == 1)
    expect(visit["#balance-figure"]).to_have_text("$19.950435")
    visit[f"#{usage_id} .why a"].click()
    expect(visit["#exact"]).to_have_text("198261/4")
    visit.page.get_by_role("button", name="Sign out").click()
    expect(visit.page.get_by_role("heading", name="Sign in")).to_be_visible()


@pytest.mark.parametrize(
    "visit",
    [
        {"viewport": {"width": 390, "height": 844}, "has_touch": True},
        {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"},
    ],
    indirect=True,
)
def test_it_fits_a_phone(app: Served, visit: Visit) -> None:
    workspace = app.workspace("20.00")
    usage_id = charged(app, workspace, **S03)
    visit.open(key_of(app, workspace))
    width = "() => document.documentElement.scrollWidth"
    assert visit.page.evaluate(width) == 390
    expect(visit[f"#{usage_id}"]).to_contain_text("$0.049565")
    visit[f"#{usage_id} .why a"].click()
    expect(visit["dialog[open] #exact"]).to_be_visible()
    box = visit["dialog[open]"].bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390
    assert visit.page.evaluate(width) == 390


def test_a_service_key_chooses_a_workspace_first(app: Served, visit: Visit) -> None:
    mine, broke = app.workspace("20.00"), app.workspace()
    visit.sign_in(app.admin_key)
    listed = visit.page.get_by_role("link", name="Acme")

    def both_are_listed() -> bool:
        with suppress(BrowserError):  # signing in may still be on its way to the list
            visit.page.reload()
            return listed.count() == 2
        return False

    until(both_are_listed)
    expect(visit["main"]).to_contain_text(broke)
    visit[f'a[href="/w/{mine}"]'].click()
    expect(visit["#balance-figure"]).to_have_text("$20.00")


def test_signing_in_with_a_wrong_key_says_so_and_lets_nobody_in(app: Served, visit: Visit) -> None:
    visit.sign_in("dbk_nonsense")
    expect(visit.page.get_by_role("alert")).to_contain_text("No key like this is in use")
    expect(visit.page.get_by_label("API key")).to_have_attribute("aria-invalid", "true")
    assert visit.context.cookies() == []
    assert [fault for fault in visit.faults if "401" not in fault] == []
    visit.faults.clear()  # Browsers write every 401 on the console.


def test_every_control_can_be_reached_and_named_without_a_mouse(app: Served, visit: Visit) -> None:
    workspace = app.workspace("20.00")
    usage_id = charged(app, workspace)
    visit.open(key_of(app, workspace))
    expect(visit[f"#{usage_id}"]).to_be_visible()
    names = []
    for _ in range(20):
        visit.page.keyboard.press("Tab")
        name = visit.page.evaluate("() => document.activeElement.textContent.trim()")
        ring = visit.page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle")
        if name and visit.page.evaluate("() => document.activeElement !== document.body"):
            assert ring != "none", name
            names.append(name)
    wanted = {
        "Skip to content",
        "Daybook",
        "Sign out",
        "The same figures as a table",
        "Model",
        "Why?",
    }
    assert wanted <= set(names)


def test_a_revoked_key_is_signed_out(app: Served, visit: Visit) -> None:
    workspace = app.workspace("20.00")
    key = key_of(app, workspace)
    visit.open(key)
    _revoke(app, key)
    until(lambda: visit.page.reload() is not None and visit["#api_key"].count() == 1)
    assert [fault for fault in visit.faults if "401" not in fault] == []
    visit.faults.clear()


def _revoke(app: Served, key: str) -> None:
    with psycopg.connect(app.database.conninfo(), autocommit=True) as connection:
        connection.execute(
            "UPDATE api_keys SET revoked_at = now() WHERE key_hash = %s", (keys.digest(key),)
        )
        connection.execute(f"NOTIFY {keys.CHANNEL}")


def test_usage_is_grouped_by_the_label_that_is_chosen(app: Served, visit: Visit) -> None:
    workspace = app.workspace("20.00")
    charged(app, workspace, **S03, api_key_id="key_web")
    charged(app, workspace, llm_model="gpt-4o-mini", tokens={"input": 10_000})
    visit.open(key_of(app, workspace))
    models = visit["#breakdown-rows tbody tr"]
    expect(models).to_have_count(2)
    expect(models.nth(0)).to_contain_text(re.compile(r"gpt-5\.4\s*1\s*12,345\s*678\s*\$0\.049565"))
    expect(visit["#breakdown-rows tfoot"]).to_contain_text("$0.051140")
    visit.page.get_by_role("link", name="API key").click()
    expect(visit["#breakdown-rows thead"]).to_contain_text("API key")
    expect(models.nth(0)).to_contain_text("key_web")
    expect(models.nth(1)).to_contain_text("(none)")
    charged(app, workspace, **S03, api_key_id="key_app")
    expect(models).to_have_count(3)  # live, and still by key
    assert visit.page.url.endswith(f"/w/{workspace}")
