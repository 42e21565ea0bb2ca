"""Any OpenAI-compatible provider of models, by URL and key: whole answers and streams."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import httpx

from domain.usage import Tokens

LINE_MAX = 4_000_000  # bytes
COUNT_MAX = 1_000_000_000
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class UpstreamError(RuntimeError):
    """The provider failed, or took too long; the message is one sentence."""


class Upstream:
    """Asks one provider. ``patience_s`` is the longest silence that is waited for."""

    def __init__(self, url: str, key: str = "", patience_s: float = 60.0) -> None:
        self.url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._patience_s = patience_s
        # Proxies are for the world outside.
        trust = urlsplit(url).hostname not in LOOPBACK
        timeout = httpx.Timeout(patience_s, connect=min(patience_s, 10.0))
        limits = httpx.Limits(max_connections=1_000, max_keepalive_connections=100)
        self._http = httpx.AsyncClient(timeout=timeout, limits=limits, trust_env=trust)

    async def close(self) -> None:
        """Let go of every connection."""
        await self._http.aclose()

    async def complete(self, body: dict[str, Any], *, as_user: bool = False) -> dict[str, Any]:
        """The provider's whole answer to a chat completion. ``as_user``: on the user's own
        account, not on ours.

        :raises UpstreamError: it failed, took too long, or what it said is no completion.
        """
        try:
            async with asyncio.timeout(self._patience_s):
                response = await self._http.send(self._request(body, as_user))
            _require_ok(response)
            answer = response.json()
        except (TimeoutError, httpx.TimeoutException):
            raise UpstreamError("The provider took too long.") from None
        except (httpx.HTTPError, ValueError, RecursionError):
            raise UpstreamError("The provider broke off, or did not answer in JSON.") from None
        if not isinstance(answer, dict) or not answer.get("choices"):
            raise UpstreamError("The provider's answer holds no completion.")
        return answer

    async def stream(self, body: dict[str, Any], *, as_user: bool = False) -> UpstreamStream:
        """The provider's answer as it is made; close it in the end.

        :raises UpstreamError: it did not begin.
        """
        try:
            async with asyncio.timeout(self._patience_s):
                response = await self._http.send(self._request(body, as_user), stream=True)
        except (TimeoutError, httpx.TimeoutException):
            raise UpstreamError("The provider took too long.") from None
        except httpx.HTTPError:
            raise UpstreamError("The provider cannot be reached.") from None
        try:
            _require_ok(response)
        except UpstreamError:
            await response.aclose()
            raise
        return UpstreamStream(response)

    def _request(self, body: dict[str, Any], as_user: bool) -> httpx.Request:
        headers = {**self._headers, "X-Daybook-Route": "oauth"} if as_user else self._headers
        return self._http.build_request(
            "POST", f"{self.url}/chat/completions", json=body, headers=headers
        )


class UpstreamStream:
    """A completion that is being made."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response

    async def close(self) -> None:
        """Stop listening; the provider stops generating when it notices."""
        await self._response.aclose()

    async def chunks(self) -> AsyncIterator[dict[str, Any]]:
        """Each chunk as the provider sends it.

        :raises UpstreamError: it ended before its end.
        """
        try:
            async for line in self._lines():
                if not line.startswith(b"data:"):
                    continue
                data = line[5:].strip()
                if data == b"[DONE]":
                    return
                chunk = json.loads(data)
                if not isinstance(chunk, dict) or chunk.get("error"):
                    raise UpstreamError("The provider reported an error.")
                yield chunk
        except httpx.TimeoutException:
            raise UpstreamError("The provider fell silent.") from None
        except (httpx.HTTPError, httpx.StreamError, ValueError, RecursionError):
            raise UpstreamError("The provider broke off.") from None
        raise UpstreamError("The provider broke off.")

    async def _lines(self) -> AsyncIterator[bytes]:
        # Not by `splitlines`: JSON may hold characters that it takes for ends of lines.
        rest = b""
        async for part in self._response.aiter_bytes():
            *lines, rest = (rest + part).split(b"\n")
            if len(rest) > LINE_MAX:
                raise UpstreamError("The provider sent a line without an end.")
            for line in lines:
                yield line
        yield rest


def tokens_of(usage: Any) -> Tokens | None:
    """What a provider says that a completion used, or None if it does not say."""
    if not isinstance(usage, dict):
        return None
    read, made = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    if read is None or made is None:
        return None
    cached = _count(usage.get("prompt_tokens_details"), "cached_tokens") or 0
    reasoning = _count(usage.get("completion_tokens_details"), "reasoning_tokens") or 0
    return Tokens(read, min(cached, read), made, min(reasoning, made))


def _count(of: Any, name: str) -> int | None:
    value = of.get(name) if isinstance(of, dict) else None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= COUNT_MAX:
        return None
    return value


def _require_ok(response: httpx.Response) -> None:
    if not response.is_success:
        raise UpstreamError(f"The provider answered {response.status_code}.")
