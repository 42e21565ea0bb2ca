"""`POST /v1/webhooks/stripe`: where Stripe calls us; and what an administrator sees of it."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from adapters.postgres import inbox
from adapters.postgres.inbox import STATES, Source, State
from adapters.stripe.client import StripeNotConfigured
from adapters.stripe.signature import SignatureInvalid, verify
from api import problems
from api.call import answer, enter, read_body, read_bytes
from api.house import House
from api.idempotency import Answer, once
from api.openapi import documented, path_parameter, query
from api.reading import cursor_of, limit_of, position_of_cursor
from api.reads import newest_position
from api.refusals import InvalidSignature
from api.stripe.inbox import HandlerFailed
from domain.errors import InvalidInput, NotFound

router = APIRouter(tags=["stripe"])

NEWEST = 2**62
FAILED = "The event is stored, but could not be taken in; it is tried again."


class Received(msgspec.Struct, frozen=True):
    """The event is stored. ``disposition``: applied; known before; nothing to us; or about
    something that is not known yet, and tried again."""

    received: bool
    disposition: Literal["applied", "duplicate", "ignored", "deferred"]


class WebhookReceipt(msgspec.Struct, frozen=True):
    """An event of Stripe and what became of it; its body is never shown."""

    event_id: str
    type: str
    created: datetime
    source: Source
    disposition: State
    reason: str | None
    attempts: int
    received_at: datetime
    next_attempt_at: datetime | None
    settled_at: datetime | None


class WebhookReceipts(msgspec.Struct, frozen=True):
    """A page of receipts, newest first."""

    data: list[WebhookReceipt]
    has_more: bool
    next_cursor: str | None


class Retried(msgspec.Struct, frozen=True):
    """How many events were settled by trying again."""

    settled: int
    receipt: WebhookReceipt


async def receive(request: Request) -> Response:
    """Stripe's events: the signature over the raw body counts, at most 300 s old. Each event is
    applied once, in whatever order and however often it comes."""
    house: House = request.app.state.house
    secrets = house.settings.stripe_webhook_secrets
    if not secrets:
        raise StripeNotConfigured(60)
    body = await read_bytes(request)
    now = int((await house.clock.now()).timestamp())
    try:
        verify(body, request.headers.get("stripe-signature"), secrets, now)
    except SignatureInvalid as wrong:
        house.metrics.webhooks.labels("refused").inc()
        raise InvalidSignature(str(wrong)) from None
    try:
        return answer(Received(True, await house.inbox.receive(body)))
    except HandlerFailed:
        return problems.plain(500, "internal_error", FAILED, request.url.path).response()


_said = documented("Take in an event of Stripe", None, answers={200: Received})
router.post("/v1/webhooks/stripe", **_said)(receive)
router.post("/webhooks/stripe", include_in_schema=False, response_model=None)(receive)


@router.get(
    "/v1/admin/webhooks",
    **documented(
        "Events of Stripe and what became of them",
        "admin",
        answers={200: WebhookReceipts},
        parameters=[
            query("disposition", "Only these", enum=STATES),
            query("limit", "1 to 100", kind="integer"),
            query("cursor", "Of the page before"),
        ],
        of="deployment",
    ),
)
async def receipts(request: Request) -> Response:
    """Newest first. What is `deferred` or `failed` for days needs somebody to look at it."""
    call = await enter(request, "admin", "deployment")
    asked = request.query_params.get("disposition")
    if asked is not None and asked not in STATES:
        raise InvalidInput(("query", "disposition"), f"must be one of {', '.join(STATES)}")
    states = [state for state in STATES if asked in (None, state)]
    limit, before = limit_of(request), position_of_cursor(request) or NEWEST
    async with call.house.pool.connection() as connection:
        found = await inbox.page(connection, states, before, limit + 1)
    page, has_more = found[:limit], len(found) > limit
    cursor = cursor_of(page[-1].number) if has_more else None
    return answer(WebhookReceipts([_shown(one) for one in page], has_more, cursor))


@router.post(
    "/v1/admin/webhooks/{event_id}/retry",
    **documented(
        "Try an event again",
        "admin",
        answers={200: Retried},
        parameters=[path_parameter("event_id", "evt_…")],
        keyed=False,
        of="deployment",
    ),
)
async def retry(request: Request) -> Response:
    """Now, and whatever waited for it too. What is settled stays as it is."""
    call = await enter(request, "admin", "deployment")
    event_id = request.path_params["event_id"]

    async def act(_: str) -> Answer:
        settled = await call.house.inbox.retry([event_id])
        async with call.house.pool.connection() as connection:
            found = await inbox.find(connection, event_id)
        if found is None:
            raise NotFound("webhook", event_id)
        return Answer(Retried(settled, _shown(found)), await newest_position(call.house))

    return await once(call, await read_body(request), act)


def _shown(receipt: inbox.Receipt) -> WebhookReceipt:
    columns = receipt._asdict()
    del columns["number"]
    return WebhookReceipt(**columns)
