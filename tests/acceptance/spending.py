"""What the scenarios of spending do again and again, over HTTP."""

from __future__ import annotations

from typing import Any

import httpx

from tests.api.conftest import Served, decimals


def on_plan(app: Served, plan: str, balance_usd: str | None = None) -> str:
    """A new workspace on a plan."""
    workspace = app.workspace(balance_usd)
    changed = app.post(f"/v1/admin/workspaces/{workspace}/plan", {"plan": plan})
    assert changed.status_code == 200, changed.text
    return workspace


def link(app: Served, workspace: str) -> None:
    """The user's own OpenAI account is linked."""
    assert app.post("/v1/oauth/openai", workspace=workspace).status_code == 200


def revoke(app: Served, workspace: str) -> None:
    """The provider ends the link."""
    link(app, workspace)
    path = "/v1/oauth/openai?reason=revoked"
    assert app.call("DELETE", path, workspace=workspace).status_code == 200


def authorize(
    app: Served, workspace: str, input: int = 0, output: int = 0, /, **changes: Any
) -> httpx.Response:
    """May a chat completion run?"""
    body = {
        "meter": "chat",
        "llm_model": "gpt-5.4",
        "estimate": {"input_tokens": input, "max_output_tokens": output},
    } | changes
    return app.call("POST", "/v1/usage/authorize", body, workspace=workspace)


def use(
    app: Served, workspace: str, meter: str, input: int, output: int = 0, /, **changes: Any
) -> httpx.Response:
    """One metered act."""
    tokens = {"input": input, "output": output}
    return app.charge(workspace, **({"meter": meter, "tokens": tokens} | changes))


def generate(
    app: Served, workspace: str, input: int, output: int = 0, /, **changes: Any
) -> httpx.Response:
    """One chat generation of FlareX."""
    return use(
        app,
        workspace,
        "chat_generation",
        input,
        output,
        **({"llm_model": None, "action": "proposal"} | changes),
    )


def to(app: Served, now: str) -> None:
    """Move the clock."""
    moved = app.call("POST", "/v1/test/clock", {"now": now})
    assert moved.status_code == 200, moved.text


def refused(response: httpx.Response, status: int, code: str) -> Any:
    """The problem of a refusal."""
    assert response.status_code == status, response.text
    problem = decimals(response)
    assert problem["code"] == code, problem
    return problem


def done(response: httpx.Response, status: int = 201) -> Any:
    """The JSON of something that must have worked."""
    assert response.status_code == status, response.text
    return decimals(response)


def funding(response: httpx.Response) -> dict[str, tuple[int, int]]:
    """Who paid for an act: (µ, units) by source."""
    parts = done(response)["funding"]
    return {part["source"]: (part["amount_micros"], part["units"]) for part in parts}


def put(app: Served, path: str, body: Any, workspace: str) -> Any:
    """A switch that must work."""
    return done(app.call("PUT", path, body, workspace=workspace), 200)
