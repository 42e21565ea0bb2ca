"""One of everything that the sandbox's core answers: objects to hold to the contract."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import stripe

from adapters.stripe.sandbox.remote import Remote
from tests.adapters.stripe.told import Json, customer_with, held, off_session


def one_of_each(sandbox: Remote, client: stripe.StripeClient) -> list[Json]:
    """Play a session, and collect every kind of object and every event it made."""
    customer, method = customer_with(client)
    intent = client.v1.payment_intents.create(off_session(customer, method)).id
    paid = held(client.v1.payment_intents.retrieve(intent, {"expand": ["latest_charge"]}))
    client.v1.refunds.create({"payment_intent": intent, "amount": 500, "metadata": {"a": "b"}})
    dispute = sandbox.control.dispute(paid["latest_charge"]["id"])
    for step in ("funds_withdrawn", "won", "funds_reinstated"):
        sandbox.control.step(dispute["id"], step)
    declined = sandbox.control.card(customer, "4000000000009995")["id"]
    with suppress(stripe.CardError):
        client.v1.payment_intents.create(off_session(customer, declined))
    setup: Any = {
        "customer": customer,
        "payment_method": "pm_card_authenticationRequired",
        "confirm": True,
        "return_url": "https://example.com",
    }
    waiting = client.v1.setup_intents.create(setup).id
    sandbox.control.authenticate(waiting, "fail")
    price: Any = {
        "product_data": {"name": "Pro"},
        "currency": "usd",
        "unit_amount": 4_000,
        "recurring": {"interval": "month"},
    }
    client.v1.prices.create(price)
    client.v1.test_helpers.test_clocks.create({"frozen_time": sandbox.control.now()})
    books = sandbox.books
    assert books is not None
    kinds = (
        "customer", "payment_method", "payment_intent", "charge", "balance_transaction", "refund",
        "dispute", "setup_intent", "product", "price", "test_helpers.test_clock", "event",
    )  # fmt: skip
    found = {kind: books.find(kind) for kind in kinds}
    assert all(found.values()), [kind for kind, objects in found.items() if not objects]
    return [obj for objects in found.values() for obj in objects]
