"""One HTTP worker as `api/worker.py` runs it, with one more endpoint: it does nothing.

Run as `python -m scripts.benchmarks.stand FD`; settings come in the environment. ``PUT
/v1/usage`` passes the same edge, the same authentication and the same parser as ``POST
/v1/usage``, and answers with a small JSON; it shares the path, so that it is not logged either.
"""

from __future__ import annotations

import socket
import sys

import msgspec
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from adapters.settings import read_settings
from api.app import create_app
from api.call import encode, enter, parse, read_body
from api.worker import worker_of
from domain.account.usage import Usage

NOTHING = {"done": True}
_usage = msgspec.json.Decoder(Usage)


async def nothing(request: Request) -> Response:
    """Read what `charge` reads, and answer."""
    await enter(request, "usage:write")
    parse(_usage, await read_body(request))
    return Response(encode(NOTHING), 201, None, "application/json")


def make() -> FastAPI:
    """The application, and the endpoint before all of its routes: nobody looks for it longer."""
    app = create_app(read_settings())
    app.add_api_route("/v1/usage", nothing, methods=["PUT"], include_in_schema=False)
    app.router.routes.insert(0, app.router.routes.pop())
    return app


def main() -> None:
    """Serve until SIGTERM."""
    worker_of(make()).run(sockets=[socket.socket(fileno=int(sys.argv[1]))])


if __name__ == "__main__":
    main()
