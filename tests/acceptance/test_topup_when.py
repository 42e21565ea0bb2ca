"""When the card is charged by itself: by the true balance, and while nothing is in its way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from adapters.postgres.database import Database
from tests.acceptance.paying import (
    DECLINED,
    auto,
    balance,
    customer_of,
    deliver,
    intents,
    save_card,
    settle,
    with_card,
)
from tests.acceptance.spending import authorize, done, refused
from tests.api.sandboxed import KEY, Sandboxed, sandboxed

TEN = "10.00"
OVER = "2026-06-02T00:00:00Z"


@pytest.fixture
def shop(database: Database) -> Iterator[Sandboxed]:
    """`faces` with its sandbox, whose webhooks wait to be delivered."""
    with sandboxed(database, mode="held", strict=False) as both:
        yield both


def promise(shop: Sandboxed, workspace: str) -> None:
    """Ten dollars until the next day."""
    body = {"amount_usd": TEN, "expires_at": OVER}
    done(shop.app.post(f"/v1/admin/workspaces/{workspace}/credits", body), 201)


def happened(shop: Sandboxed, workspace: str, before: int) -> list[str]:
    """What the account's facts are since there were so many."""
    return shop.app.facts(workspace)[before:]


def terms(shop: Sandboxed, workspace: str) -> Any:
    return shop.app.get("/v1/billing/auto-topup", workspace)


def test_an_order_is_judged_by_what_is_left_after_expiry(shop: Sandboxed) -> None:
    workspace = with_card(shop)
    promise(shop, workspace)
    before = len(shop.app.facts(workspace))
    shop.to(OVER)

    auto(shop, workspace)

    assert happened(shop, workspace, before) == [
        "CreditsExpired",
        "AutoTopUpConfigured",
        "AutoTopUpTriggered",
    ]
    settle(shop)
    assert balance(shop, workspace)["balance_micros"] == 20_000_000


def test_a_release_is_judged_by_what_is_left_after_expiry(shop: Sandboxed) -> None:
    workspace = with_card(shop)
    promise(shop, workspace)
    auto(shop, workspace)
    path = f"/v1/admin/workspaces/{workspace}/freeze"
    done(shop.app.post(path, {"reason": "fraud", "ticket_ref": "T-1"}), 200)
    before = len(shop.app.facts(workspace))
    shop.to(OVER)

    done(shop.app.post(path.replace("freeze", "unfreeze"), {"reason": "fraud"}), 200)

    assert happened(shop, workspace, before) == [
        "CreditsExpired",
        "AccountUnfrozen",
        "AutoTopUpTriggered",
    ]


def test_a_new_card_is_charged_by_what_is_left_after_expiry(shop: Sandboxed) -> None:
    workspace = shop.app.workspace()
    promise(shop, workspace)
    auto(shop, workspace)
    assert terms(shop, workspace)["suspended"] == "no_card"
    customer = customer_of(shop, workspace)
    before = len(shop.app.facts(workspace))
    shop.to(OVER)

    shop.sandbox.control.card(customer)
    shop.sandbox.control.deliver()

    assert happened(shop, workspace, before) == [
        "CreditsExpired",
        "AutoTopUpResumed",
        "AutoTopUpTriggered",
    ]


@pytest.mark.parametrize("end", ["release", "extend"])
def test_a_hold_that_ends_or_goes_on_sees_what_expired_before(shop: Sandboxed, end: str) -> None:
    workspace = with_card(shop)
    promise(shop, workspace)
    auto(shop, workspace)
    shop.to("2026-06-01T23:59:00Z")
    hold = done(authorize(shop.app, workspace, 1_000))["hold_id"]
    before = len(shop.app.facts(workspace))
    shop.to(OVER)

    if end == "release":
        path = f"/v1/usage/holds/{hold}"
        told = done(shop.app.call("DELETE", path, {"reason": "voided"}, workspace=workspace), 200)
        assert told["available_micros"] == 0
    else:
        done(shop.app.post(f"/v1/usage/holds/{hold}/extend", {}, workspace), 200)

    fact = {"release": "HoldReleased", "extend": "HoldExtended"}[end]
    assert happened(shop, workspace, before) == ["CreditsExpired", "AutoTopUpTriggered", fact]


