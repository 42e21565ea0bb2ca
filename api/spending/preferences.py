"""`/v1/billing/preferences`: what a customer prefers where there is a choice."""

from __future__ import annotations

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.call import Call, answer, enter, parse, read_body
from api.idempotency import Answer, once
from api.openapi import documented

router = APIRouter(prefix="/v1/billing/preferences", tags=["billing"])


class Preferred(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`api_fallback`: whether a call that the user's own account rejects is paid otherwise."""

    api_fallback: bool


_preferred = msgspec.json.Decoder(Preferred)


@router.get("", **documented("Preferences", "billing:read", answers={200: Preferred}))
async def read(request: Request) -> Response:
    """What is preferred now."""
    call = await enter(request, "billing:read")
    return answer(await _view(call))


@router.put(
    "",
    **documented(
        "Change preferences",
        "billing:write",
        body=Preferred,
        answers={200: Preferred},
        examples={"no fallback": {"api_fallback": False}},
        keyed=False,
    ),
)
async def change(request: Request) -> Response:
    """In force for the next call."""
    call = await enter(request, "billing:write")
    body = await read_body(request)
    asked = parse(_preferred, body)

    async def act(_: str) -> Answer:
        context = await call.context()
        done = await call.house.ledger.set_api_fallback(
            call.workspace_id, asked.api_fallback, context
        )
        return Answer(await _view(call), done.position)

    return await once(call, body, act)


async def _view(call: Call) -> Preferred:
    return Preferred((await call.house.ledger.account(call.workspace_id)).api_fallback)
