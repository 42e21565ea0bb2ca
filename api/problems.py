"""Refusals as `application/problem+json` (RFC 9457). The only file that knows status codes."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from http import HTTPStatus
from typing import Any, NamedTuple

import msgspec
import psycopg
import structlog
from fastapi import FastAPI
from psycopg_pool import PoolTimeout, TooManyRequests
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from api import refusals
from domain import errors
from domain.contract.errors import PreviewStale
from domain.errors import InvalidInput, PaymentRequired, Refusal, TryAgain, Unavailable
from domain.money import usd
from domain.workspace.errors import PlanLimitReached

TYPES = "https://errors.example/"
MEDIA_TYPE = "application/problem+json"

STATUS: dict[type[Refusal], int] = {
    refusals.IdempotencyKeyMissing: 400,
    refusals.InvalidSignature: 400,
    refusals.Unauthenticated: 401,
    errors.PaymentRequired: 402,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    refusals.PayloadTooLarge: 413,
    refusals.UnsupportedMediaType: 415,
    errors.InvalidInput: 422,
    refusals.UpstreamFailed: 502,
    errors.TryAgain: 503,
}
"""Subclasses inherit the status; a test demands one for every refusal."""

PARTS = ("body", "query", "path", "header")
CODES = {404: "not_found", 405: "method_not_allowed"}
UNREACHABLE = (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout, TooManyRequests)
encode = msgspec.json.Encoder(decimal_format="number").encode
log = structlog.get_logger("daybook")


class Problem(NamedTuple):
    """A refusal as it is sent."""

    status: int
    headers: dict[str, str]
    members: dict[str, Any]

    @property
    def body(self) -> bytes:
        """The members as JSON."""
        return encode(self.members)

    def response(self) -> Response:
        """The whole answer."""
        return Response(self.body, self.status, self.headers, MEDIA_TYPE)


def status_of(kind: type[Refusal]) -> int:
    """The status of a kind of refusal.

    :raises KeyError: nobody has given it one.
    """
    for base in kind.__mro__:
        if base in STATUS:
            return STATUS[base]
    raise KeyError(kind.__name__)


def problem(refusal: Refusal, instance: str) -> Problem:
    """What a refusal says on the wire. ``instance`` is the path that was asked."""
    status = status_of(type(refusal))
    made = plain(status, refusal.code, str(refusal), instance)
    members, headers = made.members, made.headers
    if isinstance(refusal, PaymentRequired):
        members.update(_payment_members(refusal))
    elif isinstance(refusal, InvalidInput):
        loc = refusal.loc if refusal.loc[:1] and refusal.loc[0] in PARTS else ("body", *refusal.loc)
        members["errors"] = [{"loc": loc, "msg": refusal.message, "type": refusal.code}]
        if isinstance(refusal, errors.OAuthRejected):
            members["fallback_available"] = refusal.fallback_available
    elif isinstance(refusal, PlanLimitReached):
        members.update(limit=refusal.limit, current=refusal.current, resource=refusal.resource)
    elif isinstance(refusal, PreviewStale):
        members["amount_due_now_minor"] = refusal.amount_due_now
    elif isinstance(refusal, refusals.UpstreamFailed):
        headers["Retry-After"] = str(refusal.retry_after)
        if refusal.is_callers:
            headers["X-Should-Retry"] = "false"  # OpenAI's clients heed it
        if refusal.upstream_status is not None:
            members["upstream_status"] = refusal.upstream_status
    elif isinstance(refusal, TryAgain):
        headers["Retry-After"] = str(refusal.retry_after)
    elif isinstance(refusal, refusals.Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    return made


def plain(status: int, code: str, detail: str, instance: str) -> Problem:
    """A problem without extension members."""
    return Problem(
        status,
        {},
        {
            "type": TYPES + code,
            "title": HTTPStatus(status).phrase,
            "status": status,
            "code": code,
            "detail": detail,
            "instance": instance,
        },
    )


def _payment_members(refusal: PaymentRequired) -> dict[str, Any]:
    """The fields that every 402 carries, whatever its code."""
    known = {field.name for field in fields(PaymentRequired)}
    extra = {
        field.name: getattr(refusal, field.name)
        for field in (fields(refusal) if is_dataclass(refusal) else ())
        if field.name not in known
    }
    return {
        "needs_oauth": refusal.needs_oauth,
        "needs_credits": refusal.needs_credits,
        "plan": refusal.plan,
        "is_frozen": refusal.is_frozen,
        "balance_usd": usd(refusal.balance),
        "available_usd": usd(refusal.available),
        "resets_at": refusal.resets_at,
        "overage_available": refusal.overage_available,
        "checkout_url": None,
        **({"decision_id": refusal.decision_id} if refusal.decision_id else {}),
        **extra,
    }


def response_to(error: Exception, instance: str) -> Response:
    """The answer to any error: a refusal, a database that is away, or one of our own."""
    if isinstance(error, Refusal):
        return problem(error, instance).response()
    if isinstance(error, UNREACHABLE):
        log.warning("database_unavailable", error=type(error).__name__)
        return problem(Unavailable(), instance).response()
    return broken(error, instance).response()


def broken(error: Exception, instance: str) -> Problem:
    """What is said of an error of ours: nothing but where to look."""
    log.error("internal_error", exc_info=error)
    detail = "Something is wrong on our side; the log has it under the X-Request-Id."
    return plain(500, "internal_error", detail, instance)


def install(app: FastAPI) -> None:
    """Make every error of the application a problem, the framework's own included."""

    async def refuse(request: Request, error: Exception) -> Response:
        return response_to(error, request.url.path)

    async def of_framework(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code = CODES.get(error.status_code, "http_error")
        made = plain(error.status_code, code, str(error.detail), request.url.path)
        made.headers.update(error.headers or {})
        return made.response()

    app.add_exception_handler(Refusal, refuse)
    app.add_exception_handler(HTTPException, of_framework)
    for kind in UNREACHABLE:
        app.add_exception_handler(kind, refuse)
