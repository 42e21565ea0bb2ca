"""Webhook endpoints: registered, changed and removed by their own workspace, and by no other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.api.conftest import Served
from tests.api.outgoing.receiver import Receiver, receiving
from tests.api.outgoing.test_webhooks import ENDPOINTS, register


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as one:
        yield one


def test_a_secret_is_told_once(app: Served, receiver: Receiver) -> None:
    workspace = app.workspace()
    key = {"Idempotency-Key": "one"}
    body = {"url": receiver.url}
    first = app.call("POST", ENDPOINTS, body, workspace=workspace, headers=key)
    secret = first.json()["secret"]

    again = app.call("POST", ENDPOINTS, body, workspace=workspace, headers=key)

    assert (again.status_code, again.headers["Idempotent-Replayed"]) == (201, "true")
    assert again.json() == first.json() | {"secret": None}
    assert len(app.get(ENDPOINTS, workspace)["data"]) == 1
    assert secret not in app.call("GET", ENDPOINTS, workspace=workspace).text
    with psycopg.connect(app.database.conninfo()) as connection:
        kept = connection.execute(
            "SELECT string_agg(encode(body, 'escape'), '') FROM idempotency_keys"
        ).fetchone()
        facts = connection.execute(
            "SELECT string_agg(convert_from(state, 'UTF8'), '') FROM events"
        ).fetchone()
    assert secret not in f"{kept}{facts}"


def test_endpoints_are_the_workspaces_own(app: Served, receiver: Receiver) -> None:
    mine, other = app.workspace(), app.workspace()
    endpoint = register(app, mine, receiver.url)
    path = f"{ENDPOINTS}/{endpoint['id']}"
    key = app.key("billing:write", "billing:read", workspace_id=other)

    for method, where, body in (
        ("GET", path, None),
        ("PATCH", path, {"status": "disabled"}),
        ("DELETE", path, None),
        ("POST", f"{path}/test", None),
        ("POST", f"{path}/rotate-secret", None),
        ("GET", f"{path}/deliveries", None),
        ("GET", f"{path}/deliveries/msg_1", None),
        ("POST", f"{path}/deliveries/msg_1/redeliver", None),
    ):
        assert app.call(method, where, body, key=key).status_code == 404, where
    assert app.call("GET", ENDPOINTS, key=key).json()["data"] == []
    reader = app.key("billing:read", workspace_id=mine)
    assert app.call("POST", ENDPOINTS, {"url": receiver.url}, key=reader).status_code == 403

    assert app.call("DELETE", path, workspace=mine).json()["removed"] is True
    assert app.call("GET", path, workspace=mine).status_code == 404
    assert receiver.received == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"url": "ftp://example.com/"},
        {"url": "https://user:password@example.com/"},
        {"url": "https://"},
        {"url": "https://exa mple.com/"},
        {"url": "https://example.com/", "types": ["no.such.type"]},
        {"url": "https://example.com/", "balance_low_usd": 0},
        {"url": "https://example.com/", "balance_low_usd": "0.0000001"},
        {"url": "https://example.com/", "secret": "whsec_mine"},
    ],
)
def test_an_endpoint_that_makes_no_sense_is_refused(app: Served, body: dict[str, Any]) -> None:
    workspace = app.workspace()

    response = app.call("POST", ENDPOINTS, body, workspace=workspace)

    assert response.status_code == 422, response.text
    assert response.json()["code"] == "validation_error"


def test_a_workspace_has_a_bounded_number_of_endpoints(app: Served, receiver: Receiver) -> None:
    workspace = app.workspace()
    for _ in range(20):
        register(app, workspace, receiver.url)

    assert (
        app.call("POST", ENDPOINTS, {"url": receiver.url}, workspace=workspace).status_code == 409
    )
