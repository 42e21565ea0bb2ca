"""A gateway that is killed between authorise and settle: every hold ends, nothing is made up."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.deployments import Deployment, deployed, eventually, family, member

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

ROUNDS = int(os.environ.get("DAYBOOK_KILLS", "5"))
CLIENTS = 8
OUTPUT = 40
INPUT = 100


@pytest.fixture
def running(state_folder: Path) -> Any:
    """An empty deployment with a clock that is moved."""
    with deployed(state_folder, "--empty", "--test-clock") as deployment:
        yield deployment


def test_every_hold_ends_and_no_debit_is_without_delivered_tokens(running: Deployment) -> None:
    usage = {"input": INPUT, "output": OUTPUT}
    eventually(
        lambda: "calls" in running.call("POST", "/v1/test/upstream", {"mode": "ok", "usage": usage})
    )
    workspace = str(running.call("POST", "/v1/workspaces", {"name": "Acme"})["workspace_id"])
    credit = {"amount_usd": "100"}
    path = f"/v1/admin/workspaces/{workspace}/credits"
    headers = {"Authorization": f"Bearer {running.line['admin_key']}", "Idempotency-Key": "k"}
    httpx.post(running.url + path, json=credit, headers=headers, trust_env=False).raise_for_status()
    draw = random.Random("kill")
    received: list[int] = []

    for _ in range(ROUNDS):
        over = threading.Event()
        with ThreadPoolExecutor(CLIENTS) as pool:
            clients = [pool.submit(_chat, running, workspace, over) for _ in range(CLIENTS)]
            eventually(lambda: _facts(running, workspace)["HoldPlaced"] > 0)
            over.wait(draw.random() / 2)  # a moment of its own: the kill comes anywhere
            pid = next(p for p, c in family(running.process.pid).items() if "api.worker" in c)
            os.kill(pid, signal.SIGKILL)
            over.set()
            received += [count for client in clients for count in client.result()]
        killed = (None, pid)
        eventually(
            lambda killed=killed: member(running.process.pid, "api.worker") not in killed  # type: ignore[misc]
        )
        eventually(lambda: "as_of_position" in running.call("GET", "/v1/audit/events"))

    running.call("POST", "/v1/test/clock", {"now": "2026-06-02T00:00:00Z"})
    act = {"event_id": "last", "meter": "chat", "llm_model": "gpt-5.4", "tokens": {"input": 1}}
    assert "usage_id" in running.call("POST", "/v1/usage", act, workspace)
    facts = _all(running, workspace)
    ends = Counter(
        event["data"]["usage"]["hold_id"]
        if event["type"] == "Debited"
        else event["data"]["hold_id"]
        for event in facts
        if event["type"] in ("HoldReleased", "HoldExpired")
        or (event["type"] == "Debited" and event["data"]["usage"].get("hold_id"))
    )
    holds = [event["data"]["hold_id"] for event in facts if event["type"] == "HoldPlaced"]
    debits = [event["data"]["usage"]["tokens"] for event in facts if event["type"] == "Debited"]
    assert holds and ends == Counter(holds)
    assert any(event["type"] == "HoldExpired" for event in facts), "no kill hit a call"
    # Somebody got the tokens of every debit: as many calls were delivered that far.
    charged = sorted((d["output"] for d in debits if d.get("output")), reverse=True)
    delivered = sorted(received, reverse=True)
    assert charged and len(charged) <= len(delivered)
    assert all(c <= d for c, d in zip(charged, delivered, strict=False))


def _chat(running: Deployment, workspace: str, over: threading.Event) -> list[int]:
    """Stream completions until it is over; the tokens that arrived of each."""
    counts: list[int] = []
    body = {
        "model": "gpt-5.4",
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": OUTPUT,
        "stream": True,
    }
    headers = {
        "Authorization": f"Bearer {running.line['admin_key']}",
        "X-Workspace-Id": workspace,
    }
    with httpx.Client(trust_env=False, timeout=20, headers=headers) as http:
        while not over.is_set():
            counts.append(0)
            with (
                suppress(httpx.TransportError),
                http.stream("POST", f"{running.url}/v1/chat/completions", json=body) as answer,
            ):
                for line in answer.iter_lines():
                    if line.startswith("data: {"):
                        choices = json.loads(line[6:])["choices"]
                        counts[-1] += bool(choices and choices[0]["delta"].get("content"))
    return counts


def _all(running: Deployment, workspace: str) -> list[dict[str, Any]]:
    facts: list[dict[str, Any]] = []
    cursor = ""
    while True:
        path = f"/v1/audit/events?stream=credit_account/{workspace}&limit=1000{cursor}"
        page = running.call("GET", path)
        facts += page["data"]
        if not page.get("has_more"):
            return facts
        cursor = f"&cursor={page['next_cursor']}"


def _facts(running: Deployment, workspace: str) -> Counter[str]:
    return Counter(event["type"] for event in _all(running, workspace))
