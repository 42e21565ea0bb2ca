"""The sandbox as a server: who may ask, keys, pages of lists, searches, and what goes wrong."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
import stripe

from adapters.stripe.sandbox.forms import decode
from adapters.stripe.sandbox.remote import Refused, Remote
from tests.adapters.stripe.conftest import NOW
from tests.adapters.stripe.told import customer_with, held, off_session, refusal

INTENTS = "/v1/payment_intents"
SMALL: Any = {"amount": 100, "currency": "usd"}


def ask(sandbox: Remote, **headers: str) -> httpx.Response:
    """A plain request for customers."""
    return httpx.get(f"{sandbox.url}/v1/customers", headers=headers, trust_env=False)


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer sk_live_1"}, {"Authorization": "Bearer pk_test_1"}],
)
def test_only_a_secret_test_key_opens(sandbox: Remote, headers: dict[str, str]) -> None:
    refused = ask(sandbox, **headers)

    assert refused.status_code == 401
    assert refused.json()["error"]["type"] == "invalid_request_error"


def test_a_key_is_not_shown_again(sandbox: Remote) -> None:
    refused = ask(sandbox, Authorization="Bearer sk_live_abcdefghijklmnop")

    assert "abcdefghijk" not in refused.text


def test_a_basic_key_opens_too(sandbox: Remote) -> None:
    url = f"{sandbox.url}/v1/customers"

    assert httpx.get(url, auth=("sk_test_1", ""), trust_env=False).status_code == 200


def test_it_speaks_one_version(sandbox: Remote) -> None:
    key = {"Authorization": "Bearer sk_test_1"}

    right = ask(sandbox, **key, **{"Stripe-Version": "2026-10-28.endive"})
    wrong = ask(sandbox, **key, **{"Stripe-Version": "2020-08-27"})

    assert (right.status_code, right.headers["Stripe-Version"]) == (200, "2026-10-28.endive")
    assert right.headers["Request-Id"].startswith("req_")
    assert wrong.status_code == 400


def test_an_address_that_stripe_has_not_is_refused_as_stripe_does(sandbox: Remote) -> None:
    refused = httpx.post(f"{sandbox.url}/v1/coins", trust_env=False)

    assert refused.status_code == 404
    assert "Unrecognized request URL (POST: /v1/coins)" in refused.json()["error"]["message"]


def test_what_the_sandbox_does_not_play_is_refused_and_not_ignored(
    client: stripe.StripeClient,
) -> None:
    unplayed: Any = SMALL | {"transfer_group": "a"}

    with pytest.raises(stripe.InvalidRequestError, match="The sandbox does not play"):
        client.v1.payment_intents.create(unplayed)


def test_json_is_no_form(sandbox: Remote) -> None:
    refused = httpx.post(
        f"{sandbox.url}/v1/customers",
        content='{"name": "A"}',
        headers={"Authorization": "Bearer sk_test_1", "Content-Type": "application/json"},
        trust_env=False,
    )

    assert refused.status_code == 400


@pytest.mark.parametrize(
    ("form", "fields"),
    [
        ("a=1&b=", {"a": "1", "b": ""}),
        ("a[b][c]=1&a[b][d]=2", {"a": {"b": {"c": "1", "d": "2"}}}),
        ("a[0][b]=1&a[1][b]=2", {"a": {"0": {"b": "1"}, "1": {"b": "2"}}}),
        ("a[]=x&a[]=y", {"a": {"0": "x", "1": "y"}}),
        ("metadata[a%5Bb]=1", None),
        ("a=1&a[b]=2", None),
        ("a[b]=2&a=1", None),
    ],
)
def test_forms_are_nested_as_stripe_nests_them(form: str, fields: Any) -> None:
    if fields is None:
        with pytest.raises(Exception, match="Invalid"):
            decode(form)
    else:
        assert decode(form) == fields


# -- idempotency ----------------------------------------------------------------------------------


def test_two_at_once_with_one_key_do_one_thing(
    sandbox: Remote, client: stripe.StripeClient
) -> None:
    key: Any = {"idempotency_key": "same"}
    sandbox.control.script({"path": INTENTS, "fault": "hold"})
    with ThreadPoolExecutor() as pool:
        first = pool.submit(client.v1.payment_intents.create, SMALL, key)
        wait_for_held(sandbox)
        with pytest.raises(stripe.StripeError) as caught:
            client.v1.payment_intents.create(SMALL, key)
        sandbox.control.release()
        made = first.result(10)

    assert caught.value.http_status == 409
    assert refusal(caught)["code"] == "idempotency_key_in_use"
    assert client.v1.payment_intents.create(SMALL, key).id == made.id
    assert len(held(client.v1.payment_intents.list())["data"]) == 1


def wait_for_held(sandbox: Remote) -> None:
    """Wait until a request is held."""
    deadline = time.monotonic() + 10
    while not sandbox.control.held():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_request_that_was_never_begun_leaves_its_key_free(client: stripe.StripeClient) -> None:
    key: Any = {"idempotency_key": "again"}
    wrong: Any = {"currency": "usd"}
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.payment_intents.create(wrong, key)

    assert client.v1.payment_intents.create(SMALL, key).amount == 100


def test_after_a_day_a_key_is_forgotten(sandbox: Remote, client: stripe.StripeClient) -> None:
    key: Any = {"idempotency_key": "old"}
    first = client.v1.payment_intents.create(SMALL, key).id
    sandbox.control.clock(NOW + 24 * 3600 - 1)
    assert client.v1.payment_intents.create(SMALL, key).id == first

    sandbox.control.clock(NOW + 24 * 3600)

    assert client.v1.payment_intents.create(SMALL, key).id != first


# -- faults ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "error", "done"),
    [
        ("error", stripe.APIError, False),
        ("rate_limit", stripe.RateLimitError, False),
        ("drop", stripe.APIConnectionError, False),
        ("drop_after", stripe.APIConnectionError, True),
        ("timeout", stripe.APIConnectionError, False),
        ("timeout_after", stripe.APIConnectionError, True),
    ],
)
def test_what_goes_wrong_goes_wrong_once(
    sandbox: Remote, fault: str, error: type[Exception], done: bool
) -> None:
    impatient = stripe.StripeClient(
        "sk_test_1",
        base_addresses={"api": sandbox.url},
        max_network_retries=0,
        http_client=stripe.HTTPXClient(timeout=0.5, allow_sync_methods=True),
    )
    key: Any = {"idempotency_key": "k"}
    sandbox.control.script({"path": INTENTS, "fault": fault})

    with pytest.raises(error):
        impatient.v1.payment_intents.create(SMALL, key)

    assert len(held(impatient.v1.payment_intents.list())["data"]) == (1 if done else 0)
    made = impatient.v1.payment_intents.create(SMALL, key)
    replayed = made.last_response.headers.get("Idempotent-Replayed")  # type: ignore[union-attr]
    assert replayed == ("true" if done else None)
    assert len(held(impatient.v1.payment_intents.list())["data"]) == 1


def test_the_sdk_retries_a_lost_answer_with_its_key_and_pays_once(sandbox: Remote) -> None:
    client = stripe.StripeClient(
        "sk_test_1", base_addresses={"api": sandbox.url}, max_network_retries=2
    )
    customer, method = customer_with(client)
    sandbox.control.script({"path": INTENTS, "fault": "drop_after", "times": 2})

    intent = client.v1.payment_intents.create(off_session(customer, method))

    asked = sandbox.control.requests("POST", INTENTS)
    assert [entry["fault"] for entry in asked] == ["drop_after", "drop_after", None]
    assert len({entry["idempotency_key"] for entry in asked}) == 1
    assert intent.status == "succeeded"
    assert len(held(client.v1.charges.list())["data"]) == 1


def test_an_unknown_fault_is_refused(sandbox: Remote) -> None:
    with pytest.raises(Refused, match="Unknown fault"):
        sandbox.control.script({"path": INTENTS, "fault": "explode"})


def test_requests_are_written_down(sandbox: Remote, client: stripe.StripeClient) -> None:
    client.v1.payment_intents.create(SMALL, {"idempotency_key": "attempt_1"})

    (entry,) = sandbox.control.requests("POST", INTENTS)

    assert entry["params"] == {"amount": "100", "currency": "usd"}
    assert (entry["idempotency_key"], entry["status"]) == ("attempt_1", 200)


# -- expansion, search ----------------------------------------------------------------------------


def test_ids_are_expanded_at_any_depth_and_in_lists(client: stripe.StripeClient) -> None:
    customer, method = customer_with(client)
    client.v1.payment_intents.create(off_session(customer, method))
    path: Any = {"expand": ["data.latest_charge.balance_transaction", "data.customer"]}

    (intent,) = held(client.v1.payment_intents.list(path))["data"]

    assert intent["latest_charge"]["balance_transaction"]["fee"] == 88
    assert intent["customer"]["invoice_settings"]["default_payment_method"] == method


def test_five_levels_are_too_many(client: stripe.StripeClient) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="more than 4 levels"):
        client.v1.events.list({"expand": ["data.a.b.c.d"]})


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("metadata['attempt']:'a1'", ["a1"]),
        ('metadata["attempt"]:"a1"', ["a1"]),
        ("metadata['attempt']:'a1' OR metadata['attempt']:'a3'", ["a3", "a1"]),
        ("status:'requires_payment_method' AND amount>150", ["a3", "a2"]),
        ("amount<=200 AND -metadata['attempt']:'a1'", ["a2"]),
        ("metadata['attempt']:'nobody'", []),
        ("metadata['other']:null", ["a3", "a2", "a1"]),
    ],
)
def test_intents_are_found_by_what_they_say(
    client: stripe.StripeClient, query: str, found: list[str]
) -> None:
    for number in (1, 2, 3):
        client.v1.payment_intents.create(
            {"amount": number * 100, "currency": "usd", "metadata": {"attempt": f"a{number}"}}
        )

    answer = held(client.v1.payment_intents.search({"query": query}))

    assert [one["metadata"]["attempt"] for one in answer["data"]] == found


def test_a_search_has_pages(client: stripe.StripeClient) -> None:
    for _ in range(3):
        client.v1.payment_intents.create(SMALL)
    query: Any = {"query": "amount:100", "limit": 2}

    first = held(client.v1.payment_intents.search(query))
    query["page"] = first["next_page"]
    second = held(client.v1.payment_intents.search(query))

    assert (len(first["data"]), first["has_more"]) == (2, True)
    assert (len(second["data"]), second["has_more"], second["next_page"]) == (1, False, None)


def test_a_query_that_means_nothing_is_refused(client: stripe.StripeClient) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="unable to parse"):
        client.v1.payment_intents.search({"query": "give me all"})
