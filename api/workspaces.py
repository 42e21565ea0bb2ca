"""`/v1/workspaces`: tenants."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import uuid4, uuid5

import msgspec
from fastapi import APIRouter
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from api.call import Call, answer, enter, parse, read_body
from api.idempotency import Answer, once, sent_key
from api.openapi import documented, query
from api.reading import cursor_of, limit_of, position_of_cursor, zone_names
from api.reads import newest_position, reading
from api.words import Name
from domain.commands import Stream
from domain.errors import InvalidInput, NotFound
from domain.identity import NAMESPACE
from domain.workspace.workspace import Workspace, workspace_stream

router = APIRouter(prefix="/v1/workspaces", tags=["workspaces"])

PAGE = """
    SELECT position, workspace_id, name, timezone, created_at FROM workspaces
    WHERE position > %s ORDER BY position LIMIT %s
"""


class NewWorkspace(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tenant to open. ``timezone`` is an IANA name, for showing dates."""

    name: Name
    timezone: Annotated[str, Meta(min_length=1, max_length=64)] = "UTC"


class WorkspaceView(msgspec.Struct, frozen=True):
    """A tenant."""

    workspace_id: str
    id: str
    name: str
    timezone: str
    plan: str
    currency: str
    limits: dict[str, int | str | None]
    created_at: datetime
    as_of_position: int


class WorkspaceLine(msgspec.Struct, frozen=True):
    """A tenant in a list."""

    workspace_id: str
    id: str
    name: str
    timezone: str
    created_at: datetime


class WorkspaceList(msgspec.Struct, frozen=True):
    """A page of tenants, oldest first."""

    data: list[WorkspaceLine]
    has_more: bool
    next_cursor: str | None
    as_of_position: int


_new = msgspec.json.Decoder(NewWorkspace)


@router.post(
    "",
    **documented(
        "Open a workspace on the default plan",
        "admin",
        body=NewWorkspace,
        answers={201: WorkspaceView},
        examples={"acme": {"name": "Acme", "timezone": "Europe/Berlin"}},
        keyed=False,
        of="deployment",
    ),
)
async def create(request: Request) -> Response:
    """Workspace, credit account and subscription begin together."""
    call = await enter(request, "admin", "deployment")
    body = await read_body(request)
    asked = parse(_new, body)
    if asked.timezone not in zone_names():
        raise InvalidInput(("timezone",), "is no IANA time zone, such as Europe/Berlin")
    if not asked.name.strip():
        raise InvalidInput(("name",), "must not be blank")
    key = sent_key(call, required=False)
    # The same key gives the same id: a request that was repeated after a crash opens nothing new.
    number = uuid5(NAMESPACE, f"workspace/{call.caller.key_id}/{key}") if key else uuid4()
    return await once(call, body, lambda _: _open(call, asked, f"ws_{number.hex}"))


async def _open(call: Call, asked: NewWorkspace, workspace_id: str) -> Answer:
    context = await call.context()
    done = await call.house.ledger.create_workspace(
        workspace_id, asked.name, call.caller.key_id, asked.timezone, context
    )
    return Answer(await _view(call, workspace_id), done.position, 201)


@router.get(
    "",
    **documented(
        "List workspaces",
        "admin",
        answers={200: WorkspaceList},
        parameters=[query("limit", "1 to 100", kind="integer"), query("cursor", "Where to go on")],
        of="deployment",
    ),
)
async def every(request: Request) -> Response:
    """All tenants, oldest first."""
    call = await enter(request, "admin", "deployment")
    limit = limit_of(request)
    after = position_of_cursor(request)
    async with reading(call, "workspaces") as (connection, position):
        rows = await (await connection.execute(PAGE, (after, limit + 1))).fetchall()
    lines = [WorkspaceLine(row[1], *row[1:]) for row in rows[:limit]]
    more = len(rows) > limit
    cursor = cursor_of(rows[limit - 1][0]) if more else None
    return answer(WorkspaceList(lines, more, cursor, position))


@router.get(
    "/{workspace_id}",
    **documented("One workspace", "billing:read", answers={200: WorkspaceView}, of="path"),
)
async def one(request: Request) -> Response:
    """A tenant's name, plan and limits."""
    call = await enter(request, "billing:read", "path")
    return answer(await _view(call, call.workspace_id))


async def _view(call: Call, workspace_id: str) -> WorkspaceView:
    book, position = call.house.ledger.book, await newest_position(call.house)
    workspace = await book.fresh(Stream(Workspace, workspace_stream(workspace_id)))
    assert isinstance(workspace, Workspace)
    opened = await book.find(workspace.id, 1)
    if opened is None:
        raise NotFound("workspace", workspace_id)
    account = await call.house.ledger.account(workspace_id)
    return WorkspaceView(
        workspace_id,
        workspace_id,
        workspace.name,
        workspace.timezone,
        account.plan,
        account.currency,
        workspace.limits,
        opened[0].fact.recorded_at,
        position,
    )
