"""A process of ours that is kept alive: started, restarted when it dies, stopped when asked."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from adapters.postgres import lifeline

CHECKOUT = Path(__file__).resolve().parents[2]
LIVED_S = 10.0
"""Who lived this long was healthy: its next death is forgiven, and mended at once."""
BACKOFF_S = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0)


class Child:
    """One Python module run as a process. It dies with us, even if we are killed with -9."""

    def __init__(
        self,
        name: str,
        module: str,
        *arguments: str,
        environment: Mapping[str, str],
        keep: Sequence[int] = (),
        patience: float = 10.0,
    ) -> None:
        """Describe it; `patience` is how many seconds it may take to end when asked to."""
        self.name = name
        self.patience = patience
        self.deaths = 0
        self._command = [sys.executable, "-m", module, *arguments]
        self._environment = _inherited() | dict(environment)
        self._keep = keep
        self._tied: lifeline.Tied | None = None
        self._started = 0.0
        self._due = 0.0

    @property
    def pid(self) -> int | None:
        """Its process id, or None while it is not running."""
        tied = self._tied
        return tied.process.pid if tied and tied.process.poll() is None else None

    def start(self) -> None:
        """Start it. What it says, on stdout too, goes to our stderr."""
        self._started = time.monotonic()
        self._tied = lifeline.spawn_tied(
            self._command,
            account=None,
            environment=self._environment,
            output=sys.stderr.buffer,
            keep=self._keep,
        )

    def mend(self) -> int | None:
        """Restart it if it is dead and due; answers the exit code of a death first seen now."""
        now = time.monotonic()
        if self._tied is not None:
            code = self._tied.process.poll()
            if code is None:
                return None
            self._release()
            self.deaths = 1 if now - self._started > LIVED_S else self.deaths + 1
            self._due = now + BACKOFF_S[min(self.deaths, len(BACKOFF_S)) - 1]
            return code
        if now >= self._due:
            self.start()
        return None

    def ask_to_stop(self) -> None:
        """Send SIGTERM; `await_end` waits for what it does then."""
        if self._tied is not None:
            with suppress(ProcessLookupError):
                self._tied.process.send_signal(signal.SIGTERM)

    def await_end(self) -> None:
        """Wait for the end that was asked for, and kill what does not come to it."""
        if self._tied is None:
            return
        process = self._tied.process
        try:
            process.wait(self.patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._release()

    def _release(self) -> None:
        if self._tied is not None:
            self._tied.release()
            self._tied = None


def _inherited() -> dict[str, str]:
    """Our environment, with the checkout importable from wherever we were started."""
    paths = [str(CHECKOUT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}
