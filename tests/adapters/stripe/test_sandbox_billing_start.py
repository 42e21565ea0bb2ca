"""How subscriptions begin in the sandbox, by Stripe's rules for `payment_behavior`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import stripe

from tests.adapters.stripe.shop import Shop, amounts, at, day, plain, shop


@pytest.fixture
def june() -> Iterator[Shop]:
    with shop("2026-06-01") as opened:
        yield opened


def test_a_paid_subscription_is_active_for_a_month(june: Shop) -> None:
    subscription = june.subscribe(june.starter, metadata={"workspace": "w1"})

    assert subscription["status"] == "active"
    assert subscription["metadata"] == {"workspace": "w1"}
    (item,) = subscription["items"]["data"]
    assert day(item["current_period_start"]) == "2026-06-01T00:00:00"
    assert day(item["current_period_end"]) == "2026-07-01T00:00:00"
    assert "current_period_end" not in subscription  # Since basil it is the item's.


def test_its_first_invoice_is_one_paid_line_of_the_whole_price(june: Shop) -> None:
    subscription = june.subscribe(june.starter)
    invoice = june.latest(subscription)

    assert (invoice["status"], invoice["billing_reason"]) == ("paid", "subscription_create")
    assert (invoice["total"], invoice["amount_paid"], invoice["amount_remaining"]) == (
        1000,
        1000,
        0,
    )
    assert (invoice["attempted"], invoice["attempt_count"]) == (True, 1)
    (line,) = invoice["lines"]["data"]
    assert line["description"] == "1 × Starter (at $10.00 / month)"
    assert line["period"] == {"start": at("2026-06-01"), "end": at("2026-07-01")}
    assert line["parent"]["subscription_item_details"]["proration"] is False
    assert invoice["parent"]["subscription_details"]["subscription"] == subscription["id"]
    assert invoice["number"].endswith("-0001")
    assert invoice["hosted_invoice_url"].startswith(june.sandbox.url)


def test_the_story_is_told_in_stripes_order(june: Shop) -> None:
    june.subscribe(june.starter)
    told = june.types("customer.subscription", "invoice", "payment_intent", "charge")

    assert told == [
        "customer.subscription.created",
        "invoice.created",
        "invoice.finalized",
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.succeeded",
        "invoice_payment.paid",
        "invoice.paid",
        "invoice.payment_succeeded",
        "customer.subscription.updated",
    ]
    created = june.events("customer.subscription.created")[0]["data"]["object"]
    updated = june.events("customer.subscription.updated")[0]["data"]
    assert created["status"] == "incomplete"
    assert updated["previous_attributes"] == {"status": "incomplete"}
    assert updated["object"]["status"] == "active"


def test_a_declined_first_payment_leaves_it_incomplete_and_a_better_card_activates(
    june: Shop,
) -> None:
    subscription = june.subscribe(june.starter, "pm_card_chargeCustomerFail")
    assert subscription["status"] == "incomplete"
    invoice = june.latest(subscription)
    assert (invoice["status"], invoice["attempt_count"]) == ("open", 1)
    assert invoice["next_payment_attempt"] is None  # A first payment is never tried again.

    june.control.card(subscription["customer"], "pm_card_visa")
    paid = june.v1.invoices.pay(invoice["id"])

    assert paid.status == "paid"
    assert june.subscription(subscription)["status"] == "active"


def test_an_incomplete_subscription_expires_after_23_hours_and_its_invoice_is_void(
    june: Shop,
) -> None:
    subscription = june.subscribe(june.starter, "pm_card_chargeCustomerFail")

    june.move("2026-06-01T22:59:59")
    assert june.subscription(subscription)["status"] == "incomplete"
    june.move("2026-06-01T23:00:00")

    assert june.subscription(subscription)["status"] == "incomplete_expired"
    assert june.latest(subscription)["status"] == "void"
    june.move("2026-09-01")
    assert len(june.v1.invoices.list({"subscription": subscription["id"]}).data) == 1


def test_error_if_incomplete_refuses_and_leaves_no_subscription(june: Shop) -> None:
    customer = june.customer("pm_card_chargeCustomerFail")
    with pytest.raises(stripe.CardError) as refused:
        june.v1.subscriptions.create(
            {
                "customer": customer,
                "items": [{"price": june.starter}],
                "payment_behavior": "error_if_incomplete",
            }
        )

    assert refused.value.code == "card_declined"
    assert june.v1.subscriptions.list({"customer": customer, "status": "all"}).data == []
    assert june.v1.invoices.list({"customer": customer}).data == []


def test_default_incomplete_waits_for_its_payment_to_be_confirmed(june: Shop) -> None:
    subscription = june.subscribe(june.starter, payment_behavior="default_incomplete")
    invoice = june.latest(subscription)

    assert subscription["status"] == "incomplete"
    assert (invoice["status"], invoice["attempted"]) == ("open", False)
    payments = june.v1.invoice_payments.list({"invoice": invoice["id"]}).data
    intent = payments[0].payment.payment_intent
    assert isinstance(intent, str)

    june.v1.payment_intents.confirm(intent, {"payment_method": "pm_card_visa"})

    assert june.latest(subscription)["status"] == "paid"
    assert june.subscription(subscription)["status"] == "active"


def test_authentication_completes_the_first_payment(june: Shop) -> None:
    subscription = june.subscribe(june.starter, "pm_card_authenticationRequired")
    invoice = june.latest(subscription)
    assert subscription["status"] == "incomplete"
    assert "invoice.payment_action_required" in june.types("invoice")
    intent = june.v1.invoice_payments.list({"invoice": invoice["id"]}).data[0].payment

    assert isinstance(intent.payment_intent, str)
    june.control.authenticate(intent.payment_intent)

    assert june.subscription(subscription)["status"] == "active"
    assert june.types("invoice.paid") == ["invoice.paid"]


def test_without_any_card_the_first_invoice_stays_open(june: Shop) -> None:
    subscription = june.subscribe(june.starter, None)

    assert subscription["status"] == "incomplete"
    with pytest.raises(stripe.InvalidRequestError, match="no attached payment source"):
        june.v1.invoices.pay(subscription["latest_invoice"])


def test_a_free_price_needs_no_card(june: Shop) -> None:
    subscription = june.subscribe(june.price("Free", 0), None)
    invoice = june.latest(subscription)

    assert subscription["status"] == "active"
    assert (invoice["status"], invoice["total"], amounts(invoice)) == ("paid", 0, [0])


def test_one_off_prices_may_be_on_the_first_invoice(june: Shop) -> None:
    product = june.v1.products.create({"name": "Set-up"}).id
    once = june.v1.prices.create({"product": product, "unit_amount": 500, "currency": "usd"}).id
    subscription = june.subscribe(june.starter, add_invoice_items=[{"price": once, "quantity": 2}])

    assert amounts(june.latest(subscription)) == [1000, 1000]
    june.move("2026-07-01T01:00:00")
    assert amounts(june.latest(subscription)) == [1000]


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"trial_period_days": 7}, "trial_period_days"),
        ({"collection_method": "send_invoice", "days_until_due": 7}, "days_until_due"),
        ({"payment_behavior": "pending_if_incomplete"}, "payment_behavior"),
    ],
)
def test_what_the_sandbox_does_not_play_is_refused_aloud(
    june: Shop, more: dict[str, Any], param: str
) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        june.subscribe(june.starter, **more)

    assert refused.value.param == param


def test_a_card_of_somebody_else_cannot_be_the_default(june: Shop) -> None:
    other = june.control.card(june.customer(None))["id"]

    with pytest.raises(stripe.InvalidRequestError, match="does not have a payment method"):
        june.subscribe(june.starter, default_payment_method=other)


def test_one_off_and_archived_prices_are_refused(june: Shop) -> None:
    product = june.v1.products.create({"name": "Mug"}).id
    once = june.v1.prices.create({"product": product, "unit_amount": 500, "currency": "usd"}).id
    june.v1.prices.update(june.pro, {"active": False})

    with pytest.raises(stripe.InvalidRequestError, match="type=recurring"):
        june.subscribe(once)
    with pytest.raises(stripe.InvalidRequestError, match="inactive"):
        june.subscribe(june.pro)


def test_subscriptions_are_listed_by_customer_and_status_and_found_by_metadata(june: Shop) -> None:
    one = june.subscribe(june.starter, metadata={"workspace": "w1"})
    two = june.subscribe(june.starter, metadata={"workspace": "w2"})
    june.v1.subscriptions.cancel(two["id"])

    mine = june.v1.subscriptions.list({"customer": one["customer"]})
    assert [each.id for each in mine.data] == [one["id"]]
    assert june.v1.subscriptions.list({"customer": two["customer"]}).data == []
    ended = june.v1.subscriptions.list({"customer": two["customer"], "status": "all"})
    assert [each.id for each in ended.data] == [two["id"]]
    found = june.v1.subscriptions.search({"query": "metadata['workspace']:'w1'"})
    assert [plain(each)["id"] for each in found.data] == [one["id"]]
