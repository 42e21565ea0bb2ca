"""A completion on its way to the client, as server-sent events, charged by what was sent."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import structlog
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from adapters.upstream import UpstreamError, UpstreamStream, tokens_of
from api.gateway.metered import Ask, Metered
from domain.errors import TryAgain
from domain.hold_facts import Release
from domain.usage import Tokens

HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]

log = structlog.get_logger("daybook.gateway")


class Seen:
    """What a stream has brought so far."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._said: Tokens | None = None
        self._pieces = 0

    def take(self, chunk: dict[str, Any]) -> None:
        """Count a chunk: by what the provider says, else a piece is a token."""
        self._said = tokens_of(chunk.get("usage")) or self._said
        for choice in chunk.get("choices") or ():
            delta = choice.get("delta") if isinstance(choice, dict) else None
            if isinstance(delta, dict) and any(
                delta.get(name) for name in ("content", "tool_calls")
            ):
                self._pieces += 1

    @property
    def tokens(self) -> Tokens:
        """What was used so far."""
        return self._said or self._ask.counted(self._pieces)

    @property
    def is_generated(self) -> bool:
        """Whether there is anything to pay for yet."""
        return self._pieces > 0 or (self._said is not None and self._said.output > 0)


class CompletionStream(Response):
    """Passes the provider's chunks on. The last thing that it sends is `[DONE]`, after the
    charge; or an `error` event if the provider broke off. Whoever leaves early is charged for
    what was generated until then."""

    def __init__(
        self,
        stream: UpstreamStream,
        metered: Metered,
        ask: Ask,
        *,
        with_usage: bool,
        charge_delivered: bool,
    ) -> None:
        self._stream = stream
        self._metered = metered
        self._seen = Seen(ask)
        self._with_usage = with_usage
        self._charge_delivered = charge_delivered
        self.background = None
        self.status_code = 200
        self.raw_headers = [*HEADERS, (b"x-daybook-hold-id", metered.hold_id.encode())]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        passing = asyncio.create_task(self._pass_on(send))
        leaving = asyncio.create_task(_left(receive))
        try:
            await asyncio.wait({passing, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            passing.cancel()
            await asyncio.gather(leaving, passing, return_exceptions=True)
            await asyncio.shield(self._end())

    async def _pass_on(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        try:
            async for chunk in self._stream.chunks():
                await self._metered.extend()
                self._seen.take(chunk)
                if (shown := self._shown(chunk)) is not None:
                    await _event(send, msgspec.json.encode(shown))
            await self._metered.settle(self._seen.tokens)
        except UpstreamError as error:
            await self._stop(charge=self._charge_delivered, why="upstream_failed")
            await _error(send, "upstream_failed", str(error))
        except TryAgain as refusal:
            await _error(send, refusal.code, str(refusal))
        else:
            await _event(send, b"[DONE]")
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _shown(self, chunk: dict[str, Any]) -> dict[str, Any] | None:
        """The chunk as the client asked for it: usage once, in the end, or not at all."""
        if not chunk.get("choices") and chunk.get("usage") is not None:
            return chunk if self._with_usage else None
        rest = {name: value for name, value in chunk.items() if name != "usage"}
        return {**rest, "usage": None} if self._with_usage else rest

    async def _stop(self, *, charge: bool, why: Release) -> None:
        if charge and self._seen.is_generated:
            await self._metered.settle(self._seen.tokens)
        else:
            await self._metered.release(why)

    async def _end(self) -> None:
        """The client has all, or has gone: either way the call comes to its end once."""
        await self._stream.close()
        try:
            await self._stop(charge=True, why="client_cancelled")
        except TryAgain:
            log.exception("call_not_charged", hold=self._metered.hold_id)


async def _event(send: Send, data: bytes) -> None:
    body = b"data: " + data + b"\n\n"
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def _error(send: Send, code: str, message: str) -> None:
    error = {"error": {"message": message, "type": code, "code": code, "param": None}}
    body = b"event: error\ndata: " + msgspec.json.encode(error) + b"\n\n"
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
