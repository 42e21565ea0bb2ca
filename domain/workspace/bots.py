"""Which bots run: the plan caps how many are active, and the keep order says which ones.

The keep order depends on facts only, so that a replay, a preview and the cycle's end agree: first
the bots that the customer chose to keep, then the oldest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from domain.errors import InvalidInput, NotFound
from domain.facts import Context
from domain.workspace.errors import BotConflict, PlanLimitReached
from domain.workspace.facts import (
    Bot,
    BotCreated,
    BotPaused,
    BotRemoved,
    BotResumed,
    Pauser,
    Resumer,
)
from domain.workspace.workspace import LimitsChanged, Workspace

BOTS_MAX = 2_000
"""Bots of one workspace, paused ones included: the workspace's state stays small."""

Why = Literal["subscription", "upgrade", "downgrade", "migration", "cycle", "involuntary_end"]
"""Why limits are put in force. An `upgrade` always resumes what the plan paused; an
`involuntary_end` never pauses: nobody is locked out of a running bot over money."""


def keep_order(bots: Sequence[Bot], keep_bot_ids: Sequence[str]) -> list[Bot]:
    """Bots in the order in which they stay: the chosen ones as chosen, then the oldest."""
    chosen = {bot_id: rank for rank, bot_id in enumerate(dict.fromkeys(keep_bot_ids))}
    last = len(chosen)
    return sorted(bots, key=lambda bot: (chosen.get(bot.bot_id, last), bot.created_at, bot.bot_id))


def _ranked(workspace: Workspace, keep_bot_ids: Sequence[str]) -> list[Bot]:
    """Who competes for the places under a cap: the active bots, and those of the chosen that the
    plan has paused. A pause by the user is the user's to lift."""
    competing = [
        bot
        for bot in workspace.bots.values()
        if bot.is_active or (bot.paused_by == "plan_limit" and bot.bot_id in keep_bot_ids)
    ]
    return keep_order(competing, keep_bot_ids)


def bots_to_pause(
    workspace: Workspace, cap: int | None, keep_bot_ids: Sequence[str] = ()
) -> list[str]:
    """The active bots beyond a cap, in the order in which they would be paused (None: no cap)."""
    beyond = [] if cap is None else _ranked(workspace, keep_bot_ids)[cap:]
    return [bot.bot_id for bot in reversed(beyond) if bot.is_active]


def bots_to_resume(workspace: Workspace) -> list[str]:
    """The bots paused by the plan for which there is room now, in keep order."""
    paused = [bot for bot in workspace.bots.values() if bot.paused_by == "plan_limit"]
    room = room_for(workspace)
    order = keep_order(paused, workspace.keep_bot_ids)
    return [bot.bot_id for bot in (order if room is None else order[: max(room, 0)])]


def room_for(workspace: Workspace) -> int | None:
    """How many more bots may be active; None where there is no cap, negative beyond it."""
    cap = workspace.limit("bots")
    return None if cap is None else cap - workspace.active_bots


def enforce_limits(
    workspace: Workspace,
    plan_id: str,
    plan_version: int,
    limits: dict[str, int | str | None],
    entitlements: dict[str, str],
    keep_bot_ids: Sequence[str],
    why: Why,
    context: Context,
) -> None:
    """Put a plan's limits in force: record `LimitsChanged`, and pause or resume bots by it.

    Afterwards no more bots are active than the cap, unless ``why`` is an involuntary end. A bot
    that the customer chose runs if it is within the cap, also where a smaller plan had paused it.
    A cap that rose resumes what the plan paused, whatever ``why``; pauses by users are never
    lifted.
    """
    before = workspace.limit("bots") if workspace.limits else 0
    workspace.record(
        LimitsChanged(
            **workspace.stamp(context, f"limits:{workspace.version + 1}"),
            plan_id=plan_id,
            plan_version=plan_version,
            limits=limits,
            entitlements=entitlements,
            keep_bot_ids=tuple(dict.fromkeys(keep_bot_ids)),
        )
    )
    cap = workspace.limit("bots")
    if why != "involuntary_end":
        stay = _ranked(workspace, keep_bot_ids)[:cap]
        for bot_id in bots_to_pause(workspace, cap, keep_bot_ids):
            _pause(workspace, bot_id, "plan_limit", context)
        for bot in stay:
            if not bot.is_active:
                _resume(workspace, bot.bot_id, "slot_freed", context)
    rose = before is not None and (cap is None or cap > before)
    if why == "upgrade" or rose:
        _resume_all(workspace, "upgrade", context)


