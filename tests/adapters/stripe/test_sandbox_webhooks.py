"""Webhooks: signed, in Stripe's order or any other, as often as it takes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest
import stripe

from adapters.stripe.sandbox.books import Books
from adapters.stripe.sandbox.remote import Remote
from adapters.stripe.sandbox.webhooks import RETRIES, Webhooks, signature
from tests.adapters.stripe.conftest import NOW
from tests.adapters.stripe.receiver import Receiver, receiving
from tests.adapters.stripe.told import customer_with, events, held, off_session


@pytest.fixture
def receiver(sandbox: Remote) -> Iterator[Receiver]:
    """Where the sandbox's webhooks go, when they are delivered."""
    with receiving() as found:
        sandbox.control.send_webhooks(found.url)
        yield found


def test_stripes_own_function_accepts_what_is_delivered(
    sandbox: Remote, client: stripe.StripeClient, receiver: Receiver
) -> None:
    customer = client.v1.customers.create({"metadata": {"workspace": "ws_1"}}).id

    told = sandbox.control.deliver()

    (event,) = receiver.events(sandbox.webhook_secret)
    assert [(one["type"], one["status"]) for one in told] == [("customer.created", 200)]
    assert (event.type, event.api_version) == ("customer.created", "2026-10-28.endive")
    assert event.data.object["id"] == customer
    assert event.request.id.startswith("req_")
    assert client.v1.events.retrieve(event.id).pending_webhooks == 0


def test_it_is_signed_at_the_sandboxs_time(
    sandbox: Remote, client: stripe.StripeClient, receiver: Receiver
) -> None:
    client.v1.customers.create({})
    sandbox.control.clock(NOW + 100)

    sandbox.control.deliver()

    ((body, header),) = receiver.got
    assert header == signature(sandbox.webhook_secret, body, NOW + 100)
    assert header.startswith(f"t={NOW + 100},v1=")


def test_another_secret_is_not_accepted(
    sandbox: Remote, client: stripe.StripeClient, receiver: Receiver
) -> None:
    client.v1.customers.create({})
    sandbox.control.deliver()

    with pytest.raises(stripe.SignatureVerificationError):
        receiver.events("whsec_another")


def test_the_events_of_a_payment_come_in_stripes_order(
    sandbox: Remote, client: stripe.StripeClient, receiver: Receiver
) -> None:
    customer, method = customer_with(client)
    client.v1.payment_intents.create(off_session(customer, method))

    sandbox.control.deliver()

    assert [event.type for event in receiver.events(sandbox.webhook_secret)] == [
        "customer.created",
        "payment_method.attached",
        "customer.updated",
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.succeeded",
    ]


def test_they_come_in_any_order_and_any_number_on_request(
    sandbox: Remote, client: stripe.StripeClient, receiver: Receiver
) -> None:
    customer_with(client)
    made, attached, updated = [one["event"] for one in sandbox.control.webhooks()]

    sandbox.control.deliver([updated, made], times=2)

    came = [event.id for event in receiver.events(sandbox.webhook_secret)]
    assert came == [updated, updated, made, made]
    assert [one["event"] for one in sandbox.control.webhooks("pending")] == [attached]


def test_what_was_delivered_can_be_delivered_again(
    sandbox: Remote, client: stripe.StripeClient, receiver: Receiver
) -> None:
    client.v1.customers.create({})
    (first,) = sandbox.control.deliver()

    sandbox.control.deliver([first["id"]])

    assert len({event.id for event in receiver.events(sandbox.webhook_secret)}) == 1
    (delivery,) = sandbox.control.webhooks("delivered")
    assert [attempt["status"] for attempt in delivery["attempts"]] == [200, 200]


def test_a_webhook_that_is_refused_is_tried_again_for_days_and_then_given_up(
    sandbox: Remote, client: stripe.StripeClient, receiver: Receiver
) -> None:
    receiver.status = 503
    client.v1.customers.create({})
    sandbox.control.send_webhooks(mode="auto")
    wait_for_attempts(sandbox, 1)
    at = NOW
    for number, wait in enumerate(RETRIES, 2):
        at += wait
        sandbox.control.clock(at)
        wait_for_attempts(sandbox, number)

    (delivery,) = sandbox.control.webhooks("failed")
    assert [attempt["at"] - NOW for attempt in delivery["attempts"]] == [
        sum(RETRIES[:count]) for count in range(len(RETRIES) + 1)
    ]
    assert sum(RETRIES) < 3 * 24 * 3600
    assert len(receiver.got) == len(RETRIES) + 1


