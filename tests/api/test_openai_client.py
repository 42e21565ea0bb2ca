"""OpenAI's own Python client, pointed at the gateway, works unchanged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from adapters.postgres.database import Database
from tests.api.conftest import Served
from tests.api.provider import gateway, script

openai = pytest.importorskip("openai", reason="the `openai` client is not installed")

HELLO: list[Any] = [{"role": "user", "content": "Hello"}]


@pytest.fixture
def app(database: Database) -> Iterator[Served]:
    """`faces` in front of a scripted provider."""
    with gateway(database) as served:
        yield served


def client(app: Served, workspace: str) -> Any:
    """OpenAI's client with a key of one workspace."""
    key = app.key("usage:write", workspace_id=workspace)
    return openai.OpenAI(
        api_key=key,
        base_url=f"{app.url}/v1",
        max_retries=0,
        http_client=httpx.Client(trust_env=False, timeout=20),
    )


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
