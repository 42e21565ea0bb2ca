"""Connections that can be broken from within, before anything is answered."""

from __future__ import annotations

from starlette.requests import Request
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_BREAK = "daybook.break"


class BreakableConnection(HttpToolsProtocol):
    """HTTP as uvicorn speaks it; whoever answers a request can break its connection."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {_BREAK: {"abort": self.transport.abort}}


def break_off(request: Request) -> None:
    """Break the connection of a request. What is answered after that reaches nobody."""
    request.scope["extensions"][_BREAK]["abort"]()
