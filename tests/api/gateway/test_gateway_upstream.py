"""Providers that misbehave: a clean 502 or an `error` event, never a charge or made-up words."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest

from adapters.postgres.database import Database
from tests.acceptance.spending import refused
from tests.api.conftest import PATIENCE_S, Served
from tests.api.gateway.provider import gateway, says, script

CHAT = "/v1/chat/completions"
HELLO = {"model": "gpt-5.4", "messages": [{"role": "user", "content": "Hello"}]}
KEY = "sk-our-own-secret-1234567890"
EVENTS = "text/event-stream"
PATHS = (
    (CHAT, HELLO),
    (CHAT, HELLO | {"stream": True}),
    ("/v1/compile/threads", {"message": "hi"}),
    ("/v1/compile/threads/t1/messages", {"message": "hi"}),
    ("/v1/compile/documents/d1/make", {"message": "hi", "max_output_tokens": 100}),
)


@pytest.fixture
def app(database: Database) -> Iterator[Served]:
    """`faces` in front of a scripted provider, which is asked with a key of ours."""
    with gateway(database, upstream_patience_s=PATIENCE_S, upstream_key=KEY) as served:
        yield served


def unspent(app: Served, workspace: str, balance: int = 5_000_000) -> None:
    """Every hold was released because the provider failed; nothing was recorded or charged."""
    stream = f"credit_account/{workspace}"
    events = app.get("/v1/audit/events", stream=stream, limit=1000)["data"]
    types = [event["type"] for event in events]
    assert types.count("HoldPlaced") == types.count("HoldReleased") > 0
    assert not {"Debited", "UsageRecorded"} & set(types)
    reasons = {e["data"]["reason"] for e in events if e["type"] == "HoldReleased"}
    assert reasons == {"upstream_failed"}
    assert app.balance(workspace) == balance


def event(chunk: object) -> str:
    """A server-sent event."""
    return f"data: {chunk if isinstance(chunk, str) else json.dumps(chunk)}\n\n"


def word(text: str) -> dict[str, Any]:
    """A part of a completion."""
    return {"id": "c", "choices": [{"index": 0, "delta": {"content": text}}]}


HALVES: tuple[tuple[object, dict[str, Any]], ...] = (
    ('{"id": "c", "choices": [{"mess', {}),
    ('{"id": "c", "choices": [{"mess', {"is_cut": True}),
    ("<html>busy</html>", {"media": "text/html"}),
    ("", {}),
    ("[]", {}),
    ({"choices": []}, {}),
    ({"choices": {"0": {"message": {"content": "hi"}}}}, {}),
    ({"choices": [{"text": "hi"}]}, {}),
    ({"choices": [{"message": None}]}, {}),
    ({"error": {"message": "overloaded"}}, {}),
)
ENDS = (
    "",
    "data: {half\n\n",
    event("null"),
    event({"choices": 5}),
    event({"choices": ["hi"]}),
    event({"choices": [{"delta": "hi"}]}),
    event({"error": {"message": "overloaded"}}),
    event({"choices": [], "error": "overloaded"}),
)


def test_a_request_that_the_provider_refuses_says_why(app: Served) -> None:
    workspace = app.workspace("5")
    long = "This model's maximum context length is 128000 tokens."
    error = {"message": long, "type": "invalid_request_error", "code": "context_length_exceeded"}
    says(app, {"error": error}, 400)

    for path, body in PATHS:
        answer = app.call("POST", path, body, workspace=workspace)

        problem = refused(answer, 502, "upstream_failed")
        assert problem["upstream_status"] == 400
        assert f"answered 400: {long} (context_length_exceeded)" in problem["detail"]
        assert problem["detail"].endswith("Nothing was charged.")
        assert answer.headers["x-should-retry"] == "false"
        if path == CHAT:
            assert problem["error"]["message"] == problem["detail"]
    unspent(app, workspace)


def test_what_concerns_us_is_not_told_in_its_words(app: Served) -> None:
    workspace = app.workspace("5")
    said = f"Incorrect API key provided: {KEY}. Quota of org-12345 exceeded."

    for status, (path, body) in product((401, 403, 429, 500, 503), PATHS):
        says(app, {"error": {"message": said}}, status, headers={"Retry-After": "7"})
        answer = app.call("POST", path, body, workspace=workspace)

        problem = refused(answer, 502, "upstream_failed")
        assert problem["upstream_status"] == status
        assert f"The provider answered {status}. Nothing was charged." == problem["detail"]
        assert answer.headers["retry-after"] == "7"
        assert "x-should-retry" not in answer.headers
        assert KEY not in answer.text and "org-12345" not in answer.text
    unspent(app, workspace)


def test_a_secret_in_a_providers_words_is_left_out(app: Served) -> None:
    workspace = app.workspace("5")
    said = f"No model for {KEY}\nof org-abcdef12, key sk-pro***4x, Bearer abc.def, gpt-99."
    says(app, {"error": {"message": said, "code": "model_not_found"}}, 404)

    problem = refused(app.call("POST", CHAT, HELLO, workspace=workspace), 502, "upstream_failed")

    assert problem["detail"] == (
        "The provider answered 404: No model for … of …, key …, … gpt-99. (model_not_found)"
        " Nothing was charged."
    )


def test_half_an_answer_is_none(app: Served) -> None:
    workspace = app.workspace("5")

    for (body, more), (path, ask) in product(HALVES, PATHS):
        says(app, body, **more)
        # To a stream it is none either, before anything was sent.
        refused(app.call("POST", path, ask, workspace=workspace), 502, "upstream_failed")
    unspent(app, workspace)


def test_a_stream_that_makes_no_sense_is_an_error(app: Served) -> None:
    workspace = app.workspace("5")
    ask = HELLO | {"stream": True}

    for end in ENDS:
        says(app, end, media=EVENTS)
        refused(app.call("POST", CHAT, ask, workspace=workspace), 502, "upstream_failed")

        says(app, event(word("Hi")) + end, media=EVENTS)
        answer = app.call("POST", CHAT, ask, workspace=workspace)
        assert answer.status_code == 200
        *_, last = answer.text.strip().split("\n\n")
        assert last.startswith("event: error\ndata: ")
        assert json.loads(last.split("data: ")[1])["error"]["code"] == "upstream_failed"
        assert "[DONE]" not in answer.text
    unspent(app, workspace)


def test_a_provider_that_is_not_there(database: Database) -> None:
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        with gateway(database, upstream_url=url) as app:
            workspace = app.workspace("5")
            for path, body in PATHS:
                refused(app.call("POST", path, body, workspace=workspace), 502, "upstream_failed")
            unspent(app, workspace)


def test_what_a_provider_does_not_count_is_counted_here(app: Served) -> None:
    """One token in for four bytes of the messages, one out for four bytes of the choices or for a
    piece of a stream."""
    workspace = app.workspace("5")
    read = len(json.dumps(HELLO["messages"], separators=(",", ":"))) // 4 + 1
    choices = [{"message": {"role": "assistant", "content": "x" * 400}}]
    made = len(json.dumps(choices, separators=(",", ":"))) // 4
    says(app, {"choices": choices})
    whole = app.call("POST", CHAT, HELLO, workspace=workspace)
    assert whole.status_code == 200, whole.text

    says(app, event(word("Hi")) * 7 + event("[DONE]"), media=EVENTS)
    streamed = app.call("POST", CHAT, HELLO | {"stream": True}, workspace=workspace)
    assert streamed.text.endswith("data: [DONE]\n\n")

    newest = app.get("/v1/audit/events")["as_of_position"]
    items = app.get("/v1/billing/usage/events", workspace, min_position=newest)["data"]
    counted = [(item["tokens"]["input"], item["tokens"]["output"]) for item in items]
    assert counted == [(read, 7), (read, made)]


def test_a_provider_that_says_more_than_was_asked_for_is_believed(app: Served) -> None:
    workspace = app.workspace("0.01")
    script(app, "ok", 1_000, 700)  # 14,175 µ with 5 %: more than there is

    answer = app.call("POST", CHAT, HELLO | {"max_tokens": 10}, workspace=workspace)

    assert answer.status_code == 200
    assert app.balance(workspace) == 10_000 - 14_175
    refused(app.call("POST", CHAT, HELLO, workspace=workspace), 402, "insufficient_credits")
