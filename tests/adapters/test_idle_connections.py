"""Connections that clients keep for the next request are not closed while one is sent."""

from __future__ import annotations

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from adapters.scripted_upstream import config as config_of_the_provider
from adapters.stripe.sandbox.server import config as config_of_the_sandbox
from api.worker import worker_of


@pytest.mark.parametrize(
    "config",
    [worker_of(FastAPI()).config, config_of_the_sandbox(FastAPI()), config_of_the_provider()],
    ids=["workers", "the sandbox of Stripe", "the scripted provider"],
)
def test_servers_keep_idle_connections_longer_than_our_clients(config: uvicorn.Config) -> None:
    """By default both sides give one up after 5 s. Then a client that asked at just that moment
    was told that the server had gone, and answered 502 or 503 to its own caller."""
    kept_by_clients = httpx.AsyncClient()._transport._pool._keepalive_expiry  # type: ignore[attr-defined]
    assert config.timeout_keep_alive > 2 * kept_by_clients
