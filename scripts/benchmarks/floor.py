"""The floor: one transaction a debit in one keyed SQL function call, and the set-based one.

It must not be made of straw: it is measured over as many processes and connections as suit it
best. The ordinary one uses the driver that everybody uses, in threads. Beside it stands one that
makes libpq's calls itself from one loop, which is what is left when clients cost nothing.
"""

from __future__ import annotations

import random
import selectors
import struct
import time
from collections import deque
from collections.abc import Generator
from itertools import count
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
from psycopg import pq

from scripts.benchmarks.clients import Order, Sample, no_waits
from scripts.benchmarks.threads import in_threads

SCHEMA = Path(__file__).with_name("floor.sql")
DEBIT = b"SELECT debit($1::uuid, $2::int, $3::bigint)"
DEBIT_BY_DRIVER = "SELECT debit(%b::uuid, %b::int, %b::bigint)"
DEBIT_SET = "SELECT debit_set(%b::uuid[], %b::int[], %b::bigint[])"
AMOUNT = 137
REFUSED = "the floor refused a debit that it should have made"
POOR_EVERY, POOR_TURN = 50, 2
"""One bulk call in so many goes to an account that has nothing, and is refused act by act."""
CHECK = """
    SELECT (SELECT count(*) FROM journal),
           (SELECT coalesce(-sum(amount), 0) FROM journal),
           (SELECT sum(CASE WHEN id <= 1000 THEN 1000000000000000 ELSE 0 END - balance)
            FROM balance)
"""


class Line:
    """One connection, and since when its request has been waiting."""

    def __init__(self, conninfo: str) -> None:
        self.pg = pq.PGconn.connect(conninfo.encode())
        if self.pg.status != pq.ConnStatus.OK:
            raise RuntimeError(self.pg.get_error_message())
        self.pg.prepare(b"debit", DEBIT)
        self.pg.nonblocking = 1
        self.asked = 0.0


class Floor:
    """The floor's clients of one process."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._lines: list[Line] = []

    def run(self, order: Order) -> Sample:
        """Orders: ``threads`` or ``libpq``, over ``connections``; ``bulk`` with ``size`` debits a
        call: of one account, or ``spread`` over all, of which one in fifty has nothing."""
        if order.task != "libpq":
            return self._bulk(order) if order.task == "bulk" else self._by_threads(order)
        connections = min(order.options["connections"], order.clients)
        while len(self._lines) < connections:
            self._lines.append(Line(self._conninfo))
        while len(self._lines) > connections:
            self._lines.pop().pg.finish()
        return self._by_libpq(order)

    def _by_libpq(self, order: Order) -> Sample:
        accounts = [struct.pack(">i", id) for id in ids(order.accounts)]
        amount = struct.pack(">q", AMOUNT)
        draw = random.Random(order.tag).random
        # Keys in order are kindest to the index.
        stem, number = uuid4().bytes[:8], count()
        formats = [pq.Format.BINARY] * 3
        waits = no_waits()
        selector = selectors.DefaultSelector()
        queue: deque[float] = deque()

        def ask(line: Line) -> None:
            line.asked = queue.popleft()
            key = stem + next(number).to_bytes(8, "big")
            account = accounts[int(draw() * len(accounts))]
            line.pg.send_query_prepared(b"debit", (key, account, amount), formats, 1)
            line.pg.flush()

        for line in self._lines:
            selector.register(line.pg.socket, selectors.EVENT_READ, line)
        time.sleep(max(0.0, order.begin - time.monotonic()))
        queue.extend([order.begin] * order.clients)
        for line in self._lines:
            ask(line)
        working = len(self._lines)
        while working:
            for key, _ in selector.select():
                line = key.data
                if not _answered(line.pg):
                    continue
                now = time.monotonic()
                waits.append(now - line.asked)
                if now < order.end:
                    queue.append(now)
                if queue:
                    ask(line)
                else:
                    working -= 1
        ended = time.monotonic()
        selector.close()
        return Sample(len(waits), ended, waits, {"debits": len(waits)})

    def _by_threads(self, order: Order) -> Sample:
        """The ordinary way: each connection in a thread that works with psycopg."""

        def connection(number: int) -> Generator[None]:
            draw = random.Random(f"{order.tag}.{number}")
            accounts, stem = ids(order.accounts), uuid4().int >> 64 << 64
            opened = psycopg.connect(self._conninfo, autocommit=True)
            with opened, opened.cursor(binary=True) as cursor:
                yield
                for turn in count():
                    given = (UUID(int=stem + turn), draw.choice(accounts), AMOUNT)
                    row = cursor.execute(DEBIT_BY_DRIVER, given, prepare=True).fetchone()
                    if row is None or row[0] < 0:
                        raise RuntimeError(REFUSED)
                    yield

        waits = in_threads(order, connection, min(order.options["connections"], order.clients))
        return Sample(len(waits), time.monotonic(), waits, {"debits": len(waits)})

    def _bulk(self, order: Order) -> Sample:
        accepted = [0] * order.clients
        size, spread = order.options["size"], order.options["spread"]

        def caller(number: int) -> Generator[None]:
            draw = random.Random(f"{order.tag}.{number}")
            accounts, stem = ids(order.accounts), uuid4().int >> 64 << 64
            with psycopg.connect(self._conninfo, autocommit=True) as connection:
                yield
                for turn in count():
                    poor = turn % POOR_EVERY == POOR_TURN
                    account = 1001 + number if poor else draw.choice(accounts)
                    drawn = draw.choices(range(1, 1021), k=size) if spread else [account] * size
                    keys = [UUID(int=stem + turn * size + n) for n in range(size)]
                    row = connection.execute(
                        DEBIT_SET, (keys, drawn, [AMOUNT] * size), prepare=True
                    ).fetchone()
                    accepted[number] += len(row[0]) if row else 0
                    yield

        waits = in_threads(order, caller)
        return Sample(len(waits) * size, time.monotonic(), waits, {"debits": sum(accepted)})


def ids(accounts: object) -> list[int]:
    """The floor's accounts: the hot one, or the thousand."""
    assert isinstance(accounts, list | tuple)
    return [0] if len(accounts) == 1 else list(range(1, 1001))


def _answered(pg: pq.abc.PGconn) -> bool:
    """Take in what came; True once the statement has ended."""
    pg.consume_input()
    if pg.is_busy():
        return False
    result = pg.get_result()
    if result is None or result.status != pq.ExecStatus.TUPLES_OK:
        raise RuntimeError(pg.get_error_message())
    value = result.get_value(0, 0)
    if value is None or value[0] & 0x80:
        raise RuntimeError(REFUSED)
    while pg.get_result() is not None:
        pass
    return True


def create(conninfo: str) -> None:
    """Make the floor's tables and functions."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(SCHEMA.read_bytes())
        connection.execute("ANALYZE balance")


def audit(conninfo: str, debits: int) -> list[str]:
    """What is wrong with the floor's books after so many acknowledged debits."""
    with psycopg.connect(conninfo) as connection:
        row = connection.execute(CHECK).fetchone()
    if row != (debits, debits * AMOUNT, debits * AMOUNT):
        return [f"floor: {debits} debits acknowledged; journal and balances say {row}"]
    return []
