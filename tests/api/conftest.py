"""The real application, served by uvicorn on a port of its own, with a runner that folds."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count
from typing import Any

import httpx
import psycopg
import pytest
import uvicorn

from adapters.authorities import authorities
from adapters.postgres import keys
from adapters.postgres.database import Database
from adapters.settings import Settings
from api.app import create_app
from api.worker import IDLE_S
from projections.runner import Runner

PATIENCE_S = 20.0


class Served:
    """A running deployment, and the few requests that every test needs."""

    def __init__(self, url: str, settings: Settings) -> None:
        self.url = url
        self.settings = settings
        self.database = settings.database
        self.admin_key = self.key("admin")
        # Kept alive for each of many threads: a pool that is full closes a connection that
        # another thread was just given.
        limits = httpx.Limits(max_connections=100, max_keepalive_connections=100)
        self.http = httpx.Client(
            base_url=url,
            timeout=PATIENCE_S,
            trust_env=False,
            limits=limits,
            verify=authorities(),  # reading the list anew takes longer than most tests
        )
        self._numbers = count(1)

    def key(self, *scopes: str, workspace_id: str | None = None) -> str:
        """A new key with these scopes."""
        with psycopg.connect(self.database.conninfo(), autocommit=True) as connection:
            _, key = keys.create(
                connection, scopes=scopes, workspace_id=workspace_id, now=datetime.now(UTC)
            )
        return key

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        workspace: str | None = None,
        key: str | None = None,
        headers: dict[str, str] | None = None,
        **query: Any,
    ) -> httpx.Response:
        """One request, as the administrator unless another key is given. Every POST has a new
        Idempotency-Key unless `headers` hold one."""
        sent = {"Authorization": f"Bearer {key or self.admin_key}"}
        if workspace is not None:
            sent["X-Workspace-Id"] = workspace
        if method == "POST" and not path.startswith("/v1/usage"):
            sent["Idempotency-Key"] = f"key-{next(self._numbers)}"
        sent |= headers or {}
        extra = {"json": body} if body is not None else {}
        return self.http.request(method, path, headers=sent, params=query or None, **extra)

    def get(self, path: str, workspace: str | None = None, **query: Any) -> Any:
        """The JSON of a read that must succeed; fractions as Decimal."""
        response = self.call("GET", path, workspace=workspace, **query)
        assert response.status_code == 200, response.text
        return decimals(response)

    def post(self, path: str, body: Any = None, workspace: str | None = None) -> httpx.Response:
        """A write."""
        return self.call("POST", path, {} if body is None else body, workspace=workspace)

    def workspace(self, balance_usd: str | None = None) -> str:
        """A new workspace, with paid credits in it."""
        response = self.post("/v1/workspaces", {"name": "Acme"})
        assert response.status_code == 201, response.text
        workspace_id: str = response.json()["workspace_id"]
        if balance_usd is not None:
            body = {"amount_usd": balance_usd, "category": "paid"}
            response = self.post(f"/v1/admin/workspaces/{workspace_id}/credits", body)
            assert response.status_code == 201, response.text
        return workspace_id

    def charge(self, workspace: str, **changes: Any) -> httpx.Response:
        """A chat completion: 12,345 tokens in, unless the changes say otherwise."""
        body = {
            "event_id": f"req_{next(self._numbers)}",
            "meter": "chat",
            "llm_model": "gpt-5.4",
            "tokens": {"input": 12345},
        } | changes
        return self.call("POST", "/v1/usage", body, workspace=workspace)

    def balance(self, workspace: str) -> int:
        """µ, as the ledger knows it now."""
        answer = self.get("/v1/billing/balance", workspace, consistency="strong")
        return int(answer["balance_micros"])

    def facts(self, workspace: str) -> list[str]:
        """The types of all facts of a workspace's account, oldest first."""
        stream = f"credit_account/{workspace}"
        return [event["type"] for event in self.get("/v1/audit/events", stream=stream)["data"]]

    def position(self) -> int:
        """How many facts there are: what a refused request must not change."""
        with psycopg.connect(self.database.conninfo()) as connection:
            row = connection.execute("SELECT count(*) FROM events").fetchone()
        assert row is not None
        return int(row[0])


def decimals(response: httpx.Response) -> Any:
    """The JSON of an answer, without floats."""
    import json

    return json.loads(response.content, parse_float=Decimal)


@contextmanager
def serve(settings: Settings, *, folding: bool = True) -> Iterator[Served]:
    """Serve these settings until the block is left."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        create_app(settings), log_config=None, access_log=False, timeout_keep_alive=IDLE_S
    )
    server = uvicorn.Server(config)
    serving = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
    serving.start()
    over = threading.Event()
    runner = threading.Thread(
        target=lambda: Runner(settings.database.conninfo()).run(over), daemon=True
    )
    try:
        until(lambda: server.started or not serving.is_alive())
        assert server.started, "the application did not start"
        if folding:
            runner.start()
        yield Served(f"http://127.0.0.1:{sock.getsockname()[1]}", settings)
    finally:
        over.set()
        server.should_exit = True
        serving.join(PATIENCE_S)
        if folding:
            runner.join(PATIENCE_S)
        sock.close()


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that must become true."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not become true in time"
        time.sleep(0.01)


def settings_of(database: Database, catalogue: str = "faces", *, clock: bool = True) -> Settings:
    """The settings of a test's own deployment."""
    return Settings(
        database.owner_url, database.runtime_url, database.cell, catalogue, clock, "text"
    )


@pytest.fixture
def app(database: Database) -> Iterator[Served]:
    """The `faces` deployment with a test clock, empty."""
    with serve(settings_of(database)) as served:
        yield served


@pytest.fixture
def flarex(database: Database) -> Iterator[Served]:
    """The `flarex` deployment with a test clock, empty."""
    with serve(settings_of(database, "flarex")) as served:
        yield served
