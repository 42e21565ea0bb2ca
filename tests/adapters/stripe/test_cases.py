"""Cases with one right answer, put to the sandbox and, with STRIPE_TEST_KEY, to Stripe itself.

Every answer is held to the contract, whoever gives it.
"""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
import stripe

from tests.adapters.stripe.told import customer_with, held, off_session, refusal

Client = stripe.StripeClient


def test_a_customer_is_kept_changed_and_deleted(either: Client) -> None:
    made = held(either.v1.customers.create({"email": "a@example.com", "metadata": {"a": "1"}}))
    changed = held(
        either.v1.customers.update(made["id"], {"name": "A", "metadata": {"a": "", "b": "2"}})
    )
    gone = held(either.v1.customers.delete(made["id"]))
    after = held(either.v1.customers.retrieve(made["id"]))

    assert (made["email"], made["metadata"], made["livemode"]) == (
        "a@example.com",
        {"a": "1"},
        False,
    )
    assert (changed["name"], changed["metadata"]) == ("A", {"b": "2"})
    assert gone == {"id": made["id"], "object": "customer", "deleted": True}
    assert after["deleted"] is True


def test_a_misspelt_parameter_is_refused(either: Client) -> None:
    wrong: Any = {"emial": "a@example.com"}

    with pytest.raises(stripe.InvalidRequestError) as caught:
        either.v1.customers.create(wrong)

    assert (caught.value.code, caught.value.param) == ("parameter_unknown", "emial")
    assert caught.value.user_message == "Received unknown parameter: emial"


def test_a_misspelt_nested_parameter_is_refused(either: Client) -> None:
    wrong: Any = {"invoice_settings": {"default_paymentmethod": "pm_1"}}

    with pytest.raises(stripe.InvalidRequestError) as caught:
        either.v1.customers.create(wrong)

    assert caught.value.code == "parameter_unknown"
    assert caught.value.param == "invoice_settings[default_paymentmethod]"


def test_a_missing_parameter_is_refused(either: Client) -> None:
    wrong: Any = {"currency": "usd"}

    with pytest.raises(stripe.InvalidRequestError) as caught:
        either.v1.payment_intents.create(wrong)

    assert (caught.value.code, caught.value.param) == ("parameter_missing", "amount")


def test_a_number_must_be_one(either: Client) -> None:
    wrong: Any = {"amount": "ten", "currency": "usd"}

    with pytest.raises(stripe.InvalidRequestError) as caught:
        either.v1.payment_intents.create(wrong)

    assert (caught.value.code, caught.value.param) == ("parameter_invalid_integer", "amount")


def test_an_unknown_word_is_refused_with_the_known_ones(either: Client) -> None:
    wrong: Any = {"amount": 100, "currency": "usd", "setup_future_usage": "sometimes"}

    with pytest.raises(stripe.InvalidRequestError, match="must be one of") as caught:
        either.v1.payment_intents.create(wrong)

    assert caught.value.param == "setup_future_usage"


def test_what_is_not_there_is_missing(either: Client) -> None:
    with pytest.raises(stripe.InvalidRequestError) as caught:
        either.v1.customers.retrieve("cus_nobody")

    assert (caught.value.http_status, caught.value.code) == (404, "resource_missing")
    assert caught.value.user_message == "No such customer: 'cus_nobody'"


def test_less_than_half_a_dollar_cannot_be_paid(either: Client) -> None:
    with pytest.raises(stripe.InvalidRequestError) as caught:
        either.v1.payment_intents.create({"amount": 49, "currency": "usd"})

    assert caught.value.code == "amount_too_small"


def test_a_saved_card_pays_off_session(either: Client) -> None:
    customer, method = customer_with(either)

    intent = held(
        either.v1.payment_intents.create(
            off_session(customer, method, expand=["latest_charge.balance_transaction"])
        )
    )

    charge = intent["latest_charge"]
    assert (intent["status"], intent["amount_received"], intent["next_action"]) == (
        "succeeded",
        2_000,
        None,
    )
    assert (charge["status"], charge["paid"], charge["amount"]) == ("succeeded", True, 2_000)
    assert (charge["payment_intent"], charge["customer"]) == (intent["id"], customer)
    assert charge["payment_method_details"]["card"]["last4"] == "4242"
    assert charge["balance_transaction"]["amount"] == 2_000


