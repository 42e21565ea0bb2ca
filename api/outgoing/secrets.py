"""The secrets that sign our webhooks: made here, told once, and changed without a gap."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from secrets import token_bytes

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from adapters.outgoing import shown
from adapters.postgres import endpoints
from api.call import Call, encode, enter, read_body
from api.idempotency import Answer, once
from api.openapi import documented
from api.outgoing.endpoint_view import ONE, PATH, EndpointView, endpoint_of, view

router = APIRouter(prefix=PATH, tags=["webhooks"])

OVERLAP = timedelta(hours=24)
"""How long the old secret signs too after a new one was made."""
SECRET_BYTES = 32


def new_secret() -> bytes:
    """A secret that nobody has yet."""
    return token_bytes(SECRET_BYTES)


@router.post(
    "/{endpoint_id}/rotate-secret",
    **documented(
        "Make a new secret",
        "billing:write",
        answers={200: EndpointView},
        parameters=ONE,
        keyed=False,
    ),
)
async def rotate(request: Request) -> Response:
    """For a day messages are signed with both, so that receivers can change over."""
    call = await enter(request, "billing:write")
    body = await read_body(request)
    secret = new_secret()

    async def act(_: str) -> Answer:
        before = await endpoint_of(call)
        until = await call.house.clock.now() + OVERLAP
        async with call.house.pool.connection() as connection:
            await endpoints.rotate(connection, call.workspace_id, before.endpoint_id, secret, until)
        return Answer(view(before._replace(old_secret_until=until)))

    return await telling(call, body, act, secret)


async def telling(
    call: Call, body: bytes, act: Callable[[str], Awaitable[Answer]], secret: bytes
) -> Response:
    """Act once, and tell the secret to whoever acted: what is kept for retries has it not."""
    acted: list[EndpointView] = []

    async def noted(key: str) -> Answer:
        done = await act(key)
        assert isinstance(done.content, EndpointView)
        acted.append(done.content)
        return done

    response = await once(call, body, noted)
    if acted and response.status_code < 400:
        told = msgspec.structs.replace(acted[0], secret=shown(secret))
        return Response(encode(told), response.status_code, media_type="application/json")
    return response
