"""Any OpenAI-compatible provider of models, by URL and key: whole answers and streams."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, cast
from urllib.parse import urlsplit

import httpx

from adapters.authorities import authorities
from domain.account.usage import Tokens

LINE_MAX = 4_000_000  # bytes
COUNT_MAX = 1_000_000_000
LOOPBACK = ("127.0.0.1", "localhost", "::1")


CALLERS = (400, 404, 413, 415, 422)
"""Statuses by which a provider refuses the request itself; others concern our key or it."""
SAID_MAX = 300  # characters
SAID_BODY_MAX = 65_536  # bytes
WAIT_MAX_S = 3_600
SECRET = re.compile(r"(?i)\b(?:sk|pk|rk|key|org|proj)[-_][\w*.-]{4,}|\bbearer\s+\S+|\S*\*{3,}\S*")


class UpstreamError(RuntimeError):
    """The provider failed, or took too long; the message is one or two sentences.

    ``status`` is what it answered, if it did. ``is_callers``: it refused the request itself, so
    that asking again is useless. ``retry_after`` in seconds, where it gave one.
    """

    def __init__(
        self,
        message: str,
        status: int | None = None,
        *,
        is_callers: bool = False,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.is_callers = is_callers
        self.retry_after = retry_after


class Upstream:
    """Asks one provider. ``patience_s`` is the longest silence that is waited for."""

    def __init__(self, url: str, key: str = "", patience_s: float = 60.0) -> None:
        self.url = url.rstrip("/")
        self._key = key
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._patience_s = patience_s
        # Proxies are for the world outside.
        trust = urlsplit(url).hostname not in LOOPBACK
        timeout = httpx.Timeout(patience_s, connect=min(patience_s, 10.0))
        limits = httpx.Limits(max_connections=1_000, max_keepalive_connections=100)
        self._http = httpx.AsyncClient(
            timeout=timeout, limits=limits, trust_env=trust, verify=authorities()
        )

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
            if not response.is_success:
                raise refusal_of(response, response.content, self._key)
            answer = response.json()
        except (TimeoutError, httpx.TimeoutException):
            raise UpstreamError("The provider took too long.") from None
        except (httpx.HTTPError, ValueError, RecursionError):
            raise UpstreamError("The provider broke off, or did not answer in JSON.") from None
        if not isinstance(answer, dict) or not _is_completion(answer.get("choices")):
            raise UpstreamError("The provider's answer holds no completion.")
        return answer

    async def stream(self, body: dict[str, Any], *, as_user: bool = False) -> UpstreamStream:
        """The provider's answer as it is made; close it in the end.

        :raises UpstreamError: it did not begin.
        """
        try:
            async with asyncio.timeout(self._patience_s):
                response = await self._http.send(self._request(body, as_user), stream=True)
                if response.is_success:
                    return UpstreamStream(response)
                try:
                    said = await _read_some(response)
                finally:
                    await response.aclose()
            raise refusal_of(response, said, self._key)
        except (TimeoutError, httpx.TimeoutException):
            raise UpstreamError("The provider took too long.") from None
        except (httpx.HTTPError, httpx.StreamError):
            raise UpstreamError("The provider cannot be reached, or broke off.") from None

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

    async def chunks(self) -> AsyncGenerator[dict[str, Any]]:
        """Each chunk as the provider sends it.

        :raises UpstreamError: it ended before its end.
        """
        try:
            async with aclosing(self._lines()) as lines:
                async for line in lines:
                    if not line.startswith(b"data:"):
                        continue
                    data = line[5:].strip()
                    if data == b"[DONE]":
                        return
                    yield _chunk(json.loads(data))
        except httpx.TimeoutException:
            raise UpstreamError("The provider fell silent.") from None
        except (httpx.HTTPError, httpx.StreamError, ValueError, RecursionError):
            raise UpstreamError("The provider broke off.") from None
        raise UpstreamError("The provider broke off.")

    async def _lines(self) -> AsyncGenerator[bytes]:
        # Not by `splitlines`: JSON may hold characters that it takes for ends of lines.
        rest = b""
        # Closed here and now, not by the collector, which may run in another thread than the
        # event loop, whose handles belong to one.
        async with aclosing(_generator(self._response)) as parts:
            async for part in parts:
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


def refusal_of(response: httpx.Response, body: bytes, key: str) -> UpstreamError:
    """What a status that is no success means. The provider's own words are passed on only where
    it refuses the request itself, and never with anything in them that looks like a secret."""
    status = response.status_code
    error = UpstreamError(f"The provider answered {status}.", status)
    wait = response.headers.get("retry-after", "")
    if wait.isdecimal() and len(wait) < 6:
        error.retry_after = max(1, min(int(wait), WAIT_MAX_S))
    if status not in CALLERS:
        return error
    said, code = _said(body)
    words = " ".join(part for part in (said, f"({code})" if code else "") if part)
    if key:
        words = words.replace(key, "…")
    words = SECRET.sub("…", words)
    if words:
        error = UpstreamError(f"The provider answered {status}: {words[:SAID_MAX]}", status)
    error.is_callers = True
    return error


def _said(body: bytes) -> tuple[str, str]:
    """(message, code) of an error in OpenAI's shape, on one line; "" where there is none."""
    try:
        error = json.loads(body)["error"]
        message, code = error.get("message"), error.get("code")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return "", ""
    return _line(message), _line(code)


def _line(text: Any) -> str:
    if not isinstance(text, str):
        return ""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


async def _read_some(response: httpx.Response) -> bytes:
    """The body of a refusal; not much more than one needs to have."""
    body = b""
    async with aclosing(_generator(response)) as parts:
        async for part in parts:
            body += part
            if len(body) > SAID_BODY_MAX:
                break
    return body


def _generator(response: httpx.Response) -> AsyncGenerator[bytes]:
    return cast("AsyncGenerator[bytes]", response.aiter_bytes())


def _is_completion(choices: Any) -> bool:
    """Whether each choice holds a message: nobody may have to make one up."""
    if not isinstance(choices, list) or not choices:
        return False
    return all(isinstance(one, dict) and isinstance(one.get("message"), dict) for one in choices)


def _chunk(said: Any) -> dict[str, Any]:
    """A part of a stream, of the shape that it must have.

    :raises UpstreamError: it is an error, or nothing that makes sense.
    """
    if not isinstance(said, dict) or said.get("error"):
        raise UpstreamError("The provider reported an error.")
    choices = said.get("choices") or []
    if not isinstance(choices, list) or not all(
        isinstance(one, dict) and isinstance(one.get("delta") or {}, dict) for one in choices
    ):
        raise UpstreamError("The provider sent what is no part of a completion.")
    return said
