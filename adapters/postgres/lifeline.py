"""Starts a program that dies with this process, however this process dies."""

import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from adapters.postgres.places import Account

LAUNCHER = Path(__file__).with_name("_launch.py")
HAS_DEATH_SIGNAL = sys.platform == "linux"


@dataclass(frozen=True)
class Tied:
    """A running program, and the pipe whose closing stops it (None where the kernel does it)."""

    process: subprocess.Popen[bytes]
    lifeline: int | None

    def release(self) -> None:
        """Close our end, once the program is known to be gone."""
        if self.lifeline is not None:
            os.close(self.lifeline)


def spawn_tied(
    command: Sequence[str],
    *,
    account: Account | None,
    environment: dict[str, str],
    output: IO[bytes],
    keep: Sequence[int] = (),
    by_pipe: bool = not HAS_DEATH_SIGNAL,
) -> Tied:
    """Start `command` as `account`; it is sent SIGINT when this process ends. Any thread may ask.

    It gets a session of its own, so that Ctrl-C in a terminal reaches us first and not it, and of
    our files only those in `keep`.
    """
    reading, writing = os.pipe() if by_pipe else (None, None)
    identity = [str(account.uid), str(account.gid)] if account else ["-", "-"]
    launch = [
        *(sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), *identity),
        "-" if reading is None else str(reading),
        *command,
    ]

    def popen() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            launch,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
            pass_fds=keep if reading is None else (*keep, reading),
        )

    process = popen() if by_pipe else _in_lasting_thread(popen)
    if reading is not None:
        os.close(reading)
    return Tied(process, writing)


# Linux sends the death signal when the *thread* that forked ends, not the process. So every such
# fork is done by one thread that never ends.
_Errand = tuple[Callable[[], "subprocess.Popen[bytes]"], "Future[subprocess.Popen[bytes]]"]
_errands: "queue.SimpleQueue[_Errand]" = queue.SimpleQueue()
_lasting_threads: dict[int, threading.Thread] = {}  # By process id: a fork has none of its own.
_first = threading.Lock()


def _in_lasting_thread(
    popen: Callable[[], "subprocess.Popen[bytes]"],
) -> "subprocess.Popen[bytes]":
    with _first:
        if os.getpid() not in _lasting_threads:
            thread = threading.Thread(target=_run_errands, name="lifeline", daemon=True)
            thread.start()
            _lasting_threads[os.getpid()] = thread
    started: Future[subprocess.Popen[bytes]] = Future()
    _errands.put((popen, started))
    return started.result()


def _run_errands() -> None:
    while True:
        popen, started = _errands.get()
        try:
            started.set_result(popen())
        except BaseException as error:  # Handed to whoever asked; this thread must live on.
            started.set_exception(error)
