"""`scripts/bench http`: charges over HTTP beside doing nothing, batches, and the runner."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import psycopg

from adapters.postgres import keys, lifeline
from adapters.postgres.database import Database
from adapters.settings import Settings
from scripts.benchmarks import ground
from scripts.benchmarks.books import Books
from scripts.benchmarks.clients import Sample
from scripts.benchmarks.crew import Crew
from scripts.benchmarks.ground import CATALOGUE, Ground
from scripts.benchmarks.load import Load
from scripts.benchmarks.pace import Pace
from scripts.benchmarks.posting import measure_runner
from scripts.benchmarks.rows import Report, in_turn

CONNECTIONS = (1, 8, 32, 128)
THOUSAND = ground.names(1000)
HOT = ["hot"]
BATCHES = (100, 1000)
BATCH_CONNECTIONS = (1, 4)
READY_S = 30.0


def measure(place: Ground, report: Report, pace: Pace) -> None:
    """Everything that was asked for; what is wrong with the books ends up in the report."""
    usage = [n for n in CONNECTIONS if pace.wants(f"usage {n}")]
    batches = [size for size in BATCHES if pace.wants(f"batch {size}")]
    if usage or batches:
        ledger = place.ledger("http_bench")
        ground.furnish(ledger, [*THOUSAND, *HOT])
        with ExitStack() as stack:
            port = stack.enter_context(_stand(ledger, place.server.state))
            load = stack.enter_context(Crew(Load, port, _key(ledger)))
            books = Books(ledger.conninfo(owner=True))
            web = Web(load, books, report, pace, place)
            web.warm()
            for connections in usage:
                web.measure_usage(connections)
            for size in batches:
                web.measure_batches(size)
            books.audit()
            report.wrong += books.wrong
    measure_runner(place, report, pace)


class Web:
    """The measurements of one running worker."""

    def __init__(self, load: Crew, books: Books, report: Report, pace: Pace, place: Ground) -> None:
        self._load = load
        self._books = books
        self._report = report
        self._pace = pace
        self._place = place
        self._turns = 0

    def warm(self) -> None:
        """Let everything be loaded; not counted."""
        for task in ("nothing", "usage"):
            self._ask(task, 32, [*THOUSAND, *HOT], 1.0, 0, in_order=1)

    def measure_usage(self, connections: int) -> None:
        """An endpoint that does nothing, and charges on 1,000 workspaces and on one."""
        self._report.say(f"{connections} connections")
        self._place.rest()
        seconds = self._pace.seconds
        samples = in_turn(
            self._pace.rounds,
            partial(self._ask, "nothing", connections, THOUSAND, seconds),
            partial(self._ask, "usage", connections, THOUSAND, seconds),
            partial(self._ask, "usage", connections, HOT, seconds),
        )
        self._report.add("nothing", samples[0], clients=connections, accounts=1000)
        self._report.add("usage", samples[1], clients=connections, accounts=1000)
        self._report.add("usage", samples[2], clients=connections, accounts=1)

    def measure_batches(self, size: int) -> None:
        """Batches of one workspace each, usages a second; the waits are a whole request's."""
        self._report.say(f"batches of {size}")
        self._place.rest()
        samples = in_turn(
            self._pace.rounds,
            *(
                partial(self._ask, "batch", connections, THOUSAND, self._pace.seconds, size=size)
                for connections in BATCH_CONNECTIONS
            ),
        )
        for connections, kept in zip(BATCH_CONNECTIONS, samples, strict=True):
            note = f"{size} a request, waits of a request"
            self._report.add(
                f"usage batch of {size}", kept, clients=connections, accounts=1000, note=note
            )

    def _ask(
        self,
        task: str,
        connections: int,
        accounts: Sequence[str],
        seconds: float,
        _round: int,
        **options: int,
    ) -> Sample:
        self._turns += 1
        tag = f"h{self._turns:05d}"
        sample = self._load.run(task, connections, accounts, seconds, tag, **options)
        charged = 0 if task == "nothing" else sample.facts["debits"]
        self._books.check(f"{task}, {connections} connections", charged)
        return sample


def _key(ledger: Database) -> str:
    """A service key that may charge every workspace."""
    with psycopg.connect(ledger.conninfo(), autocommit=True) as connection:
        _, key = keys.create(
            connection, scopes=["usage:write"], name="bench", now=datetime.now(UTC)
        )
    return key


@contextmanager
def _stand(ledger: Database, folder: Path) -> Iterator[int]:
    """A worker in a process of its own; its port."""
    settings = Settings(ledger.owner_url, ledger.runtime_url, ledger.cell, CATALOGUE)
    log = folder / "stand.log"
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as sock, log.open("wb") as output:
        port = int(sock.getsockname()[1])
        tied = lifeline.spawn_tied(
            [sys.executable, "-m", "scripts.benchmarks.stand", str(sock.fileno())],
            account=None,
            environment={**_environment(), **settings.environment()},
            output=output,
            keep=[sock.fileno()],
        )
        try:
            _await_ready(port, tied.process, log)
            yield port
        finally:
            tied.process.terminate()
            tied.process.wait(20)
            tied.release()


def _environment() -> dict[str, str]:
    return {"PYTHONPATH": str(Path(__file__).parents[2])}


def _await_ready(port: int, process: Any, log: Path) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
                if answer.status == 200:
                    return
        except (URLError, OSError):
            time.sleep(0.05)
    raise RuntimeError(f"the worker did not start:\n{log.read_text()[-3000:]}")
