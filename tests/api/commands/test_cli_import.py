"""`daybook import`: a trace through the HTTP API, once, however often it is killed or repeated."""

import csv
import json
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from adapters.catalogues import FOLDER
from tests.api.deployments import CHECKOUT, Deployment, deployed, environment, eventually
from tests.conftest import _new_state

TRACE = CHECKOUT.parent / "shared" / "data" / "azure_llm_2023_conv.csv"
BEGIN = datetime(2023, 11, 16, 18, 15, 46, tzinfo=UTC)


@pytest.fixture(scope="module")
def empty() -> Iterator[Deployment]:
    """A faces deployment without a workload."""
    folder = _new_state()
    with deployed(folder, "--empty") as running:
        yield running
    shutil.rmtree(folder, ignore_errors=True)


def synthetic(path: Path, count: int) -> Path:
    """A trace like the real one: CR LF, seven digits, no newline at the end."""
    draw = random.Random(path.name)
    at, lines = BEGIN, ["TIMESTAMP,ContextTokens,GeneratedTokens"]
    for _ in range(count):
        at += timedelta(microseconds=draw.randrange(400_000))
        lines.append(f"{at:%Y-%m-%d %H:%M:%S.%f}7,{draw.randrange(9_000)},{draw.randrange(900)}")
    path.write_text("\r\n".join(lines))
    return path


def test_run_twice_it_adds_nothing_and_the_sum_is_exact(empty: Deployment, tmp_path: Path) -> None:
    file = synthetic(tmp_path / "twice.csv", 300)

    first = imported(empty, file)
    events = count(empty)
    second = imported(empty, file)

    assert (first["new"], first["already_there"]) == (300, 0)
    assert (second["new"], second["already_there"]) == (0, 300)
    assert count(empty) == events
    assert first["debits_micros"] == second["debits_micros"] == recomputed(empty, file)


def test_the_rule_spreads_the_calls_over_50_workspaces(empty: Deployment, tmp_path: Path) -> None:
    file = synthetic(tmp_path / "spread.csv", 600)

    imported(empty, file)

    acts = acts_of(empty, file)
    assert len({act["stream"] for act in acts}) == 50
    assert len({act["usage"]["llm_model"] for act in acts}) == 4
    assert len({act["usage"]["api_key_id"] for act in acts}) > 1
    # The first call happened at midnight UTC, a week before; the others as long after it as ever.
    times = sorted(datetime.fromisoformat(act["usage"]["occurred_at"]) for act in acts)
    with file.open() as lines:
        rows = list(csv.reader(lines))[1:]
    first, last = (datetime.fromisoformat(rows[n][0][:26]) for n in (0, -1))
    begin, end = times[0], times[-1]
    assert (begin.hour, begin.minute, begin.second, begin.microsecond) == (0, 0, 0, 0)
    assert end - begin == last - first


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9")
def test_killed_half_way_the_next_run_adds_up(empty: Deployment, tmp_path: Path) -> None:
    file = synthetic(tmp_path / "killed.csv", 8_000)
    process = subprocess.Popen(
        [sys.executable, "-m", "api.cli", "import", str(file), "--data", str(empty.data)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(),
    )
    eventually(lambda: acts_of(empty, file))
    process.send_signal(signal.SIGKILL)
    process.wait()
    there = len(acts_of(empty, file))
    assert 0 < there < 8_000

    rest = imported(empty, file)

    assert rest["new"] + rest["already_there"] == 8_000
    assert rest["already_there"] >= there
    assert rest["debits_micros"] == recomputed(empty, file)
    assert eventually(lambda: empty.cli("compare").returncode == 0)


def test_another_start_is_a_conflict_that_names_the_option(
    empty: Deployment, tmp_path: Path
) -> None:
    file = synthetic(tmp_path / "start.csv", 20)
    imported(empty, file)

    yesterday = f"{datetime.now(UTC) - timedelta(days=1):%Y-%m-%d}"
    answer = empty.cli("import", str(file), "--start", yesterday)

    assert answer.returncode == 1
    assert "20 calls were refused: the file was imported with another --start" in answer.stderr
    assert imported(empty, file)["already_there"] == 20


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("A,B\n1,2\n", "the first line must be TIMESTAMP,ContextTokens,GeneratedTokens"),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46,1\n", "line 2"),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46,1,-1\n", "line 2"),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\nnoon,1,1\n", "line 2"),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\n", "holds no calls"),
    ],
)
def test_what_is_no_trace_is_refused_with_the_line(
    empty: Deployment, tmp_path: Path, content: str, said: str
) -> None:
    file = tmp_path / "bad.csv"
    file.write_text(content)
    before = count(empty)

    answer = empty.cli("import", str(file))

    assert answer.returncode == 1
    assert said in answer.stderr and "Traceback" not in answer.stderr
    assert count(empty) == before


