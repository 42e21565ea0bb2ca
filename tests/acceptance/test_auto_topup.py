"""Spec 8.4: automatic top-ups, and the card that they need, against the sandbox of Stripe."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from adapters.postgres.database import Database
from tests.acceptance.conftest import catalogue
from tests.acceptance.paying import (
    DECLINED,
    WANTS_ITS_HOLDER,
    auto,
    balance,
    customer_of,
    intents,
    save_card,
    settle,
    topup,
    with_card,
)
from tests.acceptance.spending import done, refused
from tests.api.sandboxed import Sandboxed, event, sandboxed, send

TWENTY = 20_000_000


@pytest.fixture
def shop(database: Database, tmp_path: Path) -> Iterator[Sandboxed]:
    """`faces0` with its sandbox, whose webhooks wait to be delivered."""
    path = catalogue(tmp_path, "faces", ("markup_bps: 500", "markup_bps: 0"))
    with sandboxed(database, path, mode="held") as both:
        yield both


@pytest.mark.parametrize(
    ("start", "end", "charges"), [("5.01", 24_990_000, 1), ("5.02", 5_000_000, 0)]
)
def test_s34_strictly_below_the_threshold_one_charge_is_made(
    shop: Sandboxed, start: str, end: int, charges: int
) -> None:
    workspace = with_card(shop, start)
    auto(shop, workspace)

    done(_spend(shop, workspace))

    settle(shop)
    assert balance(shop, workspace)["balance_micros"] == end
    assert [one["params"]["amount"] for one in intents(shop)] == ["2000"] * charges
    assert shop.app.facts(workspace).count("AutoTopUpTriggered") == charges


def test_what_is_taken_or_given_back_may_have_the_card_charged_in_the_same_save(
    shop: Sandboxed,
) -> None:
    workspace = with_card(shop, "20")
    path = f"/v1/admin/workspaces/{workspace}/adjustments"
    act = done(shop.app.charge(workspace))["usage_id"]
    auto(shop, workspace)

    taken = shop.app.post(path, {"amount_usd": -16, "reason": "double"})

    assert taken.status_code == 201, taken.text
    assert taken.json()["amount_micros"] == -16_000_000
    assert shop.app.facts(workspace)[-1] == "AutoTopUpTriggered"
    save_card(shop, workspace, DECLINED)
    settle(shop)  # nothing is in flight any more, and little is left
    given = shop.app.post(f"/v1/usage/{act}/void", {}, workspace)
    assert given.status_code == 200, given.text
    assert shop.app.facts(workspace)[-2:] == ["UsageVoided", "AutoTopUpTriggered"]


def test_s35_while_a_charge_is_in_flight_no_other_is_made(shop: Sandboxed) -> None:
    workspace = with_card(shop, "5.01")
    auto(shop, workspace)

    for _ in range(6):
        done(_spend(shop, workspace))
    assert shop.app.get("/v1/billing/auto-topup", workspace)["in_flight"] is not None
    settle(shop)

    assert len(intents(shop)) == 1
    assert balance(shop, workspace)["balance_micros"] == 5_010_000 - 6 * 20_000 + TWENTY


def test_s36_three_declines_suspend_and_a_new_card_resumes(shop: Sandboxed) -> None:
    workspace = with_card(shop, "5.01", DECLINED)
    auto(shop, workspace)

    for _ in range(5):
        done(_spend(shop, workspace))
        settle(shop)

    assert len(intents(shop)) == 3
    facts = shop.app.facts(workspace)
    assert (facts.count("AutoTopUpTriggered"), facts.count("AutoTopUpSuspended")) == (3, 1)
    assert shop.app.get("/v1/billing/auto-topup", workspace)["suspended"] == "declines"
    save_card(shop, workspace)
    settle(shop)
    assert shop.app.get("/v1/billing/auto-topup", workspace)["suspended"] is None
    assert balance(shop, workspace)["balance_micros"] == 5_010_000 - 5 * 20_000 + TWENTY


def test_an_automatic_charge_that_wants_the_holder_suspends_at_once(shop: Sandboxed) -> None:
    workspace = with_card(shop, "5.01", WANTS_ITS_HOLDER)
    auto(shop, workspace)
    done(_spend(shop, workspace))
    settle(shop)

    read = shop.app.get("/v1/billing/auto-topup", workspace)

    assert (read["suspended"], read["in_flight"]) == ("authentication_required", None)
    assert read["checkout_url"].startswith(shop.sandbox.url)
    assert shop.sandbox.books is not None
    [intent] = shop.sandbox.books.find("payment_intent")
    shop.sandbox.control.authenticate(intent["id"])
    settle(shop)
    assert balance(shop, workspace)["balance_micros"] == 4_990_000 + TWENTY
    assert shop.app.get("/v1/billing/auto-topup", workspace)["suspended"] is None


def test_a_monthly_cap_stops_automatic_charges_until_the_next_month(shop: Sandboxed) -> None:
    workspace = with_card(shop, "5.01")
    auto(shop, workspace, amount_usd=1, monthly_cap_usd=1)
    for _ in range(60):
        done(_spend(shop, workspace))
    settle(shop)
    done(_spend(shop, workspace))
    settle(shop)

    assert shop.app.get("/v1/billing/auto-topup", workspace)["suspended"] == "cap"
    assert len(intents(shop)) == 1
    shop.to("2026-07-01T00:00:00Z")
    done(_spend(shop, workspace))
    settle(shop)
    assert len(intents(shop)) == 2


def test_s113_a_card_replaced_and_removed_in_the_portal_is_known_here(shop: Sandboxed) -> None:
    workspace = with_card(shop, "50")
    auto(shop, workspace)
    old = save_card(shop, workspace, "pm_card_mastercard")

    new = save_card(shop, workspace)  # as the portal does: attached, and the default

    assert new != old
    assert shop.sandbox.books is not None
    headers = {"Authorization": "Bearer sk_test_of_tests"}
    gone = httpx.post(
        f"{shop.sandbox.url}/v1/payment_methods/{new}/detach", headers=headers, trust_env=False
    )
    assert gone.status_code == 200, gone.text
    settle(shop)
    assert balance(shop, workspace)["has_payment_method"] is False
    assert shop.app.get("/v1/billing/auto-topup", workspace)["suspended"] == "no_card"
    refused(topup(shop, workspace), 402, "payment_method_required")
    save_card(shop, workspace)
    assert shop.app.get("/v1/billing/auto-topup", workspace)["suspended"] is None


def test_s113_a_card_that_was_detached_is_gone_before_a_read_shows_it(shop: Sandboxed) -> None:
    """A signed event says what happened; Stripe attaches no card again that was detached."""
    workspace = with_card(shop, "50")
    auto(shop, workspace)
    card = save_card(shop, workspace)
    customer = customer_of(shop, workspace)
    other = {"id": "pm_of_before", "object": "payment_method", "customer": None}
    off = {"id": card, "object": "payment_method", "customer": None}
    for what, has_one in ((other, True), (off, False), (off, False)):
        told = json.loads(event("payment_method.detached", what))
        told["data"]["previous_attributes"] = {"customer": customer}
        done(send(shop.app, json.dumps(told).encode()), 200)
        assert balance(shop, workspace)["has_payment_method"] is has_one

    assert shop.app.get("/v1/billing/auto-topup", workspace)["suspended"] == "no_card"
    refused(topup(shop, workspace), 402, "payment_method_required")


def _spend(shop: Sandboxed, workspace: str) -> httpx.Response:
    """20,000 µ: gpt-5.4-mini, 80,000 tokens in."""
    return shop.app.charge(workspace, llm_model="gpt-5.4-mini", tokens={"input": 80_000})
