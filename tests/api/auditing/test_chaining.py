"""The chainer at work: it follows what is committed, survives kills, and there is only one."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from adapters.postgres.database import Database
from adapters.settings import Settings
from api.auditing import chaining
from tests.api.auditing.sealed import chain, sealing_in, settings_with, signed, verdict
from tests.projections.stories import (
    ROOT,
    hours_of_calls,
    newest,
    rows,
    until,
    write,
    writing_ahead,
)

RUNS = """
import threading
from adapters.settings import read_settings
from api.auditing import chaining
chaining.run(read_settings(), threading.Event())
"""


def chained(database: Database) -> int:
    """How far the trail is."""
    return int(rows(database, "SELECT coalesce(max(position), 0) FROM audit_trail")[0][0])


def in_a_process(settings: Settings) -> subprocess.Popen[bytes]:
    environment = {**os.environ, **settings.environment(), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", RUNS],
        env=environment | {"DAYBOOK_RUNTIME_URL": settings.runtime_url, "DAYBOOK_LOG": "quiet"},
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )


def test_what_is_committed_is_chained_and_what_is_left_is_signed_for_at_the_end(
    database: Database, tmp_path: Path
) -> None:
    sealing, stop = sealing_in(tmp_path, events=1_000), threading.Event()
    settings = settings_with(database, sealing)
    thread = threading.Thread(target=chaining.run, args=(settings, stop))
    thread.start()
    try:
        write(database, lambda ledger: hours_of_calls(ledger, ["acme"], 20))
        until(lambda: chained(database) == newest(database))
        assert signed(database) == []
        # Another one waits: there is one leader in a cell.
        asked_to_stop = threading.Event()
        asked_to_stop.set()
        with chaining.opened(settings, asked_to_stop) as second:
            assert second is None
    finally:
        stop.set()
        thread.join(20)
    assert not thread.is_alive()
    assert signed(database) == [newest(database)]
    assert verdict(database, sealing).is_intact


@pytest.mark.scenario("S105")
def test_the_chain_survives_kills_of_its_process(database: Database, tmp_path: Path) -> None:
    sealing, luck = sealing_in(tmp_path, events=7), random.Random(7)
    settings = settings_with(database, sealing)
    with writing_ahead(database, chained, "acme") as ended:
        for _ in range(8):
            begun = chained(database)
            process = in_a_process(settings)
            try:
                until(lambda b=begun: chained(database) > b)  # type: ignore[misc]
                ended.wait(luck.random() * 0.05)
            finally:
                process.kill()
                process.wait()

    until(lambda: chain(database, sealing, seal=True) == 0)

    found = verdict(database, sealing)
    assert found.is_intact, (found.problems[:3], found.failed[:3])
    assert found.sealed == found.position == newest(database)
    assert found.published is not None
    assert found.published >= found.stored > 8
    survived = rows(database, "SELECT position, event_hash, chain_hash FROM audit_trail ORDER BY 1")
    assert [row[0] for row in survived] == [
        row[0] for row in rows(database, "SELECT notification_id FROM events ORDER BY 1")
    ]
