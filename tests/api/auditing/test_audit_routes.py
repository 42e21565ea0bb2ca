"""The auditor's routes: what they answer, to whom, and what they refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from adapters.settings import Sealing
from domain.identity import account_id
from projections.compare import COMPARED
from tests.acceptance.spending import done, to
from tests.api.auditing.sealed import chain, sealing_in, tamper
from tests.api.conftest import Served, serve
from tests.api.conftest import settings_of as plain_settings


@pytest.fixture
def sealing(tmp_path: Path) -> Sealing:
    return sealing_in(tmp_path)


@pytest.fixture
def sealed(database: Any, sealing: Sealing) -> Any:
    """`faces` that knows where its checkpoints are published."""
    from dataclasses import replace

    with serve(replace(plain_settings(database), sealing=sealing)) as app:
        yield app


def paid(app: Served, workspace: str, ref: str) -> str:
    """A payment by wire; its attempt's id."""
    body = {"amount_usd": 5, "payment_ref": ref}
    told = done(app.post("/v1/billing/topup", body, workspace), 200)
    return str(told["payment_attempt_id"])


@pytest.mark.scenario("S98")
def test_a_replay_names_the_last_facts_hash_and_agrees_with_its_balance(app: Served) -> None:
    workspace = app.workspace("20.00")
    app.charge(workspace)
    stream = f"credit_account/{workspace}"
    for event in app.get("/v1/audit/events", stream=stream)["data"]:
        past = app.get("/v1/audit/replay", stream=stream, position=event["position"])
        assert past["event_hash"] == event["event_hash"]
        assert (past["version"], past["position"]) == (event["version"], event["position"])
        assert past["as_of_position"] == event["position"]
        if event["balance_after_micros"] is not None:
            assert past["balance_micros"] == event["balance_after_micros"]
            assert past["last_balance_after_micros"] == event["balance_after_micros"]


def test_every_kind_of_stream_is_replayed_by_its_own_aggregate(app: Served) -> None:
    workspace = app.workspace("20.00")
    payment = paid(app, workspace, "wire-1")
    for stream in (
        *(f"workspace/{workspace}", f"subscription/{workspace}", f"payment/{payment}"),
        *("price_book/default", "plan_catalogue/default"),
    ):
        shown = app.get("/v1/audit/events", stream=stream)["data"]
        assert shown, stream
        past = app.get("/v1/audit/replay", stream=stream)
        assert past["event_hash"] == shown[-1]["event_hash"]
        assert past["version"] == len(shown)
        assert past["state"]
        assert past["balance_micros"] is None
        first = app.get("/v1/audit/replay", stream=stream, position=shown[0]["position"])
        assert first["version"] == 1
    assert app.call("GET", "/v1/audit/replay", stream="invoice/in_none").status_code == 404
    assert app.call("GET", "/v1/audit/replay", stream="nonsense").status_code == 422


def test_events_are_taken_by_position_and_by_half_open_times(app: Served) -> None:
    workspace = app.workspace("20.00")
    to(app, "2026-06-02T00:00:00Z")
    second = int(app.charge(workspace).headers["x-ledger-position"])
    to(app, "2026-06-03T00:00:00Z")
    third = int(app.charge(workspace).headers["x-ledger-position"])

    def positions(**query: Any) -> list[int]:
        return [one["position"] for one in app.get("/v1/audit/events", **query)["data"]]

    day = {"from": "2026-06-02T00:00:00Z", "to": "2026-06-03T00:00:00Z"}
    assert positions(**day) == [second]
    assert positions(**{"from": "2026-06-03T00:00:00Z"}) == [third]
    assert third not in positions(to="2026-06-03T00:00:00Z")
    assert positions(from_position=second, to_position=third) == [second, third]
    assert positions(**day, type="Credited") == []
    assert app.call("GET", "/v1/audit/events", **{"from": "noon"}).status_code == 422  # type: ignore[arg-type]


