"""`/v1/workspaces/{id}/status`: how a workspace stands at this moment."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.call import answer, enter
from api.openapi import documented
from api.reads import newest_position
from api.standing import Standing, standing
from api.tenancy.banner import Banner, banner, portal_path
from domain.account.ask import Ask
from domain.account.funding import admit
from domain.account.hold_facts import Labels
from domain.errors import PaymentRequired
from domain.workspace.storage import storage_of
from domain.workspace.workspace import Workspace

router = APIRouter(prefix="/v1/workspaces/{workspace_id}", tags=["workspaces"])

CHAT = "chat"


class Deploys(msgspec.Struct, frozen=True):
    """Whether new deploys are allowed; `blocked_since` is the end of the grace."""

    allowed: bool
    blocked_since: datetime | None


class Grace(msgspec.Struct, frozen=True):
    """How long deploys go on: `days` of 24 hours from the first failure on."""

    first_failed_at: datetime | None
    ends_at: datetime
    days: int


class BotCounts(msgspec.Struct, frozen=True):
    """How many bots there are; `limit` caps the active ones (null: no cap)."""

    active: int
    paused_by_plan: int
    paused_by_user: int
    limit: int | None


class Seats(msgspec.Struct, frozen=True):
    """How many of the plan's seats are taken."""

    used: int
    limit: int | None


class StorageView(msgspec.Struct, frozen=True):
    """What all bots store together, in bytes."""

    used_bytes: int
    limit_bytes: int | None
    allowed_growth: bool


class Chat(msgspec.Struct, frozen=True):
    """Whether a chat call would be refused now; `reason` is the code of that refusal."""

    paused: bool
    reason: str | None


class StatusView(msgspec.Struct, frozen=True):
    """A workspace at this moment. `grace` is null while nothing is unpaid."""

    workspace_id: str
    plan: str
    status: Literal["active", "past_due"]
    banner: Banner
    deploys: Deploys
    grace: Grace | None
    bots: BotCounts
    seats: Seats
    storage: StorageView
    chat: Chat
    is_frozen: bool
    has_payment_method: bool
    as_of_position: int


@router.get(
    "/status",
    **documented("How a workspace stands", "billing:read", answers={200: StatusView}, of="path"),
)
async def status(request: Request) -> Response:
    """Computed from the facts and the time; nothing waits for a timer."""
    call = await enter(request, "billing:read", "path")
    position = await newest_position(call.house)
    stands = await standing(call)
    return answer(view(stands, portal_path(call, stands.context.now), position))


def view(stands: Standing, portal: str, position: int) -> StatusView:
    """The status of a workspace as it stands, with all facts up to the position. ``portal`` is
    where a card is changed."""
    workspace, account, now = stands.workspace, stands.account, stands.context.now
    blocked = workspace.deploys_blocked_at(now)
    storage = storage_of(workspace)
    return StatusView(
        workspace.workspace_id,
        account.plan,
        workspace.status,
        banner(workspace, now, portal),
        Deploys(not (blocked or account.is_frozen), workspace.grace_ends_at if blocked else None),
        _grace(workspace),
        _bots(workspace),
        Seats(workspace.seats, workspace.limit("seats")),
        StorageView(storage.used, storage.limit, storage.may_grow),
        _chat(stands),
        account.is_frozen,
        workspace.payment_method is not None,
        position,
    )


def _grace(workspace: Workspace) -> Grace | None:
    if workspace.status != "past_due" or workspace.grace_ends_at is None:
        return None
    return Grace(workspace.first_failed_at, workspace.grace_ends_at, workspace.grace_days)


def _bots(workspace: Workspace) -> BotCounts:
    paused = [bot.paused_by for bot in workspace.bots.values()]
    return BotCounts(
        workspace.active_bots,
        paused.count("plan_limit"),
        paused.count("user"),
        workspace.limit("bots"),
    )


def _chat(stands: Standing) -> Chat:
    """Asks as the smallest call would; the deployment's meter for chat is the one called so."""
    account, catalogue, now = stands.account, stands.plans.current, stands.context.now
    meter = next((name for name in catalogue.meters if name.startswith(CHAT)), None)
    if meter is None or account.policy is None:
        return Chat(False, None)
    if account.is_frozen:
        return Chat(True, "account_frozen")
    terms = catalogue.meters[meter]
    ask = Ask(account, meter, terms, account.policy, catalogue, now, now, Labels())
    if "oauth" in ask.waterfall and "active" in account.policy.oauth.values():
        return Chat(False, None)
    try:
        admit(ask, 1 if terms.bucket else 0, (0, 1))
    except PaymentRequired as refusal:
        return Chat(True, refusal.code)
    return Chat(False, None)
