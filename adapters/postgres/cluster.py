"""The files of an embedded server: claimed by one process, made once, cleared of remains."""

import fcntl
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

from adapters.postgres.places import Account, EmbeddedServerError, server_version

HASTY_LOGIN = 1  # rounds of hashing for data that is thrown away; the usual ones are 4,096
LAST_WORDS_S = 15.0


def claim(state: Path) -> IO[str]:
    """Hold the state folder until the returned file is closed or this process is dead."""
    lock = (state / "lock").open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.seek(0)
        holder = lock.read().strip() or "unknown"
        lock.close()
        raise EmbeddedServerError(
            f"The data folder {state} is in use by another Daybook (process {holder}): stop that "
            "one, or choose another folder with --data DIR."
        ) from None
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    return lock


def secret(path: Path) -> str:
    """The secret kept in `path`, made if missing, readable for its owner only."""
    if not path.exists():
        half = path.with_suffix(".new")
        half.unlink(missing_ok=True)
        descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(24))
        half.rename(path)
    return path.read_text().strip()


def free_port(remembered: Path) -> int:
    """The port of the last run if it is free, else any free one."""
    last = remembered.read_text().strip() if remembered.exists() else ""
    for port in (int(last) if last.isdecimal() else 0, 0):
        with socket.socket() as probe:
            # As the server itself binds: the closed connections of the last run do not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return int(probe.getsockname()[1])
    raise EmbeddedServerError("No port is free on 127.0.0.1.")


def initialise(
    state: Path, programs: Path, account: Account | None, *, owner: str, durable: bool
) -> None:
    """Make `state/data` if it is missing, whole or not at all; refuse another major version's."""
    data = state / "data"
    if (data / "PG_VERSION").exists():
        ours, theirs = server_version().split(".")[0], (data / "PG_VERSION").read_text().strip()
        if ours != theirs:
            raise EmbeddedServerError(
                f"The data in {state} was written by PostgreSQL {theirs} and this is {ours}: dump "
                "it with the Daybook that wrote it, or choose another folder with --data DIR."
            )
        return
    half, password_file = state / "data.new", state / "initial-password"
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(mode=0o700)
    password_file.unlink(missing_ok=True)
    password_file.touch(mode=0o600)
    password_file.write_text(secret(state / "password"))
    if account:
        for path in (half, password_file):
            os.chown(path, account.uid, account.gid)
    try:
        made = subprocess.run(
            [
                *(programs / "initdb", "-D", half, "-U", owner, f"--pwfile={password_file}"),
                *("-A", "scram-sha-256", "--encoding=UTF8", "--locale=C", "--data-checksums"),
                *("--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
                *([] if durable else ["--no-sync", "-c", f"scram_iterations={HASTY_LOGIN}"]),
            ],
            cwd="/",
            env={"LC_ALL": "C"},
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
            capture_output=True,
            check=False,
        )
    finally:
        password_file.unlink()
    if made.returncode != 0:
        said = made.stderr.decode(errors="replace").strip()
        raise EmbeddedServerError(f"The database files could not be made in {state}:\n{said}")
    half.rename(data)


def stop_orphan(data: Path) -> None:
    """Stop a server that still runs on `data`, and clear the claim of one that does not.

    For the holder of the state folder only: then whoever started that server is dead.
    """
    note = data / "postmaster.pid"
    if not note.exists():
        return
    first = note.read_text().split("\n", 1)[0]
    pid = int(first) if first.isdecimal() else 0
    if not _is_server_on(pid, data):
        # The number may belong to a stranger by now, and PostgreSQL would then refuse to start.
        # Shared memory, not this file, is what keeps two servers apart.
        note.unlink(missing_ok=True)
        return
    for sign in (signal.SIGINT, signal.SIGQUIT):
        with suppress(ProcessLookupError):
            os.kill(pid, sign)
        until = time.monotonic() + LAST_WORDS_S
        while time.monotonic() < until:
            if not _is_server_on(pid, data):
                return
            time.sleep(0.05)
    raise EmbeddedServerError(
        f"A server left by an earlier run (process {pid}) holds {data} and does not stop: end it "
        f"with `kill -9 {pid}`, or choose another folder with --data DIR."
    )


def _is_server_on(pid: int, data: Path) -> bool:
    """Whether the process is alive and is a server working in `data`."""
    if pid == 0:
        return False
    if sys.platform == "linux":
        with suppress(OSError):
            return Path(f"/proc/{pid}/cwd").resolve(strict=True) == data.resolve()
        return False
    asked = subprocess.run(
        ["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return str(data) in asked.stdout
