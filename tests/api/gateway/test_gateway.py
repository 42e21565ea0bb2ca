"""The gateway: OpenAI's shape, charged by the real usage, and never for a failure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters.postgres.database import Database
from tests.acceptance.conftest import catalogue
from tests.acceptance.spending import link, on_plan, put, refused, revoke
from tests.api.conftest import Served
from tests.api.gateway.provider import gateway, script

CHAT = "/v1/chat/completions"
HELLO = {"model": "alice@gpt-5.4", "messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture
def app(database: Database) -> Iterator[Served]:
    """`faces` with 5 % markup, in front of a scripted provider."""
    with gateway(database) as served:
        yield served


@pytest.fixture
def plain(database: Database, tmp_path: Path) -> Iterator[Served]:
    """`faces` without markup, in front of a scripted provider."""
    path = catalogue(tmp_path, "faces", ("markup_bps: 500", "markup_bps: 0"))
    with gateway(database, path) as served:
        yield served


def chat(app: Served, workspace: str, **changes: Any) -> httpx.Response:
    """A chat completion."""
    return app.call("POST", CHAT, HELLO | changes, workspace=workspace)


def items(app: Served, workspace: str) -> list[dict[str, Any]]:
    """The itemised usage, once all of it is folded."""
    newest = app.get("/v1/audit/events")["as_of_position"]
    data: list[dict[str, Any]] = app.get(
        "/v1/billing/usage/events", workspace, min_position=newest
    )["data"]
    return data


def stream(app: Served, workspace: str, **changes: Any) -> list[Any]:
    """What a stream said: each `data:` decoded, the end as it is."""
    response = chat(app, workspace, stream=True, **changes)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    said = [line[6:] for line in response.text.splitlines() if line.startswith("data: ")]
    return [text if text == "[DONE]" else json.loads(text) for text in said]


def test_a_completion_is_charged_by_what_the_provider_says_it_used(app: Served) -> None:
    workspace = app.workspace("5")
    script(app, "ok", 12_345, 678)

    answer = chat(app, workspace, max_tokens=1_000)

    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["object"] == "chat.completion"
    assert body["choices"][0]["message"]["role"] == "assistant"
    assert body["usage"]["prompt_tokens"] == 12_345
    assert app.balance(workspace) == 5_000_000 - 49_565
    assert app.facts(workspace)[-2:] == ["HoldPlaced", "Debited"]
    [item] = items(app, workspace)
    assert (item["model_username"], item["llm_model"], item["meter"]) == (
        "alice",
        "gpt-5.4",
        "chat",
    )
    assert item["usage_id"] == answer.headers["X-Daybook-Usage-Id"]


def test_a_stream_is_charged_before_its_end_is_said(app: Served) -> None:
    workspace = app.workspace("5")
    script(app, "ok", 12_345, 678)

    said = stream(app, workspace)
    with_usage = stream(app, workspace, stream_options={"include_usage": True})

    assert said[-1] == with_usage[-1] == "[DONE]"
    assert all("usage" not in chunk for chunk in said[:-1])
    words = [c["choices"][0]["delta"].get("content") for c in said[:-1]]
    assert sum(bool(word) for word in words) == 678
    assert with_usage[-2]["usage"]["completion_tokens"] == 678
    assert all(chunk["usage"] is None for chunk in with_usage[:-2])
    assert app.balance(workspace) == 5_000_000 - 2 * 49_565


@pytest.mark.scenario("S14")
@pytest.mark.parametrize("mode", ["error", "timeout", "fail_mid_stream"])
def test_a_provider_that_fails_is_a_502_and_costs_nothing(plain: Served, mode: str) -> None:
    workspace = plain.workspace("0.05")
    script(plain, mode, 1_000, 200)

    for path, body in (
        (CHAT, HELLO),
        *([(CHAT, HELLO | {"stream": True})] if mode != "fail_mid_stream" else []),
        ("/v1/compile/threads", {"message": "hi"}),
        ("/v1/compile/threads/t1/messages", {"message": "hi"}),
        ("/v1/compile/documents/d1/make", {"message": "hi", "max_output_tokens": 100}),
    ):
        before = len(plain.facts(workspace))
        answer = plain.call("POST", path, body, workspace=workspace)

        refused(answer, 502, "upstream_failed")
        assert answer.headers["retry-after"] == "1"
        assert plain.facts(workspace)[before:] == ["HoldPlaced", "HoldReleased"]
    assert plain.balance(workspace) == 50_000
    assert items(plain, workspace) == []
    released = plain.get("/v1/audit/events", type="HoldReleased")["data"]
    assert {event["data"]["reason"] for event in released} == {"upstream_failed"}


@pytest.mark.scenario("S15")
def test_a_stream_that_breaks_ends_with_an_error_and_costs_nothing(plain: Served) -> None:
    workspace = plain.workspace("0.05")
    script(plain, "fail_mid_stream", 1_000, 200)

    said = stream(plain, workspace)

    assert said[-1]["error"]["code"] == "upstream_failed"
    assert "[DONE]" not in said
    assert sum(bool(c["choices"][0]["delta"].get("content")) for c in said[:-1]) == 200
    assert plain.balance(workspace) == 50_000
    assert plain.facts(workspace)[-2:] == ["HoldPlaced", "HoldReleased"]


@pytest.mark.scenario("S15")
def test_what_was_delivered_is_charged_where_the_catalogue_says_so(
    database: Database, tmp_path: Path
) -> None:
    path = catalogue(
        tmp_path, "faces", ("markup_bps: 500", "markup_bps: 0"),
        ("mid_stream_failure: no_charge", "mid_stream_failure: charge_delivered"),
    )  # fmt: skip
    with gateway(database, path) as app:
        workspace = app.workspace("0.05")
        script(app, "fail_mid_stream", 1_000, 200)

        assert stream(app, workspace)[-1]["error"]["code"] == "upstream_failed"

        assert app.balance(workspace) == 50_000 - 6_000


@pytest.mark.scenario("S43")
def test_a_linked_account_pays_its_provider_itself(app: Served) -> None:
    workspace = on_plan(app, "connect", "5")
    link(app, workspace)
    script(app, "ok", 12_345, 678)

    assert chat(app, workspace).status_code == 200

    assert script(app)["as_user"] == 1
    assert app.balance(workspace) == 5_000_000
    assert app.facts(workspace)[-2:] == ["HoldPlaced", "UsageRecorded"]
    newest = app.get("/v1/audit/events")["as_of_position"]
    totals = app.get("/v1/billing/usage", workspace, min_position=newest)["totals"]
    assert (totals["request_count"], totals["total_cost_micros"]) == (1, 0)
    assert str(totals["usd_saved"]) == "0.049565"
    [item] = app.get("/v1/billing/usage/events", workspace)["data"]
    assert (item["route"], item["external_micros"]) == ("oauth", 49_565)


@pytest.mark.scenario("S44")
def test_a_linked_account_needs_no_balance(app: Served) -> None:
    workspace = on_plan(app, "connect")
    link(app, workspace)

    assert chat(app, workspace).status_code == 200


@pytest.mark.scenario("S46")
def test_a_revoked_link_is_paid_from_the_wallet_or_refused(app: Served) -> None:
    workspace = on_plan(app, "connect", "5")
    revoke(app, workspace)
    script(app, "ok", 12_345, 678)

    assert chat(app, workspace).status_code == 200
    assert app.balance(workspace) == 5_000_000 - 49_565
    assert script(app)["as_user"] == 0

    put(app, "/v1/billing/preferences", {"api_fallback": False}, workspace)
    before, calls = app.position(), script(app)["calls"]
    problem = refused(chat(app, workspace), 422, "oauth_rejected")
    assert problem["fallback_available"] is True
    assert (app.position(), script(app)["calls"]) == (before, calls)


@pytest.mark.scenario("S48")
def test_an_interview_that_nobody_pays_never_reaches_the_provider(app: Served) -> None:
    workspace = on_plan(app, "connect")
    script(app, "ok", 99_990, 10)
    work = {"message": "hi", "face_id": "f1", "model": "gpt-5.4"}
    first = app.call("POST", "/v1/compile/threads", work, workspace=workspace)
    assert first.status_code == 201, first.text
    assert first.json()["billing"]["funding"] == [
        {"source": "allowance", "amount_micros": 0, "units": 100_000}
    ]
    thread = first.json()["thread_id"]
    before, calls = app.position(), script(app)["calls"]

    for path in ("/v1/compile/threads", f"/v1/compile/threads/{thread}/messages"):
        problem = refused(
            app.call("POST", path, work, workspace=workspace), 402, "no_payment_source"
        )
        assert (problem["needs_oauth"], problem["needs_credits"]) == (True, True)

    assert (app.position(), script(app)["calls"]) == (before, calls)
    link(app, workspace)
    again = app.call("POST", f"/v1/compile/threads/{thread}/messages", work, workspace=workspace)
    assert again.status_code == 201
    assert again.json()["billing"]["funding"][0]["source"] == "oauth"


def test_what_an_interview_says_twice_and_differently_is_refused(app: Served) -> None:
    workspace = app.workspace("5")
    calls, before = script(app)["calls"], app.position()
    said = {"message": "hi", "model": "gpt-5.4"}
    twice: dict[str, dict[str, Any]] = {
        "message": {"messages": [{"role": "user", "content": "bye"}]},
        "llm_model": {"llm_model": "gpt-5.4-mini"},
        "interviewer_billing_source": {
            "billing_source": "oauth",
            "interviewer_billing_source": "credits",
        },
    }
    for field, more in twice.items():
        answer = app.call("POST", "/v1/compile/threads", said | more, workspace=workspace)
        problem = refused(answer, 422, "validation_error")
        assert problem["errors"][0]["loc"] == ["body", field]
    assert (app.position(), script(app)["calls"]) == (before, calls)
    same = said | {"llm_model": "gpt-5.4", "messages": []}
    assert app.call("POST", "/v1/compile/threads", same, workspace=workspace).status_code == 201


@pytest.mark.scenario("S17")
def test_a_frozen_account_reaches_no_provider(app: Served) -> None:
    workspace = on_plan(app, "connect", "100")
    link(app, workspace)
    app.post(f"/v1/admin/workspaces/{workspace}/freeze", {"reason": "fraud"})

    for path, body in (
        (CHAT, HELLO),
        (CHAT, HELLO | {"model": "claude-sonnet-4-6"}),
        ("/v1/compile/threads", {}),
        ("/v1/compile/threads/t1/messages", {}),
        ("/v1/compile/documents/d1/make", {}),
    ):
        answer = app.call("POST", path, body, workspace=workspace)
        assert refused(answer, 402, "account_frozen")["needs_credits"] is False

    assert script(app)["calls"] == 0
    app.post(f"/v1/admin/workspaces/{workspace}/unfreeze", {})
    assert chat(app, workspace).status_code == 200


def test_what_is_no_openai_request_is_refused_in_its_shape(app: Served) -> None:
    workspace = app.workspace("5")
    for body in ({}, {"model": "gpt-5.4"}, HELLO | {"messages": []}, HELLO | {"model": "@gpt-5.4"}):
        problem = refused(
            app.call("POST", CHAT, body, workspace=workspace), 422, "validation_error"
        )
        assert problem["error"]["code"] == "validation_error"
    unknown = refused(chat(app, workspace, model="gpt-99"), 422, "unknown_model")
    assert unknown["error"]["message"] == unknown["detail"]
    assert chat(app, workspace, model="gpt-5.4").status_code == 200
    assert script(app)["last"]["model"] == "gpt-5.4"


def test_an_idempotency_key_makes_a_completion_safe_to_repeat(app: Served) -> None:
    workspace = app.workspace("5")
    headers = {"Idempotency-Key": "once"}

    first = app.call("POST", CHAT, HELLO, workspace=workspace, headers=headers)
    again = app.call("POST", CHAT, HELLO, workspace=workspace, headers=headers)

    assert first.json() == again.json()
    assert again.headers["Idempotent-Replayed"] == "true"
    assert app.facts(workspace).count("Debited") == 1


def test_flarex_meters_chat_generation(database: Database) -> None:
    with gateway(database, "flarex") as app:
        workspace = on_plan(app, "starter")
        script(app, "ok", 12_345, 678)

        answer = chat(app, workspace, metadata={"bot_id": "b1", "thread_id": "t1"})

        assert answer.status_code == 200, answer.text
        position = answer.headers["X-Ledger-Position"]
        path = f"/v1/workspaces/{workspace}/usage/breakdown"
        bot = app.get(path, min_position=position)["bots"][0]
        assert (bot["bot_id"], bot["credits"], bot["threads"][0]["thread_id"]) == ("b1", 14, "t1")
