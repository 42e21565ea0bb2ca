"""The supervisor: whatever is killed with -9 comes back, and nothing that was said is lost."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.api.deployments import Deployment, deployed, eventually, family, member

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@pytest.fixture
def running(state_folder: Path) -> Iterator[Deployment]:
    """An empty deployment."""
    with deployed(state_folder, "--empty") as deployment:
        yield deployment


def test_a_killed_worker_is_replaced_on_the_same_socket(running: Deployment) -> None:
    workspace = _workspace(running)

    before = _kill(running, "api.worker")

    assert _charge(running, workspace, "after")["balance_after_micros"] < 20_000_000
    assert member(running.process.pid, "api.worker") not in (None, before)


def test_a_killed_poster_goes_on_where_it_was(running: Deployment) -> None:
    workspace = _workspace(running)
    _charge(running, workspace, "before")

    _kill(running, "api.posting")
    position = _charge(running, workspace, "after")["balance_after_micros"]

    eventually(lambda: _folded(running, workspace) == position)


def test_a_killed_database_server_comes_back_with_what_was_acknowledged(
    running: Deployment,
) -> None:
    workspace = _workspace(running)

    for round_ in range(3):
        charged = _charge(running, workspace, f"act-{round_}")
        _kill(running, "pginstall/bin/postgres")
        again = _charge(running, workspace, f"act-{round_}")
        assert again["usage_id"] == charged["usage_id"]

    assert eventually(lambda: _folded(running, workspace) == 20_000_000 - 3 * 49_565)
    assert running.process.poll() is None


def test_a_page_that_listens_for_news_does_not_hold_up_the_end(running: Deployment) -> None:
    workspace = _workspace(running)
    with httpx.Client(trust_env=False, base_url=running.url) as browser:
        browser.post(
            "/session",
            data={"api_key": running.line["admin_key"]},
            headers={"Origin": running.url},
        )
        with browser.stream("GET", f"/w/{workspace}/live", timeout=20) as news:
            assert news.status_code == 200

            assert running.stop() == 0

    said = running.log.read_text()
    assert "graceful shutdown exceeded" not in said  # It was hung up on, not waited for.
    assert "Traceback" not in said


def test_a_deployment_that_cannot_start_says_so_and_ends(state_folder: Path) -> None:
    bad = state_folder / "bad.yaml"
    bad.write_text("catalogue: bad\n")

    with (
        pytest.raises(AssertionError, match=r"bad\.yaml"),
        deployed(state_folder, "--catalogue", str(bad)),
    ):
        pass


def _workspace(running: Deployment) -> str:
    id = str(running.call("POST", "/v1/workspaces", {"name": "Acme"})["workspace_id"])
    headers = {
        "Authorization": f"Bearer {running.line['admin_key']}",
        "X-Workspace-Id": id,
        "Idempotency-Key": "k1",
    }
    httpx.post(
        f"{running.url}/v1/billing/topup",
        json={"amount_usd": 20, "payment_ref": "wire-1"},
        headers=headers,
        trust_env=False,
    ).raise_for_status()
    return id


def _charge(running: Deployment, workspace: str, event_id: str) -> dict[str, int]:
    charged: dict[str, int] = eventually(lambda: _try_charge(running, workspace, event_id))
    return charged


def _try_charge(running: Deployment, workspace: str, event_id: str) -> dict[str, int] | None:
    body = {
        "event_id": event_id,
        "meter": "chat",
        "llm_model": "gpt-5.4",
        "tokens": {"input": 12_345, "output": 678},
    }
    answer: dict[str, int] = running.call("POST", "/v1/usage", body, workspace)
    return answer if "usage_id" in answer else None


def _folded(running: Deployment, workspace: str) -> int | None:
    answer = running.call("GET", "/v1/billing/balance", workspace=workspace)
    balance: int | None = answer.get("balance_micros")
    return balance


def _kill(running: Deployment, what: str) -> int:
    """Kill a part with -9, and wait until there is another."""
    pid = next(p for p, command in family(running.process.pid).items() if what in command)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: member(running.process.pid, what) not in (None, pid))
    return pid
