"""Checkout sessions: by Stripe's own client, and by the forms of their pages."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import stripe

from tests.adapters.stripe.hosted import CANCEL, Sandbox, sandbox, words

TEN_DOLLARS = {
    "quantity": 1,
    "price_data": {"currency": "usd", "unit_amount": 1000, "product_data": {"name": "Credits"}},
}
DAY_S = 24 * 3600


@pytest.fixture
def box() -> Iterator[Sandbox]:
    with sandbox() as made:
        yield made


def monthly(box: Sandbox, minor: int = 1700) -> str:
    product = box.client.v1.products.create({"name": "Connect"})
    price = box.client.v1.prices.create(
        {
            "currency": "usd",
            "unit_amount": minor,
            "product": product.id,
            "recurring": {"interval": "month"},
        }
    )
    return price.id


def test_a_payment_is_made_on_the_page_and_told_in_stripes_order(box: Sandbox) -> None:
    customer = box.customer()
    session = box.session(
        mode="payment",
        customer=customer,
        client_reference_id="ws_1",
        metadata={"attempt": "a1"},
        line_items=[TEN_DOLLARS],
        payment_intent_data={"metadata": {"attempt": "a1"}, "setup_future_usage": "off_session"},
    )
    assert (session.status, session.payment_status, session.amount_total) == (
        "open",
        "unpaid",
        1000,
    )
    assert session.payment_intent is None
    assert session.url is not None
    page = box.open(session.url)
    assert "$10.00" in words(page)
    assert "no money moves" in words(page)

    done = box.post(session.url, card="4242 4242 4242 4242")

    assert done.status_code == 303
    assert done.headers["location"] == f"http://127.0.0.1:9/done?session={session.id}"
    after = box.again(session, "payment_intent", "line_items")
    assert (after.status, after.payment_status, after.url) == ("complete", "paid", None)
    intent = after.payment_intent
    assert isinstance(intent, stripe.PaymentIntent)
    assert (intent.status, intent.amount_received) == ("succeeded", 1000)
    assert intent.metadata["attempt"] == "a1"
    assert after.line_items is not None
    assert after.line_items.data[0].amount_total == 1000
    assert box.events(
        *("payment_intent.created", "payment_intent.succeeded", "charge.succeeded"),
        "checkout.session.completed",
    ) == [
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.succeeded",
        "checkout.session.completed",
    ]
    saved = box.client.v1.payment_methods.list({"customer": customer})
    assert [method.card.last4 for method in saved.data if method.card] == ["4242"]


def test_a_declined_card_says_why_and_another_one_pays(box: Sandbox) -> None:
    session = box.session(mode="payment", line_items=[TEN_DOLLARS])
    assert session.url is not None

    refused = box.post(session.url, card="4000000000009995")

    assert refused.status_code == 402
    assert "insufficient funds" in words(refused)
    assert box.again(session).status == "open"
    assert "insufficient funds" in words(box.open(session.url))
    assert box.post(session.url, card="4242424242424242").status_code == 303
    assert box.again(session).payment_status == "paid"
    assert box.events("payment_intent.created") == ["payment_intent.created"]


@pytest.mark.parametrize("card", ["", "4242", "abcd", "4242424242424242424242"])
def test_what_is_no_card_number_is_refused_in_words(box: Sandbox, card: str) -> None:
    session = box.session(mode="payment", line_items=[TEN_DOLLARS])
    assert session.url is not None
    assert "card number is incorrect" in words(box.post(session.url, card=card))


def test_a_form_from_elsewhere_pays_nothing(box: Sandbox) -> None:
    session = box.session(mode="payment", line_items=[TEN_DOLLARS])
    card = {"card": "4242424242424242", "token": "0" * 64}
    assert box.http.post(f"/pay/{session.id}", data=card).status_code == 403
    assert box.again(session).status == "open"


@pytest.mark.parametrize("outcome", ["complete", "fail"])
def test_a_card_that_asks_who_it_is_leads_to_a_challenge(box: Sandbox, outcome: str) -> None:
    session = box.session(mode="payment", line_items=[TEN_DOLLARS])
    assert session.url is not None
    challenge = box.post(session.url, card="4000002760003184")
    assert challenge.status_code == 303
    where = challenge.headers["location"]
    assert "$10.00" in words(box.open(where))
    assert box.again(session).status == "open"

    answered = box.post(where, outcome=outcome)

    assert answered.headers["location"] == session.url
    back = box.open(session.url)
    if outcome == "complete":
        assert back.headers["location"].startswith("http://127.0.0.1:9/done")
        assert box.again(session).payment_status == "paid"
        assert box.events("checkout.session.completed") == ["checkout.session.completed"]
    else:
        assert "authenticate" in words(back)
        assert box.again(session).status == "open"


def test_a_card_is_saved_for_later_and_not_made_the_default(box: Sandbox) -> None:
    customer = box.customer()
    session = box.session(mode="setup", currency="usd", customer=customer, metadata={"a": "1"})
    assert session.payment_status == "no_payment_required"
    assert session.setup_intent is not None
    assert session.url is not None

    box.post(session.url, card="4242424242424242")

    after = box.again(session, "setup_intent")
    assert after.status == "complete"
    assert isinstance(after.setup_intent, stripe.SetupIntent)
    assert after.setup_intent.status == "succeeded"
    method = box.client.v1.payment_methods.retrieve(str(after.setup_intent.payment_method))
    assert method.customer == customer
    settings = box.client.v1.customers.retrieve(customer).invoice_settings
    assert settings is not None
    assert settings.default_payment_method is None
    wanted = ("setup_intent.succeeded", "payment_method.attached", "checkout.session.completed")
    assert sorted(box.events(*wanted)) == sorted(wanted)
    assert box.events()[-1] == "checkout.session.completed"


def test_a_subscription_begins_when_its_page_is_paid(box: Sandbox) -> None:
    customer = box.customer()
    session = box.session(
        mode="subscription",
        customer=customer,
        line_items=[{"price": monthly(box), "quantity": 1}],
        subscription_data={"metadata": {"workspace": "ws_1"}},
    )
    assert session.url is not None
    assert session.subscription is None

    box.post(session.url, card="4242424242424242")

    after = box.again(session, "subscription", "invoice")
    assert isinstance(after.subscription, stripe.Subscription)
    assert after.subscription.status == "active"
    assert after.subscription.metadata["workspace"] == "ws_1"
    assert isinstance(after.invoice, stripe.Invoice)
    assert (after.invoice.status, after.invoice.amount_paid) == ("paid", 1700)
    assert after.subscription.default_payment_method is not None
    seen = box.events()
    assert seen.index("customer.subscription.created") < seen.index("invoice.paid")
    assert seen[-1] == "checkout.session.completed"


def test_a_subscription_whose_card_is_declined_is_not_begun_twice(box: Sandbox) -> None:
    price = monthly(box)
    session = box.session(mode="subscription", line_items=[{"price": price, "quantity": 1}])
    assert session.url is not None
    refused = box.post(session.url, card="4000000000000341", email="a@example.com")
    assert refused.status_code == 402
    assert "declined" in words(refused)

    assert box.post(session.url, card="4242424242424242").status_code == 303

    after = box.again(session, "subscription", "customer")
    assert isinstance(after.subscription, stripe.Subscription)
    assert after.subscription.status == "active"
    assert isinstance(after.customer, stripe.Customer)
    assert after.customer.email == "a@example.com"
    assert box.events("customer.subscription.created") == ["customer.subscription.created"]
    assert box.events("customer.created") == ["customer.created"]


@pytest.mark.parametrize("card", ["4000002500003155", "4000002760003184"])
def test_a_subscription_waits_for_authentication(box: Sandbox, card: str) -> None:
    lines = [{"price": monthly(box), "quantity": 1}]
    session = box.session(mode="subscription", customer=box.customer(), line_items=lines)
    assert session.url is not None
    challenge = box.post(session.url, card=card).headers["location"]
    assert box.again(session).status == "open"

    assert box.post(challenge, outcome="fail").headers["location"] == session.url
    assert "unable to authenticate" in words(box.open(session.url))
    again = box.post(session.url, card=card).headers["location"]
    box.post(again, outcome="complete")

    after = box.again(session, "subscription")
    assert (after.status, after.payment_status) == ("complete", "paid")
    assert isinstance(after.subscription, stripe.Subscription)
    assert after.subscription.status == "active"
    assert box.events("customer.subscription.created") == ["customer.subscription.created"]
    assert box.events()[-1] == "checkout.session.completed"


def test_a_customer_is_made_where_one_is_wished_for(box: Sandbox) -> None:
    session = box.session(
        mode="payment",
        line_items=[TEN_DOLLARS],
        customer_creation="always",
        customer_email="a@example.com",
    )
    assert session.url is not None
    box.post(session.url, card="4000000000000002")
    box.post(session.url, card="4242424242424242")
    after = box.again(session, "customer", "payment_intent")
    assert isinstance(after.customer, stripe.Customer)
    assert after.customer.email == "a@example.com"
    assert isinstance(after.payment_intent, stripe.PaymentIntent)
    assert after.payment_intent.customer == after.customer.id
    assert box.events("customer.created") == ["customer.created"]


@pytest.mark.parametrize("mode", ["payment", "subscription"])
@pytest.mark.parametrize("outcome", ["settle", "fail"])
def test_a_debit_completes_unpaid_and_settles_later(box: Sandbox, mode: str, outcome: str) -> None:
    lines = [TEN_DOLLARS] if mode == "payment" else [{"price": monthly(box), "quantity": 1}]
    session = box.session(mode=mode, customer=box.customer(), line_items=lines)
    assert session.url is not None

    assert box.post(session.url, outcome="delayed").status_code == 303

    after = box.again(session)
    assert (after.status, after.payment_status) == ("complete", "unpaid")
    box.control.post(f"/checkout/{session.id}", outcome=outcome)
    settled = box.again(session, "subscription")
    assert settled.payment_status == ("paid" if outcome == "settle" else "unpaid")
    ended = "succeeded" if outcome == "settle" else "failed"
    assert box.events()[-1] == f"checkout.session.async_payment_{ended}"
    if mode == "subscription":
        assert isinstance(settled.subscription, stripe.Subscription)
        expected = "active" if outcome == "settle" else "incomplete"
        assert settled.subscription.status == expected
    else:
        assert f"payment_intent.{'succeeded' if outcome == 'settle' else 'payment_failed'}" in (
            box.events()
        )


def test_nobody_pays_for_a_day_and_the_session_expires(box: Sandbox) -> None:
    session = box.session(mode="setup", currency="usd")
    assert session.expires_at == session.created + DAY_S
    box.control.clock(session.expires_at - 1)
    assert box.again(session).status == "open"
    box.control.clock(session.expires_at)
    after = box.again(session)
    assert (after.status, after.url) == ("expired", None)
    assert box.events("checkout.session.expired") == ["checkout.session.expired"]
    assert box.open(f"/pay/{session.id}").status_code == 410


def test_a_session_can_be_ended_and_only_an_open_one(box: Sandbox) -> None:
    session = box.session(mode="payment", line_items=[TEN_DOLLARS])
    ended = box.client.v1.checkout.sessions.expire(session.id)
    assert ended.status == "expired"
    with pytest.raises(stripe.InvalidRequestError, match="status of `expired`"):
        box.client.v1.checkout.sessions.expire(session.id)


def test_without_a_browser_the_control_api_does_the_same(box: Sandbox) -> None:
    session = box.session(mode="payment", line_items=[TEN_DOLLARS])
    left = box.control.post(f"/checkout/{session.id}", outcome="cancel")
    assert (left["url"], left["session"]["status"]) == (CANCEL, "open")
    refused = box.control.post(f"/checkout/{session.id}", card="4000000000000002")
    assert refused["error"]["decline_code"] == "generic_decline"
    done = box.control.post(f"/checkout/{session.id}", card="4242424242424242")
    assert done["session"]["payment_status"] == "paid"
    assert done["error"] is None


def test_authentication_by_the_control_api_completes_the_session(box: Sandbox) -> None:
    customer = box.customer()
    session = box.session(mode="setup", currency="usd", customer=customer)
    asked = box.control.post(f"/checkout/{session.id}", card="4000002500003155")
    assert asked["session"]["status"] == "open"
    box.control.authenticate(str(session.setup_intent))
    assert box.again(session).status == "complete"


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"mode": "payment"}, "line_items"),
        ({"mode": "setup"}, "currency"),
        ({"mode": "setup", "currency": "usd", "line_items": [TEN_DOLLARS]}, "line_items"),
        ({"mode": "subscription", "line_items": [TEN_DOLLARS]}, "line_items[0][price]"),
        ({"mode": "setup", "currency": "usd", "customer": "cus_none"}, "customer"),
        ({"mode": "setup", "currency": "usd", "success_url": "javascript:1"}, "success_url"),
        ({"mode": "setup", "currency": "usd", "expires_at": 1}, "expires_at"),
        ({"mode": "setup", "currency": "usd", "subscription_data": {}}, None),
        ({"mode": "setup", "currency": "usd", "sucess_url": "x"}, "sucess_url"),
    ],
)
def test_what_stripe_refuses_is_refused(
    box: Sandbox, asked: dict[str, object], param: str | None
) -> None:
    if "subscription_data" in asked:
        asked = asked | {"subscription_data": {"metadata": {"a": "1"}}}
        param = "subscription_data"
    with pytest.raises(stripe.InvalidRequestError) as refused:
        box.session(**asked)
    assert refused.value.param == param


def test_names_are_shown_and_never_run(box: Sandbox) -> None:
    evil = "<script>alert(1)</script>"
    line = {
        "quantity": 1,
        "price_data": {"currency": "usd", "unit_amount": 1000, "product_data": {"name": evil}},
    }
    session = box.session(mode="payment", line_items=[line])
    assert session.url is not None
    page = box.open(session.url)
    assert "<script" not in page.text
    assert "alert(1)" in page.text
