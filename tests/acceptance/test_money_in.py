"""Spec 8.4: money in, by the saved card, over HTTP against the sandbox of Stripe."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from adapters.clock import START
from adapters.postgres.database import Database
from api.paying.portal import portal_link
from tests.acceptance.conftest import catalogue
from tests.acceptance.paying import (
    WANTS_ITS_HOLDER,
    balance,
    customer_of,
    deliver,
    facts_of_payment,
    intents,
    paid,
    settle,
    topup,
    with_card,
)
from tests.acceptance.spending import done, refused
from tests.api.conftest import until
from tests.api.sandboxed import Sandboxed, sandboxed

TWENTY = 20_000_000


@pytest.fixture
def shop(database: Database, tmp_path: Path) -> Iterator[Sandboxed]:
    """`faces0` with its sandbox, whose webhooks wait to be delivered."""
    path = catalogue(tmp_path, "faces", ("markup_bps: 500", "markup_bps: 0"))
    with sandboxed(database, path, mode="held") as both:
        yield both


def test_s20_a_key_of_another_amount_is_refused(shop: Sandboxed) -> None:
    workspace = with_card(shop)
    done(topup(shop, workspace, 20, "K"), 200)

    refused(topup(shop, workspace, 30, "K"), 422, "idempotency_key_reuse")
    assert len(intents(shop)) == 1


@pytest.mark.parametrize(("fault", "status"), [("drop_after", 202), ("rate_limit", 503)])
def test_a_key_stays_that_of_its_body_while_the_outcome_is_unknown(
    shop: Sandboxed, fault: str, status: int
) -> None:
    workspace = with_card(shop)
    shop.sandbox.control.script(
        {"path": "/v1/payment_intents", "method": "POST", "fault": fault, "times": 2}
    )
    assert topup(shop, workspace, 20, "K").status_code == status
    shop.sandbox.control.script()

    refused(topup(shop, workspace, 30, "K"), 422, "idempotency_key_reuse")
    refused(topup(shop, workspace, 20, "K", payment_ref="w"), 422, "idempotency_key_reuse")

    assert done(topup(shop, workspace, 20, "K"), 200)["status"] == "succeeded"
    assert balance(shop, workspace)["balance_micros"] == TWENTY
    refused(topup(shop, workspace, 30, "K"), 422, "idempotency_key_reuse")
    again = topup(shop, workspace, 20, "K")
    assert (again.status_code, again.headers["Idempotent-Replayed"]) == (200, "true")


def test_s24_the_saved_card_is_charged_once_and_credited_at_once(shop: Sandboxed) -> None:
    workspace = with_card(shop)

    response = topup(shop, workspace)

    answer = done(response, 200)
    assert (answer["success"], answer["status"], answer["frozen"]) == (True, "succeeded", False)
    assert (answer["new_balance_usd"], answer["duplicate"]) == (20, False)
    [asked] = intents(shop)
    attempt = answer["payment_attempt_id"]
    said = {
        name: asked["params"][name] for name in ("amount", "currency", "off_session", "confirm")
    }
    assert said == {"amount": "2000", "currency": "usd", "off_session": "true", "confirm": "true"}
    assert asked["idempotency_key"] == attempt
    assert asked["params"]["metadata"]["workspace_id"] == workspace
    position = response.headers["X-Ledger-Position"]
    seen = shop.app.get("/v1/billing/balance", workspace, min_position=position)
    assert seen["balance_micros"] == TWENTY
    assert facts_of_payment(shop, attempt) == ["PaymentRequested", "PaymentSucceeded"]


def test_s25_without_a_card_nobody_asks_stripe(shop: Sandboxed) -> None:
    workspace = shop.app.workspace()

    said = refused(topup(shop, workspace), 402, "payment_method_required")

    assert said["needs_credits"] is True
    assert shop.sandbox.control.requests() == []


def test_s26_amounts_are_whole_cents_and_at_least_one_dollar(shop: Sandboxed) -> None:
    workspace = with_card(shop)

    refused(topup(shop, workspace, "0.99"), 422, "amount_too_small")
    refused(topup(shop, workspace, "20.001"), 422, "validation_error")
    done(topup(shop, workspace, "1.00"), 200)


def test_s27_a_declined_card_is_no_credit_and_its_refusal_is_kept(shop: Sandboxed) -> None:
    workspace = with_card(shop, card="pm_card_chargeDeclinedInsufficientFunds")

    said = refused(topup(shop, workspace, key="K"), 402, "card_declined")

    assert said["decline_code"] == "insufficient_funds"
    assert facts_of_payment(shop, said["payment_attempt_id"])[-1] == "PaymentFailed"
    assert balance(shop, workspace)["balance_micros"] == 0
    again = topup(shop, workspace, key="K")
    assert again.headers["Idempotent-Replayed"] == "true"
    assert len(intents(shop)) == 1
    settle(shop)  # `payment_intent.payment_failed` says nothing new
    assert balance(shop, workspace)["balance_micros"] == 0


def test_s28_a_card_that_wants_its_holder_credits_once_it_is_confirmed(shop: Sandboxed) -> None:
    workspace = with_card(shop, card=WANTS_ITS_HOLDER)

    said = refused(topup(shop, workspace, key="K"), 402, "authentication_required")

    assert said["checkout_url"].startswith(shop.sandbox.url)
    settle(shop)
    assert balance(shop, workspace)["balance_micros"] == 0
    assert shop.sandbox.books is not None
    [intent] = shop.sandbox.books.find("payment_intent")
    shop.sandbox.control.authenticate(intent["id"])
    deliver(shop, times=2)
    assert balance(shop, workspace)["balance_micros"] == TWENTY
    assert done(topup(shop, workspace, key="K"), 200)["status"] == "succeeded"
    assert balance(shop, workspace)["balance_micros"] == TWENTY
    assert len(intents(shop)) == 1


def test_s28_a_holder_who_does_not_confirm_is_a_decline(shop: Sandboxed) -> None:
    workspace = with_card(shop, card=WANTS_ITS_HOLDER)
    refused(topup(shop, workspace, key="K"), 402, "authentication_required")
    assert shop.sandbox.books is not None
    [intent] = shop.sandbox.books.find("payment_intent")

    shop.sandbox.control.authenticate(intent["id"], "fail")
    settle(shop)

    refused(topup(shop, workspace, key="K"), 402, "card_declined")
    assert balance(shop, workspace)["balance_micros"] == 0


def test_s29_a_client_that_timed_out_and_asks_again_is_charged_once(shop: Sandboxed) -> None:
    workspace = with_card(shop)
    shop.sandbox.control.script(
        {"path": "/v1/payment_intents", "method": "POST", "fault": "timeout"}
    )
    with pytest.raises(httpx.ReadTimeout):
        shop.app.http.post(
            "/v1/billing/topup",
            json={"amount_usd": 20},
            headers={
                "Authorization": f"Bearer {shop.app.admin_key}",
                "X-Workspace-Id": workspace,
                "Idempotency-Key": "K",
            },
            timeout=0.3,
        )
    shop.sandbox.control.release()

    # 409 while the first is still being answered.
    until(lambda: topup(shop, workspace, 20, "K").status_code == 200)
    settle(shop)
    assert done(topup(shop, workspace, 20, "K"), 200)["status"] == "succeeded"
    assert balance(shop, workspace)["balance_micros"] == TWENTY
    assert shop.sandbox.books is not None
    assert len(shop.sandbox.books.find("payment_intent")) == 1
    assert shop.app.facts(workspace).count("Credited") == 1


def test_s31_an_unknown_outcome_is_pending_until_stripe_says(shop: Sandboxed) -> None:
    workspace = with_card(shop)
    shop.sandbox.control.script(
        *[{"path": "/v1/payment_intents", "method": "POST", "fault": "drop_after"}] * 2
    )

    pending = done(topup(shop, workspace, key="K"), 202)

    assert (pending["success"], pending["status"]) == (False, "pending")
    assert balance(shop, workspace)["balance_micros"] == 0
    assert [one["status"] for one in deliver(shop, "payment_intent.succeeded")] == [200]
    assert balance(shop, workspace)["balance_micros"] == TWENTY
    assert done(topup(shop, workspace, key="K"), 200)["status"] == "succeeded"
    assert shop.app.facts(workspace).count("Credited") == 1


def test_s31_the_clients_own_retry_finds_what_stripe_did(shop: Sandboxed) -> None:
    workspace = with_card(shop)
    shop.sandbox.control.script(
        *[{"path": "/v1/payment_intents", "method": "POST", "fault": "drop_after"}] * 2
    )
    done(topup(shop, workspace, key="K"), 202)

    assert done(topup(shop, workspace, key="K"), 200)["new_balance_usd"] == 20
    settle(shop)
    assert balance(shop, workspace)["balance_micros"] == TWENTY


def test_s32_a_payment_ref_charges_no_card(shop: Sandboxed) -> None:
    workspace, other = with_card(shop), shop.app.workspace()
    before = len(shop.sandbox.control.requests())

    first = done(topup(shop, workspace, payment_ref="wire-77"), 200)
    again = done(topup(shop, workspace, payment_ref="wire-77"), 200)

    assert (first["duplicate"], again["duplicate"]) == (False, True)
    assert again["new_balance_micros"] == TWENTY
    refused(topup(shop, workspace, 25, payment_ref="wire-77"), 409, "payment_ref_conflict")
    refused(topup(shop, other, payment_ref="wire-77"), 409, "payment_ref_conflict")
    assert len(shop.sandbox.control.requests()) == before


@pytest.mark.parametrize("ref", ["wire-77 ", "\twire-77", " ", "wire-77\u00a0"])
def test_a_reference_with_a_blank_around_it_is_no_other_one(shop: Sandboxed, ref: str) -> None:
    workspace = shop.app.workspace()
    done(topup(shop, workspace, payment_ref="wire-77"), 200)

    problem = refused(topup(shop, workspace, payment_ref=ref), 422, "validation_error")

    assert problem["errors"][0]["loc"] == ["body", "payment_ref"]
    assert balance(shop, workspace)["balance_micros"] == TWENTY


def test_s33_a_card_is_saved_on_stripes_page(shop: Sandboxed) -> None:
    workspace = shop.app.workspace()

    page = done(shop.app.post("/v1/billing/card-setup", {}, workspace), 200)

    [asked] = shop.sandbox.control.requests("POST", "/v1/checkout/sessions")
    assert (asked["params"]["mode"], asked["params"]["currency"]) == ("setup", "usd")
    assert page["checkout_url"].startswith(shop.sandbox.url)
    assert balance(shop, workspace)["has_payment_method"] is False
    told = {"card": "4242424242424242", "outcome": "pay"}
    shop.sandbox.control.post(f"/checkout/{page['session_id']}", **told)
    answers = deliver(shop, "checkout.session.completed", times=2)
    assert [one["status"] for one in answers] == [200, 200]
    assert balance(shop, workspace)["has_payment_method"] is True
    assert facts_of_payment(shop, page["payment_attempt_id"])[-1] == "PaymentSucceeded"
    settle(shop)
    assert shop.app.get("/v1/billing/balance", workspace)["has_payment_method"] is True
    # Saved is not switched on.
    read = shop.app.get("/v1/billing/auto-topup", workspace)
    assert (read["enabled"], read["suspended"]) == (False, None)
    done(topup(shop, workspace), 200)


def test_s37_one_payment_is_credited_once_however_often_it_is_told(shop: Sandboxed) -> None:
    workspace = with_card(shop)
    attempt, _ = paid(shop, workspace)

    answers = deliver(shop, "payment_intent.succeeded", "charge.succeeded", times=3)

    assert {one["status"] for one in answers} == {200}
    assert balance(shop, workspace)["balance_micros"] == TWENTY
    assert shop.app.facts(workspace).count("Credited") == 1
    assert facts_of_payment(shop, attempt).count("PaymentSucceeded") == 1


def test_s17_a_frozen_account_can_be_topped_up_and_says_so(shop: Sandboxed) -> None:
    workspace = with_card(shop, "100")
    done(shop.app.post(f"/v1/admin/workspaces/{workspace}/freeze", {"reason": "admin"}), 200)

    answer = done(topup(shop, workspace, 5), 200)

    assert answer["frozen"] is True
    assert answer["new_balance_micros"] == 105_000_000


def test_the_portal_opens_by_the_api_and_by_a_signed_link_of_ours(shop: Sandboxed) -> None:
    workspace = with_card(shop)
    asked = {"flow": "payment_method_update", "return_url": "https://app.example/back"}
    url = done(shop.app.post("/v1/billing/portal", asked, workspace), 200)["url"]
    assert url.startswith(shop.sandbox.url)
    assert customer_of(shop, workspace)
    refused(
        shop.app.post("/v1/billing/portal", {"return_url": "javascript:1"}, workspace),
        *(422, "validation_error"),
    )


def test_a_link_to_the_portal_is_ours_alone_and_ends_after_two_weeks(shop: Sandboxed) -> None:
    workspace, other = shop.app.workspace(), shop.app.workspace()
    link = portal_link(shop.app.settings, workspace, START, "payment_method_update")

    for _ in range(2):
        led = shop.app.http.get(link, follow_redirects=False)
        assert led.status_code == 303, led.text
        assert led.headers["location"].startswith(shop.sandbox.url)

    forged = (link.replace(workspace, other), link + "0", "/v1/billing/portal?workspace=x")
    assert [shop.app.http.get(path).status_code for path in forged] == [403] * 3
    shop.to("2026-06-15T00:00:00Z")
    assert shop.app.http.get(link).status_code == 403


def test_where_topups_go_by_checkout_the_page_credits_when_it_is_paid(
    database: Database, tmp_path: Path
) -> None:
    path = catalogue(
        tmp_path, "faces", ("overdraft: record", "overdraft: record\ntopup_via: checkout")
    )
    with sandboxed(database, path, mode="held") as shop:
        workspace = shop.app.workspace()
        page = done(topup(shop, workspace, 20, "K"), 202)
        again = done(topup(shop, workspace, 20, "K"), 202)
        assert (page["status"], page["checkout_url"]) == ("pending", again["checkout_url"])
        assert shop.sandbox.books is not None
        [session] = shop.sandbox.books.find("checkout.session")
        told = {"card": "4000000000000002", "outcome": "pay"}
        shop.sandbox.control.post(f"/checkout/{session['id']}", **told)
        settle(shop)  # a card that was declined on the page is not the end of it
        assert done(topup(shop, workspace, 20, "K"), 202)["status"] == "pending"

        shop.sandbox.control.post(f"/checkout/{session['id']}", card="4242424242424242")
        deliver(shop, times=2)

        assert balance(shop, workspace)["balance_micros"] == TWENTY
        assert done(topup(shop, workspace, 20, "K"), 200)["status"] == "succeeded"


def test_a_page_that_nobody_paid_in_time_is_refused_and_says_so(
    database: Database, tmp_path: Path
) -> None:
    path = catalogue(
        tmp_path, "faces", ("overdraft: record", "overdraft: record\ntopup_via: checkout")
    )
    with sandboxed(database, path, mode="held", strict=False) as shop:
        workspace = shop.app.workspace()
        done(topup(shop, workspace, 20, "K"), 202)
        shop.to("2026-06-02T00:00:01Z")
        settle(shop)

        problem = refused(topup(shop, workspace, 20, "K"), 402, "card_declined")

        assert problem["decline_code"] == "abandoned"
        assert done(topup(shop, workspace, 20, "K2"), 202)["checkout_url"] is not None
