"""What Stripe's silence and its refusals mean, asked of a real server that falls silent."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import stripe
from structlog.testing import CapturingLogger

from adapters.settings import Settings
from adapters.stripe import client as clients
from adapters.stripe import objects
from adapters.stripe.client import API_VERSION, StripeNotConfigured, asking, make_client
from adapters.stripe.sandbox.remote import Remote
from adapters.stripe.sandbox.server import serving
from domain.errors import StripeOutcomeUnknown, StripeUnavailable

KEY = "sk_test_quite_secret"


@pytest.fixture
def sandbox() -> Iterator[Remote]:
    with serving(key=KEY) as running:
        yield running


def ask(url: str | None, act: Any, *, key: str = KEY, patience: float = 0.3) -> Any:
    """Do something with a client that is closed afterwards."""

    async def run() -> Any:
        settings = Settings("", "", stripe_key=key, stripe_url=url, stripe_patience_s=patience)
        client = make_client(settings)
        try:
            with asking("a test"):
                return await act(client)
        finally:
            await clients.close_client(client)

    return asyncio.run(run())


async def new_customer(client: stripe.StripeClient) -> Any:
    options: Any = {"idempotency_key": "customer:1"}
    return await client.v1.customers.create_async({"name": "Acme"}, options)


async def nobody(client: stripe.StripeClient) -> Any:
    return await client.v1.customers.retrieve_async("cus_none")


@pytest.mark.parametrize("fault", ["timeout", "timeout_after", "drop", "drop_after", "error"])
def test_silence_means_that_nobody_knows(sandbox: Remote, fault: str) -> None:
    sandbox.control.script({"path": "/v1/customers", "fault": fault, "times": 2})

    with pytest.raises(StripeOutcomeUnknown) as unknown:
        ask(sandbox.url, new_customer)

    assert unknown.value.retry_after > 0
    assert unknown.value.code == "stripe_unavailable"


@pytest.mark.parametrize("fault", ["timeout_after", "drop_after"])
def test_what_the_network_swallowed_once_is_asked_again_and_done_once(
    sandbox: Remote, fault: str
) -> None:
    sandbox.control.script({"path": "/v1/customers", "fault": fault})

    made = ask(sandbox.url, new_customer)

    sent = sandbox.control.requests("POST", "/v1/customers")
    assert [request["idempotency_key"] for request in sent] == ["customer:1"] * 2
    assert sandbox.books is not None
    assert [one["id"] for one in sandbox.books.find("customer")] == [made.id]


def test_too_many_requests_means_that_nothing_was_done(sandbox: Remote) -> None:
    sandbox.control.script({"path": "/v1/customers", "fault": "rate_limit", "times": 5})

    with pytest.raises(StripeUnavailable) as busy:
        ask(sandbox.url, new_customer)

    assert not isinstance(busy.value, StripeOutcomeUnknown)


def test_a_key_that_stripe_refuses_is_told_to_nobody(
    sandbox: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = CapturingLogger()
    monkeypatch.setattr(clients, "log", said)

    with pytest.raises(StripeUnavailable) as refused:
        ask(sandbox.url, new_customer, key="sk_test_quite_wrong")

    assert said.calls[0].method_name == "error"
    assert "sk_test" not in str(said.calls) + str(refused.value) + repr(refused.value)


def test_settings_do_not_show_their_keys() -> None:
    assert KEY not in repr(Settings("", "", stripe_key=KEY, stripe_webhook_secret=KEY))


def test_answers_stay_answers(sandbox: Remote) -> None:
    with pytest.raises(stripe.InvalidRequestError) as missing:
        ask(sandbox.url, nobody)
    assert missing.value.code == "resource_missing"

    async def decline(client: stripe.StripeClient) -> None:
        await client.v1.payment_intents.create_async(
            {
                "amount": 2_000,
                "currency": "usd",
                "payment_method": "pm_card_chargeDeclined",
                "confirm": True,
                "off_session": True,
            }
        )

    with pytest.raises(stripe.CardError):
        ask(sandbox.url, decline)


def test_one_idempotency_key_for_two_acts_is_a_mistake_and_no_outage(sandbox: Remote) -> None:
    async def twice(client: stripe.StripeClient) -> None:
        for name in ("Acme", "Ember"):
            options: Any = {"idempotency_key": "one"}
            await client.v1.customers.create_async({"name": name}, options)

    with pytest.raises(stripe.IdempotencyError):
        ask(sandbox.url, twice)


def test_where_there_is_no_stripe_every_call_says_what_to_set() -> None:
    with pytest.raises(StripeNotConfigured, match="STRIPE_SECRET_KEY"):
        ask(None, nobody, key="")


def test_where_nothing_listens_nobody_knows_either() -> None:
    with pytest.raises(StripeOutcomeUnknown):
        ask("http://127.0.0.1:9", new_customer)


def test_the_version_is_ours_and_not_the_accounts() -> None:
    assert stripe.api_version == API_VERSION


def test_lists_are_read_to_their_end_and_what_is_not_there_is_none(
    sandbox: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "PAGE", 2)

    async def act(client: stripe.StripeClient) -> tuple[list[str], list[str], Any, Any]:
        made = [(await client.v1.customers.create_async({"name": f"{n}"})).id for n in range(5)]
        read = [one["id"] async for one in objects.listed(client, "customer")]
        found = await objects.fetch(client, "customer", made[0])
        return made, read, found, await objects.fetch(client, "customer", "cus_none")

    made, read, found, none = ask(sandbox.url, act)

    assert read == made[::-1]
    assert (found["name"], none) == ("0", None)


def test_the_ids_in_a_body_are_found_each_once() -> None:
    body = (
        b'{"id":"evt_1234567","customer":"cus_ABCdef12","x":["pi_1234567","cus_ABCdef12","cus_"]}'
    )

    assert objects.refs_in(body) == ["cus_ABCdef12", "pi_1234567"]
