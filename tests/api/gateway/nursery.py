"""HTTP workers that are cheap to replace: forked from a process that has imported everything.

`python -m tests.api.gateway.nursery FD` serves on an inherited socket, with settings from the
environment. Each line on its input is one more worker; each line of its output is the process
id of one that serves. It ends, and all its workers with it, when its input does.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from adapters.settings import Settings, read_settings
from api.app import create_app
from api.worker import Worker, worker_of
from tests.api.deployments import CHECKOUT, environment


class Nursery:
    """Workers on one socket. Any of them may be killed at any time."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.url = url
        self.serving: list[int] = []
        self._process = process
        self._asked = 0

    def grow(self, size: int) -> None:
        """Ask for as many workers as are missing, and wait until all but one serve."""
        assert self._process.stdin is not None and self._process.stdout is not None
        while len(self.serving) + self._asked < size:
            self._process.stdin.write("\n")
            self._process.stdin.flush()
            self._asked += 1
        while len(self.serving) < size - 1:
            self.serving.append(int(self._process.stdout.readline()))
            self._asked -= 1

    def kill(self, number: int) -> None:
        """`kill -9` for the worker of this number."""
        os.kill(self.serving.pop(number), signal.SIGKILL)


@contextmanager
def nursery(settings: Settings) -> Iterator[Nursery]:
    """An empty nursery; it and its workers are gone behind the block."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as sock:
        fd = sock.fileno()
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.api.gateway.nursery", str(fd)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[fd],
            text=True,
            env=environment(**settings.environment()),
            cwd=CHECKOUT,
            start_new_session=True,
        )
        try:
            yield Nursery(process, f"http://127.0.0.1:{sock.getsockname()[1]}")
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def main() -> None:
    """Fork a worker for each line of the input."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the dead
    sock = socket.socket(fileno=int(sys.argv[1]))
    app = create_app(read_settings())
    while sys.stdin.readline():
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            worker = worker_of(app)
            announce(worker)
            worker.run(sockets=[sock])
            os._exit(0)
    os.killpg(0, signal.SIGKILL)


def announce(worker: Worker) -> None:
    """Let it say its process id as soon as it serves."""
    startup = worker.startup

    async def started(sockets: list[socket.socket] | None = None) -> None:
        await startup(sockets)
        os.write(1, f"{os.getpid()}\n".encode())

    worker.startup = started  # type: ignore[method-assign]


if __name__ == "__main__":
    main()
