"""The runner at work: how fast it catches up, and how far it is behind."""

from __future__ import annotations

import threading
import time
from array import array
from itertools import pairwise

import psycopg

from projections.runner import Runner
from scripts.benchmarks.clients import Order, Sample, no_waits

PATIENCE_S = 30.0
CAUGHT_UP = """
    SELECT min(position) >= (SELECT coalesce(max(notification_id), 0) FROM events) FROM positions
"""
POSITIONS = "SELECT count(*), min(position), max(position) FROM positions WHERE error IS NULL"


class CatchingUp:
    """A runner with all read models, from the beginning of the book to its end."""

    def __init__(self) -> None:
        pass

    def run(self, order: Order) -> Sample:
        """``accounts`` is the conninfo alone. The waits are the times between two postings."""
        (conninfo,) = order.accounts
        posted: list[float] = []
        over = threading.Event()
        listening = threading.Event()
        listener = threading.Thread(target=_listen, args=(conninfo, posted, listening, over))
        listener.start()
        listening.wait(10)
        began = time.monotonic()
        upto = Runner(conninfo).run_until_caught_up()
        ended = time.monotonic()
        over.set()
        listener.join()
        times = [began, *posted]
        waits = no_waits([b - a for a, b in pairwise(times)])
        return Sample(
            order.options["events"], order.begin + ended - began, waits, {"position": upto}
        )


def _listen(
    conninfo: str, posted: list[float], listening: threading.Event, over: threading.Event
) -> None:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute("LISTEN posted")
        listening.set()
        while not over.is_set():
            for _ in connection.notifies(timeout=0.1):
                posted.append(time.monotonic())


class Following:
    """A runner that follows what is committed, until its process ends."""

    def __init__(self, conninfo: str) -> None:
        runner = Runner(conninfo)
        threading.Thread(target=runner.run, args=(threading.Event(),), daemon=True).start()

    def run(self, order: Order) -> Sample:
        """Nothing to ask of it: it works by itself."""
        raise NotImplementedError


class Watching:
    """Listens for what is posted, in a process of its own, so that it hears it at once."""

    def __init__(self, conninfo: str) -> None:
        self._connection = psycopg.connect(conninfo, autocommit=True)
        self._connection.execute("LISTEN posted")

    def run(self, order: Order) -> Sample:
        """Listen until all models contain what was committed by the order's end: when which
        position was posted (``facts``)."""
        for _ in self._connection.notifies(timeout=0):
            pass  # of before
        seen: dict[str, float] = {}
        deadline = order.end + PATIENCE_S
        while time.monotonic() < deadline:
            self._hear(seen, 0.05)
            if time.monotonic() > order.end and self._is_caught_up():
                break
        self._hear(seen, 0.2)  # what was told a moment ago is still on its way
        return Sample(len(seen), time.monotonic(), no_waits(), seen)

    def _hear(self, seen: dict[str, float], timeout: float) -> None:
        for note in self._connection.notifies(timeout=timeout):
            seen.setdefault(note.payload, time.monotonic())

    def _is_caught_up(self) -> bool:
        try:
            row = self._connection.execute(CAUGHT_UP).fetchone()
        except psycopg.errors.UndefinedTable:  # the runner is not there yet
            return False
        return row is not None and bool(row[0])


def lags(committed: dict[int, float], posted: dict[int, float]) -> array[float]:
    """For every position how long after its acknowledgement all read models contained it."""
    waits = no_waits()
    order = sorted(posted)
    step = 0
    for position in sorted(committed):
        while step < len(order) and order[step] < position:
            step += 1
        if step == len(order):
            raise RuntimeError(f"position {position} was never posted")
        waits.append(max(posted[order[step]] - committed[position], 0.0))
    return waits
