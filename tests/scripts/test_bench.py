"""`scripts/bench` measures what it says and looks into the books; how fast it is, is not tested."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from adapters.postgres.database import Database
from scripts.benchmarks import floor
from scripts.benchmarks.aims import aims
from scripts.benchmarks.books import Books
from scripts.benchmarks.clients import Order, Sample, no_waits, together
from scripts.benchmarks.following import lags
from scripts.benchmarks.rows import KEYS, Report, in_turn
from tests.adapters.postgres.writing import ledger_with
from tests.domain.given import at, call

BENCH = Path(__file__).parents[2] / "scripts" / "bench"


def bench(state: Path, *arguments: str) -> tuple[list[dict[str, Any]], str]:
    """Run `scripts/bench`; its JSON rows, and what people see."""
    rows = state / "rows.json"
    done = subprocess.run(
        [BENCH, *arguments, "--quick", "--json", rows],
        env={**os.environ, "DAYBOOK_DATA": str(state / "data")},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert list((state / "data").glob("*")) == [], "the run left something behind"
    return json.loads(rows.read_text()), done.stdout


def check_rows(rows: list[dict[str, Any]], name: str) -> None:
    for row in rows:
        assert tuple(row) == KEYS
        assert row["bench"] == name
        assert row["per_s"] > 0
        assert 0 <= row["p50_ms"] <= row["p99_ms"]


def cases(rows: list[dict[str, Any]]) -> set[tuple[str, int, int, int]]:
    return {(row["case"], row["clients"], row["accounts"], row["processes"]) for row in rows}


def test_a_quick_write_run_has_every_row_and_right_books(state_folder: Path) -> None:
    rows, table = bench(state_folder, "write", "--seconds", "0.1")

    check_rows(rows, "write")
    found = cases(rows)
    for accounts in (1000, 1):
        for clients in (1, 16, 64, 256):
            assert ("daybook", clients, accounts, 1) in found
            assert any(row[:3] == ("floor", clients, accounts) for row in found)
        for processes in (2, 4):
            assert ("daybook", 16 * processes, accounts, processes) in found
            assert ("floor", 16 * processes, accounts, processes) in found
        assert ("library save", 16, accounts, 1) in found
    for callers in (1, 2, 4):
        assert {("bulk", callers, 1000, 1), ("bulk floor", callers, 1000, 1)} <= found
    assert {"bare insert", "daybook, long account", "daybook, new account"} <= {r[0] for r in found}
    assert "met" in table or "missed" in table
    assert "fsync=on, synchronous_commit=on" in table


def test_a_quick_http_run_has_every_row_and_right_books(state_folder: Path) -> None:
    rows, table = bench(state_folder, "http", "--seconds", "0.1")

    check_rows(rows, "http")
    found = {row[:3] for row in cases(rows)}
    for connections in (1, 8, 32, 128):
        assert ("nothing", connections, 1000) in found
        assert {("usage", connections, 1000), ("usage", connections, 1)} <= found
    assert {"usage batch of 100", "usage batch of 1000", "runner catching up", "runner lag"} <= {
        row[0] for row in found
    }
    assert {"chain catching up", "chain verified"} <= {row[0] for row in found}
    assert "met" in table or "missed" in table


def test_books_that_lack_an_acknowledged_debit_are_called_wrong(database: Database) -> None:
    async def charge_twice() -> Books:
        async with ledger_with(database, 10_000) as (ledger, _):
            books = Books(database.conninfo(owner=True))
            await ledger.charge("acme", call("u1", 1_000), at())
            await ledger.charge("acme", call("u2", 1_000), at())
            return books

    books = asyncio.run(charge_twice())
    books.check("true", 2, 2_000)
    books.audit()
    assert books.wrong == []

    books.check("one more than there is", 1, 0)
    assert books.wrong == ["one more than there is: 1 acknowledged, 0 recorded"]


def test_the_floor_really_debits_and_its_audit_can_fail(empty_database: Database) -> None:
    conninfo = empty_database.owner_url
    floor.create(conninfo)
    clients = floor.Floor(conninfo)

    def order(task: str, **options: int) -> Order:
        return Order(task, 4, ["hot"], time.monotonic(), 0.1, "t", options)

    debits = 0
    for sample in (
        clients.run(order("threads", connections=2)),
        clients.run(order("libpq", connections=2)),
        clients.run(order("bulk", size=10, spread=0)),
        clients.run(order("bulk", size=10, spread=1)),
    ):
        debits += int(sample.facts["debits"])

    assert debits > 0
    assert floor.audit(conninfo, debits) == []
    assert floor.audit(conninfo, debits + 1) != []


def test_rounds_are_interleaved_and_the_median_counts() -> None:
    seen: list[str] = []

    def turn(name: str, rate: int) -> Sample:
        seen.append(name)
        return Sample(rate, 1.0, no_waits([0.001, 0.002, 0.003]))

    rates = iter((10, 90, 20))
    first, second = in_turn(3, lambda _: turn("floor", 100), lambda _: turn("ours", next(rates)))
    report = Report("write", Console(quiet=True))
    report.add("floor", first, clients=16, accounts=1)
    ours = report.add("daybook", second, clients=16, accounts=1)

    assert seen == ["floor", "ours"] * 3
    assert (ours.per_s, ours.p50_ms, ours.p99_ms) == (20.0, 2.0, 3.0)
    (aim,) = aims(report)
    assert (aim.value, aim.bound, aim.met) == (0.2, 4, False)


def test_samples_of_several_processes_count_as_one() -> None:
    one = Sample(10, 2.0, no_waits([0.1]), {"debits": 10}, began=1.0)
    other = Sample(20, 3.0, no_waits([0.2]), {"debits": 20}, began=1.0)

    whole = together([one, other])

    assert (whole.acts, whole.per_s, whole.facts) == (30, 15.0, {"debits": 30})
    assert list(whole.waits) == [0.1, 0.2]


def test_lag_runs_from_the_acknowledgement_to_the_first_posting_that_contains_it() -> None:
    waits = lags({1: 10.0, 2: 10.1, 5: 10.2}, {2: 10.3, 6: 10.25})
    assert list(waits) == pytest.approx([0.3, 0.2, 0.05])
    with pytest.raises(RuntimeError, match="position 7 was never posted"):
        lags({7: 10.0}, {6: 10.25})
