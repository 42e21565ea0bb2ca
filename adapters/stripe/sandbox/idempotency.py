"""Idempotency keys as Stripe keeps them: the first answer, refusals too, for a day."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from adapters.stripe.sandbox.errors import StripeError
from adapters.stripe.sandbox.route import Books, Json

KEPT_S = 24 * 3600
KEY_CHARS_MAX = 255


class Answers:
    """What was answered under a key, and which keys are being answered now."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._in_flight: set[str] = set()

    @contextmanager
    def turn(self, key: str) -> Iterator[None]:
        """Be the only one at work under a key; StripeError 409 if somebody is already."""
        if len(key) > KEY_CHARS_MAX:
            text = f"Idempotency keys can be up to {KEY_CHARS_MAX} characters."
            raise StripeError(400, "idempotency_error", text)
        if key in self._in_flight:
            raise StripeError(
                409,
                "idempotency_error",
                f"There is currently another in-progress request using this Idempotent Key: {key}."
                " Please try again later.",
                "idempotency_key_in_use",
            )
        self._in_flight.add(key)
        try:
            yield
        finally:
            self._in_flight.discard(key)

    def former(self, key: str, asked: str) -> Json | None:
        """The answer given under this key; StripeError 400 if something else was asked then."""
        kept = self._books.look("sandbox.answer", f"answer:{key}")
        if kept is None or kept["at"] + KEPT_S <= self._books.now():
            return None
        if kept["asked"] != asked:
            raise StripeError(
                400,
                "idempotency_error",
                "Keys for idempotent requests can only be used with the same parameters they were"
                f" first used with. Try using a key other than '{key}' if you meant to execute a"
                " different request.",
            )
        return kept

    def keep(self, key: str, asked: str, status: int, body: Any, request: str) -> None:
        """Remember an answer."""
        self._books.put(
            {
                "object": "sandbox.answer",
                "id": f"answer:{key}",
                "asked": asked,
                "status": status,
                "body": body,
                "request": request,
                "at": self._books.now(),
            }
        )


def fingerprint(method: str, path: str, text: bytes) -> str:
    """What tells one request from another."""
    return hashlib.sha256(b"\n".join((method.encode(), path.encode(), text))).hexdigest()
