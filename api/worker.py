"""One HTTP worker: the application on a socket that the supervisor has bound.

Run as `python -m api.worker FD`; settings come in the environment.
"""

import asyncio
import contextlib
import gc
import socket
import sys

import uvicorn
from fastapi import FastAPI

from adapters.settings import read_settings
from api.app import create_app

DRAIN_S = 5
STREAMS_END_S = 0.3
IDLE_S = 75
"""Longer than clients keep a connection that is idle: none is closed on somebody just asking."""


class Worker(uvicorn.Server):
    """Uvicorn, with an end for answers that never end by themselves."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Load the application. What lives then lives on: pauses of the collector, which would
        look at it again and again, would dominate the slowest answers."""
        await super().startup(sockets)
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish the requests under way; pages that listen for news are hung up on, and will
        find another worker."""
        ending = asyncio.create_task(self._end_streams())
        try:
            await super().shutdown(sockets)
        finally:
            ending.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await ending

    async def _end_streams(self) -> None:
        await asyncio.sleep(STREAMS_END_S)
        for connection in list(self.server_state.connections):
            cycle = getattr(connection, "cycle", None)
            transport = getattr(connection, "transport", None)
            if cycle is not None and transport is not None and cycle.response_started:
                transport.close()


def worker_of(app: FastAPI) -> Worker:
    """A worker that serves this application; `run` gives it its socket."""
    return Worker(
        uvicorn.Config(
            app,
            loop="uvloop",
            http="httptools",
            log_config=None,  # The application logs its requests itself, with ids and as JSON.
            access_log=False,
            server_header=False,
            timeout_keep_alive=IDLE_S,
            timeout_graceful_shutdown=DRAIN_S,
        )
    )


def main() -> None:
    """Serve until SIGTERM or SIGINT: then finish what is under way, for at most 5 s."""
    sock = socket.socket(fileno=int(sys.argv[1]))
    worker_of(create_app(read_settings())).run(sockets=[sock])


if __name__ == "__main__":
    main()
