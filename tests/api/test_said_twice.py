"""What is said twice, or not as IANA says it, is refused: nobody would know what was meant."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.acceptance.spending import refused
from tests.api.conftest import Served


def ask(app: Served, method: str, path: str, *headers: tuple[str, str], **body: Any) -> Any:
    """A request with these headers as they are."""
    key = ("Authorization", f"Bearer {app.admin_key}")
    return app.http.request(method, path, headers=[key, *headers], **body)


def named(response: httpx.Response, *loc: str) -> None:
    """Refused, and it says where."""
    problem = refused(response, 422, "validation_error")
    assert problem["errors"][0]["loc"] == list(loc)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/billing/usage?start_date=2026-06-01&start_date=2026-06-02", "start_date"),
        ("/v1/billing/usage?group_by=date&group_by=meter", "group_by"),
        ("/v1/billing/usage/events?limit=5&limit=5", "limit"),
        ("/v1/billing/balance?min_position=0&min_position=1", "min_position"),
        ("/v1/audit/events?type=Credited&type=Debited", "type"),
        ("/v1/billing/usage?start_date=2026-06-01&from_date=2026-06-02", "from_date"),
        ("/v1/billing/usage?end_date=2026-06-01&to_date=2026-06-02", "to_date"),
        ("/v1/billing/usage?timezone=right/UTC", "timezone"),
        ("/v1/billing/usage?timezone=posixrules", "timezone"),
        ("/v1/billing/usage?timezone=localtime", "timezone"),
        ("/v1/billing/usage?timezone=europe/berlin", "timezone"),
        ("/v1/billing/usage?timezone=", "timezone"),
    ],
)
def test_a_question_that_may_be_meant_in_two_ways_is_refused(
    app: Served, path: str, name: str
) -> None:
    named(app.call("GET", path, workspace=app.workspace()), "query", name)


def test_both_names_of_a_date_may_say_the_same(app: Served) -> None:
    workspace = app.workspace()
    path = "/v1/billing/usage?start_date=2026-06-01&from_date=2026-06-01&timezone=Europe/Berlin"

    assert app.call("GET", path, workspace=workspace).status_code == 200


def test_a_plan_to_buy_is_named_once(app: Served) -> None:
    workspace = app.workspace()
    before = app.position()

    named(
        app.call("POST", "/v1/billing/checkout?plan=connect&plan=pro", workspace=workspace),
        *("query", "plan"),
    )

    assert app.position() == before


def test_a_workspace_and_an_idempotency_key_are_named_once(app: Served) -> None:
    one, other = app.workspace("5"), app.workspace("5")
    before = app.position()
    first, second = ("X-Workspace-Id", one), ("X-Workspace-Id", other)
    key, another = ("Idempotency-Key", "a"), ("Idempotency-Key", "b")
    act = {"event_id": "e", "meter": "chat", "llm_model": "gpt-5.4", "tokens": {"input": 10}}
    pay = {"amount_usd": 5, "payment_ref": "wire-1"}

    for response in (
        ask(app, "GET", "/v1/billing/balance", first, second),
        ask(app, "POST", "/v1/usage", first, second, json=act),
    ):
        named(response, "header", "X-Workspace-Id")
    for path, body in (("/v1/usage", act), ("/v1/billing/topup", pay)):
        named(ask(app, "POST", path, first, key, another, json=body), "header", "Idempotency-Key")

    assert app.position() == before