def test_a_refused_card_leaves_the_intent_and_says_why(either: Client) -> None:
    customer, method = customer_with(either, "pm_card_chargeCustomerFail")

    with pytest.raises(stripe.CardError) as caught:
        either.v1.payment_intents.create(off_session(customer, method))

    error = refusal(caught)
    assert (caught.value.http_status, error["code"]) == (402, "card_declined")
    assert error["decline_code"] == "generic_decline"
    intent = held(either.v1.payment_intents.retrieve(error["payment_intent"]["id"]))
    assert intent["status"] == "requires_payment_method"
    assert intent["last_payment_error"]["decline_code"] == "generic_decline"
    charge = held(either.v1.charges.retrieve(intent["latest_charge"]))
    assert (charge["status"], charge["paid"], charge["failure_code"]) == (
        "failed",
        False,
        "card_declined",
    )


def test_a_card_that_is_always_refused_cannot_be_saved(either: Client) -> None:
    customer = either.v1.customers.create().id

    with pytest.raises(stripe.CardError) as caught:
        either.v1.payment_methods.attach(
            "pm_card_chargeDeclinedInsufficientFunds", {"customer": customer}
        )

    error = refusal(caught)
    assert (error["code"], error["decline_code"]) == ("card_declined", "insufficient_funds")


def test_a_card_may_need_its_holder(either: Client) -> None:
    customer, method = customer_with(either, "pm_card_authenticationRequired")

    with pytest.raises(stripe.CardError) as caught:
        either.v1.payment_intents.create(off_session(customer, method))

    error = refusal(caught)
    assert (error["code"], error["decline_code"]) == (
        "authentication_required",
        "authentication_required",
    )
    assert error["payment_intent"]["status"] == "requires_payment_method"


def test_with_its_holder_there_the_payment_waits_for_them(either: Client) -> None:
    customer, method = customer_with(either, "pm_card_authenticationRequired")
    params: Any = {
        "amount": 2_000,
        "currency": "usd",
        "customer": customer,
        "payment_method": method,
        "confirm": True,
        "return_url": "https://example.com/back",
    }

    intent = held(either.v1.payment_intents.create(params))

    assert intent["status"] == "requires_action"
    assert intent["next_action"]["type"] == "redirect_to_url"
    assert intent["next_action"]["redirect_to_url"]["return_url"] == "https://example.com/back"


def test_a_paid_intent_cannot_be_confirmed_or_cancelled(either: Client) -> None:
    customer, method = customer_with(either)
    intent = either.v1.payment_intents.create(off_session(customer, method)).id

    with pytest.raises(stripe.InvalidRequestError) as confirmed:
        either.v1.payment_intents.confirm(intent)
    with pytest.raises(stripe.InvalidRequestError) as cancelled:
        either.v1.payment_intents.cancel(intent)

    assert confirmed.value.code == "payment_intent_unexpected_state"
    assert cancelled.value.code == "payment_intent_unexpected_state"


def test_an_intent_is_cancelled_once(either: Client) -> None:
    intent = either.v1.payment_intents.create({"amount": 100, "currency": "usd"}).id

    gone = held(
        either.v1.payment_intents.cancel(intent, {"cancellation_reason": "requested_by_customer"})
    )

    assert (gone["status"], gone["cancellation_reason"]) == ("canceled", "requested_by_customer")
    with pytest.raises(stripe.InvalidRequestError):
        either.v1.payment_intents.cancel(intent)


def test_refunds_add_up_and_no_further(either: Client) -> None:
    customer, method = customer_with(either)
    intent = either.v1.payment_intents.create(off_session(customer, method)).id

    first = held(either.v1.refunds.create({"payment_intent": intent, "amount": 500}))
    charge = held(either.v1.charges.retrieve(first["charge"]))
    with pytest.raises(stripe.InvalidRequestError, match="greater than unrefunded amount"):
        either.v1.refunds.create({"payment_intent": intent, "amount": 1_501})
    rest = held(either.v1.refunds.create({"charge": first["charge"]}))
    whole = held(either.v1.charges.retrieve(first["charge"], {"expand": ["refunds"]}))
    with pytest.raises(stripe.InvalidRequestError) as again:
        either.v1.refunds.create({"payment_intent": intent})

    assert (first["amount"], first["status"]) == (500, "succeeded")
    assert (charge["amount_refunded"], charge["refunded"]) == (500, False)
    assert rest["amount"] == 1_500
    assert (whole["amount_refunded"], whole["refunded"]) == (2_000, True)
    assert [refund["amount"] for refund in whole["refunds"]["data"]] == [1_500, 500]
    assert again.value.code == "charge_already_refunded"


