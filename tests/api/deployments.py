"""Real deployments for tests: `python -m api.run` in a process of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx

CHECKOUT = Path(__file__).resolve().parents[2]
DEADLINE_S = 60.0
OWN_SETTINGS = ("DATABASE_URL", "DAYBOOK_", "BILLING_CATALOGUE", "STRIPE_")


def environment(**settings: str) -> dict[str, str]:
    """Ours, without what a developer may have set for a Daybook of their own."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(OWN_SETTINGS)}
    return inherited | {"PYTHONPATH": str(CHECKOUT), "COLUMNS": "200"} | settings


@dataclass
class Deployment:
    """A process that was started, and the line that it printed when it was ready."""

    process: "subprocess.Popen[str]"
    data: Path
    line: dict[str, Any]
    log: Path

    @property
    def url(self) -> str:
        """Where it listens."""
        return str(self.line["url"])

    def call(self, method: str, path: str, body: Any = None, workspace: str = "") -> Any:
        """Call its API as the admin; the answer's JSON, whatever the status."""
        headers = {"Authorization": f"Bearer {self.line['admin_key']}"}
        if workspace:
            headers["X-Workspace-Id"] = workspace
        response = httpx.request(
            method, self.url + path, json=body, headers=headers, trust_env=False, timeout=20
        )
        return json.loads(response.content, parse_float=Decimal)

    def cli(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run `daybook` on its data folder."""
        return cli(*arguments, "--data", str(self.data))

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE_S)


def cli(*arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    """Run `daybook` with these arguments."""
    return subprocess.run(
        [sys.executable, "-m", "api.cli", *arguments],
        capture_output=True,
        text=True,
        env=environment(**settings),
        cwd="/",
        timeout=120,
        check=False,
    )


@contextmanager
def deployed(data: Path, *arguments: str, **settings: str) -> Iterator[Deployment]:
    """`scripts/run --json` on a data folder; stopped with the block, however it ends."""
    log = data / "run.log"
    with log.open("a") as stderr:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "api.run", "--json", "--port", "0"),
                *("--data", str(data), *arguments),
            ],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env=environment(**settings),
            cwd="/",
        )
    try:
        assert process.stdout is not None
        first = process.stdout.readline()  # Ends at the latest when the process does.
        assert first, f"it did not start:\n{log.read_text()[-3000:]}"
        yield Deployment(process, data, json.loads(first), log)
    finally:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(DEADLINE_S)
        process.kill()
        process.wait()


def eventually(what: Callable[[], Any], deadline: float = 20.0) -> Any:
    """Ask until the answer is truthy; the answer. Fails when the deadline has passed."""
    until = time.monotonic() + deadline
    while True:
        with suppress(httpx.TransportError):
            if answer := what():
                return answer
        assert time.monotonic() < until, "it never happened"
        time.sleep(0.02)


def parents() -> dict[int, tuple[int, str]]:
    """Every living process of this machine: its parent, and its command line."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with suppress(OSError, IndexError):
                state, parent = (folder / "stat").read_text().rsplit(")", 1)[1].split()[:2]
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                if state != "Z":
                    found[int(folder.name)] = (int(parent), command)
    return found


def family(pid: int) -> dict[int, str]:
    """The living descendants of a process, with their command lines."""
    living = parents()
    found: dict[int, str] = {}
    generation = {pid}
    while generation:
        generation = {p for p, (parent, _) in living.items() if parent in generation}
        found |= {p: living[p][1] for p in generation}
    return found


def member(pid: int, what: str) -> int | None:
    """The one child whose command line contains `what`, or None at the moment."""
    return next((p for p, command in family(pid).items() if what in command), None)
