"""Payments in the sandbox: test cards, and payers who are asked whether it is them."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from adapters.stripe.sandbox.cards import CARDS, TOKENS, card_of
from adapters.stripe.sandbox.errors import StripeError
from adapters.stripe.sandbox.remote import Refused, Remote
from tests.adapters.stripe.told import Json, customer_with, events, held, off_session, paid, refusal

BACK = "https://example.com/back"


def waiting(client: stripe.StripeClient, card: str = "pm_card_authenticationRequired") -> Json:
    """A payment that waits for its payer."""
    customer, method = customer_with(client, card)
    params: Any = {
        "amount": 2_000,
        "currency": "usd",
        "customer": customer,
        "payment_method": method,
        "confirm": True,
        "return_url": BACK,
    }
    return held(client.v1.payment_intents.create(params))


# -- cards ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", sorted(TOKENS))
def test_every_token_names_a_test_card(token: str) -> None:
    assert TOKENS[token] in CARDS


@pytest.mark.parametrize(
    ("number", "code"),
    [
        ("4242424242424241", "incorrect_number"),
        ("1", "incorrect_number"),
        ("4111111111111111", "card_declined"),
    ],
)
def test_no_other_card_is_accepted(number: str, code: str) -> None:
    with pytest.raises(StripeError) as caught:
        card_of(number)

    assert caught.value.error["code"] == code


@pytest.mark.parametrize(
    ("number", "code", "decline_code"),
    [
        ("4000000000000002", "card_declined", "generic_decline"),
        ("4000000000009995", "card_declined", "insufficient_funds"),
        ("4000000000009987", "card_declined", "lost_card"),
        ("4000000000000069", "expired_card", "expired_card"),
        ("4000000000000127", "incorrect_cvc", "incorrect_cvc"),
        ("4000000000000119", "processing_error", "processing_error"),
        ("4000000000000341", "card_declined", "generic_decline"),
        ("4000002760003184", "authentication_required", "authentication_required"),
        ("4000002500003155", "authentication_required", "authentication_required"),
    ],
)
def test_a_saved_card_that_fails_says_how(
    sandbox: Remote, client: stripe.StripeClient, number: str, code: str, decline_code: str
) -> None:
    customer = client.v1.customers.create({}).id
    method = sandbox.control.card(customer, number)["id"]

    with pytest.raises(stripe.CardError) as caught:
        client.v1.payment_intents.create(off_session(customer, method))

    error = refusal(caught)
    intent = error["payment_intent"]
    assert (error["code"], error["decline_code"]) == (code, decline_code)
    assert (intent["status"], intent["amount_received"]) == ("requires_payment_method", 0)
    assert events(client, intent["id"]) == [
        "payment_intent.created",
        "payment_intent.payment_failed",
    ]
    assert events(client, intent["latest_charge"]) == ["charge.failed"]


def test_a_number_is_kept_nowhere_where_it_shows(client: stripe.StripeClient) -> None:
    card: Any = {"number": "4242 4242 4242 4242", "exp_month": 12, "exp_year": 2034, "cvc": "1"}

    method = held(client.v1.payment_methods.create({"type": "card", "card": card}))

    assert "4242424242424242" not in str(method)
    assert method["card"]["last4"] == "4242"


def test_a_card_that_is_past_is_refused(client: stripe.StripeClient) -> None:
    card: Any = {"number": "4242424242424242", "exp_month": 5, "exp_year": 2026}

    with pytest.raises(stripe.CardError) as caught:
        client.v1.payment_methods.create({"type": "card", "card": card})

    assert caught.value.code == "invalid_expiry_year"


def test_a_card_used_once_cannot_be_used_again(client: stripe.StripeClient) -> None:
    card: Any = {"number": "4242424242424242", "exp_month": 12, "exp_year": 2034}
    method = client.v1.payment_methods.create({"type": "card", "card": card}).id
    once: Any = {
        "amount": 100,
        "currency": "usd",
        "payment_method": method,
        "confirm": True,
        "return_url": BACK,
    }
    assert client.v1.payment_intents.create(once).status == "succeeded"

    with pytest.raises(stripe.InvalidRequestError, match="may not be used again"):
        client.v1.payment_intents.create(once)


def test_a_payment_can_save_its_card(client: stripe.StripeClient) -> None:
    customer = client.v1.customers.create({}).id
    params: Any = {
        "amount": 100,
        "currency": "usd",
        "customer": customer,
        "payment_method": "pm_card_visa",
        "confirm": True,
        "return_url": BACK,
        "setup_future_usage": "off_session",
    }

    intent = client.v1.payment_intents.create(params)

    (saved,) = held(client.v1.customers.payment_methods.list(customer))["data"]
    assert saved["id"] == intent.payment_method


def test_a_payer_who_is_there_must_have_somewhere_to_come_back_to(
    client: stripe.StripeClient,
) -> None:
    params: Any = {
        "amount": 100,
        "currency": "usd",
        "payment_method": "pm_card_visa",
        "confirm": True,
    }

    with pytest.raises(stripe.InvalidRequestError, match="must provide a `return_url`"):
        client.v1.payment_intents.create(params)
    params["automatic_payment_methods"] = {"enabled": True, "allow_redirects": "never"}
    assert client.v1.payment_intents.create(params).status == "succeeded"


# -- authentication -------------------------------------------------------------------------------


def test_an_authenticated_payment_comes_through(
    sandbox: Remote, client: stripe.StripeClient
) -> None:
    intent = waiting(client)

    done = sandbox.control.authenticate(intent["id"])

    assert (done["status"], done["amount_received"], done["next_action"]) == (
        "succeeded",
        2_000,
        None,
    )
    assert events(client, intent["id"]) == [
        "payment_intent.created",
        "payment_intent.requires_action",
        "payment_intent.succeeded",
    ]


def test_a_failed_authentication_leaves_it_unpaid_and_it_can_be_tried_again(
    sandbox: Remote, client: stripe.StripeClient
) -> None:
    intent = waiting(client)

    failed = sandbox.control.authenticate(intent["id"], "fail")

    assert failed["status"] == "requires_payment_method"
    assert failed["last_payment_error"]["code"] == "payment_intent_authentication_failure"
    again: Any = {"payment_method": "pm_card_visa", "return_url": BACK}
    assert client.v1.payment_intents.confirm(intent["id"], again).status == "succeeded"


def test_a_card_may_be_authenticated_and_then_refused(
    sandbox: Remote, client: stripe.StripeClient
) -> None:
    customer = client.v1.customers.create({}).id
    method = sandbox.control.card(customer, "4000008260003178")["id"]
    params: Any = {
        "amount": 100,
        "currency": "usd",
        "customer": customer,
        "payment_method": method,
        "confirm": True,
        "return_url": BACK,
    }
    intent = client.v1.payment_intents.create(params)

    refused = sandbox.control.authenticate(intent.id)

    assert refused["status"] == "requires_payment_method"
    assert refused["last_payment_error"]["decline_code"] == "insufficient_funds"


def test_nothing_can_be_authenticated_that_does_not_ask_for_it(
    sandbox: Remote, client: stripe.StripeClient
) -> None:
    with pytest.raises(Refused):
        sandbox.control.authenticate(paid(client)["id"])


def test_a_card_authenticated_when_it_was_saved_pays_off_session(
    sandbox: Remote, client: stripe.StripeClient
) -> None:
    customer = client.v1.customers.create({}).id
    params: Any = {
        "customer": customer,
        "payment_method": "pm_card_authenticationRequiredOnSetup",
        "confirm": True,
        "return_url": BACK,
    }
    setup = client.v1.setup_intents.create(params)
    assert setup.status == "requires_action"

    saved = sandbox.control.authenticate(setup.id)

    method = saved["payment_method"]
    assert saved["status"] == "succeeded"
    assert client.v1.payment_methods.retrieve(method).customer == customer
    assert client.v1.payment_intents.create(off_session(customer, method)).status == "succeeded"
    assert events(client, setup.id) == [
        "setup_intent.created",
        "setup_intent.requires_action",
        "setup_intent.succeeded",
    ]


def test_a_card_that_is_not_authenticated_is_not_saved(
    sandbox: Remote, client: stripe.StripeClient
) -> None:
    customer = client.v1.customers.create({}).id
    params: Any = {
        "customer": customer,
        "payment_method": "pm_card_authenticationRequired",
        "confirm": True,
        "return_url": BACK,
    }
    setup = client.v1.setup_intents.create(params)

    failed = sandbox.control.authenticate(setup.id, "fail")

    assert failed["status"] == "requires_payment_method"
    assert failed["last_setup_error"]["code"] == "setup_intent_authentication_failure"
    assert held(client.v1.customers.payment_methods.list(customer))["data"] == []


def test_a_declined_card_is_not_saved_either(client: stripe.StripeClient) -> None:
    customer = client.v1.customers.create({}).id
    params: Any = {
        "customer": customer,
        "payment_method": "pm_card_chargeDeclined",
        "confirm": True,
        "return_url": BACK,
    }

    with pytest.raises(stripe.CardError) as caught:
        client.v1.setup_intents.create(params)

    error = refusal(caught)
    assert error["setup_intent"]["status"] == "requires_payment_method"
    assert events(client, error["setup_intent"]["id"])[-1] == "setup_intent.setup_failed"
