"""A provider that does what it is told: for tests, and for trying the gateway without a model.

`python -m adapters.scripted_upstream FD` serves on an inherited socket. `POST /script` says
what comes next, `GET /script` what was done; completions are at `/v1/chat/completions`.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator
from typing import Any, Literal

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

Mode = Literal["ok", "error", "timeout", "fail_mid_stream"]
WORDS = ("This", "is", "the", "scripted", "upstream:", "no", "model", "was", "asked.")


class ScriptedUsage(msgspec.Struct, forbid_unknown_fields=True):
    """Tokens that a completion is to use: one chunk of a stream for each of the output."""

    input: int = 0
    cached_input: int = 0
    output: int = 0
    reasoning: int = 0


class ScriptedAnswer(msgspec.Struct, forbid_unknown_fields=True):
    """An answer word for word; ``is_cut``: the connection breaks behind it."""

    body: str = ""
    status: int = 200
    media: str = "application/json"
    headers: dict[str, str] = {}
    is_cut: bool = False


class Script(msgspec.Struct, forbid_unknown_fields=True):
    """What the provider does next, until it is told something else.

    `fail_mid_stream` breaks off after the scripted output; ``pause_after`` stops a stream
    behind so many tokens until whoever listens has gone, or another script is in force, which
    then counts for the rest of it.
    ``answer`` is said instead of all that.
    """

    mode: Mode = "ok"
    usage: ScriptedUsage | None = None
    pause_after: int | None = None
    answer: ScriptedAnswer | None = None


class Told(msgspec.Struct):
    """What was asked of the provider so far, and what it did."""

    script: Script
    calls: int = 0
    completed: int = 0
    tokens: int = 0
    as_user: int = 0
    last: dict[str, Any] | None = None


class BrokenOff(ConnectionError):
    """The script says that the connection breaks here."""


_script = msgspec.json.Decoder(Script)


def create_app() -> Starlette:
    """A provider with a script of its own."""
    told = Told(Script())

    async def script(request: Request) -> Response:
        if request.method == "POST":
            try:
                told.script = _script.decode(await request.body())
            except msgspec.DecodeError as wrong:
                return JSONResponse({"error": str(wrong)}, 422)
        return Response(msgspec.json.encode(told), media_type="application/json")

    async def completions(request: Request) -> Response:
        body = await request.json()
        now = told.script
        told.calls += 1
        told.as_user += request.headers.get("x-daybook-route") == "oauth"
        told.last = body
        if now.mode == "error":
            return JSONResponse({"error": {"message": "scripted", "type": "server_error"}}, 500)
        if now.mode == "timeout":
            await _gone(request)
            return Response(status_code=504)
        if (said := now.answer) is not None:
            return StreamingResponse(_said(said), said.status, said.headers, said.media)
        usage = now.usage or _plausible(body)
        if body.get("stream"):
            return StreamingResponse(
                _chunks(request, body, usage, now, told), media_type="text/event-stream"
            )
        if now.mode == "fail_mid_stream":
            return StreamingResponse(_broken(), media_type="application/json")
        told.completed += 1
        told.tokens += usage.output
        return JSONResponse(_whole(body, usage))

    return Starlette(
        routes=[
            Route("/script", script, methods=["GET", "POST"]),
            Route("/v1/chat/completions", completions, methods=["POST"]),
        ]
    )


def _plausible(body: dict[str, Any]) -> ScriptedUsage:
    """What a short answer would use."""
    most = body.get("max_completion_tokens") or body.get("max_tokens") or len(WORDS)
    size = len(json.dumps(body.get("messages"))) // 4 + 1
    return ScriptedUsage(input=size, output=min(most, len(WORDS)))


def _word(number: int) -> str:
    return WORDS[number % len(WORDS)] + " "


def _used(usage: ScriptedUsage, output: int) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": output,
        "total_tokens": usage.input + output,
        "prompt_tokens_details": {"cached_tokens": usage.cached_input},
        "completion_tokens_details": {"reasoning_tokens": min(usage.reasoning, output)},
    }


def _head(body: dict[str, Any], kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-scripted", "object": kind, "created": 0, "model": body.get("model")}


def _whole(body: dict[str, Any], usage: ScriptedUsage) -> dict[str, Any]:
    text = "".join(map(_word, range(usage.output)))
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text},
        "finish_reason": "stop",
        "logprobs": None,
    }
    used = _used(usage, usage.output)
    return {**_head(body, "chat.completion"), "choices": [choice], "usage": used}


async def _said(answer: ScriptedAnswer) -> AsyncIterator[bytes]:
    yield answer.body.encode()
    if answer.is_cut:
        raise BrokenOff


async def _broken() -> AsyncIterator[bytes]:
    yield b'{"id": "chatcmpl-scripted", "choices": ['
    raise BrokenOff


async def _chunks(
    request: Request, body: dict[str, Any], usage: ScriptedUsage, script: Script, told: Told
) -> AsyncIterator[bytes]:
    head = _head(body, "chat.completion.chunk")

    def chunk(delta: dict[str, Any], made: int, finish: str | None = None) -> bytes:
        # With what was used so far, as some providers do: so that a stream that is broken off
        # is charged exactly.
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        content = {**head, "choices": [choice], "usage": _used(usage, made)}
        return b"data: " + json.dumps(content).encode() + b"\n\n"

    yield chunk({"role": "assistant", "content": ""}, 0)
    for number in range(usage.output):
        if number == script.pause_after:
            if await _paused(request, script, told):
                return
            script = told.script
        told.tokens += 1
        yield chunk({"content": _word(number)}, number + 1)
        if number % 50 == 49:
            await asyncio.sleep(0)
    if usage.output == script.pause_after and await _paused(request, script, told):
        return
    if script.mode == "fail_mid_stream":
        raise BrokenOff
    yield chunk({}, usage.output, "stop")
    last = {**head, "choices": [], "usage": _used(usage, usage.output)}
    yield b"data: " + json.dumps(last).encode() + b"\n\n"
    told.completed += 1
    yield b"data: [DONE]\n\n"


async def _paused(request: Request, script: Script, told: Told) -> bool:
    """Wait; True if whoever listened has gone."""
    while told.script is script:
        if await request.is_disconnected():
            return True
        await asyncio.sleep(0.01)
    return False


async def _gone(request: Request) -> None:
    while not await request.is_disconnected():  # noqa: ASYNC110 - the framework offers no event
        await asyncio.sleep(0.01)


def config() -> uvicorn.Config:
    """How it is served: connections stay open longer than clients keep an idle one, so that none
    is closed on somebody just asking."""
    return uvicorn.Config(
        create_app(), log_level="critical", access_log=False, timeout_keep_alive=75
    )


def main() -> None:
    """Serve on the socket whose number is the first argument, until told to end."""
    sock = socket.socket(fileno=int(sys.argv[1]))
    uvicorn.Server(config()).run(sockets=[sock])


if __name__ == "__main__":
    main()