@pytest.mark.skipif(not TRACE.exists(), reason="the real trace is not on this machine")
def test_500_real_calls(empty: Deployment) -> None:
    first = imported(empty, TRACE, "--limit", "500")
    second = imported(empty, TRACE, "--limit", "500")

    assert (first["new"], second["new"], second["already_there"]) == (500, 0, 500)
    assert first["debits_micros"] == second["debits_micros"] == recomputed(empty, TRACE, 500)


def test_a_test_clock_takes_the_original_times(state_folder: Path, tmp_path: Path) -> None:
    file = synthetic(tmp_path / "original.csv", 30)
    with deployed(state_folder, "--empty", "--test-clock") as running:
        # Prices begin in 2026, so the trace lands a week before the clock's first day.
        shifted = imported(running, file)
        late = running.cli("import", str(file), "--occurred-at", "original")
        acts = acts_of(running, file)

    assert shifted["new"] == 30 and shifted["equal"]
    assert min(act["usage"]["occurred_at"] for act in acts).startswith("2026-05-25T00:00:00")
    assert late.returncode == 1


# -- what the tests know by themselves ------------------------------------------------------------


def imported(deployment: Deployment, file: Path, *options: str) -> dict[str, Any]:
    """The result of an import that worked."""
    answer = deployment.cli("import", str(file), "--json", *options)
    assert answer.returncode == 0, answer.stderr
    result: dict[str, Any] = json.loads(answer.stdout)
    return result


def count(deployment: Deployment) -> int:
    """How many events the ledger holds."""
    with psycopg.connect(deployment.line["database_url"]) as connection:
        row = connection.execute("SELECT count(*) FROM events").fetchone()
    assert row is not None
    return int(row[0])


def acts_of(deployment: Deployment, file: Path) -> list[dict[str, Any]]:
    """The file's metered acts, as the events tell them."""
    with psycopg.connect(deployment.line["database_url"]) as connection:
        found = connection.execute(
            "SELECT stream::text, amount, data FROM event_log"
            " WHERE kind IN ('Debited', 'UsageRecorded') AND cause LIKE %s",
            [f"usage:{file.stem}-%"],
        ).fetchall()
    return [{"stream": s, "amount": a or 0, "usage": data["usage"]} for s, a, data in found]


def recomputed(deployment: Deployment, file: Path, limit: int | None = None) -> int:
    """What the file must cost in µ, from its rows and the catalogue's YAML; checks on the way
    that the ledger holds each row once, and debited exactly its price."""
    book = yaml.safe_load((FOLDER / "faces.yaml").read_text())["price_book"]
    with file.open() as lines:
        rows = list(csv.reader(lines))[1:][:limit]
    acts = acts_of(deployment, file)
    tokens = [(act["usage"].get("tokens", {}), act) for act in acts]
    held = Counter((t.get("input", 0), t.get("output", 0)) for t, _ in tokens)
    assert held == Counter((int(row[1]), int(row[2])) for row in rows)
    total = 0
    for counted, act in tokens:
        given, _, output = map(Fraction, book["per_million_usd"][act["usage"]["llm_model"]])
        exact = counted.get("input", 0) * given + counted.get("output", 0) * output
        cost = round(exact * Fraction(10_000 + book["markup_bps"], 10_000))
        assert act["amount"] == -cost
        total += cost
    return total
