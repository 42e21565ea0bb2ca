"""Writers for tests, and processes that write: ``python -m tests.adapters.postgres.writing``.

A process reads one JSON object of instructions from its input, says "ready", waits for a line,
works, and prints one JSON object of what it was told by the ledger.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg

from adapters.postgres.database import Database, prepare
from adapters.postgres.writer import Writer
from domain.errors import PaymentRequired, TryAgain
from domain.identity import account_id
from domain.ledger import Ledger
from tests.domain.given import at, call, open_ledger

ROOT = Path(__file__).parents[3]
PATIENCE_S = 60


@asynccontextmanager
async def writing(database: Database, **options: Any) -> AsyncIterator[Writer]:
    """A running writer, stopped afterwards."""
    writer = Writer(database.conninfo(), **options)
    await writer.start()
    try:
        yield writer
    finally:
        await writer.stop()


@asynccontextmanager
async def ledger_with(
    database: Database, micros: int = 0, workspace: str = "acme", **options: Any
) -> AsyncIterator[tuple[Ledger, Writer]]:
    """A ledger in which a workspace has this much, and its writer."""
    async with writing(database, **options) as writer:
        ledger = await open_ledger(writer, workspace)
        if micros:
            await ledger.grant(workspace, micros, "given", at())
        yield ledger, writer


def rows(database: Database, workspace: str = "acme") -> list[tuple[int, str, str, int, int]]:
    """(version, kind, cause, amount, balance_after) of an account's events, in order."""
    with psycopg.connect(database.conninfo()) as connection:
        return connection.execute(
            "SELECT originator_version, kind, cause, amount, balance_after FROM events"
            " WHERE originator_id = %s ORDER BY originator_version",
            [account_id(workspace)],
        ).fetchall()


def debits(database: Database, workspace: str = "acme") -> list[str]:
    """The causes of an account's debits, in order, after checking the chain they stand in."""
    running, found = 0, []
    for expected, (version, kind, cause, amount, balance_after) in enumerate(
        rows(database, workspace), start=1
    ):
        assert version == expected, f"version {expected} is missing"
        if amount is not None:
            running += amount
            assert balance_after == running, f"the chain breaks at version {version}"
        if kind == "Debited":
            found.append(cause)
    assert len(set(found)) == len(found)
    return found


# Processes.


class Process:
    """A process that writes; ends with the test."""

    def __init__(self, **instructions: Any) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        self._say(json.dumps(instructions))

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        """Its next word; fails when the process does."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the process ended with {self._process.wait()}"
        said: dict[str, Any] = json.loads(line)
        return said

    def go(self) -> None:
        """Let it begin."""
        self._say("go")

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


async def prepare_and_charge(database: Database, name: str, **_: Any) -> dict[str, Any]:
    """What a worker does that starts when its fellows do."""
    async with writing(database) as writer:
        ledger = await open_ledger(writer, "acme", f"own-{name}")
        await ledger.grant(f"own-{name}", 1_000, "g", at())
        charge = await ledger.charge(f"own-{name}", call(f"{name}"), at())
        return {"balance": charge.balance_after}


async def spend(
    database: Database,
    name: str,
    acts: int | None = None,
    seconds: float = 0,
    tasks: int = 16,
    accounts: list[str] | None = None,
    **_: Any,
) -> dict[str, Any]:
    """Charge calls of 1 000 µ from many tasks, a number of times or for a while; on a
    retryable refusal ask again with the same id, as the documentation tells clients to."""
    told: dict[str, Any] = {"accepted": [], "refused": 0, "retried": 0, "unanswered": 0}
    end = time.monotonic() + seconds
    workspaces = accounts or ["acme"]
    numbers = iter(range(acts if acts is not None else 10**9))

    async def client(ledger: Ledger) -> None:
        for number in numbers:
            if acts is None and time.monotonic() > end:
                return
            id = f"{name}-{number}"
            workspace = workspaces[number % len(workspaces)]
            patience = time.monotonic() + PATIENCE_S
            while True:
                try:
                    await ledger.charge(workspace, call(id), at())
                    told["accepted"].append(id)
                except PaymentRequired:
                    told["refused"] += 1
                except TryAgain:
                    if time.monotonic() < patience:
                        told["retried"] += 1
                        await asyncio.sleep(0.05)
                        continue
                    told["unanswered"] += 1
                break

    async with writing(database) as writer:
        ledger = Ledger(writer)
        await asyncio.gather(*(client(ledger) for _ in range(tasks)))
        told["conflicts"] = writer.conflicts
    return told


TASKS = {"spend": spend, "start": prepare_and_charge}


def main() -> None:
    """Follow the instructions."""
    instructions = json.loads(sys.stdin.readline())
    urls = instructions.pop("urls")
    task = TASKS[instructions.pop("task")]
    print(json.dumps({"ready": True}), flush=True)
    sys.stdin.readline()
    database = (
        prepare(urls[0], runtime_url=urls[1]) if task is prepare_and_charge else Database(*urls)
    )
    print(json.dumps(asyncio.run(task(database, **instructions))), flush=True)


if __name__ == "__main__":
    main()
