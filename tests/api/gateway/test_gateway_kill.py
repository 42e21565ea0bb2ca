"""A gateway that is killed between authorise and settle: every hold ends, nothing is made up.

Clients stream completions from several workers, which are killed one after the other, each
behind a random number of tokens that arrived: between authorise and settle, between settle and
answer, wherever that comes. What was asked with an Idempotency-Key is asked again until it is
answered.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from itertools import count
from typing import Any
from uuid import uuid5

import httpx
import pytest

from adapters.postgres.database import Database
from domain.identity import NAMESPACE
from tests.api.conftest import PATIENCE_S, Served, settings_of, until
from tests.api.gateway.nursery import Nursery, nursery
from tests.api.gateway.provider import provider, script

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="workers are forked")

KILLS = int(os.environ.get("DAYBOOK_KILLS", "50"))
WORKERS = 3
CLIENTS = 8
INPUT, OUTPUT = 100, 40
APART_MAX = 4 * OUTPUT  # tokens that arrive between two kills, at most
CHAT = "/v1/chat/completions"
BODY = {"model": "gpt-5.4", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": OUTPUT}


@dataclass
class Call:
    """One completion as its client saw it. ``is_done``: all of it, and that it was charged."""

    key: str | None
    is_stream: bool
    hold_id: str | None = None
    tokens: int = 0
    is_done: bool = False


class Arrivals:
    """How many tokens have arrived at all clients together."""

    def __init__(self) -> None:
        self._total = 0
        self._change = threading.Condition()

    def note(self, tokens: int) -> None:
        """Some more."""
        with self._change:
            self._total += tokens
            self._change.notify()

    def await_more(self, tokens: int) -> None:
        """Return when so many more have arrived than now."""
        with self._change:
            target = self._total + tokens
            assert self._change.wait_for(lambda: self._total >= target, 3 * PATIENCE_S)


@pytest.fixture
def workers(database: Database) -> Iterator[Nursery]:
    """No workers yet, in front of a scripted provider; the clock stands until it is moved."""
    with ExitStack() as stack:
        url = stack.enter_context(provider())
        settings = replace(settings_of(database), upstream_url=url, upstream_patience_s=PATIENCE_S)
        grown = stack.enter_context(nursery(settings))
        grown.grow(WORKERS)
        yield grown


@pytest.fixture
def app(workers: Nursery, database: Database) -> Served:
    """All workers together."""
    return Served(workers.url, settings_of(database))


def ask(app: Served, workspace: str, call: Call, arrivals: Arrivals) -> None:
    """Send it once, and note what arrives until its worker dies, or to the end."""
    headers = {
        "Authorization": f"Bearer {app.admin_key}",
        "X-Workspace-Id": workspace,
        "Connection": "close",  # any worker may get the next one
    }
    if call.key is not None:
        headers["Idempotency-Key"] = call.key
    call.tokens = 0
    body = BODY | {"stream": call.is_stream}
    with (
        suppress(httpx.TransportError),
        httpx.Client(base_url=app.url, trust_env=False, timeout=PATIENCE_S) as http,
        http.stream("POST", CHAT, json=body, headers=headers) as answer,
    ):
        if answer.status_code == 409:  # its worker died, and nobody has taken it over yet
            assert json.loads(answer.read())["code"] == "idempotency_in_progress"
            return
        assert answer.status_code == 200, answer.read()
        call.hold_id = answer.headers.get("x-daybook-hold-id")
        if not call.is_stream:
            call.tokens = json.loads(answer.read())["usage"]["completion_tokens"]
            call.is_done = True
            arrivals.note(call.tokens)
            return
        for line in answer.iter_lines():
            call.is_done = call.is_done or line == "data: [DONE]"
            if line.startswith("data: {"):
                choices = json.loads(line[6:])["choices"]
                arrived = bool(choices and choices[0]["delta"].get("content"))
                call.tokens += arrived
                arrivals.note(arrived)


def client(
    app: Served, workspace: str, number: int, over: threading.Event, arrivals: Arrivals
) -> list[Call]:
    """Call until it is over: streams, and every third time something with a key."""
    calls: list[Call] = []
    for turn in count():
        if over.is_set():
            return calls
        key = None if turn % 3 else f"{number}-{turn}"
        calls.append(Call(key, is_stream=key is None or turn % 2 == 0))
        ask(app, workspace, calls[-1], arrivals)
    raise AssertionError("unreachable: it counts for ever")


def rampage(app: Served, workers: Nursery, workspace: str) -> list[Call]:
    """Kill one worker after the other while clients call; the calls."""
    draw = random.Random("kill")
    over, arrivals = threading.Event(), Arrivals()
    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [
            pool.submit(client, app, workspace, number, over, arrivals) for number in range(CLIENTS)
        ]
        try:
            for _ in range(KILLS):
                arrivals.await_more(draw.randint(1, APART_MAX))
                workers.kill(draw.randrange(len(workers.serving)))
                workers.grow(WORKERS)
        finally:
            over.set()
    return [call for one in clients for call in one.result()]


def ask_again(app: Served, workspace: str, calls: list[Call]) -> None:
    """As clients do whose answer was lost: until they have it."""
    for call in calls:
        if call.key is not None and not call.is_done:

            def is_answered(call: Call = call) -> bool:
                ask(app, workspace, call, Arrivals())
                return call.is_done

            until(is_answered)


def facts_of(app: Served, workspace: str) -> list[dict[str, Any]]:
    """All facts of a workspace's account, oldest first."""
    facts: list[dict[str, Any]] = []
    query: dict[str, Any] = {"stream": f"credit_account/{workspace}", "limit": 1000}
    while True:
        page = app.get("/v1/audit/events", **query)
        facts += page["data"]
        if not page["has_more"]:
            return facts
        query["cursor"] = page["next_cursor"]


