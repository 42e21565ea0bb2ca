"""S30: a process dies between Stripe's charge and its own commit."""

from __future__ import annotations

import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters.stripe.sandbox.remote import Control
from tests.api.deployments import deployed, eventually, family

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@pytest.mark.scenario("S30")
def test_s30_the_retry_after_a_crash_finds_the_charge_and_credits_it_once(
    state_folder: Path,
) -> None:
    with deployed(state_folder, "--empty", "--test-clock") as running:
        stripe = Control(running.line["stripe"]["url"])
        admin = {"Authorization": f"Bearer {running.line['admin_key']}"}
        http = httpx.Client(base_url=running.url, headers=admin, timeout=20, trust_env=False)
        workspace = http.post("/v1/workspaces", json={"name": "Acme"}).json()["workspace_id"]
        mine = {"X-Workspace-Id": workspace, "Idempotency-Key": "once"}
        _save_card(running.line["stripe"], stripe, http, mine)

        def top_up() -> httpx.Response:
            return http.post("/v1/billing/topup", json={"amount_usd": 20}, headers=mine)

        stripe.script({"path": "/v1/payment_intents", "method": "POST", "fault": "hold"})
        with ThreadPoolExecutor(1) as other:
            first = other.submit(top_up)
            eventually(stripe.held)
            parts = family(running.process.pid).items()
            [worker] = [pid for pid, command in parts if "api.worker" in command]
            os.kill(worker, signal.SIGKILL)
            stripe.release()
            assert isinstance(first.exception(), httpx.TransportError)

        again = eventually(top_up)

        # At once, although nobody has settled the first request.
        assert (again.status_code, again.json()["new_balance_micros"]) == (200, 20_000_000)
        stripe.deliver()
        assert http.post("/v1/test/tick").status_code == 200
        assert top_up().headers["idempotent-replayed"] == "true"
        strong = http.get("/v1/billing/balance?consistency=strong", headers=mine).json()
        assert strong["balance_micros"] == 20_000_000
        assert len({one["id"] for one in _intents(running.line["stripe"])}) == 1


def _save_card(
    access: dict[str, Any], stripe: Control, http: httpx.Client, mine: dict[str, str]
) -> None:
    http.post("/v1/billing/portal", json={}, headers=mine | {"Idempotency-Key": "portal"})
    [customer] = _at_stripe(access, "customers")
    stripe.card(customer["id"])
    assert http.post("/v1/test/tick").status_code == 200


def _intents(access: dict[str, Any]) -> list[dict[str, Any]]:
    return _at_stripe(access, "payment_intents")


def _at_stripe(access: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    key = {"Authorization": f"Bearer {access['secret_key']}"}
    answer = httpx.get(f"{access['url']}/v1/{kind}", headers=key, trust_env=False)
    return list(answer.json()["data"])
