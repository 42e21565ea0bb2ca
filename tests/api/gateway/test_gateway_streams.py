"""Streams under way: holds that stand longer, and clients that leave."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from adapters.postgres.database import Database
from tests.acceptance.conftest import catalogue
from tests.acceptance.spending import to
from tests.api.conftest import PATIENCE_S, Served, until
from tests.api.gateway.provider import gateway, script, told

CHAT = "/v1/chat/completions"
HELLO = {"model": "alice@gpt-5.4", "messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture
def plain(database: Database, tmp_path: Path) -> Iterator[Served]:
    """`faces` without markup, in front of a scripted provider whose pauses are waited for."""
    path = catalogue(tmp_path, "faces", ("markup_bps: 500", "markup_bps: 0"))
    with gateway(database, path, upstream_patience_s=PATIENCE_S) as served:
        yield served


@contextmanager
def streaming(app: Served, workspace: str) -> Iterator[Iterator[str]]:
    """A stream under way, line by line; its client leaves with the block."""
    headers = {"Authorization": f"Bearer {app.admin_key}", "X-Workspace-Id": workspace}
    with app.http.stream("POST", CHAT, json=HELLO | {"stream": True}, headers=headers) as answer:
        yield answer.iter_lines()


@pytest.mark.scenario("S15")
def test_whoever_leaves_early_pays_for_what_was_generated(plain: Served) -> None:
    workspace = plain.workspace("0.05")
    script(plain, "ok", 1_000, 500, pause_after=200)

    with streaming(plain, workspace) as lines:
        words = 0
        while words < 200:
            line = next(lines)
            if line.startswith("data: "):
                words += bool(json.loads(line[6:])["choices"][0]["delta"].get("content"))

    until(lambda: "Debited" in plain.facts(workspace))
    assert plain.balance(workspace) == 50_000 - 6_000
    newest = plain.get("/v1/audit/events")["as_of_position"]
    usage = plain.get("/v1/billing/usage/events", workspace, min_position=newest)["data"]
    assert [item["tokens"]["output"] for item in usage] == [200]


def test_whoever_leaves_before_the_first_token_pays_nothing(plain: Served) -> None:
    workspace = plain.workspace("0.05")
    script(plain, "ok", 1_000, 500, pause_after=0)

    with streaming(plain, workspace) as lines:
        next(lines)  # the assistant's role, and not a word

    until(lambda: "HoldReleased" in plain.facts(workspace))
    assert plain.facts(workspace)[-2:] == ["HoldPlaced", "HoldReleased"]
    assert plain.balance(workspace) == 50_000


def test_a_hold_stands_longer_while_tokens_flow(
    plain: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.gateway.metered.LOOK_S", 0)  # looked at with every chunk
    workspace = plain.workspace("0.01")
    script(plain, "ok", 100, 300, pause_after=100)

    with streaming(plain, workspace) as lines:
        until(lambda: told(plain)["tokens"] == 100)
        to(plain, "2026-06-01T00:10:00Z")  # of the 15 minutes that the hold was placed for
        script(plain, "ok", 100, 300, pause_after=200)
        until(lambda: "HoldExtended" in plain.facts(workspace))
        to(plain, "2026-06-01T00:20:00Z")
        # It would be over by now, and what it holds would be free.
        assert plain.charge(workspace, tokens={"input": 1}).status_code == 402
        script(plain, "ok")
        assert "data: [DONE]" in list(lines)

    assert plain.facts(workspace).count("Debited") == 1
    assert "HoldExpired" not in plain.facts(workspace)
    assert plain.balance(workspace) == 10_000 - 4_800


def test_a_stream_longer_than_its_hold_is_charged_all_the_same(plain: Served) -> None:
    workspace = plain.workspace("5")
    script(plain, "ok", 1_000, 300, pause_after=100)

    with streaming(plain, workspace):
        to(plain, "2026-06-01T00:20:00Z")  # the hold is over, and nothing was extended

    until(lambda: "Debited" in plain.facts(workspace))
    assert plain.balance(workspace) < 5_000_000