def event_id(workspace: str, key: str) -> str:
    """The name of the charge of everything that is asked with this key."""
    return f"gateway:{uuid5(NAMESPACE, f'gateway/{workspace}/{CHAT}/{key}').hex}"


def test_every_hold_ends_and_no_debit_is_without_delivered_tokens(
    app: Served, workers: Nursery
) -> None:
    workspace = app.workspace("100")
    script(app, "ok", INPUT, OUTPUT)

    calls = rampage(app, workers, workspace)
    ask_again(app, workspace, calls)

    app.call("POST", "/v1/test/clock", {"now": "2026-06-02T00:00:00Z"})
    assert app.charge(workspace, tokens={"input": 1}).status_code == 201
    facts = facts_of(app, workspace)
    debits = [f["data"] for f in facts if f["type"] == "Debited" and f["data"]["usage"]["hold_id"]]
    over = [f["data"]["hold_id"] for f in facts if f["type"] in ("HoldReleased", "HoldExpired")]
    ended = Counter([*over, *(debit["usage"]["hold_id"] for debit in debits)])
    assert ended == Counter(f["data"]["hold_id"] for f in facts if f["type"] == "HoldPlaced")
    assert sum(f["type"] == "HoldExpired" for f in facts) >= KILLS // 4, "few kills hit a call"

    keyed = {event_id(workspace, call.key): call for call in calls if call.key is not None}
    charged = Counter(debit["usage"]["event_id"] for debit in debits)
    assert set(charged.values()) == {1}
    assert keyed.keys() <= charged.keys()
    assert all(call.is_done and call.tokens == OUTPUT for call in keyed.values())

    seen = {call.hold_id: call for call in calls if call.key is None and call.hold_id is not None}
    paid = {d["usage"]["hold_id"]: d for d in debits if d["usage"]["event_id"] not in keyed}
    assert all(debit["usage"]["tokens"]["output"] == OUTPUT for debit in debits)
    assert all(hold in seen and seen[hold].tokens == OUTPUT for hold in paid), "paid for nothing"
    assert {hold for hold, call in seen.items() if call.is_done} <= paid.keys()
    last = next(f["data"] for f in reversed(facts) if f["type"] == "Debited")
    spent = sum(f["data"]["amount"] for f in facts if f["type"] == "Debited")
    assert app.balance(workspace) == last["balance_after"] == 100_000_000 - spent
    print(f"{KILLS} kills, {len(ended)} holds, {len(debits)} debits", file=sys.stderr)
