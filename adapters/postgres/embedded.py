"""A PostgreSQL server of our own, for a Daybook that was given none: it lives and dies with us."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import psycopg
from psycopg import sql

from adapters.postgres import lifeline
from adapters.postgres.cluster import (
    HASTY_LOGIN,
    claim,
    free_port,
    initialise,
    secret,
    stop_orphan,
)
from adapters.postgres.migrations import RUNTIME_ROLE
from adapters.postgres.places import (
    Account,
    EmbeddedServerError,
    default_state,
    make_state,
    programs,
    server_account,
)

__all__ = ["EmbeddedServer", "EmbeddedServerError", "default_state"]

OWNER = "daybook"
DATABASE = "daybook"
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "256MB",
    "wal_level": "replica",
    "max_wal_size": "2GB",
    "wal_compression": "off",
    "synchronous_commit": "on",
    "fsync": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",  # We read the log for reasons, in English.
}
# Loses data when the machine stops, so it is for tests only; in exchange a database costs 20 ms,
# and a login, which both sides otherwise hash thousands of times, a fraction of that.
NOT_DURABLE = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "scram_iterations": str(HASTY_LOGIN),
}
LOG_BYTES_MAX = 10_000_000
PATIENCE_S = 15.0
RECOVERY_S = 300.0
SHUTDOWN_S = 60.0


class _Occupied(Exception):
    """The server did not start because something of an earlier one is still there."""


class _PortTaken(_Occupied):
    """Another program listens on the port."""


class EmbeddedServer:
    """A running server on 127.0.0.1 whose data outlives it. Make one with `start`."""

    def __init__(
        self, state: Path, lock: IO[str], durable: bool, settings: Mapping[str, str]
    ) -> None:
        """Hold what a running server needs; `start` does the rest."""
        self.state = state
        self.port = 0
        self._lock = lock
        self._is_durable = durable
        self._settings = _chosen(durable, settings)
        self._account: Account | None = server_account()
        self._programs = programs(self._account)
        self._password = secret(state / "password")
        self._runtime_password = secret(state / "runtime-password")
        self._turn = threading.Lock()
        self._server: lifeline.Tied | None = None

    @classmethod
    def start(
        cls,
        state: Path,
        *,
        port: int | None = None,
        durable: bool = True,
        settings: Mapping[str, str] = {},
    ) -> Self:
        """Start the server on the data in `state`, made if missing; ready when this returns.

        Raises EmbeddedServerError if another living process has that folder.
        """
        state = state.resolve()
        make_state(state, server_account())
        lock = claim(state)
        server: Self | None = None
        try:
            server = cls(state, lock, durable, settings)
            initialise(state, server._programs, server._account, owner=OWNER, durable=durable)
            # We hold the claim, so whoever started a server that still runs is dead.
            stop_orphan(state / "data")
            server._start_patiently(port)
            server._provide()
        except BaseException:
            if server is not None:
                server._halt()
            lock.close()
            raise
        return server

    @property
    def url(self) -> str:
        """Where the owner logs in, who is also the server's superuser."""
        return self.url_for(DATABASE)

    @property
    def runtime_url(self) -> str:
        """Where the runtime role logs in, with a password of its own."""
        return self.runtime_url_for(DATABASE)

    @property
    def pid(self) -> int:
        """The process id of the postmaster."""
        if self._server is None:
            raise EmbeddedServerError("The embedded server was stopped.")
        return self._server.process.pid

    def url_for(self, database: str) -> str:
        """The owner's URL of another database of this server."""
        return f"postgresql://{OWNER}:{self._password}@127.0.0.1:{self.port}/{database}"

    def runtime_url_for(self, database: str) -> str:
        """The runtime role's URL of another database of this server."""
        login = f"{RUNTIME_ROLE}:{self._runtime_password}"
        return f"postgresql://{login}@127.0.0.1:{self.port}/{database}"

    def ensure_running(self) -> bool:
        """Restart the server on its port if it died; True if it had. Any thread may call this."""
        with self._turn:
            if self._lock.closed:
                return False  # Stopped on purpose.
            if self._server is not None:
                if self._server.process.poll() is None:
                    return False
                self._server.release()
                self._server = None
            # Also after a restart that failed: the next call tries again.
            self._start_patiently(self.port)
            return True

    def stop(self) -> None:
        """Shut down: refuse new work, roll back what is open, leave clean files. Waits for it."""
        with self._turn:
            self._halt()
            self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _start_patiently(self, port: int | None) -> None:
        """Start on `port`, or on the remembered or any free one; retry while remains linger.

        The backends of a killed postmaster keep its shared memory for a moment.
        """
        until = time.monotonic() + PATIENCE_S
        remembered = self.state / "port"
        while True:
            self.port = port or free_port(remembered)
            try:
                self._start_once()
                break
            except _Occupied as obstacle:
                if time.monotonic() > until or (isinstance(obstacle, _PortTaken) and port):
                    raise EmbeddedServerError(_cure(obstacle, self.port, self.state)) from None
                time.sleep(0.1)
        remembered.write_text(f"{self.port}\n")

    def _start_once(self) -> None:
        path = self.state / "postgres.log"
        if path.exists() and path.stat().st_size > LOG_BYTES_MAX:
            path.rename(path.with_suffix(".log.1"))
        command = [str(self._programs / "postgres"), "-D", str(self.state / "data")]
        for name, value in {**self._settings, "port": str(self.port)}.items():
            command += ["-c", f"{name}={value}"]
        with path.open("ab") as log:
            begun = log.tell()
            # An environment of its own: PGOPTIONS and the like are meant for clients.
            self._server = lifeline.spawn_tied(
                command, account=self._account, environment={"LC_ALL": "C"}, output=log
            )
        try:
            self._await_ready(begun)
        except BaseException:
            self._halt()
            raise

    def _await_ready(self, log_begun: int) -> None:
        assert self._server is not None
        until = time.monotonic() + RECOVERY_S
        while time.monotonic() < until:
            if self._server.process.poll() is not None:
                raise _reason(self.state / "postgres.log", log_begun)
            with suppress(psycopg.OperationalError):
                psycopg.connect(self.url_for("postgres"), connect_timeout=2).close()
                return
            time.sleep(0.02)
        raise EmbeddedServerError(
            f"The embedded server did not answer within {RECOVERY_S:.0f} s: see "
            f"{self.state / 'postgres.log'}."
        )

    def _halt(self) -> None:
        if self._server is None:
            return
        process = self._server.process
        # SIGINT is PostgreSQL's fast shutdown, SIGQUIT its immediate one (recovery at next start),
        # which is all that data needs that may be lost.
        graceful = ((signal.SIGINT, SHUTDOWN_S),) if self._is_durable else ()
        for sign, patience in (*graceful, (signal.SIGQUIT, 10.0)):
            if process.poll() is None:
                process.send_signal(sign)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(patience)
        if process.poll() is None:
            process.kill()
            process.wait()
        self._server.release()
        self._server = None

    def _provide(self) -> None:
        """Make the database and the runtime's login, where they are missing."""
        with psycopg.connect(self.url_for("postgres"), autocommit=True) as connection:
            known = "SELECT 1 FROM pg_database WHERE datname = %s"
            if connection.execute(known, [DATABASE]).fetchone() is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
            known = "SELECT 1 FROM pg_roles WHERE rolname = %s"
            exists = connection.execute(known, [RUNTIME_ROLE]).fetchone()
            # Encrypted on our side, so that no log can ever show it.
            verifier = connection.pgconn.encrypt_password(
                self._runtime_password.encode(), RUNTIME_ROLE.encode(), b"scram-sha-256"
            )
            connection.execute(
                sql.SQL("{} ROLE {} LOGIN PASSWORD {}").format(
                    sql.SQL("ALTER" if exists else "CREATE"),
                    sql.Identifier(RUNTIME_ROLE),
                    sql.Literal(verifier.decode()),
                )
            )


def _chosen(durable: bool, settings: Mapping[str, str]) -> dict[str, str]:
    chosen = SETTINGS if durable else SETTINGS | NOT_DURABLE
    if sys.platform in ("linux", "darwin"):
        chosen = chosen | {"file_copy_method": "clone"}
    return chosen | dict(settings)


def _reason(log: Path, begun: int) -> Exception:
    """Why the server ended at once, from what it wrote since `begun`."""
    with log.open("rb") as file:
        file.seek(begun)
        said = file.read().decode(errors="replace").strip()
    if "could not bind" in said or "Address already in use" in said:
        return _PortTaken(said)
    if "shared memory" in said or "postmaster.pid" in said:
        return _Occupied(said)
    return EmbeddedServerError(f"The embedded server did not start (log: {log}):\n{said[-2000:]}")


def _cure(obstacle: _Occupied, port: int, state: Path) -> str:
    if isinstance(obstacle, _PortTaken):
        return f"Port {port} is taken on 127.0.0.1: free it, or leave the choice to Daybook."
    return (
        f"Processes of an earlier server still hold {state / 'data'}: end them, or choose another "
        f"folder with --data DIR. The server said:\n{obstacle}"
    )
