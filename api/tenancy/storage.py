"""`/v1/workspaces/{id}/storage`: the storage that all bots of a workspace share."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from api.call import answer, enter, parse, read_body
from api.idempotency import Answer, once
from api.openapi import documented
from api.standing import standing
from api.tenancy.status import StorageView
from domain.workspace.storage import Storage, storage_of

router = APIRouter(prefix="/v1/workspaces/{workspace_id}/storage", tags=["workspaces"])


class Gauge(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is stored now, in bytes."""

    used_bytes: Annotated[int, Meta(ge=0, le=10**18)]


_gauge = msgspec.json.Decoder(Gauge)


@router.put(
    "",
    **documented(
        "Report what is stored",
        "usage:write",
        body=Gauge,
        answers={200: StorageView},
        examples={"three gigabytes": {"used_bytes": 3_000_000_000}},
        keyed=False,
        of="path",
    ),
)
async def report(request: Request) -> Response:
    """Once the plan's allowance (in units of 10⁹ bytes) is used up, nothing may grow; nothing is
    deleted."""
    call = await enter(request, "usage:write", "path")
    body = await read_body(request)
    asked = parse(_gauge, body)

    async def act(_: str) -> Answer:
        done = await call.house.ledger.report_storage(
            call.workspace_id, asked.used_bytes, await call.context()
        )
        return Answer(_view(done.answer), done.position)

    return await once(call, body, act)


@router.get(
    "", **documented("What is stored", "billing:read", answers={200: StorageView}, of="path")
)
async def read(request: Request) -> Response:
    """As it was last reported."""
    call = await enter(request, "billing:read", "path")
    return answer(_view(storage_of((await standing(call)).workspace)))


def _view(storage: Storage) -> StorageView:
    return StorageView(storage.used, storage.limit, storage.may_grow)
