"""Events whose object is not as Stripe's are: each keeps a receipt, and none ends in a 500."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest

from adapters.postgres.database import Database
from api.stripe.handlers import all_handlers
from tests.acceptance.paying import balance, customer_of
from tests.api.sandboxed import Sandboxed, event, sandboxed, send

NO_ID: dict[str, dict[str, Any]] = {
    "nothing": {},
    "null": {"id": None},
    "number": {"id": 5},
    "list": {"id": ["pi_1"]},
    "empty": {"id": ""},
    "a way to somewhere else": {"id": "../customers"},
    "NUL": {"id": "pi_a\0b"},
    "letters of no id": {"id": "pi_é"},
    "long": {"id": "pi_" + "x" * 300},
}
ODD: dict[str, dict[str, Any]] = {
    "only an id": {},
    "metadata is a list": {"metadata": ["x"]},
    "metadata of numbers": {"metadata": {"payment_attempt_id": 5}},
    "text everywhere": {"amount_refunded": "x", "attempt_count": "x", "refunds": "x", "lines": 5},
    "numbers for ids": {"customer": 5, "charge": 6, "payment_intent": 7, "subscription": 8},
    "ids that lead elsewhere": {"customer": "a/b", "charge": "a/b", "payment_intent": "a/b"},
    "of nobody": {"mode": "setup", "customer": "cus_nobody", "payment_intent": "pi_nobody"},
    "a page of nobody": {"mode": "subscription", "metadata": {"payment_attempt_id": "pay_no"}},
}


@pytest.fixture
def shop(database: Database) -> Iterator[Sandboxed]:
    """`faces` and its sandbox."""
    with sandboxed(database, mode="held") as both:
        yield both


def said(shop: Sandboxed, type: str, object: dict[str, Any]) -> str:
    """What an event came to: taken in without an error."""
    response = send(shop.app, event(type, object))
    assert response.status_code == 200, (type, object, response.text)
    disposition: str = response.json()["disposition"]
    return disposition


def test_an_object_without_an_id_is_ignored_and_its_receipt_says_why(shop: Sandboxed) -> None:
    before = shop.app.position()

    for type in all_handlers():
        assert said(shop, type, NO_ID["nothing"]) == "ignored"
    for name, object in NO_ID.items():
        assert said(shop, "payment_intent.succeeded", object) == "ignored", name

    kept = shop.app.get("/v1/admin/webhooks", limit=100)["data"]
    assert len(kept) == len(all_handlers()) + len(NO_ID)
    assert {one["disposition"] for one in kept} == {"ignored"}
    assert all("id" in one["reason"] for one in kept)
    assert shop.app.position() == before


def test_no_object_of_an_event_ends_in_a_500(shop: Sandboxed) -> None:
    before = shop.app.position()

    for type, odd in product(all_handlers(), ODD.values()):
        said(shop, type, {"id": "xx_nowhere123", "object": type.rpartition(".")[0], **odd})

    assert shop.app.position() == before


def test_what_cannot_be_read_waits_and_is_read_where_it_comes_from(shop: Sandboxed) -> None:
    workspace = shop.app.workspace()
    customer = customer_of(shop, workspace)
    shop.sandbox.control.card(customer, "pm_card_visa")
    body = event("customer.updated", {"id": customer, "object": "customer", "metadata": ["x"]})

    assert send(shop.app, body).json()["disposition"] == "deferred"
    [waits] = shop.app.get("/v1/admin/webhooks", disposition="deferred")["data"]
    assert "metadata" in waits["reason"]
    assert not balance(shop, workspace)["has_payment_method"]
    shop.to("2026-06-01T00:31:00Z")
    shop.tick()

    assert shop.app.get("/v1/admin/webhooks", disposition="deferred")["data"] == []
    assert balance(shop, workspace)["has_payment_method"]


GOOD = json.loads(event("payment_intent.succeeded", {"id": "pi_1", "object": "payment_intent"}))


NO_DATA: list[dict[str, Any]] = [{}, {"object": None}, {"object": ["x"]}]
NO_EVENT: list[dict[str, Any]] = [
    *({"id": id} for id in (None, 5, "", "evt_" + "x" * 3_000, "evt_a\0b")),
    *({"type": type} for type in (5, "", "x" * 3_000)),
    *({"created": created} for created in (None, "1", 10**18, 1.5)),
    {"data": None},
    {"data": []},
    *({"data": data} for data in NO_DATA),
]


def test_what_is_signed_but_no_event_is_a_422_and_not_stored(shop: Sandboxed) -> None:
    for changes in NO_EVENT:
        response = send(shop.app, json.dumps(GOOD | changes).encode())

        assert response.status_code == 422, (changes, response.text)
        assert response.headers["content-type"] == "application/problem+json"
        [error] = response.json()["errors"]
        name = next(iter(changes))
        assert name in error["loc"] or f"$.{name}" in error["msg"]

    assert shop.app.get("/v1/admin/webhooks")["data"] == []


def test_odd_values_of_before_do_no_harm(shop: Sandboxed) -> None:
    for previous in ("x", ["x"], 5, None, {"customer": "a/b"}):
        body = json.loads(event("payment_method.detached", {"id": "pm_1"}))
        body["data"]["previous_attributes"] = previous

        response = send(shop.app, json.dumps(body).encode())

        assert response.json() == {"received": True, "disposition": "ignored"}, previous
