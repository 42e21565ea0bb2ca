"""OpenAI's own Python client, pointed at the gateway, works unchanged."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from adapters.postgres.database import Database
from tests.api.conftest import PATIENCE_S, Served, until
from tests.api.gateway.provider import gateway, says, script, told

openai = pytest.importorskip("openai", reason="the `openai` client is not installed")

HELLO: list[Any] = [{"role": "user", "content": "Hello"}]


@pytest.fixture
def app(database: Database) -> Iterator[Served]:
    """`faces` in front of a scripted provider."""
    with gateway(database, upstream_patience_s=PATIENCE_S) as served:
        yield served


def client(app: Served, workspace: str, **settings: Any) -> Any:
    """OpenAI's client with a key of one workspace."""
    http = httpx.Client(trust_env=False, timeout=PATIENCE_S)
    given = {"max_retries": 0, "http_client": http} | settings
    key = app.key("usage:write", workspace_id=workspace)
    return openai.OpenAI(api_key=key, base_url=f"{app.url}/v1", **given)


def test_a_completion_and_a_stream(app: Served) -> None:
    workspace = app.workspace("5")
    script(app, "ok", 12_345, 678)
    api = client(app, workspace)

    whole = api.chat.completions.create(model="alice@gpt-5.4", messages=HELLO)
    chunks = list(
        api.chat.completions.create(
            model="gpt-5.4", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
    )

    assert whole.usage.completion_tokens == 678
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage.prompt_tokens == 12_345
    assert app.balance(workspace) == 5_000_000 - 2 * 49_565


def test_402_and_502_are_exceptions_of_its_own(app: Served) -> None:
    poor, rich = app.workspace(), app.workspace("5")

    with pytest.raises(openai.APIStatusError) as unpaid:
        client(app, poor).chat.completions.create(model="gpt-5.4", messages=HELLO)
    assert unpaid.value.status_code == 402
    assert unpaid.value.code == "insufficient_credits"

    script(app, "error")
    with pytest.raises(openai.InternalServerError) as failed:
        client(app, rich).chat.completions.create(model="gpt-5.4", messages=HELLO)
    assert failed.value.status_code == 502
    assert failed.value.code == "upstream_failed"

    script(app, "fail_mid_stream", 10, 20)
    with pytest.raises(openai.APIError, match="broke off"):
        list(
            client(app, rich).chat.completions.create(model="gpt-5.4", messages=HELLO, stream=True)
        )
    assert app.balance(rich) == 5_000_000


def test_what_the_provider_refuses_is_not_asked_again(app: Served) -> None:
    workspace = app.workspace("5")
    error = {"message": "The maximum context length is 9.", "code": "context_length_exceeded"}
    says(app, {"error": error}, 400)

    with pytest.raises(openai.InternalServerError, match="maximum context length is 9") as refused:
        client(app, workspace, max_retries=2).chat.completions.create(
            model="gpt-5.4", messages=HELLO
        )

    assert (refused.value.status_code, refused.value.code) == (502, "upstream_failed")
    assert told(app)["calls"] == 1
    assert app.balance(workspace) == 5_000_000


def test_every_refusal_of_a_stream_comes_before_it(app: Served) -> None:
    poor, rich = app.workspace(), app.workspace("5")

    def fails(workspace: str, kind: Any, model: str = "gpt-5.4") -> Any:
        with pytest.raises(kind) as raised:
            client(app, workspace).chat.completions.create(model=model, messages=HELLO, stream=True)
        return raised.value

    assert fails(poor, openai.APIStatusError).code == "insufficient_credits"
    unknown = fails(rich, openai.UnprocessableEntityError, "alice@gpt-99")
    assert unknown.code == "unknown_model"
    assert fails(rich, openai.UnprocessableEntityError, "@gpt-5.4").code == "validation_error"
    assert told(app)["calls"] == 0
    for mode in ("error", "nonsense"):
        script(app, "error")
        if mode == "nonsense":
            says(app, "data: {no\n\n", media="text/event-stream")
        assert fails(rich, openai.InternalServerError).status_code == 502
    assert app.balance(rich) == 5_000_000
    assert "Debited" not in app.facts(rich)


def test_tools_and_several_choices_pass_through(app: Served) -> None:
    workspace = app.workspace("5")
    tools: list[Any] = [
        {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
    ]
    call = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    choices = [{"index": i, "finish_reason": "tool_calls", "message": message} for i in (0, 1)]
    usage = {"prompt_tokens": 1_000, "completion_tokens": 200, "total_tokens": 1_200}
    head = {"id": "c", "created": 0, "model": "gpt-5.4"}
    says(app, head | {"object": "chat.completion", "choices": choices, "usage": usage})

    whole = client(app, workspace).chat.completions.create(
        model="alice@gpt-5.4", messages=HELLO, tools=tools, n=2, temperature=0
    )

    assert [c.message.tool_calls[0].function.name for c in whole.choices] == ["add", "add"]
    assert app.balance(workspace) == 5_000_000 - 6_300
    asked = told(app)["last"]
    assert asked == {
        "model": "gpt-5.4", "messages": HELLO, "tools": tools, "n": 2, "temperature": 0,
    }  # fmt: skip

    parts = [
        head | {"choices": [{"index": i, "delta": {"tool_calls": [{"index": 0} | call]}}]}
        for i in (0, 1)
    ]
    events = [
        f"data: {json.dumps(p)}\n\n" for p in [*parts, head | {"choices": [], "usage": usage}]
    ]
    says(app, "".join(events) + "data: [DONE]\n\n", media="text/event-stream")
    chunks = list(
        client(app, workspace).chat.completions.create(
            model="gpt-5.4", messages=HELLO, tools=tools, n=2, stream=True
        )
    )

    assert [c.choices[0].delta.tool_calls[0].function.name for c in chunks] == ["add", "add"]
    assert all(chunk.usage is None for chunk in chunks)
    assert app.balance(workspace) == 5_000_000 - 2 * 6_300


def test_a_stream_that_is_closed_costs_what_came_of_it(app: Served) -> None:
    workspace = app.workspace("5")
    script(app, "ok", 1_000, 500, pause_after=200)
    stream = client(app, workspace).chat.completions.create(
        model="gpt-5.4", messages=HELLO, stream=True
    )

    words = 0
    for chunk in stream:
        words += bool(chunk.choices[0].delta.content)
        if words == 200:
            break
    stream.close()

    until(lambda: "Debited" in app.facts(workspace))
    assert app.balance(workspace) == 5_000_000 - 6_300


def test_a_client_that_waits_no_longer(app: Served) -> None:
    workspace = app.workspace("5")
    script(app, "ok", 1_000, 500, pause_after=0)

    with pytest.raises(openai.APITimeoutError):
        impatient = client(app, workspace, timeout=httpx.Timeout(PATIENCE_S, read=0.3))
        list(impatient.chat.completions.create(model="gpt-5.4", messages=HELLO, stream=True))

    until(lambda: "HoldReleased" in app.facts(workspace))
    assert app.balance(workspace) == 5_000_000


def test_an_idempotency_key_replays_a_stream(app: Served) -> None:
    workspace = app.workspace("5")
    script(app, "ok", 12_345, 678)
    api = client(app, workspace)

    def chunks() -> list[Any]:
        return list(
            api.chat.completions.create(
                model="gpt-5.4",
                messages=HELLO,
                stream=True,
                extra_headers={"Idempotency-Key": "once"},
            )
        )

    assert chunks() == chunks()
    assert app.balance(workspace) == 5_000_000 - 49_565


def test_the_asynchronous_client(app: Served) -> None:
    workspace = app.workspace("5")
    script(app, "ok", 12_345, 678)
    key = app.key("usage:write", workspace_id=workspace)

    async def ask() -> tuple[Any, list[Any]]:
        http = httpx.AsyncClient(trust_env=False, timeout=PATIENCE_S)
        async with openai.AsyncOpenAI(
            api_key=key, base_url=f"{app.url}/v1", max_retries=0, http_client=http
        ) as api:
            whole, stream = await asyncio.gather(
                api.chat.completions.create(model="gpt-5.4", messages=HELLO),
                api.chat.completions.create(model="gpt-5.4", messages=HELLO, stream=True),
            )
            return whole, [chunk async for chunk in stream]

    whole, chunks = asyncio.run(ask())

    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert app.balance(workspace) == 5_000_000 - 2 * 49_565


def test_a_stream_says_that_a_budget_is_spent(app: Served) -> None:
    """1,102 µ a call, and a soft budget of 2,204: spent behind the second."""
    workspace = app.workspace("5")
    script(app, "ok", 100, 50)
    body = {"limit_usd": "0.002204", "per": "day"}
    assert app.call("PUT", "/v1/billing/budgets/tägl", body, workspace=workspace).status_code == 200
    api = client(app, workspace)

    def asked(**more: Any) -> tuple[list[Any], str | None]:
        """The chunks of a stream, and what its header says."""
        with api.chat.completions.with_streaming_response.create(
            model="gpt-5.4", messages=HELLO, stream=True, **more
        ) as answer:
            return list(answer.parse()), answer.headers.get("X-Daybook-Budget-Warning")

    usage = {"stream_options": {"include_usage": True}}
    chunks, header = asked(**usage)
    assert header is None
    assert "budget_warnings" not in (chunks[-1].model_extra or {})

    chunks, header = asked(**usage)
    assert header is None, "it was not spent yet"
    warning = {"budget_id": "tägl", "limit_micros": 2_204, "spent_micros": 2_204, "hard": False}
    assert chunks[-1].model_extra["budget_warnings"] == [warning]
    assert chunks[-1].usage.completion_tokens == 50

    chunks, header = asked()
    assert header == "t%C3%A4gl", "as where the answer is whole"
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)
    whole = api.chat.completions.with_raw_response.create(model="gpt-5.4", messages=HELLO)
    assert whole.headers["X-Daybook-Budget-Warning"] == header


def test_without_usage_a_comment_says_it_and_a_replay_too(app: Served) -> None:
    workspace = app.workspace("5")
    script(app, "ok", 100, 50)
    app.call("PUT", "/v1/billing/budgets/cap", {"limit_usd": "0.001"}, workspace=workspace)
    body = {"model": "gpt-5.4", "messages": HELLO, "stream": True}

    texts = [
        app.call(
            *("POST", "/v1/chat/completions", body),
            workspace=workspace,
            headers={"Idempotency-Key": "once"},
        ).text
        for _ in range(2)
    ]

    assert texts[0] == texts[1]
    comment, end = texts[0].rstrip().split("\n\n")[-2:]
    said, _, warnings = comment.partition(" [")
    assert (said, end) == (": budget_warnings", "data: [DONE]")
    assert json.loads("[" + warnings)[0]["budget_id"] == "cap"
    assert len(app.facts(workspace)) - app.facts(workspace).index("Debited") == 2, "BudgetWarned"


def test_usage_that_comes_with_the_last_words_is_said_in_a_chunk_of_its_own(app: Served) -> None:
    """So some providers do, and OpenAI's clients look for it where nothing else is."""
    workspace = app.workspace("5")
    head = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "gpt-5.4"}
    words = head | {"choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}]}
    usage = {"prompt_tokens": 1_000, "completion_tokens": 200, "total_tokens": 1_200}
    event = f"data: {json.dumps(words | {'usage': usage})}\n\n"
    says(app, event + "data: [DONE]\n\n", media="text/event-stream")

    chunks = list(
        client(app, workspace).chat.completions.create(
            model="gpt-5.4", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
    )

    assert [chunk.usage and chunk.usage.completion_tokens for chunk in chunks] == [None, 200]
    assert [len(chunk.choices) for chunk in chunks] == [1, 0]
    assert app.balance(workspace) == 5_000_000 - 6_300
