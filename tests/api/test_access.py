"""Keys open what their scopes say, and only the workspace that they are bound to."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from adapters.postgres import keys
from tests.api.conftest import Served, until


def routes(app: Served) -> list[tuple[str, str, str]]:
    """(method, path, scope) of every documented route that needs a key."""
    document = app.http.get("/openapi.json").json()
    return [
        (method.upper(), path, operation["security"][0]["key"][0])
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if operation["security"]
    ]


def filled(path: str, workspace: str) -> str:
    return path.replace("{workspace_id}", workspace).replace("{usage_id}", "use_x")


def test_every_route_asks_for_a_key_and_for_its_scope(app: Served) -> None:
    workspace = app.workspace()
    # Recording a payment lets its key in where cards are charged; see below.
    strange = set(keys.SCOPES) - {"admin", "payments:record"}
    others = {scope: app.key(*(strange - {scope})) for scope in keys.SCOPES}
    only = {scope: app.key(scope) for scope in keys.SCOPES}
    before = app.position()
    found = routes(app)

    for method, path, scope in found:
        where = filled(path, workspace)
        body = {"nonsense": 1} if method == "POST" else None

        def status(key: str, method: str = method, where: str = where, body: Any = body) -> int:
            return app.call(method, where, body, workspace=workspace, key=key).status_code

        assert status("dbk_none") == 401, where
        assert status(others[scope]) == 403, where
        assert status(only[scope]) not in (401, 403), where
        assert status(only["admin"]) not in (401, 403), where

    assert len(found) > 15
    assert app.position() == before


def test_only_what_is_public_or_signed_needs_no_key(app: Served) -> None:
    document = app.http.get("/openapi.json").json()
    free = {
        path for path, ops in document["paths"].items() for op in ops.values() if not op["security"]
    }

    signed = {"/v1/billing/portal", "/v1/webhooks/stripe"}  # a GET with a signed link; by Stripe
    assert free == {"/healthz", "/readyz", "/v1/plans", *signed}
    for path in ("/healthz", "/readyz", "/metrics", "/openapi.json"):
        assert app.http.get(path).status_code == 200


def test_an_act_is_taken_back_by_its_own_service_or_an_administrator(app: Served) -> None:
    workspace = app.workspace("5")
    mine, other = (app.key("usage:write", workspace_id=workspace) for _ in range(2))
    acts = []
    for number in range(2):
        act = {"event_id": f"e{number}", "meter": "chat", "llm_model": "gpt-5.4"}
        sent = app.call("POST", "/v1/usage", act | {"tokens": {"input": 9}}, key=mine)
        acts.append(f"/v1/usage/{sent.json()['usage_id']}/void")

    assert app.call("POST", acts[0], {}, key=other).status_code == 403
    assert app.balance(workspace) < 5_000_000

    assert app.call("POST", acts[0], {}, key=mine).status_code == 200
    assert app.call("POST", acts[1], {}, workspace=workspace).status_code == 200
    assert app.balance(workspace) == 5_000_000


def test_a_key_of_one_workspace_does_not_see_another(app: Served) -> None:
    mine, theirs = app.workspace("20"), app.workspace("20")
    usage_id = app.charge(theirs).json()["usage_id"]
    mine_key = app.key("admin", workspace_id=mine)
    before = app.position()

    def status(method: str, path: str, body: Any = None, workspace: str | None = None) -> int:
        return app.call(method, path, body, workspace=workspace, key=mine_key).status_code

    act = {"event_id": "x", "meter": "chat", "llm_model": "gpt-5.4", "tokens": {"input": 1}}
    credit = {"amount_usd": 5}
    assert status("POST", "/v1/usage", act, theirs) == 404
    assert status("GET", "/v1/billing/balance", workspace=theirs) == 404
    assert status("GET", "/v1/billing/usage", workspace=theirs) == 404
    assert status("GET", f"/v1/workspaces/{theirs}") == 404
    assert status("POST", f"/v1/admin/workspaces/{theirs}/credits", credit) == 404
    assert status("POST", f"/v1/admin/workspaces/{theirs}/freeze", {}) == 404
    assert status("POST", f"/v1/usage/{usage_id}/void", {}) == 404
    assert status("GET", f"/v1/audit/charges/{usage_id}/explain") == 404
    assert status("GET", f"/v1/audit/events?stream=credit_account/{theirs}") == 404
    assert status("GET", "/v1/workspaces") == 403
    assert status("POST", "/v1/workspaces", {"name": "x"}) == 403
    assert status("POST", "/v1/admin/price-books", {"markup_bps": 0, "seed": "genai-prices"}) == 403
    assert app.position() == before

    seen = app.call("GET", "/v1/audit/events", key=mine_key).json()["data"]
    assert seen and theirs not in str(seen)
    assert status("GET", "/v1/billing/balance") == 200
    assert status("GET", f"/v1/workspaces/{mine}") == 200


def test_a_revoked_key_is_refused_within_a_moment(app: Served) -> None:
    workspace = app.workspace()
    with psycopg.connect(app.database.conninfo(), autocommit=True) as connection:
        made, key = keys.create(connection, scopes=["billing:read"], now=datetime.now(UTC))

        def status() -> int:
            return app.call("GET", "/v1/billing/balance", workspace=workspace, key=key).status_code

        assert status() == 200
        assert keys.revoke(connection, made.key_id, datetime.now(UTC))
        until(lambda: status() == 401)
        assert not keys.revoke(connection, made.key_id, datetime.now(UTC))


def test_only_the_hash_of_a_key_is_stored(app: Served) -> None:
    key = app.key("admin")
    with psycopg.connect(app.database.conninfo()) as connection:
        stored = connection.execute("SELECT api_keys::text FROM api_keys").fetchall()

    assert len(key) == 47 and key.startswith("dbk_")
    assert stored and key not in str(stored)


def test_a_key_needs_scopes_that_exist(app: Served) -> None:
    for scopes in ([], ["everything"]):
        with pytest.raises(ValueError, match="scopes"):
            app.key(*scopes)


def test_a_payment_reference_needs_its_scope(app: Served) -> None:
    workspace = app.workspace()
    body = {"amount_usd": 20, "payment_ref": "wire-77"}
    without, with_it = app.key("billing:write"), app.key("billing:write", "payments:record")

    refused = app.call("POST", "/v1/billing/topup", body, workspace=workspace, key=without)
    taken = app.call("POST", "/v1/billing/topup", body, workspace=workspace, key=with_it)

    assert (refused.status_code, refused.json()["code"]) == (403, "payment_ref_not_allowed")
    assert (taken.status_code, taken.json()["new_balance_micros"]) == (200, 20_000_000)


def test_who_records_payments_needs_no_other_scope_and_charges_no_card(app: Served) -> None:
    workspace, key = app.workspace(), app.key("payments:record")
    body = {"amount_usd": 20, "payment_ref": "wire-78"}

    taken = app.call("POST", "/v1/billing/topup", body, workspace=workspace, key=key)
    charged = app.call(
        "POST", "/v1/billing/topup", {"amount_usd": 20}, workspace=workspace, key=key
    )
    ordered = app.call(
        "PUT", "/v1/billing/auto-topup", {"enabled": False}, workspace=workspace, key=key
    )

    assert (taken.status_code, taken.json()["new_balance_micros"]) == (200, 20_000_000)
    for refused in (charged, ordered):
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
