"""What a sandbox says, as tests read it."""

from __future__ import annotations

import json
from typing import Any

import pytest
import stripe

from adapters.stripe.contract import check_response

Json = dict[str, Any]


def held(obj: Any) -> Json:
    """The answer behind an object of the SDK, as it came; it must keep the contract."""
    body: Json = json.loads(obj.last_response.body)
    check_response(body)
    return body


def events(client: stripe.StripeClient, about: str | None = None) -> list[str]:
    """The types of what happened, oldest first; to one object if its id is given."""
    return [
        event["type"]
        for event in held(client.v1.events.list({"limit": 100}))["data"][::-1]
        if about in (None, event["data"]["object"]["id"])
    ]


def refusal(caught: pytest.ExceptionInfo[Any]) -> Json:
    """The error that was answered, as it came."""
    body: Json = caught.value.json_body
    error: Json = body["error"]
    return error


def customer_with(client: stripe.StripeClient, card: str = "pm_card_visa") -> tuple[str, str]:
    """A new customer with a card as its default: the ids of both."""
    customer = client.v1.customers.create({"metadata": {"made_by": "tests"}}).id
    method = client.v1.payment_methods.attach(card, {"customer": customer}).id
    settings: Any = {"default_payment_method": method}
    client.v1.customers.update(customer, {"invoice_settings": settings})
    return customer, method


def off_session(customer: str, method: str, amount: int = 2_000, **more: Any) -> Any:
    """The parameters of a payment while its payer is away."""
    return {
        "amount": amount,
        "currency": "usd",
        "customer": customer,
        "payment_method": method,
        "off_session": True,
        "confirm": True,
        **more,
    }


def paid(client: stripe.StripeClient, card: str = "pm_card_visa", **more: Any) -> Json:
    """A payment that has come through."""
    customer, method = customer_with(client, card)
    return held(client.v1.payment_intents.create(off_session(customer, method, **more)))
