"""`/v1/workspaces/{id}/bots`: which bots there are, and which of them run."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import uuid4, uuid5

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.call import Call, answer, enter, parse, read_body
from api.idempotency import Answer, once
from api.openapi import documented, path_parameter
from api.reads import newest_position
from api.standing import standing
from api.words import Name, Reference
from domain.errors import InvalidInput
from domain.identity import NAMESPACE
from domain.workspace.bots import bot_of
from domain.workspace.facts import Bot, BotResumed, Pauser

router = APIRouter(prefix="/v1/workspaces/{workspace_id}/bots", tags=["workspaces"])


class NewBot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A bot to create. Its id is yours to choose; the same one again creates nothing."""

    bot_id: Reference | None = None
    name: Name | None = None


class BotState(msgspec.Struct, frozen=True):
    """A bot. Only active ones count towards the plan's limit; `paused_by` is `user` or
    `plan_limit`."""

    bot_id: str
    name: str
    state: Literal["active", "paused"]
    paused_by: Pauser | None
    created_at: datetime


class BotList(msgspec.Struct, frozen=True):
    """Every bot, the oldest first; `limit` caps how many are active (null: no cap)."""

    data: list[BotState]
    has_more: bool
    next_cursor: str | None
    active: int
    limit: int | None
    as_of_position: int


class BotGone(msgspec.Struct, frozen=True):
    """A bot is removed; `resumed` names the one that runs in its place, if any."""

    bot_id: str
    removed: bool
    resumed: list[str]


_new = msgspec.json.Decoder(NewBot)
BOT = [path_parameter("bot_id", "b01")]


@router.post(
    "",
    **documented(
        "Create a bot",
        "billing:write",
        body=NewBot,
        answers={201: BotState, 200: BotState},
        examples={"a bot": {"bot_id": "b01", "name": "Support"}},
        keyed=False,
        of="path",
    ),
)
async def create(request: Request) -> Response:
    """201, or 200 where it was there already. 403 `plan_limit_reached` beyond the plan's cap."""
    call = await enter(request, "billing:write", "path")
    body = await read_body(request)
    asked = parse(_new, body)

    async def act(key: str) -> Answer:
        bot_id = asked.bot_id or f"bot_{_number(call, key)}"
        if not bot_id.strip() or "/" in bot_id or bot_id in (".", ".."):
            raise InvalidInput(("bot_id",), "must not be blank or dots, and has no slash in it")
        context = await call.context()
        done = await call.house.ledger.create_bot(
            call.workspace_id, bot_id, asked.name or bot_id, context
        )
        view = await _view(call, bot_id)
        return Answer(view, done.position, 201 if done.answer else 200)

    return await once(call, body, act)


def _number(call: Call, key: str) -> str:
    sent = "idempotency-key" in call.request.headers
    # The same key gives the same bot, even where the first answer was lost with its process.
    number = uuid5(NAMESPACE, f"bot/{call.workspace_id}/{key}") if sent else uuid4()
    return number.hex


@router.get("", **documented("Bots", "billing:read", answers={200: BotList}, of="path"))
async def every(request: Request) -> Response:
    """All of them, as they are at this moment."""
    call = await enter(request, "billing:read", "path")
    position = await newest_position(call.house)
    workspace = (await standing(call)).workspace
    bots = sorted(workspace.bots.values(), key=lambda bot: (bot.created_at, bot.bot_id))
    views = [view_of(bot) for bot in bots]
    return answer(
        BotList(views, False, None, workspace.active_bots, workspace.limit("bots"), position)
    )


@router.get(
    "/{bot_id}",
    **documented("One bot", "billing:read", answers={200: BotState}, parameters=BOT, of="path"),
)
async def one(request: Request) -> Response:
    """A bot, as it is at this moment."""
    call = await enter(request, "billing:read", "path")
    return answer(await _view(call, request.path_params["bot_id"]))


@router.post(
    "/{bot_id}/pause",
    **documented(
        "Pause a bot",
        "billing:write",
        answers={200: BotState},
        parameters=BOT,
        keyed=False,
        of="path",
    ),
)
async def pause(request: Request) -> Response:
    """Only a person resumes it again. Its slot stays free for a bot that you resume instead."""
    call = await enter(request, "billing:write", "path")
    return await _switch(call, "pause")


@router.post(
    "/{bot_id}/resume",
    **documented(
        "Resume a bot",
        "billing:write",
        answers={200: BotState},
        parameters=BOT,
        keyed=False,
        of="path",
    ),
)
async def resume(request: Request) -> Response:
    """Whoever paused it; 403 `plan_limit_reached` where the plan has no room for it."""
    call = await enter(request, "billing:write", "path")
    return await _switch(call, "resume")


@router.delete(
    "/{bot_id}",
    **documented(
        "Remove a bot", "billing:write", answers={200: BotGone}, parameters=BOT, of="path"
    ),
)
async def remove(request: Request) -> Response:
    """Where the plan had paused others, the next one in order runs in its place."""
    call = await enter(request, "billing:write", "path")
    bot_id = request.path_params["bot_id"]
    context = await call.context()
    done = await call.house.ledger.remove_bot(call.workspace_id, bot_id, context)
    resumed = [r.fact.bot_id for r in done.facts if isinstance(r.fact, BotResumed)]
    return answer(BotGone(bot_id, True, resumed), done.position)


async def _switch(call: Call, what: Literal["pause", "resume"]) -> Response:
    body = await read_body(call.request)
    if body not in (b"", b"{}"):
        raise InvalidInput((), "takes no fields")
    bot_id = call.request.path_params["bot_id"]
    ledger = call.house.ledger

    async def act(_: str) -> Answer:
        switch = ledger.pause_bot if what == "pause" else ledger.resume_bot
        done = await switch(call.workspace_id, bot_id, await call.context())
        return Answer(await _view(call, bot_id), done.position)

    return await once(call, body, act)


async def _view(call: Call, bot_id: str) -> BotState:
    return view_of(bot_of((await standing(call)).workspace, bot_id))


def view_of(bot: Bot) -> BotState:
    """A bot as it is shown."""
    state: Literal["active", "paused"] = "active" if bot.is_active else "paused"
    return BotState(bot.bot_id, bot.name, state, bot.paused_by, bot.created_at)
