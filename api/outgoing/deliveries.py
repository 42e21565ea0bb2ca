"""What was sent to a webhook endpoint; sending it again, and trying the endpoint out."""

from __future__ import annotations

from datetime import datetime
from secrets import token_hex
from typing import Any

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from adapters.postgres import deliveries, outbox
from adapters.postgres.deliveries import Delivery
from adapters.postgres.outbox import Head, Message
from api.call import Call, answer, enter, read_body
from api.idempotency import Answer, once
from api.openapi import documented, path_parameter, query
from api.outgoing.endpoint_view import ONE, PATH, endpoint_of
from api.outgoing.messages import body_of
from api.outgoing.sending import sender_for, try_once
from api.reading import cursor_of, limit_of, position_of_cursor
from api.reads import newest_position
from domain.errors import InvalidInput, NotFound
from domain.outgoing import PING, Notice

router = APIRouter(prefix=f"{PATH}/{{endpoint_id}}", tags=["webhooks"])

STATUSES = ("pending", "delivered", "failed")
MESSAGE = [*ONE, path_parameter("message_id", "msg_1")]


class AttemptView(msgspec.Struct, frozen=True):
    """One try: the status that was answered, or the kind of error instead."""

    at: datetime
    manual: bool
    status_code: int | None
    error: str | None
    duration_ms: int


class DeliveryView(msgspec.Struct, frozen=True):
    """A message and what became of it. `number` is its place in the order of sending."""

    message_id: str
    number: int
    type: str
    position: int
    status: str
    attempts: int
    created_at: datetime
    next_attempt_at: datetime | None
    settled_at: datetime | None


class DeliveryList(msgspec.Struct, frozen=True):
    """A page of messages, the newest first."""

    data: list[DeliveryView]
    has_more: bool
    next_cursor: str | None


class DeliveryDetail(msgspec.Struct, frozen=True):
    """A message as it is sent, and every try."""

    message: DeliveryView
    body: msgspec.Raw
    tries: list[AttemptView]


class Tested(msgspec.Struct, frozen=True):
    """How a try that somebody asked for went."""

    message_id: str
    delivered: bool
    status_code: int | None
    error: str | None
    duration_ms: int


@router.get(
    "/deliveries",
    **documented(
        "What was sent",
        "billing:read",
        answers={200: DeliveryList},
        parameters=[
            *ONE,
            query("status", "Only these", enum=STATUSES),
            query("limit", "1 to 100; 20 if left out", kind="integer"),
            query("cursor", "next_cursor of the page before"),
        ],
    ),
)
async def log_of(request: Request) -> Response:
    """Messages that were settled are kept for 30 days."""
    call = await enter(request, "billing:read")
    status = request.query_params.get("status")
    if status is not None and status not in STATUSES:
        raise InvalidInput(("query", "status"), f"must be one of {', '.join(STATUSES)}")
    limit = limit_of(request)
    before = position_of_cursor(request) or None
    endpoint = await endpoint_of(call)
    async with call.house.pool.connection() as connection:
        found = await deliveries.deliveries(
            connection, endpoint.endpoint_id, status=status, before=before, limit=limit + 1
        )
    page, more = found[:limit], len(found) > limit
    cursor = cursor_of(page[-1].number) if more else None
    return answer(DeliveryList([_view(one) for one in page], more, cursor))


@router.get(
    "/deliveries/{message_id}",
    **documented("One message", "billing:read", answers={200: DeliveryDetail}, parameters=MESSAGE),
)
async def one(request: Request) -> Response:
    """What was sent, and how each try went."""
    call = await enter(request, "billing:read")
    found = await _delivery_of(call)
    async with call.house.pool.connection() as connection:
        tries = await deliveries.attempts(
            connection, request.path_params["endpoint_id"], found.message_id
        )
    shown = [AttemptView(*tried) for tried in tries]
    return answer(DeliveryDetail(_view(found), msgspec.Raw(found.body.encode()), shown))


@router.post(
    "/deliveries/{message_id}/redeliver",
    **documented(
        "Send a message again",
        "billing:write",
        answers={200: Tested},
        parameters=MESSAGE,
        keyed=False,
    ),
)
async def redeliver(request: Request) -> Response:
    """At once, out of its turn, whatever became of it; also to an endpoint that is disabled."""
    call = await enter(request, "billing:write")
    body = await read_body(request)

    async def act(_: str) -> Answer:
        found = await _delivery_of(call)
        head = Head(found.message_id, found.type, found.body, found.attempts, True)
        return Answer(await _try(call, head))

    return await once(call, body, act)


@router.post(
    "/test",
    **documented(
        "Try an endpoint out", "billing:write", answers={200: Tested}, parameters=ONE, keyed=False
    ),
)
async def test(request: Request) -> Response:
    """Sends a message of the type `webhook.test` at once and says how it went."""
    call = await enter(request, "billing:write")
    body = await read_body(request)

    async def act(_: str) -> Answer:
        endpoint = await endpoint_of(call)
        now, position = await call.house.clock.now(), await newest_position(call.house)
        said = body_of(Notice(PING, {}), call.workspace_id, position, now, {})
        id = f"msg_{token_hex(16)}"
        message = Message(endpoint.endpoint_id, id, position, PING, said, now)
        async with call.house.pool.connection() as connection:
            await outbox.add_aside(connection, message)
        return Answer(await _try(call, Head(id, PING, said, 0, True)))

    return await once(call, body, act)


async def _delivery_of(call: Call) -> Delivery:
    endpoint = await endpoint_of(call)
    message_id = call.request.path_params["message_id"]
    async with call.house.pool.connection() as connection:
        found = await deliveries.delivery(connection, endpoint.endpoint_id, message_id)
    if found is None:
        raise NotFound("message", message_id)
    return found


async def _try(call: Call, head: Head) -> Tested:
    house, endpoint_id = call.house, call.request.path_params["endpoint_id"]
    sender = sender_for(house.settings)
    try:
        now = await house.clock.now()
        tried = await try_once(house, sender, endpoint_id, head, now, manual=True)
    finally:
        await sender.close()
    if tried is None:
        raise NotFound("webhook endpoint", endpoint_id)
    return Tested(head.message_id, tried.is_delivered, *tried)


def _view(found: Delivery) -> DeliveryView:
    same: dict[str, Any] = {name: getattr(found, name) for name in DeliveryView.__struct_fields__}
    return DeliveryView(**same)
