"""`/v1/workspaces/{id}/members`: who takes the plan's seats."""

from __future__ import annotations

from typing import Literal

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.call import Call, answer, enter, parse, read_body
from api.idempotency import Answer, once
from api.openapi import documented, path_parameter, query
from api.reads import newest_position
from api.standing import standing
from api.words import Reference
from domain.errors import InvalidInput

router = APIRouter(prefix="/v1/workspaces/{workspace_id}/members", tags=["workspaces"])


class NewMember(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A person to give a seat: an id of your own, never an address."""

    member_id: Reference


class MemberView(msgspec.Struct, frozen=True):
    """A person with a seat."""

    member_id: str
    role: Literal["owner", "member"]


class MemberList(msgspec.Struct, frozen=True):
    """Everybody, the owner first; `limit` is the plan's number of seats (null: no limit)."""

    data: list[MemberView]
    has_more: bool
    next_cursor: str | None
    seats: int
    limit: int | None
    as_of_position: int


class MemberGone(msgspec.Struct, frozen=True):
    """A seat is free."""

    member_id: str
    removed: bool
    seats: int


_new = msgspec.json.Decoder(NewMember)


@router.post(
    "",
    **documented(
        "Add a member",
        "billing:write",
        body=NewMember,
        answers={201: MemberView, 200: MemberView},
        examples={"a colleague": {"member_id": "user_2"}},
        keyed=False,
        of="path",
    ),
)
async def add(request: Request) -> Response:
    """201, or 200 for somebody who has a seat. 403 `plan_limit_reached` when all are taken."""
    call = await enter(request, "billing:write", "path")
    body = await read_body(request)
    asked = parse(_new, body)

    async def act(_: str) -> Answer:
        done = await call.house.ledger.add_member(
            call.workspace_id, asked.member_id, await call.context()
        )
        workspace = await call.house.ledger.workspace(call.workspace_id)
        is_owner = asked.member_id == workspace.owner_id
        view = MemberView(asked.member_id, "owner" if is_owner else "member")
        return Answer(view, done.position, 201 if done.answer else 200)

    return await once(call, body, act)


@router.get("", **documented("Members", "billing:read", answers={200: MemberList}, of="path"))
async def every(request: Request) -> Response:
    """Everybody with a seat. A smaller plan never takes one away."""
    call = await enter(request, "billing:read", "path")
    position = await newest_position(call.house)
    workspace = (await standing(call)).workspace
    people = [MemberView(workspace.owner_id, "owner")]
    people += [MemberView(member, "member") for member in workspace.members]
    return answer(
        MemberList(people, False, None, workspace.seats, workspace.limit("seats"), position)
    )


@router.delete(
    "/{member_id}",
    **documented(
        "Remove a member",
        "billing:write",
        answers={200: MemberGone},
        parameters=[path_parameter("member_id", "user_2")],
        of="path",
    ),
)
async def remove(request: Request) -> Response:
    """The owner stays."""
    call = await enter(request, "billing:write", "path")
    return await _remove(call, request.path_params["member_id"])


@router.delete(
    "",
    **documented(
        "Remove the member that the query names",
        "billing:write",
        answers={200: MemberGone},
        parameters=[query("member_id", "Whose seat is freed")],
        of="path",
    ),
)
async def remove_named(request: Request) -> Response:
    """As with the member in the path, for ids that have a slash in them."""
    call = await enter(request, "billing:write", "path")
    member_id = request.query_params.get("member_id")
    if not member_id:
        raise InvalidInput(("query", "member_id"), "names the member")
    return await _remove(call, member_id)


async def _remove(call: Call, member_id: str) -> Response:
    ledger = call.house.ledger
    done = await ledger.remove_member(call.workspace_id, member_id, await call.context())
    workspace = await ledger.workspace(call.workspace_id)
    return answer(MemberGone(member_id, True, workspace.seats), done.position)
