"""Upgrades that wait for their payment (`pending_if_incomplete`), by Stripe's reference page."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import stripe

from tests.adapters.stripe.shop import Json, Shop, amounts, at, shop

MIDDLE = at("2026-06-16")
"""Half of June is left."""
UPGRADE = {
    "proration_behavior": "always_invoice",
    "proration_date": MIDDLE,
    "payment_behavior": "pending_if_incomplete",
}


@pytest.fixture
def june() -> Iterator[Shop]:
    with shop("2026-06-01") as opened:
        yield opened


def price_of(subscription: Json) -> str:
    found: str = subscription["items"]["data"][0]["price"]["id"]
    return found


def test_a_declined_upgrade_waits_and_changes_nothing(june: Shop) -> None:
    subscription = june.subscribe(june.starter)
    june.control.card(subscription["customer"], "pm_card_chargeCustomerFail")
    june.move(MIDDLE)
    pending = june.change(subscription, june.pro, **UPGRADE)

    assert price_of(pending) == june.starter
    assert pending["status"] == "active"
    update = pending["pending_update"]
    assert update["subscription_items"][0]["price"]["id"] == june.pro
    assert update["expires_at"] == MIDDLE + 23 * 3600
    invoice = june.latest(pending)
    assert (invoice["status"], invoice["amount_due"]) == ("open", 1500)
    assert invoice["next_payment_attempt"] is None


def test_a_pending_upgrade_is_applied_when_its_invoice_is_paid(june: Shop) -> None:
    subscription = june.subscribe(june.starter)
    june.control.card(subscription["customer"], "pm_card_chargeCustomerFail")
    june.move(MIDDLE)
    pending = june.change(subscription, june.pro, **UPGRADE)
    june.move(MIDDLE + 3600)
    june.control.card(subscription["customer"], "pm_card_visa")
    june.v1.invoices.pay(pending["latest_invoice"])

    applied = june.subscription(subscription)
    assert price_of(applied) == june.pro
    assert applied["pending_update"] is None
    assert june.types("customer.subscription.pending_update_applied")
    assert june.invoice(pending["latest_invoice"])["amount_paid"] == 1500


def test_an_unpaid_upgrade_expires_after_23_hours(june: Shop) -> None:
    subscription = june.subscribe(june.starter)
    june.control.card(subscription["customer"], "pm_card_chargeCustomerFail")
    june.move(MIDDLE)
    pending = june.change(subscription, june.pro, **UPGRADE)

    june.move(MIDDLE + 23 * 3600 - 1)
    assert june.subscription(subscription)["pending_update"] is not None
    june.move(MIDDLE + 23 * 3600)

    expired = june.subscription(subscription)
    assert (price_of(expired), expired["pending_update"]) == (june.starter, None)
    assert june.invoice(pending["latest_invoice"])["status"] == "void"
    assert june.types("customer.subscription.pending_update_") == [
        "customer.subscription.pending_update_expired"
    ]
    with pytest.raises(stripe.InvalidRequestError):
        june.v1.invoices.pay(pending["latest_invoice"])


def test_an_upgrade_that_waits_expires_with_the_period_at_the_latest(june: Shop) -> None:
    subscription = june.subscribe(june.starter)
    june.control.card(subscription["customer"], "pm_card_chargeCustomerFail")
    june.move("2026-06-30T12:00:00")
    late = UPGRADE | {"proration_date": at("2026-06-30T12:00:00")}
    pending = june.change(subscription, june.pro, **late)

    assert pending["pending_update"]["expires_at"] == at("2026-07-01")
    june.move("2026-07-01")
    renewed = june.subscription(subscription)
    assert (price_of(renewed), renewed["pending_update"]) == (june.starter, None)
    assert amounts(june.latest(renewed)) == [1000]


def test_a_declined_upgrade_makes_nobody_past_due_when_a_renewal_is_paid(june: Shop) -> None:
    subscription = june.subscribe(june.starter)
    june.control.card(subscription["customer"], "pm_card_chargeCustomerFail")
    june.move("2026-06-30T12:00:00")
    late = UPGRADE | {"proration_date": at("2026-06-30T12:00:00")}
    june.change(subscription, june.pro, **late)
    june.control.card(subscription["customer"], "pm_card_visa")
    june.move("2026-07-01T01:00:00")

    assert june.subscription(subscription)["status"] == "active"
    assert june.latest(subscription)["status"] == "paid"


def test_metadata_may_not_be_sent_with_a_pending_update(june: Shop) -> None:
    subscription = june.subscribe(june.starter)
    june.move(MIDDLE)
    with pytest.raises(stripe.InvalidRequestError, match="`metadata` is not supported"):
        june.change(subscription, june.pro, metadata={"plan": "pro"}, **UPGRADE)

    assert price_of(june.subscription(subscription)) == june.starter


def test_another_change_gives_the_waiting_one_up(june: Shop) -> None:
    subscription = june.subscribe(june.starter)
    june.control.card(subscription["customer"], "pm_card_chargeCustomerFail")
    june.move(MIDDLE)
    waiting = june.change(subscription, june.pro, **UPGRADE)
    june.control.card(subscription["customer"], "pm_card_visa")
    changed = june.change(subscription, june.enterprise, **UPGRADE)

    assert june.invoice(waiting["latest_invoice"])["status"] == "void"
    assert (price_of(changed), changed["pending_update"]) == (june.enterprise, None)
    assert amounts(june.latest(changed)) == [-500, 20000]  # Nothing of the void charge is left.


def test_authentication_applies_a_waiting_upgrade(june: Shop) -> None:
    subscription = june.subscribe(june.starter)
    june.control.card(subscription["customer"], "pm_card_authenticationRequired")
    june.move(MIDDLE)
    waiting = june.change(subscription, june.pro, **UPGRADE)
    assert waiting["pending_update"] is not None
    payment = june.v1.invoice_payments.list({"invoice": waiting["latest_invoice"]}).data[0].payment

    assert isinstance(payment.payment_intent, str)
    june.control.authenticate(payment.payment_intent)

    applied = june.subscription(subscription)
    assert (price_of(applied), applied["pending_update"]) == (june.pro, None)