def test_a_workspaces_key_sees_its_payments_and_nothing_of_others(app: Served) -> None:
    mine, other = app.workspace("20.00"), app.workspace("20.00")
    payment, others = paid(app, mine, "wire-1"), paid(app, other, "wire-2")
    key = app.key("audit:read", workspace_id=mine)

    def ask(path: str, **query: Any) -> Any:
        return app.call("GET", f"/v1/audit/{path}", key=key, **query)

    seen = ask("events", limit=1000, consistency="strong").json()["data"]
    payments = {one["data"]["workspace_id"] for one in seen if "PaymentRequested" in one["type"]}
    assert payments == {mine}
    everything = app.get("/v1/audit/events", limit=1000)["data"]
    assert {one["stream"] for one in seen} < {one["stream"] for one in everything}
    assert not any(other in one["stream"] or others in one["stream"] for one in seen)
    for path in ("events", "replay", "verify"):
        assert ask(path, stream=f"payment/{payment}").status_code == 200, path
        for stream in (f"payment/{others}", f"credit_account/{other}", "price_book/default"):
            assert ask(path, stream=stream).status_code == 404, (path, stream)
    assert ask("verify").status_code == 403
    assert ask("compare").status_code == 403
    assert ask("checkpoints").status_code == 200
    assert ask("checkpoints").json()["published_in"] is None
    usage = app.charge(other).json()["usage_id"]
    assert ask(f"charges/{usage}/explain").status_code == 404


@pytest.mark.parametrize("path", ["events", "replay", "verify", "compare", "checkpoints", "export"])
def test_the_auditors_routes_need_the_auditors_scope(app: Served, path: str) -> None:
    refused = app.call("GET", f"/v1/audit/{path}", key=app.key("billing:read", "usage:write"))
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")


@pytest.mark.scenario("S98")
def test_compare_looks_at_one_projection_only(app: Served) -> None:
    workspace = app.workspace("20.00")
    app.charge(workspace)
    app.get("/v1/billing/usage/events", workspace, consistency="strong")
    for name in COMPARED:
        assert app.get("/v1/audit/compare", projection=name)["differences"] == [], name
    tamper(app.database, "UPDATE balances SET balance = balance + 1, debited = debited - 1")
    for name in COMPARED:
        found = app.get("/v1/audit/compare", projection=name)
        assert found["equal"] is (name not in ("balances", "journal")), name
    whole = app.get("/v1/audit/compare")
    assert {one["field"] for one in whole["differences"]} == {
        *("balance", "debited", "journal: Liabilities:Credits")
    }
    assert {one["workspace"] for one in whole["differences"]} == {workspace}
    refused = app.call("GET", "/v1/audit/compare", projection="balance")
    assert (refused.status_code, refused.json()["code"]) == (422, "validation_error")
    assert all(name in refused.text for name in COMPARED)


@pytest.mark.scenario("S100")
def test_verify_answers_for_all_and_for_one_stream(sealed: Served, sealing: Sealing) -> None:
    workspace, other = sealed.workspace("20.00"), sealed.workspace("20.00")
    position = int(sealed.charge(workspace).headers["x-ledger-position"])
    sealed.charge(other)
    waiting = sealed.get("/v1/audit/verify")
    assert waiting["intact"] is True
    assert waiting["unchained_events"] == waiting["events"] > 0
    chain(sealed.database, sealing, seal=True)
    whole = sealed.get("/v1/audit/verify", all="")
    assert whole["intact"] is True
    assert (whole["unchained_events"], whole["unsealed_events"]) == (0, 0)
    assert whole["checkpoints"]["last_good"] == whole["position"] == whole["as_of_position"]
    told = sealed.get("/v1/audit/checkpoints", limit=2)
    assert told["data"][-1]["position"] > 10
    assert told["published_in"] == str(sealing.file)
    (key,) = told["public_keys"]
    assert (key["algorithm"], key["key_id"]) == ("Ed25519", told["data"][0]["key_id"])

    amount = "replace(convert_from(state, 'UTF8'), '\"amount\":', '\"amount\":1')"
    change = f"UPDATE events SET state = convert_to({amount}, 'UTF8')"
    tamper(sealed.database, f"{change} WHERE notification_id = {position}")

    broken = sealed.get("/v1/audit/verify")
    assert (broken["intact"], broken["first_position"]) == (False, position)
    assert broken["problems"][0]["stream_id"] == str(account_id(workspace))
    assert broken["checkpoints"]["failed_count"] > 0
    one = sealed.get("/v1/audit/verify", stream=f"credit_account/{workspace}")
    assert (one["intact"], one["first_position"]) == (False, position)
    assert sealed.get("/v1/audit/verify", stream=f"credit_account/{other}")["intact"] is True
