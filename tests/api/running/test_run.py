"""`scripts/run`: what it prints, what it makes, and that it stops all it started."""

import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.api.deployments import Deployment, deployed, environment, eventually, family

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A faces deployment with its generated workload."""
    from tests.conftest import _new_state

    folder = _new_state()
    with deployed(folder) as running:
        yield running
    shutil.rmtree(folder, ignore_errors=True)


def test_the_line_for_programs_says_where_it_is_and_how_to_get_in(demo: Deployment) -> None:
    line = demo.line

    expected = {"url", "admin_key", "database_url", "owner_database_url", "workspaces", "stripe"}
    assert set(line) == expected
    assert len(line["workspaces"]) >= 5
    for workspace in line["workspaces"]:
        assert set(workspace) == {"id", "name", "key"}
        assert workspace["id"].startswith("ws_")
    with psycopg.connect(line["database_url"]) as connection:
        count = connection.execute("SELECT count(*) FROM events").fetchone()
    assert count is not None and count[0] > 300


def test_the_runtime_may_not_change_events_and_the_owner_neither(demo: Deployment) -> None:
    for url in (demo.line["database_url"], demo.line["owner_database_url"]):
        with (
            psycopg.connect(url) as connection,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            connection.execute("UPDATE events SET amount = 0")


def test_the_workload_has_usage_credit_an_exhausted_and_a_frozen_workspace(
    demo: Deployment,
) -> None:
    def balance(name: str) -> Any:
        id = next(one["id"] for one in demo.line["workspaces"] if one["name"] == name)
        return demo.call("GET", "/v1/billing/balance?consistency=strong", workspace=id)

    assert balance("Ember Games")["is_frozen"]
    assert 0 < balance("Dune Analytics")["balance_micros"] < 100_000
    assert balance("Acme Robotics")["balance_micros"] < 130_000_000


def test_a_second_start_keeps_the_key_and_the_workspaces_and_adds_nothing(
    state_folder: Path,
) -> None:
    with deployed(state_folder) as first:
        before = first.line
        assert first.stop() == 0
    with deployed(state_folder) as second:
        after = second.line

    assert after["admin_key"] == before["admin_key"]
    assert after["workspaces"] == before["workspaces"]
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(after["database_url"], connect_timeout=2)


def test_two_catalogues_share_a_folder_and_not_a_ledger(state_folder: Path) -> None:
    with deployed(state_folder, "--empty") as faces:
        assert faces.line["workspaces"] == []
        prices = faces.call("GET", "/v1/billing/llm-costs")
        assert prices["markup_bps"] == 500
    with deployed(state_folder, "--catalogue", "flarex") as flarex:
        first = flarex.line["workspaces"][-1]
        body = {
            "event_id": "p1",
            "meter": "chat_generation",
            "action": "proposal",
            "tokens": {"input": 12_345, "output": 678},
        }
        charged = flarex.call("POST", "/v1/usage", body, first["id"])
        acme, heron, cobalt = (one["id"] for one in flarex.line["workspaces"][:3])
        bought = flarex.call("GET", "/v1/billing/subscription", workspace=acme)
        overage = flarex.call("GET", "/v1/billing/overage", workspace=heron)
        leaving = flarex.call("GET", "/v1/billing/subscription", workspace=cobalt)
    assert charged["funding"] == [{"source": "allowance", "amount_micros": 0, "units": 14}]
    # Plans were bought at the sandbox, one is used beyond what it includes, one will be smaller.
    assert (bought["plan"], bought["stripe_subscription_id"] is None) == ("pro", False)
    assert (overage["enabled"], overage["accrued_units"]) == (True, 107)
    assert leaving["scheduled_change"]["plan"] == "starter"


@pytest.mark.scenario("S03")
@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
def test_the_printed_curl_charges_a_completion_as_s03_says(state_folder: Path) -> None:
    output = state_folder / "stdout"
    with output.open("w") as stdout, (state_folder / "stderr").open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "api.run", "--port", "0", "--data", str(state_folder)],
            stdout=stdout,
            stderr=stderr,
            env=environment(),
        )
    try:
        ready = eventually(lambda: "Ctrl-C" in output.read_text(), 60)
        assert ready
        lines = output.read_text().splitlines()
        command = next(line for line in lines if line.startswith("curl "))
        answers = [
            subprocess.run(shlex.split(command), capture_output=True, text=True, check=True).stdout
            for _ in range(2)
        ]
        # The page moves by itself: somebody uses the other workspaces all the time.
        url, key = shlex.split(command)[2], shlex.split(command)[4]
        assert url.startswith("http://127.0.0.1:") and "dbk_" in key
        assert "api.demo.workload" in " ".join(family(process.pid).values())
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0

    assert '"balance_after_micros":19950435' in answers[0]
    assert '"total_cost_usd":0.049565' in answers[0]
    assert answers[1] == answers[0]


def test_sigterm_leaves_no_process_and_exit_code_0(state_folder: Path) -> None:
    with deployed(state_folder, "--empty", "--workers", "2") as running:
        parts = family(running.process.pid)
        assert sum("api.worker" in part for part in parts.values()) == 2
        assert sum("api.posting" in part for part in parts.values()) == 1

        assert running.stop() == 0

        assert not _alive(parts)


def test_sigterm_while_it_starts_leaves_no_process_either(state_folder: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "api.run", "--json", "--port", "0", "--data", str(state_folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(),
    )
    parts = eventually(lambda: family(process.pid), 30)

    process.send_signal(signal.SIGTERM)

    assert process.wait(60) == 0
    eventually(lambda: not _alive(parts))


def test_a_killed_parent_takes_everything_with_it(state_folder: Path) -> None:
    with deployed(state_folder, "--empty") as running:
        parts = family(running.process.pid)
        assert parts

        running.process.kill()

        running.process.wait()
        eventually(lambda: not _alive(parts), 30)


def test_what_cannot_be_started_is_one_plain_line(
    demo: Deployment,
) -> None:
    def start(*arguments: str, **settings: str) -> tuple[int, list[str]]:
        ended = subprocess.run(
            [sys.executable, "-m", "api.run", *arguments],
            capture_output=True,
            text=True,
            env=environment(**settings),
            timeout=60,
            check=False,
        )
        lines = ended.stderr.splitlines()
        assert "Traceback" not in ended.stderr
        return ended.returncode, lines

    port = demo.url.rsplit(":", 1)[1]
    code, said = start("--port", port, "--data", str(demo.data / "other"))
    assert code == 1 and len(said) == 1 and "--port" in said[0]
    code, said = start("--catalogue", "nowhere.yaml", "--data", str(demo.data / "other"))
    assert code == 1 and len(said) == 1 and "faces" in said[0]
    code, said = start("--port", "0", "--data", str(demo.data))
    assert code == 1 and "--data DIR" in said[-1]
    for name in ("DAYBOOK_LOG", "UPSTREAM_URL", "DAYBOOK_PUBLIC_URL"):
        code, said = start("--data", str(demo.data / "other"), **{name: "nonsense"})
        assert code == 1 and len(said) == 1 and name in said[0]
    code, said = start("--workers", "0")
    assert code == 2 and said[0].startswith("Usage: scripts/run")


def _alive(parts: dict[int, str]) -> list[int]:
    alive = []
    for pid, command in parts.items():
        with suppress(OSError):
            now = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            if now and now == command:
                alive.append(pid)
    return alive
