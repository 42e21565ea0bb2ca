"""May a bot be deployed now? Time decides, not timers: nothing here waits for a sweeper."""

from __future__ import annotations

from typing import Any, NamedTuple

from domain.account.credit_account import CreditAccount
from domain.catalogue.catalogue import Catalogue
from domain.errors import AccountFrozen, Refusal
from domain.facts import Context
from domain.workspace.bots import room_for
from domain.workspace.errors import BotIsPaused, DeployBlockedPastDue, PlanLimitReached
from domain.workspace.facts import Denial, DeployAuthorised, DeployDenied, DeployKind
from domain.workspace.workspace import Workspace


class Compute(NamedTuple):
    """What a deployed bot may use: the plan's words, None where it says nothing."""

    vcpu: int | str | None
    ram_mb: int | str | None


class Verdict(NamedTuple):
    """The answer to one deploy, at one moment. A denial carries its refusal."""

    compute: Compute
    denial: Denial | None = None
    refusal: Refusal | None = None


def is_new(kind: DeployKind, catalogue: Catalogue) -> bool:
    """Whether it is a new deploy, which an unpaid invoice blocks once the grace is over."""
    return kind == "deploy" or (kind == "rollback" and catalogue.rollback_is_deploy)


def judge(
    workspace: Workspace,
    account: CreditAccount,
    bot_id: str,
    portal: str,
    context: Context,
    *,
    new: bool = True,
) -> Verdict:
    """Allowed if the account is not frozen, the grace is not over (or the deploy not ``new``), and
    the bot is active or new with room for it. ``portal`` is where a card can be changed."""
    compute = Compute(workspace.limits.get("vcpu"), workspace.limits.get("ram_mb"))
    now = workspace.moment(context)
    if account.is_frozen:
        frozen = AccountFrozen(
            plan=account.plan, balance=account.balance, available=account.available, is_frozen=True
        )
        return Verdict(compute, "account_frozen", frozen)
    if new and workspace.deploys_blocked_at(now):
        blocked = DeployBlockedPastDue(
            plan=account.plan,
            balance=account.balance,
            available=account.available,
            grace_ended_at=workspace.grace_ends_at,
            portal=portal,
        )
        return Verdict(compute, "deploy_blocked_past_due", blocked)
    bot = workspace.bots.get(bot_id)
    if bot is not None and bot.paused_by == "user":
        return Verdict(compute, "bot_paused", BotIsPaused(f"{bot_id} is paused; resume it first"))
    room = room_for(workspace)
    is_new = bot is None or not bot.is_active
    if is_new and room is not None and (room <= 0 or bot is not None):
        limit, current = workspace.limit("bots") or 0, workspace.active_bots
        full = PlanLimitReached(resource="bots", limit=limit, current=current)
        return Verdict(compute, "plan_limit_reached", full)
    return Verdict(compute)


def note(
    workspace: Workspace,
    deploy_id: str,
    bot_id: str,
    kind: DeployKind,
    verdict: Verdict,
    context: Context,
) -> None:
    """Record a verdict, under its `cause_of`."""
    about: dict[str, Any] = {
        **workspace.stamp(context, cause_of(deploy_id, verdict)),
        "deploy_id": deploy_id,
        "bot_id": bot_id,
        "deploy_kind": kind,
    }
    denial = verdict.denial
    workspace.record(DeployDenied(**about, reason=denial) if denial else DeployAuthorised(**about))


def cause_of(deploy_id: str, verdict: Verdict) -> str:
    """A deploy is recorded once for each verdict that it met."""
    return f"deploy:{deploy_id}:{verdict.denial or 'authorised'}"
