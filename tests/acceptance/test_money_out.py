"""Spec 8.5: money back to whoever paid it, and money that nobody can explain."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters.postgres.database import Database
from adapters.stripe.sandbox.books import Json
from tests.acceptance.conftest import catalogue
from tests.acceptance.paying import (
    balance,
    customer_of,
    deliver,
    events_of,
    facts_of_payment,
    paid,
    settle,
    topup,
    with_card,
)
from tests.acceptance.spending import done, refused
from tests.api.sandboxed import KEY, Sandboxed, event, sandboxed, send

TWENTY = 20_000_000


@pytest.fixture
def shop(database: Database, tmp_path: Path) -> Iterator[Sandboxed]:
    """`faces0` with its sandbox, whose webhooks wait to be delivered."""
    path = catalogue(tmp_path, "faces", ("markup_bps: 500", "markup_bps: 0"))
    with sandboxed(database, path, mode="held") as both:
        yield both


def test_s38_a_refund_after_the_money_is_spent_leaves_debt(shop: Sandboxed) -> None:
    workspace = with_card(shop)
    _, charge = paid(shop, workspace)
    _spend(shop, workspace, 15)
    settle(shop)

    at_stripe(shop, "refunds", charge=charge)
    settle(shop)

    assert balance(shop, workspace)["balance_micros"] == -15_000_000
    refused(shop.app.charge(workspace), 402, "insufficient_credits")
    assert balance(shop, workspace)["is_frozen"] is False
    assert shop.app.facts(workspace).count("CreditsReversed") == 1


def test_partial_refunds_are_taken_back_as_they_add_up_in_any_order(shop: Sandboxed) -> None:
    workspace = with_card(shop)
    _, charge = paid(shop, workspace)
    settle(shop)
    for amount in (300, 500, 200):
        at_stripe(shop, "refunds", charge=charge, amount=amount)

    told = events_of(shop, "charge.refunded", "refund.created")
    shop.sandbox.control.deliver(told[::-1], 2)

    assert balance(shop, workspace)["balance_micros"] == 10_000_000
    at_stripe(shop, "refunds", charge=charge)
    settle(shop)
    assert balance(shop, workspace)["balance_micros"] == 0


def test_a_refund_before_its_payment_waits_for_it(shop: Sandboxed) -> None:
    workspace = with_card(shop)
    shop.sandbox.control.script(
        *[{"path": "/v1/payment_intents", "method": "POST", "fault": "drop_after"}] * 2
    )
    done(topup(shop, workspace, 20), 202)
    assert shop.sandbox.books is not None
    [charge] = shop.sandbox.books.find("charge")
    at_stripe(shop, "refunds", charge=charge["id"], amount=500)

    assert _told(shop, "charge.refunded") == ["deferred"]
    assert balance(shop, workspace)["balance_micros"] == 0
    deliver(shop, "payment_intent.succeeded")
    settle(shop)

    assert balance(shop, workspace)["balance_micros"] == 15_000_000
    facts = shop.app.facts(workspace)
    assert facts.index("Credited") < facts.index("CreditsReversed")


def test_an_administrator_refunds_by_stripe_and_the_webhook_moves_the_credits(
    shop: Sandboxed,
) -> None:
    workspace, other = with_card(shop), shop.app.workspace()
    attempt, _ = paid(shop, workspace)
    settle(shop)
    path = f"/v1/admin/workspaces/{workspace}/refunds"
    body = {"payment_attempt_id": attempt, "amount_usd": 5, "ticket_ref": "T-9"}
    key = {"Idempotency-Key": "R"}

    first = done(shop.app.call("POST", path, body, headers=key), 201)

    assert first["refund_id"].startswith("re_")
    assert balance(shop, workspace)["balance_micros"] == TWENTY
    done(shop.app.call("POST", path, body, headers=key), 201)
    settle(shop)
    assert balance(shop, workspace)["balance_micros"] == 15_000_000
    assert len(shop.sandbox.control.requests("POST", "/v1/refunds")) == 1
    refused(shop.app.post(path, body | {"amount_usd": "15.01"}), 409, "not_refundable")
    elsewhere = f"/v1/admin/workspaces/{other}/refunds"
    refused(shop.app.post(elsewhere, body), 404, "not_found")
    ticket = _facts(shop, workspace, "CreditsReversed")[0]["data"]["ticket_ref"]
    assert ticket == "T-9"


def test_g04_a_refund_takes_its_own_grant_first(shop: Sandboxed) -> None:
    workspace = with_card(shop)
    _, charge = paid(shop, workspace)
    _spend(shop, workspace, 15)
    promo = {"amount_usd": 10, "category": "promotional"}
    done(shop.app.post(f"/v1/admin/workspaces/{workspace}/credits", promo), 201)
    settle(shop)

    at_stripe(shop, "refunds", charge=charge)
    settle(shop)

    [reversal] = _facts(shop, workspace, "CreditsReversed")
    assert sorted(reversal["data"]["grants"].values()) == [5_000_000, 10_000_000]
    assert balance(shop, workspace)["balance_micros"] == -5_000_000
    assert balance(shop, workspace)["debt_micros"] == 5_000_000


def test_s40_a_chargeback_freezes_withdraws_and_when_won_gives_back(shop: Sandboxed) -> None:
    workspace = with_card(shop)
    _, charge = paid(shop, workspace)
    _spend(shop, workspace, 8)
    settle(shop)

    contested = shop.sandbox.control.dispute(charge)
    settle(shop)
    assert balance(shop, workspace)["freeze_reasons"] == ["chargeback"]
    refused(shop.app.charge(workspace), 402, "account_frozen")
    assert balance(shop, workspace)["balance_micros"] == 12_000_000
    shop.sandbox.control.step(contested["id"], "funds_withdrawn")
    settle(shop)
    assert balance(shop, workspace)["balance_micros"] == -8_000_000
    for step in ("funds_reinstated", "won"):
        shop.sandbox.control.step(contested["id"], step)
    settle(shop)

    assert balance(shop, workspace)["balance_micros"] == 12_000_000
    assert balance(shop, workspace)["is_frozen"] is False
    done(shop.app.charge(workspace))


def test_s40_a_lost_dispute_stays_frozen_until_an_administrator_releases_it(
    shop: Sandboxed,
) -> None:
    workspace = with_card(shop)
    _, charge = paid(shop, workspace)
    _spend(shop, workspace, 8)
    contested = shop.sandbox.control.dispute(charge)
    for step in ("funds_withdrawn", "lost"):
        shop.sandbox.control.step(contested["id"], step)
    settle(shop)

    assert balance(shop, workspace)["balance_micros"] == -8_000_000
    assert balance(shop, workspace)["is_frozen"] is True
    path = f"/v1/admin/workspaces/{workspace}/unfreeze"
    done(shop.app.post(path, {"reason": "chargeback", "ticket_ref": "T-1"}), 200)
    late = [one["event"] for one in shop.sandbox.control.webhooks()]
    shop.sandbox.control.deliver(late)
    assert balance(shop, workspace)["is_frozen"] is False


def test_a_disputes_steps_may_arrive_backwards(shop: Sandboxed) -> None:
    workspace = with_card(shop)
    _, charge = paid(shop, workspace)
    settle(shop)
    contested = shop.sandbox.control.dispute(charge)
    for step in ("funds_withdrawn", "funds_reinstated", "won"):
        shop.sandbox.control.step(contested["id"], step)

    shop.sandbox.control.deliver(events_of(shop)[::-1], 2)

    assert balance(shop, workspace)["balance_micros"] == TWENTY
    assert balance(shop, workspace)["is_frozen"] is False
    facts = shop.app.facts(workspace)
    steps = [one for one in facts if one in ("AccountFrozen", "AccountUnfrozen")]
    assert steps == ["AccountFrozen", "AccountUnfrozen"]


def test_money_of_another_amount_waits_in_a_queue_for_an_administrator(shop: Sandboxed) -> None:
    workspace = with_card(shop)
    shop.sandbox.control.script(
        *[{"path": "/v1/payment_intents", "method": "POST", "fault": "drop"}] * 2
    )
    attempt = done(topup(shop, workspace, 20), 202)["payment_attempt_id"]
    intent = pay_at_stripe(shop, workspace, attempt, workspace, amount=1500)
    settle(shop)

    assert balance(shop, workspace)["balance_micros"] == 0
    [waiting] = shop.app.get("/v1/admin/payments", status="quarantined")["data"]
    assert (waiting["payment_attempt_id"], waiting["doubt"]) == (attempt, "amount")
    assert (waiting["quarantined_usd"], waiting["workspace_id"]) == (15, workspace)
    path = f"/v1/admin/payments/{attempt}/resolve"
    refused(shop.app.post(path, {"remedy": "credited"}), 422, "validation_error")
    told = {"remedy": "credited", "ticket_ref": "T-12", "stripe_payment_intent": intent["id"]}
    resolved = done(shop.app.post(path, told), 200)
    assert (resolved["status"], resolved["balance_micros"]) == ("succeeded", 15_000_000)
    refused(shop.app.post(path, told), 409, "nothing_quarantined")
    settle(shop)
    assert shop.app.get("/v1/admin/payments", status="quarantined")["data"] == []
    assert facts_of_payment(shop, attempt).count("PaymentQuarantined") == 1


@pytest.mark.parametrize("doubt", ["workspace", "paid_twice", "unknown_attempt"])
def test_money_that_its_order_does_not_explain_is_credited_to_nobody(
    shop: Sandboxed, doubt: str
) -> None:
    workspace, other = with_card(shop), with_card(shop)
    attempt, _ = paid(shop, workspace)
    settle(shop)
    named = "pay_of_nobody" if doubt == "unknown_attempt" else attempt
    whose = other if doubt == "workspace" else workspace

    pay_at_stripe(shop, whose, named, whose, amount=2000)
    settle(shop)

    assert balance(shop, workspace)["balance_micros"] == TWENTY
    assert balance(shop, other)["balance_micros"] == 0
    [waiting] = shop.app.get("/v1/admin/payments", status="quarantined")["data"]
    assert waiting["doubt"] == doubt
    told = {"remedy": "dismissed", "ticket_ref": "T-3"}
    path = f"/v1/admin/payments/{waiting['payment_attempt_id']}/resolve"
    done(shop.app.post(path, told), 200)
    assert shop.app.facts(workspace).count("Credited") == 1


def test_a_payment_that_is_none_of_ours_is_nothing_to_us(shop: Sandboxed) -> None:
    workspace = with_card(shop)
    intent: dict[str, Any] = {"id": "pi_gone_away", "object": "payment_intent", "metadata": {}}
    intent |= {"status": "succeeded", "currency": "usd", "amount_received": 2000}

    told = send(shop.app, event("payment_intent.succeeded", intent))

    assert told.json()["disposition"] == "ignored"
    assert balance(shop, workspace)["balance_micros"] == 0


def at_stripe(shop: Sandboxed, path: str, **params: Any) -> Json:
    """What somebody does in Stripe's dashboard."""
    answer = httpx.post(
        f"{shop.sandbox.url}/v1/{path}",
        data=params,
        headers={"Authorization": f"Bearer {KEY}"},
        trust_env=False,
    )
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def pay_at_stripe(shop: Sandboxed, payer: str, attempt: str, workspace: str, amount: int) -> Json:
    """A payment at Stripe that names an attempt of ours."""
    customer = customer_of(shop, payer)
    assert shop.sandbox.books is not None
    [card] = shop.sandbox.books.find("payment_method", customer=customer)
    params = {
        "amount": amount,
        "currency": "usd",
        "customer": customer,
        "payment_method": card["id"],
        "confirm": "true",
        "off_session": "true",
        "metadata[payment_attempt_id]": attempt,
        "metadata[workspace_id]": workspace,
    }
    return at_stripe(shop, "payment_intents", **params)


def _spend(shop: Sandboxed, workspace: str, usd: int) -> None:
    """gpt-5.4-mini: a dollar is 4 million tokens in."""
    done(shop.app.charge(workspace, llm_model="gpt-5.4-mini", tokens={"input": usd * 4_000_000}))


def _told(shop: Sandboxed, type: str) -> list[str]:
    """Deliver events of a type by hand; what was said of each."""
    assert shop.sandbox.books is not None
    wanted = events_of(shop, type)
    said = []
    for id in wanted:
        found = shop.sandbox.books.get("event", id)
        body = event(type, found["data"]["object"], id=id)
        said.append(str(send(shop.app, body).json()["disposition"]))
    return said


def _facts(shop: Sandboxed, workspace: str, type: str) -> list[Any]:
    data = shop.app.get("/v1/audit/events", stream=f"credit_account/{workspace}")["data"]
    return [one for one in data if one["type"] == type]
