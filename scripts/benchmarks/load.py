"""HTTP clients that cost next to nothing: requests made beforehand, answers hardly looked at."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from itertools import count
from typing import cast

import uvloop

from scripts.benchmarks.clients import Order, Sample, no_waits

ACT = (
    '{"event_id":"%s","meter":"chat","llm_model":"gpt-5.4","tokens":{"input":1234,"output":321},'
    '"api_key_id":"key_1","model_username":"alice"}'
)
HEAD = (
    "%s %s HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer %s\r\nX-Workspace-Id: %s\r\n"
    "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"
)
ROUTES = {
    "nothing": ("PUT", "/v1/usage", b"201"),
    "usage": ("POST", "/v1/usage", b"201"),
    "batch": ("POST", "/v1/usage/batch", b"200"),
}


class Line(asyncio.Protocol):
    """One kept-alive connection with one request under way."""

    def __init__(
        self,
        answered: Callable[[Line, bytes, bytes], None],
        lost: Callable[[Exception | None], None],
    ) -> None:
        self._answered = answered
        self._lost = lost
        self._parts: list[bytes] = []
        self._missing = 0
        self.asked = 0.0
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to send."""
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, error: Exception | None) -> None:
        """The worker hung up, or an answer could not be understood."""
        self._lost(error)

    def data_received(self, data: bytes) -> None:
        """Wait for the whole answer, by its Content-Length."""
        if not self._parts:
            head, found, body = data.partition(b"\r\n\r\n")
            assert found, "an answer's head came in pieces"
            length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            self._missing = int(length) - len(body)
        else:
            self._missing -= len(data)
        self._parts.append(data)
        if self._missing <= 0:
            whole, self._parts = self._parts, []
            self._answered(self, whole[0][9:12], whole[-1])

    def send(self, request: bytes) -> None:
        """Ask, from now."""
        assert self.transport is not None
        self.asked = time.monotonic()
        self.transport.write(request)


class Load:
    """The HTTP clients of one process."""

    def __init__(self, port: int, key: str) -> None:
        self._port = port
        self._key = key
        self._loop = uvloop.new_event_loop()

    def run(self, order: Order) -> Sample:
        """Orders: ``nothing``, ``usage``, or ``batch`` with ``size`` acts a request; of workspaces
        drawn at random, or ``in_order``. A client is a connection."""
        return self._loop.run_until_complete(self._drive(order))

    async def _connected(self, clients: int, line: Callable[[], Line]) -> list[Line]:
        made = [
            await self._loop.create_connection(line, "127.0.0.1", self._port)
            for _ in range(clients)
        ]
        return [protocol for _, protocol in made]

    async def _drive(self, order: Order) -> Sample:
        size = order.options.get("size", 1)
        method, path, good = ROUTES[order.task]
        waits = no_waits()
        draw = random.Random(order.tag).random
        number = count()
        over = self._loop.create_future()
        working = order.clients
        bad: list[bytes] = []

        # Ids of one length, so that what stands before a body is the same for all.
        def body() -> bytes:
            acts = [ACT % f"{order.tag}.{next(number):09d}" for _ in range(size)]
            return (acts[0] if order.task != "batch" else f"[{','.join(acts)}]").encode()

        length = len(body())
        heads = [
            (HEAD % (method, path, self._key, account, length)).encode()
            for account in order.accounts
        ]

        in_order = order.options.get("in_order")

        def ask(line: Line) -> None:
            place = len(waits) if in_order else int(draw() * len(heads))
            line.send(heads[place % len(heads)] + body())

        def answered(line: Line, status: bytes, last: bytes) -> None:
            nonlocal working
            now = time.monotonic()
            waits.append(now - line.asked)
            if status != good or (size > 1 and not last.endswith(b'"refused":0}')):
                bad.append(status + b" " + last[-300:])
            if now < order.end:
                ask(line)
                return
            working -= 1
            if not working:
                over.set_result(None)

        def lost(error: Exception | None) -> None:
            if not over.done():
                over.set_exception(error or ConnectionError("the worker hung up"))

        lines = await self._connected(order.clients, lambda: Line(answered, lost))
        await asyncio.sleep(max(order.begin - time.monotonic(), 0))
        began = time.monotonic()
        for line in lines:
            ask(line)
        await over
        ended = time.monotonic()
        for line in lines:
            assert line.transport is not None
            line.transport.close()
        if bad:
            raise RuntimeError(f"{len(bad)} of {len(waits)} answers were wrong: {bad[0]!r}")
        acts = len(waits) * size
        # Connecting may take longer than the crew's lead.
        took = ended - max(began, order.begin)
        return Sample(acts, order.begin + took, waits, {"debits": acts})
