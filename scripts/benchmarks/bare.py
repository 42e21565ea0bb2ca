"""The bare insert: a writer's own rows once more, in batches of its own size, and no logic."""

from __future__ import annotations

import time
from typing import Any

import psycopg

from scripts.benchmarks.clients import Order, Sample, no_waits

TABLE = """
    CREATE SEQUENCE IF NOT EXISTS bare_seq;
    CREATE TABLE IF NOT EXISTS bare (
        LIKE events INCLUDING ALL
    ) WITH (autovacuum_vacuum_threshold = 100000000, autovacuum_analyze_threshold = 1000,
            autovacuum_analyze_scale_factor = 0.01);
    ALTER TABLE bare ALTER notification_id SET DEFAULT nextval('bare_seq');
    TRUNCATE bare;
"""
ROWS = """
    SELECT originator_id, originator_version, topic, state, cause, kind, amount, balance_after
    FROM events WHERE notification_id > %s AND notification_id <= %s ORDER BY notification_id
"""
INSERT = """
    INSERT INTO bare (originator_id, originator_version, topic, state, cause, kind, amount,
                      balance_after)
    SELECT * FROM unnest(%b::uuid[], %b::bigint[], %b::text[], %b::bytea[], %b::text[],
                         %b::text[], %b::bigint[], %b::bigint[])
"""


class Bare:
    """One connection that inserts."""

    def __init__(self, conninfo: str) -> None:
        """``conninfo``: the owner's, because the table is made here."""
        self._connection = psycopg.connect(conninfo, autocommit=True)

    def run(self, order: Order) -> Sample:
        """Insert the events ``after`` a position ``upto`` another, ``size`` a transaction, for as
        many rows as there are or as time allows."""
        self._connection.execute(TABLE)
        span = (order.options["after"], order.options["upto"])
        rows = self._connection.execute(ROWS, span, binary=True).fetchall()
        size = max(order.options["size"], 1)
        batches = [_columns(rows[first : first + size]) for first in range(0, len(rows), size)]
        waits = no_waits()
        done = 0
        begin = time.monotonic()
        for batch in batches:
            began = time.monotonic()
            if began - begin > order.seconds:
                break
            self._connection.execute(INSERT, batch, prepare=True)
            waits.append(time.monotonic() - began)
            done += len(batch[0])
        ended = time.monotonic()
        # The crew stamps the order's beginning, and the rows were fetched after it.
        return Sample(done, ended - begin + order.begin, waits, {"rows": done})


def _columns(rows: list[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]
