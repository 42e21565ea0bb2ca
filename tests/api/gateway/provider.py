"""The scripted provider on a port of its own, and deployments that ask it."""

from __future__ import annotations

import dataclasses
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from adapters.postgres.database import Database
from adapters.scripted_upstream import create_app
from api.worker import IDLE_S
from tests.api.conftest import PATIENCE_S, Served, serve, settings_of, until

SILENCE_S = 0.5


@contextmanager
def provider() -> Iterator[str]:
    """A scripted provider until the block is left; its URL."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        create_app(), log_config=None, access_log=False, timeout_keep_alive=IDLE_S
    )
    server = uvicorn.Server(config)
    serving = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
    serving.start()
    try:
        until(lambda: server.started or not serving.is_alive())
        yield f"http://127.0.0.1:{sock.getsockname()[1]}/v1"
    finally:
        server.should_exit = server.force_exit = True
        serving.join(PATIENCE_S)
        sock.close()


@contextmanager
def gateway(database: Database, catalogue: str = "faces", **changes: Any) -> Iterator[Served]:
    """A deployment in front of a scripted provider; its silence is soon taken for a failure."""
    with provider() as url:
        asked: dict[str, Any] = {"upstream_url": url, "upstream_patience_s": SILENCE_S} | changes
        settings = dataclasses.replace(settings_of(database, catalogue), **asked)
        with serve(settings) as served:
            yield served


def script(app: Served, mode: str = "ok", input: int = 0, output: int = 0, **more: Any) -> Any:
    """Say what the provider does next; what it did so far."""
    body = {"mode": mode, "usage": {"input": input, "output": output}, **more}
    answer = app.call("POST", "/v1/test/upstream", body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def says(app: Served, body: object, status: int = 200, **more: Any) -> None:
    """Whatever the provider is asked, it says this word for word."""
    text = body if isinstance(body, str) else json.dumps(body)
    answer = {"body": text, "status": status, **more}
    app.http.post(_script_url(app), json={"answer": answer}).raise_for_status()


def told(app: Served) -> Any:
    """What the provider did so far, without a word to it."""
    return app.http.get(_script_url(app)).raise_for_status().json()


def _script_url(app: Served) -> str:
    return app.settings.upstream_url.removesuffix("/v1") + "/script"
