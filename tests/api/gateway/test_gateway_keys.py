"""A stream that is sent again with its Idempotency-Key: charged once, asked for once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import psycopg
import pytest

from adapters.postgres.database import Database
from api.gateway import streaming
from tests.acceptance.spending import refused
from tests.api.conftest import PATIENCE_S, Served, until
from tests.api.gateway.provider import gateway, script

CHAT = "/v1/chat/completions"
STREAM = {
    "model": "gpt-5.4",
    "messages": [{"role": "user", "content": "Hello"}],
    "stream": True,
    "stream_options": {"include_usage": True},
}
KEY = {"Idempotency-Key": "once"}
COST = 49_565  # µ, of 12,345 tokens in and 678 out


@pytest.fixture
def app(database: Database) -> Iterator[Served]:
    """`faces` in front of a scripted provider, whose pauses are waited for."""
    with gateway(database, upstream_patience_s=PATIENCE_S) as served:
        yield served


def send(app: Served, workspace: str, **changes: Any) -> httpx.Response:
    """The stream, whole, under the same key."""
    return app.call("POST", CHAT, STREAM | changes, workspace=workspace, headers=KEY)


@contextmanager
def under_way(app: Served, workspace: str) -> Iterator[Iterator[str]]:
    """The same stream, read line by line; left with the block."""
    headers = {"Authorization": f"Bearer {app.admin_key}", "X-Workspace-Id": workspace} | KEY
    with app.http.stream("POST", CHAT, json=STREAM, headers=headers) as answer:
        yield answer.iter_lines()


def forget(app: Served, age: str) -> None:
    """As if the process had died after its charge, so long ago."""
    with psycopg.connect(app.database.conninfo(), autocommit=True) as connection:
        connection.execute(
            "UPDATE idempotency_keys SET status = NULL, body = NULL,"
            " created_at = now() - %s::interval WHERE key = 'once'",
            (age,),
        )


def last_sign(app: Served) -> Any:
    """When whoever answers the key last gave a sign of life."""
    with psycopg.connect(app.database.conninfo(), autocommit=True) as connection:
        row = connection.execute(
            "SELECT created_at FROM idempotency_keys WHERE key = 'once'"
        ).fetchone()
    assert row is not None
    return row[0]


def debits(app: Served, workspace: str) -> int:
    return app.facts(workspace).count("Debited")


def test_the_same_key_gets_the_same_chunks_and_is_charged_once(app: Served) -> None:
    workspace = app.workspace("5")
    script(app, "ok", 12_345, 678)

    first, again = send(app, workspace), send(app, workspace)

    assert first.status_code == again.status_code == 200
    assert again.content == first.content
    assert again.text.endswith("data: [DONE]\n\n")
    assert again.headers["content-type"] == first.headers["content-type"]
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert int(again.headers["x-ledger-position"]) > 0
    assert script(app)["calls"] == 1
    assert app.balance(workspace) == 5_000_000 - COST
    assert app.facts(workspace).count("HoldPlaced") == 1


def test_another_body_is_refused_and_so_is_a_whole_answer(app: Served) -> None:
    workspace = app.workspace("5")
    send(app, workspace)

    for change in ({"model": "gpt-5.4-mini"}, {"stream": False}):
        problem = refused(send(app, workspace, **change), 422, "idempotency_key_reuse")
        assert problem["error"]["code"] == "idempotency_key_reuse"

    assert debits(app, workspace) == 1


def test_while_the_first_one_runs_the_second_is_told_so(app: Served) -> None:
    workspace = app.workspace("5")
    script(app, "ok", 1_000, 20, pause_after=10)

    with under_way(app, workspace) as lines:
        next(lines)
        refused(send(app, workspace), 409, "idempotency_in_progress")
        script(app, "ok", 1_000, 20)  # the first goes on
        text = "\n".join(lines)

    assert "[DONE]" in text
    again = send(app, workspace)
    assert again.headers["idempotent-replayed"] == "true"
    assert (debits(app, workspace), app.facts(workspace).count("HoldPlaced")) == (1, 1)


def test_what_failed_at_the_provider_may_be_asked_again(app: Served) -> None:
    workspace = app.workspace("5")
    for mode in ("error", "fail_mid_stream"):
        script(app, mode, 12_345, 678)
        assert "upstream_failed" in send(app, workspace).text
    assert app.balance(workspace) == 5_000_000

    script(app, "ok", 12_345, 678)
    answer = send(app, workspace)

    assert "[DONE]" in answer.text and "idempotent-replayed" not in answer.headers
    assert app.balance(workspace) == 5_000_000 - COST


def test_whoever_left_gets_what_was_paid_for_and_an_error_behind_it(app: Served) -> None:
    workspace = app.workspace("5")
    script(app, "ok", 1_000, 20, pause_after=10)
    with under_way(app, workspace) as lines:
        words = 0
        while words < 10:
            line = next(lines)
            words += line.startswith("data: ") and '"content":""' not in line
    until(lambda: debits(app, workspace) == 1)
    left = app.balance(workspace)

    def settled() -> bool:
        return send(app, workspace).status_code == 200

    until(settled)
    again = send(app, workspace)

    said = [json.loads(line[6:]) for line in again.text.splitlines() if line.startswith("data: ")]
    assert said[-1]["error"]["code"] == "client_cancelled"
    assert sum(bool(c["choices"][0]["delta"].get("content")) for c in said[:-1]) == 10
    assert script(app)["calls"] == 1
    assert (app.balance(workspace), debits(app, workspace)) == (left, 1)


def test_a_refusal_is_kept_as_everywhere_else(app: Served) -> None:
    workspace = app.workspace()

    for _ in range(2):
        assert refused(send(app, workspace), 402, "insufficient_credits")["needs_credits"] is True
    assert send(app, workspace).headers["idempotent-replayed"] == "true"
    assert script(app)["calls"] == 0


def test_a_stream_too_long_to_keep_is_not_made_again(
    app: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "KEPT_MAX", 20_000)
    workspace = app.workspace("5")
    script(app, "ok", 12_345, 678)

    first = send(app, workspace)
    problem = refused(send(app, workspace), 409, "answer_not_kept")

    assert len(first.content) > 20_000 and first.text.endswith("data: [DONE]\n\n")
    assert problem["error"]["code"] == "answer_not_kept"
    assert (script(app)["calls"], debits(app, workspace)) == (1, 1)


@pytest.mark.parametrize("whole", [False, True])
def test_an_answer_that_was_lost_behind_its_charge_is_not_charged_again(
    app: Served, whole: bool
) -> None:
    workspace = app.workspace("5")
    script(app, "ok", 12_345, 678)
    change = {"stream": False, "stream_options": None} if whole else {}
    first = send(app, workspace, **change)
    script(app, "ok", 12_345, 700)  # another time the model says something else

    forget(app, "1 second")
    refused(send(app, workspace, **change), 409, "idempotency_in_progress")
    forget(app, "61 seconds")
    again = send(app, workspace, **change)

    assert again.status_code == 200
    assert again.text != first.text
    assert (script(app)["calls"], debits(app, workspace)) == (2, 1)
    assert app.balance(workspace) == 5_000_000 - COST
    assert app.facts(workspace)[-2:] == ["HoldPlaced", "HoldReleased"]
    if whole:
        assert again.headers["x-daybook-usage-id"] == first.headers["x-daybook-usage-id"]


def test_a_long_answer_gives_signs_of_life(app: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.idempotency.BEAT_S", 0.01)
    workspace = app.workspace("5")
    script(app, "ok", 1_000, 20, pause_after=10)

    with under_way(app, workspace) as lines:
        next(lines)
        begun = last_sign(app)
        until(lambda: last_sign(app) > begun)
        refused(send(app, workspace), 409, "idempotency_in_progress")
        script(app, "ok", 1_000, 20)
        assert "data: [DONE]" in list(lines)

    assert send(app, workspace).headers["idempotent-replayed"] == "true"
    assert debits(app, workspace) == 1
