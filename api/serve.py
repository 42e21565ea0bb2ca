"""The supervisor: one socket, N workers, one poster; it heals what dies and stops what it began."""

import errno
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Self

from adapters.postgres.embedded import EmbeddedServer, EmbeddedServerError
from api.running.child import Child

PORT = 8440
BACKLOG = 2048
LOOK_S = 0.05
"""How often the parts are looked at: a dead one is noticed within this."""
DRAIN_S = 10.0


class CannotServe(RuntimeError):
    """The deployment cannot start; the message is one line that names the cure."""


class Stopped(BaseException):
    """Somebody asked us to end. Not an error, so nothing may catch it on the way out."""


@contextmanager
def stopping() -> Iterator[None]:
    """Leave the block, cleanly, when SIGTERM, SIGINT or SIGHUP arrives; later ones are ignored."""
    asked = False

    def ask(_sign: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if not asked:
            asked = True
            raise Stopped

    signs = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {sign: signal.signal(sign, ask) for sign in signs}
    try:
        yield
    except Stopped:
        pass
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)


def listen(host: str, port: int | None) -> socket.socket:
    """A listening socket: on `port`, or where None is given on 8440, or on any that is free.

    :raises CannotServe: the port that was asked for is taken, or the host is none of ours.
    """
    for candidate in (PORT, 0) if port is None else (port,):
        try:
            return _bound(host, candidate)
        except OSError as error:
            if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
                raise CannotServe(
                    f"Cannot listen on {host} ({error.strerror}): it is no address of this "
                    "machine; choose another with --host, or leave it out."
                ) from None
            if candidate != PORT or port is not None:
                raise CannotServe(
                    f"Cannot listen on {host}:{candidate} ({error.strerror}): "
                    "choose another with --port N, or leave it out."
                ) from None
    raise AssertionError("unreachable: the loop returns or raises")


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def url_of(sock: socket.socket) -> str:
    """The address that people put into a browser on this machine."""
    host, port = sock.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Supervisor:
    """Runs the parts of a deployment. Use as a context: leaving it stops all, in order.

    The workers drain first, then the poster ends, and the embedded server (the caller's) last,
    so that nothing loses its database while it still works.
    """

    def __init__(
        self,
        sock: socket.socket,
        environment: Mapping[str, str],
        *,
        workers: int,
        server: EmbeddedServer | None,
    ) -> None:
        fd = sock.fileno()
        self._server = server
        self._over = threading.Event()
        self._turn = threading.Lock()
        self._threads: list[threading.Thread] = []
        self.poster = Child("poster", "api.posting", environment=environment)
        self.workers = [
            Child(
                f"worker {number + 1}",
                "api.worker",
                str(fd),
                environment=environment,
                keep=(fd,),
                patience=DRAIN_S,
            )
            for number in range(workers)
        ]
        self._children = [self.poster, *self.workers]

    def __enter__(self) -> Self:
        try:
            for child in self._children:
                child.start()
            for watch in (self._watch_children, self._watch_server):
                thread = threading.Thread(target=watch, name=watch.__name__, daemon=True)
                thread.start()
                self._threads.append(thread)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def add(self, child: Child) -> None:
        """Start one more part and keep it alive too; it is the first to be stopped."""
        with self._turn:
            if not self._over.is_set():
                child.start()
                self._children.append(child)

    @property
    def is_hopeless(self) -> bool:
        """Whether a part dies again and again before it ever works."""
        return any(child.deaths >= 4 for child in self._children)

    def stop(self) -> None:
        """End every part and wait for it. Safe to call twice."""
        self._over.set()
        for thread in self._threads:
            thread.join()
        # Whoever was added by `add` calls the workers, and the workers rely on the poster.
        for group in (self._children[1 + len(self.workers) :], self.workers, [self.poster]):
            for child in group:
                child.ask_to_stop()
            for child in group:
                child.await_end()

    def _watch_children(self) -> None:
        while not self._over.wait(LOOK_S):
            with self._turn:
                for child in self._children:
                    pid = child.pid
                    with suppress(OSError):  # Such as no memory to fork: tried again soon.
                        code = child.mend()
                        if code is not None:
                            say(f"{child.name} ended ({_how(code)}): starting it again")
                        elif pid is None and child.pid is not None:
                            say(f"{child.name} runs again (process {child.pid})")

    def _watch_server(self) -> None:
        while self._server is not None and not self._over.wait(LOOK_S):
            try:
                if self._server.ensure_running():
                    say("the database server had died: it runs again")
            except EmbeddedServerError as error:
                say(f"the database server does not start: {error}")
                self._over.wait(1.0)


def say(line: str) -> None:
    """Tell whoever watches; stdout is kept for programs."""
    print(f"daybook: {line}", file=sys.stderr, flush=True)


def _how(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
