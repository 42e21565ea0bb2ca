"""How the edge says no, beside the domain's refusals (domain/errors.py).

Refusal
├── Unauthenticated
├── InvalidInput ─ UnsupportedGroupBy, IdempotencyKeyReuse
├── Conflict ─ IdempotencyInProgress, AnswerNotKept
├── TryAgain ─ ProjectionLagging
├── UpstreamFailed
├── IdempotencyKeyMissing
├── InvalidSignature
├── PayloadTooLarge
└── UnsupportedMediaType
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from domain.errors import Conflict, InvalidInput, Refusal, TryAgain


class Unauthenticated(Refusal):
    """No key, or one that opens nothing."""

    code: ClassVar[str] = "unauthenticated"

    def __str__(self) -> str:
        return "Send a valid API key as `Authorization: Bearer dbk_…`."


class IdempotencyKeyMissing(Refusal):
    """This operation moves money and must be safe to repeat."""

    code: ClassVar[str] = "idempotency_key_missing"

    def __str__(self) -> str:
        return "Send an Idempotency-Key header: any text of your own, new for every operation."


@dataclass(eq=False)
class InvalidSignature(Refusal):
    """A webhook that its sender did not sign for us, or not now. Nothing was stored."""

    code: ClassVar[str] = "invalid_signature"
    why: str

    def __str__(self) -> str:
        return self.why


@dataclass(eq=False)
class PayloadTooLarge(Refusal):
    """The body is larger than any request needs. ``limit`` in bytes."""

    code: ClassVar[str] = "payload_too_large"
    limit: int

    def __str__(self) -> str:
        return f"A body may have {self.limit} bytes; split a batch into smaller ones."


class UnsupportedMediaType(Refusal):
    """The body is not declared to be JSON."""

    code: ClassVar[str] = "unsupported_media_type"

    def __str__(self) -> str:
        return "Send JSON with `Content-Type: application/json`."


class UnsupportedGroupBy(InvalidInput):
    """Usage cannot be grouped by this."""

    code: ClassVar[str] = "unsupported_group_by"


class IdempotencyKeyReuse(InvalidInput):
    """The Idempotency-Key was used for another request."""

    code: ClassVar[str] = "idempotency_key_reuse"


class IdempotencyInProgress(Conflict):
    """The first request under this Idempotency-Key is not answered yet."""

    code: ClassVar[str] = "idempotency_in_progress"


class AnswerNotKept(Conflict):
    """What was asked under this Idempotency-Key is done, but its answer was too long to keep."""

    code: ClassVar[str] = "answer_not_kept"


@dataclass(eq=False)
class UpstreamFailed(Refusal):
    """The provider of the model failed or took too long. Nothing was charged.

    ``upstream_status`` is what it answered, if it did. ``is_callers``: it refused the request
    itself, so that sending it again is useless. ``retry_after`` in seconds.
    """

    code: ClassVar[str] = "upstream_failed"
    why: str
    upstream_status: int | None = None
    is_callers: bool = False
    retry_after: int = 1

    def __str__(self) -> str:
        return f"{self.why} Nothing was charged."


class ProjectionLagging(TryAgain):
    """The read models have not reached the position that was asked for."""

    code: ClassVar[str] = "projection_lagging"