def test_a_card_is_saved_without_a_payment(either: Client) -> None:
    customer = either.v1.customers.create().id
    params: Any = {
        "customer": customer,
        "payment_method": "pm_card_visa",
        "confirm": True,
        "return_url": "https://example.com/back",
    }

    intent = held(either.v1.setup_intents.create(params))
    method = held(either.v1.payment_methods.retrieve(intent["payment_method"]))

    assert (intent["status"], intent["usage"]) == ("succeeded", "off_session")
    assert (method["customer"], method["card"]["brand"]) == (customer, "visa")


def test_a_detached_card_is_nobodys_and_of_no_more_use(either: Client) -> None:
    customer, method = customer_with(either)

    detached = held(either.v1.payment_methods.detach(method))
    after = held(either.v1.customers.retrieve(customer))

    assert detached["customer"] is None
    assert after["invoice_settings"]["default_payment_method"] is None
    with pytest.raises(stripe.InvalidRequestError):
        either.v1.payment_methods.attach(method, {"customer": customer})


def test_a_customer_pays_only_with_its_own_card(either: Client) -> None:
    _, method = customer_with(either)
    other, _ = customer_with(either)

    with pytest.raises(stripe.InvalidRequestError) as caught:
        either.v1.payment_intents.create(off_session(other, method))

    assert caught.value.param == "payment_method"


def test_a_price_is_found_by_its_key_and_the_key_can_move(either: Client) -> None:
    key = f"key_{uuid4().hex}"
    product = either.v1.products.create({"name": "Pro"}).id
    params: Any = {
        "product": product,
        "currency": "usd",
        "unit_amount": 4_000,
        "recurring": {"interval": "month"},
        "lookup_key": key,
    }

    first = held(either.v1.prices.create(params))
    with pytest.raises(stripe.InvalidRequestError):
        either.v1.prices.create(params)
    params["transfer_lookup_key"] = True
    second = held(either.v1.prices.create(params))
    found = held(either.v1.prices.list({"lookup_keys": [key]}))

    assert first["recurring"]["interval"] == "month"
    assert (first["unit_amount"], first["unit_amount_decimal"], first["type"]) == (
        4_000,
        "4000",
        "recurring",
    )
    assert [price["id"] for price in found["data"]] == [second["id"]]
    assert held(either.v1.prices.retrieve(first["id"]))["lookup_key"] is None


def test_a_list_is_turned_page_by_page(either: Client) -> None:
    customer, method = customer_with(either)
    made = [
        either.v1.payment_intents.create(off_session(customer, method, amount)).id
        for amount in (100, 200, 300)
    ]

    first = held(either.v1.payment_intents.list({"customer": customer, "limit": 2}))
    after: Any = {"customer": customer, "limit": 2, "starting_after": first["data"][-1]["id"]}
    second = held(either.v1.payment_intents.list(after))
    before: Any = {"customer": customer, "limit": 2, "ending_before": made[0]}
    back = held(either.v1.payment_intents.list(before))

    assert [one["id"] for one in first["data"]] == [made[2], made[1]]
    assert ([one["id"] for one in second["data"]], second["has_more"]) == ([made[0]], False)
    assert first["has_more"] is True
    assert [one["id"] for one in back["data"]] == [made[2], made[1]]


def test_a_key_gives_the_same_answer_and_to_nothing_else(either: Client) -> None:
    key: Any = {"idempotency_key": uuid4().hex}
    params: Any = {"amount": 100, "currency": "usd"}

    first = either.v1.payment_intents.create(params, key)
    again = either.v1.payment_intents.create(params, key)
    params["amount"] = 101
    with pytest.raises(stripe.IdempotencyError) as caught:
        either.v1.payment_intents.create(params, key)

    assert held(first) == held(again)
    assert again.last_response is not None
    assert again.last_response.headers["Idempotent-Replayed"] == "true"
    assert caught.value.http_status == 400


def test_a_refusal_is_answered_again_too(either: Client) -> None:
    customer, method = customer_with(either, "pm_card_chargeCustomerFail")
    key: Any = {"idempotency_key": uuid4().hex}
    errors = []

    for _ in range(2):
        with pytest.raises(stripe.CardError) as caught:
            either.v1.payment_intents.create(off_session(customer, method), key)
        errors.append(refusal(caught)["payment_intent"]["id"])

    assert errors[0] == errors[1]
    assert len(held(either.v1.payment_intents.list({"customer": customer}))["data"]) == 1


def test_what_cannot_be_expanded_is_refused(either: Client) -> None:
    customer = either.v1.customers.create().id

    with pytest.raises(stripe.InvalidRequestError, match="cannot be expanded"):
        either.v1.customers.retrieve(customer, {"expand": ["email"]})
