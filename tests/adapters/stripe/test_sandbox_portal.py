"""The customer portal and the hosted invoice page, by their forms."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
import stripe

from tests.adapters.stripe.hosted import Sandbox, sandbox, words

BACK = "http://127.0.0.1:9/billing"


@pytest.fixture
def box() -> Iterator[Sandbox]:
    with sandbox() as made:
        yield made


def portal(box: Sandbox, customer: str, **fields: object) -> str:
    """The address of an open portal page."""
    asked = {"customer": customer, "return_url": BACK} | fields
    session = box.client.v1.billing_portal.sessions.create(asked)  # type: ignore[arg-type]
    entered = box.open(session.url)
    assert entered.status_code == 303
    return str(entered.headers["location"])


def subscribed(box: Sandbox) -> tuple[str, stripe.Subscription]:
    """A customer with a card and a monthly subscription."""
    customer = box.customer(email="old@example.com")
    box.control.card(customer)
    product = box.client.v1.products.create({"name": "Pro"})
    price = box.client.v1.prices.create(
        {
            "currency": "usd",
            "unit_amount": 4000,
            "product": product.id,
            "recurring": {"interval": "month"},
        }
    )
    asked = {"customer": customer, "items": [{"price": price.id}]}
    return customer, box.client.v1.subscriptions.create(asked)  # type: ignore[arg-type]


def default_of(box: Sandbox, customer: str) -> str | None:
    settings = box.client.v1.customers.retrieve(customer).invoice_settings
    assert settings is not None
    return None if settings.default_payment_method is None else str(settings.default_payment_method)


def test_a_link_opens_the_portal_once(box: Sandbox) -> None:
    session = box.client.v1.billing_portal.sessions.create({"customer": box.customer()})
    assert box.open(session.url).status_code == 303
    again = box.open(session.url)
    assert again.status_code == 410
    assert "has been used" in words(again)


def test_a_link_that_nobody_uses_closes_after_five_minutes(box: Sandbox) -> None:
    session = box.client.v1.billing_portal.sessions.create({"customer": box.customer()})
    box.control.clock(session.created + 300)
    assert box.open(session.url).status_code == 410


def test_a_new_card_becomes_the_default_and_the_old_one_can_go(box: Sandbox) -> None:
    customer, _ = subscribed(box)
    old = default_of(box, customer)
    assert old is not None
    page = portal(box, customer)

    saved = box.post(f"{page}/card", card="5555555555554444")

    assert saved.status_code == 303
    new = default_of(box, customer)
    assert new is not None
    assert new != old
    assert "Mastercard ending in 4444" in words(box.open(page))
    removed = box.post(page, act="remove", payment_method=old)
    assert "removed" in words(removed)
    assert [m.id for m in box.client.v1.payment_methods.list({"customer": customer}).data] == [new]
    assert "customer.updated" in box.events()
    assert box.events()[-1] == "payment_method.detached"


def test_a_refused_card_changes_nothing(box: Sandbox) -> None:
    customer, _ = subscribed(box)
    old = default_of(box, customer)
    page = portal(box, customer)
    refused = box.post(f"{page}/card", card="4000000000000002")
    assert refused.status_code == 402
    assert "declined" in words(refused)
    assert default_of(box, customer) == old


def test_a_card_that_asks_who_it_is_becomes_the_default_afterwards(box: Sandbox) -> None:
    customer, _ = subscribed(box)
    old = default_of(box, customer)
    page = portal(box, customer)
    challenge = box.post(f"{page}/card", card="4000002500003155")
    assert default_of(box, customer) == old
    back = box.post(challenge.headers["location"], outcome="complete")
    assert back.headers["location"].endswith(page)
    assert default_of(box, customer) not in (old, None)


def test_another_customers_card_is_not_there(box: Sandbox) -> None:
    mine, _ = subscribed(box)
    theirs, _ = subscribed(box)
    other = default_of(box, theirs)
    assert other is not None
    refused = box.post(portal(box, mine), act="remove", payment_method=other)
    assert refused.status_code == 404
    assert default_of(box, theirs) == other


def test_the_email_is_changed(box: Sandbox) -> None:
    customer, _ = subscribed(box)
    page = portal(box, customer)
    assert "old@example.com" in box.open(page).text
    box.post(page, act="email", email="new@example.com")
    assert box.client.v1.customers.retrieve(customer).email == "new@example.com"


def test_a_subscription_is_cancelled_at_its_end_and_taken_back(box: Sandbox) -> None:
    customer, subscription = subscribed(box)
    page = portal(box, customer)
    cancelled = box.post(page, act="cancel", subscription=subscription.id)
    assert "Ends on" in words(cancelled)
    assert box.client.v1.subscriptions.retrieve(subscription.id).cancel_at_period_end
    box.post(page, act="renew", subscription=subscription.id)
    assert not box.client.v1.subscriptions.retrieve(subscription.id).cancel_at_period_end
    assert box.events()[-1] == "customer.subscription.updated"


def test_a_flow_leads_straight_to_what_it_is_for_and_back(box: Sandbox) -> None:
    customer, _ = subscribed(box)
    flow = {
        "type": "payment_method_update",
        "after_completion": {"type": "redirect", "redirect": {"return_url": BACK}},
    }
    page = portal(box, customer, flow_data=flow)
    assert page.endswith("/card")
    saved = box.post(page, card="4242424242424242")
    assert saved.headers["location"] == BACK


def test_what_a_configuration_leaves_out_is_not_offered(box: Sandbox) -> None:
    customer, subscription = subscribed(box)
    made = box.client.v1.billing_portal.configurations.create(
        {
            "features": {
                "payment_method_update": {"enabled": True},
                "invoice_history": {"enabled": True},
            }
        }
    )
    assert not made.features.subscription_update.enabled
    page = portal(box, customer, configuration=made.id)
    assert "Cancel subscription" not in box.open(page).text
    box.post(page, act="cancel", subscription=subscription.id)
    assert not box.client.v1.subscriptions.retrieve(subscription.id).cancel_at_period_end


def test_invoices_are_listed_and_lead_to_their_pages(box: Sandbox) -> None:
    customer, subscription = subscribed(box)
    invoice = box.client.v1.invoices.retrieve(str(subscription.latest_invoice))
    page = box.open(portal(box, customer))
    assert str(invoice.number) in page.text
    assert invoice.hosted_invoice_url is not None
    shown = box.open(invoice.hosted_invoice_url)
    assert "$40.00" in words(shown)
    assert "Thank you" in words(shown)


def unpaid(box: Sandbox) -> tuple[stripe.Subscription, stripe.Invoice]:
    """A subscription whose renewal was refused, and the invoice of that."""
    customer, subscription = subscribed(box)
    box.control.card(customer, "pm_card_chargeCustomerFail")
    end = subscription["items"]["data"][0]["current_period_end"]
    box.control.clock(end + 2 * 3600)
    invoice = box.client.v1.invoices.list({"customer": customer}).data[0]
    assert invoice.status == "open"
    return subscription, invoice


def test_an_unpaid_invoice_can_ask_for_authentication(box: Sandbox) -> None:
    subscription, invoice = unpaid(box)
    assert invoice.hosted_invoice_url is not None
    challenge = box.post(invoice.hosted_invoice_url, card="4000002760003184")
    back = box.post(challenge.headers["location"], outcome="complete")
    assert back.headers["location"] == invoice.hosted_invoice_url
    assert "Thank you" in words(box.open(invoice.hosted_invoice_url))
    assert box.client.v1.subscriptions.retrieve(subscription.id).status == "active"


def test_an_unpaid_invoice_is_paid_on_its_page(box: Sandbox) -> None:
    subscription, invoice = unpaid(box)
    assert invoice.hosted_invoice_url is not None

    refused: httpx.Response = box.post(invoice.hosted_invoice_url, card="4000000000000341")
    assert refused.status_code == 402
    paid = box.post(invoice.hosted_invoice_url, card="4242424242424242")

    assert "Thank you" in words(paid)
    assert box.client.v1.invoices.retrieve(str(invoice.id)).status == "paid"
    assert box.client.v1.subscriptions.retrieve(subscription.id).status == "active"
