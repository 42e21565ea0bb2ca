"""The embedded server keeps what it acknowledged, and never outlives whoever started it."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from adapters.postgres.cluster import free_port
from adapters.postgres.embedded import EmbeddedServer, EmbeddedServerError
from adapters.postgres.migrations import RUNTIME_ROLE
from adapters.postgres.places import CHECKOUT, programs, server_account

OWNER_READS, OWNER_ENTERS = 0o600, 0o700
SECONDS_TO_START = 3.0  # Usually 0.1; the machine may be busy.

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

INSERTS_UNTIL_KILLED = """
import sys, pathlib, psycopg
from adapters.postgres.embedded import EmbeddedServer
server = EmbeddedServer.start(pathlib.Path(sys.argv[1]))
connection = psycopg.connect(server.url, autocommit=True)
connection.execute("CREATE TABLE kept (i integer PRIMARY KEY)")
print(server.pid, flush=True)
for i in range(1, 1_000_000):
    connection.execute("INSERT INTO kept VALUES (%s)", [i])
    print(i, flush=True)
"""
TIES_BY_PIPE = """
import sys, subprocess, time
from adapters.postgres.lifeline import spawn_tied
tied = spawn_tied(
    ["/bin/sleep", "300"], account=None, environment={}, output=open("/dev/null", "wb"),
    by_pipe=True,
)
print(tied.process.pid, flush=True)
time.sleep(300)
"""


def child(script: str, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        stdout=subprocess.PIPE,
        text=True,
    )


def working_in(folder: Path) -> list[int]:
    """The living processes whose working directory is `folder`: a server's all are there."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdecimal() and (process / "cwd").readlink() == folder:
                found.append(int(process.name))
        except OSError:
            continue
    return found


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that ended and waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def eventually(condition: Callable[[], bool], seconds: float = 15.0) -> bool:
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def rows(server: EmbeddedServer) -> list[int]:
    with psycopg.connect(server.url) as connection:
        return [i for (i,) in connection.execute("SELECT i FROM kept ORDER BY i")]


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_second_start_finds_the_data_the_port_and_the_passwords(state_folder: Path) -> None:
    with EmbeddedServer.start(state_folder) as first:
        with psycopg.connect(first.url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 7 AS i")
        urls = first.url, first.runtime_url

    begun = time.monotonic()
    with EmbeddedServer.start(state_folder) as second:
        took = time.monotonic() - begun
        assert rows(second) == [7]
        assert (second.url, second.runtime_url) == urls
    assert took < SECONDS_TO_START


def test_its_files_and_settings_are_those_of_a_ledger(durable_server: EmbeddedServer) -> None:
    with psycopg.connect(durable_server.url) as connection:

        def setting(name: str) -> str:
            return str(connection.execute("SELECT current_setting(%s)", [name]).fetchone()[0])  # type: ignore[index]

        assert setting("data_checksums") == "on"
        assert setting("fsync") == setting("synchronous_commit") == "on"
        assert setting("full_page_writes") == "on"
        assert setting("listen_addresses") == "127.0.0.1"
        assert setting("unix_socket_directories") == ""
        assert setting("TimeZone") == "UTC"
        assert connection.execute(
            "SELECT datlocprovider::text, datlocale, pg_encoding_to_char(encoding)"
            " FROM pg_database WHERE datname = current_database()"
        ).fetchone() == ("b", "C.UTF-8", "UTF8")


def test_secrets_are_for_their_owner_only_and_the_first_one_is_gone(
    durable_server: EmbeddedServer,
) -> None:
    for name in ("password", "runtime-password"):
        assert mode(durable_server.state / name) == OWNER_READS
    assert not (durable_server.state / "initial-password").exists()
    assert mode(durable_server.state / "data") == OWNER_ENTERS


def test_nobody_gets_in_without_the_password(durable_server: EmbeddedServer) -> None:
    for user in ("daybook", RUNTIME_ROLE):
        url = f"postgresql://{user}:guess@127.0.0.1:{durable_server.port}/daybook"
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(url)


def test_the_runtime_really_logs_in_as_itself(durable_server: EmbeddedServer) -> None:
    with psycopg.connect(durable_server.runtime_url) as connection:
        assert connection.execute(
            "SELECT session_user::text, rolsuper FROM pg_roles WHERE rolname = session_user"
        ).fetchone() == (RUNTIME_ROLE, False)


@on_linux
def test_killing_whoever_started_it_loses_nothing_acknowledged_and_leaves_no_orphan(
    state_folder: Path,
) -> None:
    starter = child(INSERTS_UNTIL_KILLED, str(state_folder))
    assert starter.stdout is not None
    postmaster = int(starter.stdout.readline())
    acknowledged = [int(starter.stdout.readline()) for _ in range(200)]

    starter.kill()
    acknowledged += [int(line) for line in starter.stdout if line.endswith("\n")]
    starter.wait()

    assert eventually(lambda: not is_alive(postmaster) and not working_in(state_folder / "data"))
    with EmbeddedServer.start(state_folder) as server:
        kept = rows(server)
    # The insert under way when the starter died may be there too; nothing else may.
    assert kept in (acknowledged, [*acknowledged, acknowledged[-1] + 1])


def test_a_killed_server_is_restarted_in_its_place_with_all_it_acknowledged(
    durable_server: EmbeddedServer,
) -> None:
    port, acknowledged = durable_server.port, []
    with psycopg.connect(durable_server.url, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept (i integer PRIMARY KEY)")
        for i in range(1, 301):
            connection.execute("INSERT INTO kept VALUES (%s)", [i])
            acknowledged.append(i)
        assert durable_server.ensure_running() is False

        os.kill(durable_server.pid, signal.SIGKILL)
        assert eventually(durable_server.ensure_running)

        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    assert durable_server.port == port
    assert rows(durable_server) == acknowledged
    assert durable_server.ensure_running() is False


def test_a_server_stopped_on_purpose_stays_stopped(durable_server: EmbeddedServer) -> None:
    durable_server.stop()
    durable_server.stop()

    assert durable_server.ensure_running() is False
    with pytest.raises(EmbeddedServerError, match="was stopped"):
        print(durable_server.pid)


def test_it_outlives_the_thread_that_restarted_it(durable_server: EmbeddedServer) -> None:
    os.kill(durable_server.pid, signal.SIGKILL)
    restart = threading.Thread(target=lambda: eventually(durable_server.ensure_running))
    restart.start()
    restart.join()

    time.sleep(0.3)  # A death signal would have arrived by now.
    with psycopg.connect(durable_server.url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


@on_linux
def test_without_a_death_signal_a_pipe_does_the_same() -> None:
    starter = child(TIES_BY_PIPE)
    assert starter.stdout is not None
    tied = int(starter.stdout.readline())
    assert is_alive(tied)

    starter.kill()
    starter.wait()

    assert eventually(lambda: not is_alive(tied))
    starter.stdout.close()


def test_a_folder_in_use_is_refused_with_the_cure(durable_server: EmbeddedServer) -> None:
    with pytest.raises(EmbeddedServerError, match=rf"process {os.getpid()}\).*--data DIR"):
        EmbeddedServer.start(durable_server.state)

    with psycopg.connect(durable_server.url) as connection:  # And the first one is unharmed.
        assert connection.execute("SELECT 1").fetchone() == (1,)


@on_linux
def test_a_server_whose_starter_is_dead_is_stopped_before_ours_starts(state_folder: Path) -> None:
    EmbeddedServer.start(state_folder).stop()
    account = server_account()
    orphan = subprocess.Popen(
        [
            *(programs(account) / "postgres", "-D", state_folder / "data"),
            *("-c", f"port={free_port(state_folder / 'no-port')}"),
            *("-c", "unix_socket_directories="),
        ],
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    note = state_folder / "data" / "postmaster.pid"
    assert eventually(lambda: note.exists() and "ready" in note.read_text())

    with EmbeddedServer.start(state_folder) as server:
        assert orphan.wait(5) == 0
        assert server.pid != orphan.pid


def test_a_note_of_a_server_whose_number_is_a_strangers_now_does_not_stop_us(
    state_folder: Path,
) -> None:
    EmbeddedServer.start(state_folder).stop()
    (state_folder / "data" / "postmaster.pid").write_text(f"{os.getpid()}\n")

    EmbeddedServer.start(state_folder).stop()


def test_a_demanded_port_that_is_taken_is_refused_and_a_remembered_one_replaced(
    durable_server: EmbeddedServer,
) -> None:
    taken, other = durable_server.port, durable_server.state / "other"
    with pytest.raises(EmbeddedServerError, match=f"Port {taken} is taken"):
        EmbeddedServer.start(other, port=taken)

    (other / "port").write_text(f"{taken}\n")
    with EmbeddedServer.start(other) as server:
        assert server.port != taken


def test_data_of_another_major_version_is_refused(state_folder: Path) -> None:
    (state_folder / "data").mkdir()
    (state_folder / "data" / "PG_VERSION").write_text("15\n")
    with pytest.raises(EmbeddedServerError, match="written by PostgreSQL 15"):
        EmbeddedServer.start(state_folder)


def test_a_server_that_cannot_start_says_why(state_folder: Path) -> None:
    with pytest.raises(EmbeddedServerError, match="shared_buffers"):
        EmbeddedServer.start(state_folder, settings={"shared_buffers": "much"})
