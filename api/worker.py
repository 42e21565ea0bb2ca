"""One HTTP worker: the application on a socket that the supervisor has bound.

Run as `python -m api.worker FD`; settings come in the environment.
"""

import socket
import sys

import uvicorn

from adapters.settings import read_settings
from api.app import create_app

DRAIN_S = 5
IDLE_S = 75


def main() -> None:
    """Serve until SIGTERM or SIGINT: then finish what is under way, for at most 5 s."""
    sock = socket.socket(fileno=int(sys.argv[1]))
    config = uvicorn.Config(
        create_app(read_settings()),
        loop="uvloop",
        http="httptools",
        log_config=None,  # The application logs its requests itself, with ids and as JSON.
        access_log=False,
        server_header=False,
        timeout_keep_alive=IDLE_S,
        timeout_graceful_shutdown=DRAIN_S,
    )
    uvicorn.Server(config).run(sockets=[sock])


if __name__ == "__main__":
    main()