# What people ask.


def create_bot(workspace: Workspace, bot_id: str, name: str, context: Context) -> bool:
    """Add an active bot; False if it is there already.

    :raises PlanLimitReached: the plan's cap of active bots is reached.
    :raises BotConflict: the id is another bot's, by its name.
    """
    known = workspace.bots.get(bot_id)
    if known is not None:
        if known.name != name:
            raise BotConflict(f"{bot_id} is already a bot of another name")
        return False
    if len(workspace.bots) >= BOTS_MAX:
        raise InvalidInput(("bot_id",), f"a workspace has at most {BOTS_MAX} bots; remove some")
    _check_room(workspace)
    workspace.record(
        BotCreated(
            **workspace.stamp(context, f"bot:{bot_id}:{workspace.version + 1}"),
            bot_id=bot_id,
            name=name,
            created_at=workspace.moment(context),
        )
    )
    return True


def pause_bot(workspace: Workspace, bot_id: str, context: Context) -> None:
    """Pause by the user's own wish, which only the user takes back; a no-op if it is so.

    The slot stays free for the bot that the user wants there instead.
    """
    if bot_of(workspace, bot_id).paused_by != "user":
        _pause(workspace, bot_id, "user", context)


def resume_bot(workspace: Workspace, bot_id: str, context: Context) -> None:
    """Let a bot run again, whoever paused it; a no-op if it runs.

    :raises PlanLimitReached: the plan's cap of active bots is reached.
    """
    if not bot_of(workspace, bot_id).is_active:
        _check_room(workspace)
        _resume(workspace, bot_id, "user", context)


def remove_bot(workspace: Workspace, bot_id: str, fill_slot: bool, context: Context) -> None:
    """Take a bot away; with ``fill_slot`` the next one that the plan paused runs instead."""
    freed = bot_of(workspace, bot_id).is_active
    workspace.record(
        BotRemoved(
            **workspace.stamp(context, f"bot_removed:{bot_id}:{workspace.version + 1}"),
            bot_id=bot_id,
        )
    )
    if freed and fill_slot:
        _resume_all(workspace, "slot_freed", context)


def bot_of(workspace: Workspace, bot_id: str) -> Bot:
    """A bot of this workspace.

    :raises NotFound: it has none of this id.
    """
    bot = workspace.bots.get(bot_id)
    if bot is None:
        raise NotFound("bot", bot_id)
    return bot


def _check_room(workspace: Workspace) -> None:
    room = room_for(workspace)
    if room is not None and room <= 0:
        limit, current = workspace.limit("bots") or 0, workspace.active_bots
        raise PlanLimitReached(resource="bots", limit=limit, current=current)


def _pause(workspace: Workspace, bot_id: str, by: Pauser, context: Context) -> None:
    workspace.record(
        BotPaused(
            **workspace.stamp(context, f"bot_paused:{bot_id}:{workspace.version + 1}"),
            bot_id=bot_id,
            by=by,
            limit=workspace.limit("bots") if by == "plan_limit" else None,
        )
    )


def _resume(workspace: Workspace, bot_id: str, by: Resumer, context: Context) -> None:
    workspace.record(
        BotResumed(
            **workspace.stamp(context, f"bot_resumed:{bot_id}:{workspace.version + 1}"),
            bot_id=bot_id,
            by=by,
        )
    )


def _resume_all(workspace: Workspace, by: Resumer, context: Context) -> None:
    for bot_id in bots_to_resume(workspace):
        _resume(workspace, bot_id, by, context)
