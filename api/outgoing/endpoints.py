"""`/v1/billing/webhook-endpoints`: where a workspace wants to be told what happens to it."""

from __future__ import annotations

from decimal import Decimal
from secrets import token_hex
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter
from msgspec import UNSET, Meta, UnsetType
from starlette.requests import Request
from starlette.responses import Response

from adapters.outgoing import url_refusal
from adapters.postgres import endpoints
from adapters.postgres.endpoints import Endpoint
from adapters.settings import Settings
from api.amounts import micros
from api.call import answer, enter, parse, read_body
from api.idempotency import Answer, once
from api.openapi import documented
from api.outgoing.endpoint_view import ONE, PATH, EndpointView, State, endpoint_of, view
from api.outgoing.secrets import new_secret, telling
from api.outgoing.sending import may_be_local
from domain.contract.subscription import subscription_stream
from domain.errors import Conflict, InvalidInput, NotFound
from domain.identity import account_id
from domain.outgoing import MessageType
from domain.workspace.workspace import workspace_stream

router = APIRouter(prefix=PATH, tags=["webhooks"])

MOST = 20

Url = Annotated[str, Meta(min_length=1, max_length=2000)]
Text = Annotated[str, Meta(max_length=255)]


class NewEndpoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where to send, and which types; all of them if left out. `balance_low_usd`: below it the
    balance counts as low."""

    url: Url
    types: list[MessageType] = []
    balance_low_usd: Decimal | None = None
    description: Text | None = None


class EndpointChanges(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be different; what is left out stays. Enabling sends what has been waiting."""

    url: Url | UnsetType = UNSET
    types: list[MessageType] | UnsetType = UNSET
    balance_low_usd: Decimal | UnsetType | None = UNSET
    description: Text | UnsetType | None = UNSET
    status: State | UnsetType = UNSET


class EndpointList(msgspec.Struct, frozen=True):
    """Every endpoint of the workspace, in the order in which they were registered."""

    data: list[EndpointView]


class Removed(msgspec.Struct, frozen=True):
    """An endpoint that is no more."""

    id: str
    removed: bool


_new = msgspec.json.Decoder(NewEndpoint)
_changes = msgspec.json.Decoder(EndpointChanges)
EXAMPLE = {
    "url": "https://example.com/hooks/daybook",
    "types": ["balance.low", "balance.exhausted"],
    "balance_low_usd": "5.00",
}


@router.post(
    "",
    **documented(
        "Register a webhook endpoint",
        "billing:write",
        body=NewEndpoint,
        answers={201: EndpointView},
        examples={"low balance": EXAMPLE},
        keyed=False,
    ),
)
async def register(request: Request) -> Response:
    """It is told of what happens from now on. The secret is in this answer and in no other, not
    even in that to a retry: who lost it makes a new one."""
    call = await enter(request, "billing:write")
    body = await read_body(request)
    asked = parse(_new, body)
    _check(asked.url, call.house.settings)
    secret = new_secret()
    low = _low(asked.balance_low_usd)

    async def act(_: str) -> Answer:
        await call.house.ledger.account(call.workspace_id)
        now = await call.house.clock.now()
        made = Endpoint(
            f"we_{token_hex(12)}",
            call.workspace_id,
            asked.url,
            list(dict.fromkeys(asked.types)),
            low,
            asked.description,
            None,
            None,
            now,
        )
        streams = [
            of(call.workspace_id) for of in (account_id, subscription_stream, workspace_stream)
        ]
        async with call.house.pool.connection() as connection:
            if not await endpoints.add(connection, made, secret, streams, MOST):
                raise Conflict(f"a workspace has at most {MOST} endpoints; remove one")
        return Answer(view(made), None, 201)

    return await telling(call, body, act, secret)


@router.get("", **documented("Webhook endpoints", "billing:read", answers={200: EndpointList}))
async def all_of_them(request: Request) -> Response:
    """Without their secrets."""
    call = await enter(request, "billing:read")
    await call.house.ledger.account(call.workspace_id)
    async with call.house.pool.connection() as connection:
        found = await endpoints.of_workspace(connection, call.workspace_id)
    return answer(EndpointList([view(one) for one in found]))


@router.get(
    "/{endpoint_id}",
    **documented("A webhook endpoint", "billing:read", answers={200: EndpointView}, parameters=ONE),
)
async def read(request: Request) -> Response:
    """Without its secret."""
    call = await enter(request, "billing:read")
    return answer(view(await endpoint_of(call)))


@router.patch(
    "/{endpoint_id}",
    **documented(
        "Change a webhook endpoint",
        "billing:write",
        body=EndpointChanges,
        answers={200: EndpointView},
        examples={"again": {"status": "enabled"}},
        parameters=ONE,
        keyed=False,
    ),
)
async def change(request: Request) -> Response:
    """Messages that wait are sent to the new address."""
    call = await enter(request, "billing:write")
    body = await read_body(request)
    asked = parse(_changes, body)
    if isinstance(asked.url, str):
        _check(asked.url, call.house.settings)
    low = UNSET if asked.balance_low_usd is UNSET else _low(asked.balance_low_usd)

    async def act(_: str) -> Answer:
        before = await endpoint_of(call)
        changes: dict[str, Any] = {
            "url": asked.url,
            "types": asked.types,
            "balance_low": low,
            "description": asked.description,
        }
        if asked.status is not UNSET:
            changes["disabled"] = None if asked.status == "enabled" else before.disabled or "owner"
        changes = {name: value for name, value in changes.items() if value is not UNSET}
        async with call.house.pool.connection() as connection:
            await endpoints.change(connection, before, changes, await call.house.clock.now())
        return Answer(view(before._replace(**changes)))

    return await once(call, body, act)


@router.delete(
    "/{endpoint_id}",
    **documented(
        "Remove a webhook endpoint", "billing:write", answers={200: Removed}, parameters=ONE
    ),
)
async def remove(request: Request) -> Response:
    """With everything that waits for it, and the log of what it was sent."""
    call = await enter(request, "billing:write")
    endpoint_id = request.path_params["endpoint_id"]
    async with call.house.pool.connection() as connection:
        if not await endpoints.remove(connection, call.workspace_id, endpoint_id):
            raise NotFound("webhook endpoint", endpoint_id)
    return answer(Removed(endpoint_id, True))


def _check(url: str, settings: Settings) -> None:
    refusal = url_refusal(url, local=may_be_local(settings))
    if refusal is not None:
        raise InvalidInput(("url",), refusal)


def _low(amount: Decimal | None) -> int | None:
    if amount is None:
        return None
    low = micros(amount, "balance_low_usd", digits=6)
    if low <= 0:
        raise InvalidInput(("balance_low_usd",), "must be positive")
    return low
