"""`scripts/run` brings a sandbox of Stripe and says so, or uses the Stripe of two variables."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.deployments import Deployment, cli, deployed, environment, eventually, family

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

REAL = {"STRIPE_SECRET_KEY": "sk_test_theirs_4711", "STRIPE_WEBHOOK_SECRET": "whsec_theirs_4711"}


def stripe(running: Deployment, method: str, path: str, **data: Any) -> Any:
    """Ask the deployment's sandbox, as its owner."""
    access = running.line["stripe"]
    response = httpx.request(
        method, f"{access['url']}/v1/{path}", data=data, auth=(access["secret_key"], "")
    )
    assert response.status_code == 200, response.text
    return response.json()


def sandbox_of(running: Deployment) -> list[int]:
    parts = family(running.process.pid)
    return [pid for pid, command in parts.items() if "stripe.sandbox.server" in command]


def test_by_default_stripe_is_a_sandbox_that_keeps_what_it_knows(state_folder: Path) -> None:
    with deployed(state_folder, "--empty") as running:
        access = running.line["stripe"]
        assert access["sandbox"] is True
        made = stripe(running, "POST", "customers", name="Acme")["id"]
        said = running.log.read_text()
        assert "no money moves" in said
        shown = said + " ".join(family(running.process.pid).values())
        assert access["secret_key"] not in shown
        assert access["webhook_secret"] not in shown

        # Its webhook came in, was believed, and is nothing to us.
        def settled() -> Any:
            return running.call("GET", "/v1/admin/webhooks?disposition=ignored")["data"]

        (receipt,) = eventually(settled)
        assert receipt["type"] == "customer.created"

        (pid,) = sandbox_of(running)
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: sandbox_of(running) not in ([], [pid]))
        assert eventually(lambda: stripe(running, "GET", f"customers/{made}"))["name"] == "Acme"
        assert running.stop() == 0
    with deployed(state_folder, "--empty") as again:
        assert again.line["stripe"] == access
        assert stripe(again, "GET", f"customers/{made}")["name"] == "Acme"
        reconciled = again.cli("reconcile")
        assert (reconciled.returncode, "Both books agree" in reconciled.stdout) == (0, True)


def test_on_a_test_clock_the_sandbox_has_the_same_time(state_folder: Path) -> None:
    with deployed(state_folder, "--empty", "--test-clock") as running:
        made = stripe(running, "POST", "customers", name="Acme")
        assert made["created"] == 1_780_272_000

        running.call("POST", "/v1/test/clock", {"now": "2026-07-01T00:00:00Z"})

        clock = httpx.get(f"{running.line['stripe']['url']}/sandbox/clock").json()
        assert clock == {"now": 1_782_864_000, "frozen": True}


def test_two_variables_lead_to_stripe_itself_and_are_shown_nowhere(state_folder: Path) -> None:
    # Whatever it asks Stripe ends at a proxy that is not there.
    away = {"HTTPS_PROXY": "http://127.0.0.1:9"}
    with deployed(state_folder, "--empty", **REAL, **away) as running:
        access = running.line["stripe"]
        assert access == {
            "url": "https://api.stripe.com",
            "secret_key": None,
            "webhook_secret": None,
            "sandbox": False,
        }
        assert sandbox_of(running) == []
        refused = httpx.post(f"{running.url}/v1/webhooks/stripe", content=b"{}")
        assert refused.json()["code"] == "invalid_signature"
        shown = " ".join(family(running.process.pid).values()) + running.log.read_text()
        shown += str(running.line) + str(refused.json())
        assert "4711" not in shown


@pytest.mark.parametrize("missing", list(REAL))
def test_one_variable_without_the_other_is_one_plain_line(missing: str, state_folder: Path) -> None:
    given = {name: value for name, value in REAL.items() if name != missing}

    ended = subprocess.run(
        [sys.executable, "-m", "api.run", "--port", "0", "--data", str(state_folder)],
        capture_output=True,
        text=True,
        env=environment(**given),
        timeout=60,
        check=False,
    )

    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert missing in line and "4711" not in line


def test_reconcile_without_a_deployment_is_one_plain_line(state_folder: Path) -> None:
    ended = cli("reconcile", "--data", str(state_folder))

    assert ended.returncode == 1
    assert "scripts/run" in ended.stderr and "Traceback" not in ended.stderr