def wait_for_attempts(sandbox: Remote, count: int) -> None:
    """Wait until so many attempts at the only delivery are noted."""
    deadline = time.monotonic() + 10
    while len(sandbox.control.webhooks()[0]["attempts"]) < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_retry_that_is_accepted_is_the_last(
    sandbox: Remote, client: stripe.StripeClient, receiver: Receiver
) -> None:
    receiver.status = 500
    client.v1.customers.create({})
    assert [one["status"] for one in sandbox.control.deliver()] == [500]
    receiver.status = 200

    assert [one["status"] for one in sandbox.control.deliver()] == [200]
    assert sandbox.control.deliver() == []


def test_nobody_there_is_a_failed_attempt(sandbox: Remote, client: stripe.StripeClient) -> None:
    sandbox.control.send_webhooks("http://127.0.0.1:9/nobody")
    client.v1.customers.create({})

    (told,) = sandbox.control.deliver()

    assert told["status"] is None
    (delivery,) = sandbox.control.webhooks("pending")
    assert "ConnectError" in delivery["attempts"][0]["error"]


def test_an_event_has_the_object_as_it_was_and_what_changed(
    sandbox: Remote, client: stripe.StripeClient
) -> None:
    customer = client.v1.customers.create({"name": "A"}).id
    client.v1.customers.update(customer, {"name": "B", "metadata": {"a": "1"}})
    client.v1.customers.update(customer, {"name": "C"})

    told = held(client.v1.events.list({"type": "customer.updated"}))["data"]

    assert [event["data"]["object"]["name"] for event in told] == ["C", "B"]
    assert [event["data"]["previous_attributes"] for event in told] == [
        {"name": "B"},
        {"name": "A", "metadata": {"a": None}},
    ]


def test_events_are_listed_by_type_and_by_whether_they_arrived(
    sandbox: Remote, client: stripe.StripeClient, receiver: Receiver
) -> None:
    customer_with(client)
    sandbox.control.deliver([sandbox.control.webhooks()[0]["event"]])

    def types(**params: object) -> list[str]:
        found = held(client.v1.events.list(params))  # type: ignore[arg-type]
        return [event["type"] for event in found["data"]]

    assert types(types=["customer.created", "customer.updated"]) == [
        "customer.updated",
        "customer.created",
    ]
    assert types(type="payment_method.*") == ["payment_method.attached"]
    assert types(delivery_success=True) == ["customer.created"]
    assert types(delivery_success=False) == ["customer.updated", "payment_method.attached"]


def test_a_request_that_is_refused_tells_nothing(client: stripe.StripeClient) -> None:
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.payment_intents.create({"amount": 1, "currency": "usd"})

    assert events(client) == []


def test_after_thirty_days_an_event_is_forgotten_if_nobody_waits_for_it(
    sandbox: Remote, client: stripe.StripeClient, receiver: Receiver
) -> None:
    client.v1.customers.create({})
    client.v1.customers.create({})
    first, second = [one["event"] for one in sandbox.control.webhooks()]
    sandbox.control.deliver([first])
    sandbox.control.clock(NOW + 30 * 24 * 3600 - 1)
    assert len(events(client)) == 2

    sandbox.control.clock(NOW + 31 * 24 * 3600)

    assert events(client) == []
    with pytest.raises(stripe.InvalidRequestError, match="No such event"):
        client.v1.events.retrieve(first)
    assert [one["event"] for one in sandbox.control.webhooks()] == [second]
    assert [one["status"] for one in sandbox.control.deliver()] == [200]


@pytest.mark.parametrize("later", range(6))
def test_it_ends_when_it_is_told_to_also_while_it_is_being_woken(later: int) -> None:
    """Else a sandbox that is stopped behind its last order would go on for ever."""

    async def is_over() -> bool:
        webhooks = Webhooks(Books(":memory:"))
        going = asyncio.create_task(webhooks.run())
        for _ in range(10):
            await asyncio.sleep(0)
        webhooks.wake.set()
        for _ in range(later):
            await asyncio.sleep(0)
        going.cancel()
        for _ in range(10):
            await asyncio.sleep(0)
        over = going.done()
        going.cancel()
        await webhooks.close()
        return over

    assert asyncio.run(is_over())