@pytest.mark.parametrize("name", ["threshold", "amount", "target", "monthly_cap"])
def test_nothing_in_an_order_is_negative_even_when_it_is_switched_off(
    shop: Sandboxed, name: str
) -> None:
    workspace = shop.app.workspace()
    order = {"enabled": False, f"{name}_usd": "-0.01"}

    answer = shop.app.call("PUT", "/v1/billing/auto-topup", order, workspace=workspace)

    problem = refused(answer, 422, "validation_error")
    assert problem["errors"][0]["loc"] == ["body", f"{name}_usd"]


def test_held_money_is_not_spent_and_asks_for_no_charge(shop: Sandboxed) -> None:
    workspace = with_card(shop, "6.00")
    auto(shop, workspace)

    held = done(authorize(shop.app, workspace, 1_000_000))

    assert (held["held_micros"], held["available_micros"]) == (3_150_000, 2_850_000)
    settle(shop)
    assert intents(shop) == []


def test_without_a_card_nothing_but_a_card_lets_it_go_on(shop: Sandboxed) -> None:
    """The third refusal in a row becomes known after the card was taken off."""
    workspace = shop.app.workspace("5.01")
    card = save_card(shop, workspace, DECLINED)
    auto(shop, workspace)
    for _ in range(2):
        done(shop.app.charge(workspace))
        settle(shop)
    charging = {"path": "/v1/payment_intents", "method": "POST", "fault": "drop_after", "times": 2}
    asking = {"path": "/v1/payment_intents", "method": "GET", "fault": "error", "times": 9}
    shop.sandbox.control.script(charging, asking)
    done(shop.app.charge(workspace))
    shop.tick()
    detached = f"{shop.sandbox.url}/v1/payment_methods/{card}/detach"
    headers = {"Authorization": f"Bearer {KEY}"}
    assert httpx.post(detached, headers=headers, trust_env=False).status_code == 200
    deliver(shop, "payment_method.detached", "customer.updated")
    assert terms(shop, workspace)["suspended"] == "no_card"
    assert terms(shop, workspace)["in_flight"] is not None
    shop.sandbox.control.script()

    settle(shop)

    seen = terms(shop, workspace)
    assert (seen["consecutive_failures"], seen["suspended"]) == (3, "no_card")
    save_card(shop, workspace)
    settle(shop)
    assert terms(shop, workspace)["suspended"] is None
    assert balance(shop, workspace)["balance_micros"] > 20_000_000


def test_who_switches_it_off_before_the_card_was_asked_is_not_charged(shop: Sandboxed) -> None:
    workspace = with_card(shop)
    auto(shop, workspace)
    assert terms(shop, workspace)["in_flight"] is not None

    auto(shop, workspace, enabled=False)
    settle(shop)

    assert intents(shop) == []
    assert terms(shop, workspace)["in_flight"] is None
    auto(shop, workspace)
    settle(shop)
    assert balance(shop, workspace)["balance_micros"] == 20_000_000


def test_an_account_that_is_frozen_before_the_card_was_asked_is_not_charged(
    shop: Sandboxed,
) -> None:
    workspace = with_card(shop)
    auto(shop, workspace)
    path = f"/v1/admin/workspaces/{workspace}/freeze"

    done(shop.app.post(path, {"reason": "fraud", "ticket_ref": "T-1"}), 200)
    settle(shop)

    assert intents(shop) == []
    assert terms(shop, workspace)["suspended"] == "frozen"
    done(shop.app.post(path.replace("freeze", "unfreeze"), {"reason": "fraud"}), 200)
    settle(shop)
    assert balance(shop, workspace)["balance_micros"] == 20_000_000


def test_a_card_that_failed_is_not_tried_again_by_an_act_that_moves_no_money(
    shop: Sandboxed,
) -> None:
    workspace = with_card(shop, "4.00", DECLINED)
    auto(shop, workspace)
    settle(shop)
    assert len(intents(shop)) == 1

    for _ in range(3):
        done(shop.app.charge(workspace, meter="compile", tokens={"input": 100}))
        settle(shop)

    assert terms(shop, workspace)["suspended"] is None
    assert len(intents(shop)) == 1
    done(shop.app.charge(workspace))
    settle(shop)
    assert len(intents(shop)) == 2
