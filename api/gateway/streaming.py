"""A completion on its way to the client, as server-sent events, charged by what was sent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import msgspec
import structlog
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from adapters.upstream import UpstreamError, UpstreamStream, tokens_of
from api.gateway.metered import Ask, Metered, failed, spent
from api.idempotency import Claim, Kept
from api.refusals import AnswerNotKept, UpstreamFailed
from api.usage import warnings_of
from domain.account.charge import Charge
from domain.account.hold_facts import Release
from domain.account.usage import Tokens
from domain.errors import Refusal

MEDIA_TYPE = "text/event-stream; charset=utf-8"
HEADERS = [
    (b"content-type", MEDIA_TYPE.encode()),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]

KEPT_MAX = 1_000_000  # bytes of a stream that is kept for whoever sends its key again
GENERATED = ("content", "tool_calls", "function_call", "refusal", "reasoning_content", "reasoning")
LEFT = "The first request with this key ended here: its client left. Take a new key to go on."

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
            if isinstance(delta, dict) and any(map(delta.get, GENERATED)):
                self._pieces += 1

    @property
    def tokens(self) -> Tokens:
        """What was used so far."""
        return self._said or self._ask.counted(self._pieces)

    @property
    def is_generated(self) -> bool:
        """Whether there is anything to pay for yet."""
        return self._pieces > 0 or (self._said is not None and self._said.output > 0)


class Record:
    """What was sent under an Idempotency-Key, kept for whoever sends the key again."""

    def __init__(self, claim: Claim) -> None:
        self._claim = claim
        self._parts: list[bytes] = []
        self._size = 0
        self._settling: asyncio.Task[None] | None = None

    def add(self, part: bytes) -> None:
        """A part that is being sent. Behind ``KEPT_MAX`` bytes nothing is kept any more."""
        self._size += len(part)
        if self._size <= KEPT_MAX:
            self._parts.append(part)
        else:
            self._parts.clear()

    async def settle(self, charge: Charge | None, end: bytes = b"") -> None:
        """Keep what was sent and paid for, with its ``end``; forget a call without a charge.
        Once: even if whoever waits for it goes away."""
        if self._settling is None:
            kept = None
            if charge is not None:
                whole = b"" if self._size > KEPT_MAX else b"".join([*self._parts, end])
                kept = Kept(200, whole, charge.position, {})
            self._settling = asyncio.create_task(self._claim.settle(kept))
        await asyncio.shield(self._settling)


def replayed(kept: Kept) -> Response:
    """The same stream again, or the same refusal.

    :raises AnswerNotKept: it was too long.
    """
    if kept.status == 200 and not kept.body:
        raise AnswerNotKept(
            f"this stream was sent and charged once; longer than {KEPT_MAX} bytes, it was not kept"
        )
    return kept.response(replayed=True, media=MEDIA_TYPE)


class CompletionStream(Response):
    """Passes the provider's chunks on. The last thing that it sends is `[DONE]`, after the
    charge; or an `error` event if the provider broke off. If it fails before the first chunk,
    the answer is what ``refused`` makes of it. Whoever leaves early is charged for what was
    generated until then."""

    def __init__(
        self,
        stream: UpstreamStream,
        metered: Metered,
        ask: Ask,
        *,
        with_usage: bool,
        charge_delivered: bool,
        record: Record | None,
        refused: Callable[[UpstreamFailed], Response],
    ) -> None:
        self._stream = stream
        self._metered = metered
        self._seen = Seen(ask)
        self._with_usage = with_usage
        self._charge_delivered = charge_delivered
        self._record = record
        self._refused = refused
        self._is_whole = False
        self._usage: dict[str, Any] | None = None  # the last chunk, which waits for the charge
        self.background = None
        self.status_code = 200
        given = {"X-Daybook-Hold-Id": metered.hold_id, **spent(metered.budgets)}
        own = [(name.lower().encode(), value.encode()) for name, value in given.items()]
        self.raw_headers = [*HEADERS, *own]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        passing = asyncio.create_task(self._pass_on(scope, receive, send))
        leaving = asyncio.create_task(_left(receive))
        try:
            await asyncio.wait({passing, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            passing.cancel()
            await asyncio.gather(leaving, passing, return_exceptions=True)
            broken = None if passing.cancelled() else passing.exception()
            await asyncio.shield(self._end(charge=broken is None))
        if broken is not None:
            raise broken

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False
        # Closed here and now: not by the collector, in whichever thread that runs.
        async with aclosing(self._stream.chunks()) as chunks:
            try:
                async for chunk in chunks:
                    await self._metered.extend()
                    self._seen.take(chunk)
                    if not started:
                        started = True
                        await self._start(send)
                    if (shown := self._shown(chunk)) is not None:
                        await self._say(send, shown)
                self._is_whole = True
                charge = await self._metered.settle(self._seen.tokens)
                end = self._last(charge)
                await self._keep(charge, end)
            except UpstreamError as error:
                failure = failed(error)
                charge = await self._stop(charge=self._charge_delivered, why="upstream_failed")
                end = _error(failure.code, failure.why if charge else str(failure))
                end = _comment(charge) + end
                await self._keep(charge, end)
                if not started:
                    await self._refused(failure)(scope, receive, send)
                    return
            except Refusal as refusal:  # the ledger cannot be asked: nobody is told it was done
                log.error("call_not_charged", hold=self._metered.hold_id, reason=refusal.code)
                await self._keep(None)
                end = _error(refusal.code, str(refusal))
        if not started:
            await self._start(send)
        await _send(send, end)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _start(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})

    async def _say(self, send: Send, shown: dict[str, Any]) -> None:
        event = _event(shown)
        if self._record is not None:
            self._record.add(event)
        await _send(send, event)

    async def _keep(self, charge: Charge | None, end: bytes = b"") -> None:
        if self._record is not None:
            await self._record.settle(charge, end)

    def _shown(self, chunk: dict[str, Any]) -> dict[str, Any] | None:
        """The chunk as the client asked for it: usage once, in the end, or not at all."""
        usage = chunk.get("usage")
        rest = {name: value for name, value in chunk.items() if name != "usage"}
        if usage is not None:
            self._usage = {**rest, "choices": [], "usage": usage}
            if not chunk.get("choices"):
                return None
        return {**rest, "usage": None} if self._with_usage else rest

    def _last(self, charge: Charge | None) -> bytes:
        """What is sent behind the charge: the usage, with the budgets that are spent now."""
        if not self._with_usage or self._usage is None:
            return _comment(charge) + DONE
        told = warnings_of(charge.budgets) if charge is not None else []
        return _event({**self._usage, **({"budget_warnings": told} if told else {})}) + DONE

    async def _stop(self, *, charge: bool, why: Release) -> Charge | None:
        if charge and self._seen.is_generated:
            return await self._metered.settle(self._seen.tokens)
        await self._metered.release(why)
        return None

    async def _end(self, *, charge: bool) -> None:
        """The client has all, or has gone: either way the call comes to its end once."""
        await self._stream.close()
        try:
            charged = await self._stop(charge=charge, why="client_cancelled")
            end = self._last(charged) if self._is_whole else _error("client_cancelled", LEFT)
            await self._keep(charged, end)
        except Refusal:
            log.exception("call_not_charged", hold=self._metered.hold_id)
            await self._keep(None)


DONE = b"data: [DONE]\n\n"


async def _send(send: Send, part: bytes) -> None:
    await send({"type": "http.response.body", "body": part, "more_body": True})


def _event(shown: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(shown) + b"\n\n"


def _comment(charge: Charge | None) -> bytes:
    """Budgets that are spent, where no chunk may say it: clients pass over comments."""
    if charge is None or not charge.budgets:
        return b""
    return b": budget_warnings " + msgspec.json.encode(warnings_of(charge.budgets)) + b"\n\n"


def _error(code: str, message: str) -> bytes:
    error = {"error": {"message": message, "type": code, "code": code, "param": None}}
    return b"event: error\ndata: " + msgspec.json.encode(error) + b"\n\n"


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
