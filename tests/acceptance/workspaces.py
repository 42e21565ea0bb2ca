"""What the scenarios of workspaces do again and again, over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import httpx

from domain.commands import Command
from domain.facts import Context
from domain.ledger import Ledger
from domain.workspace.tenancy import workspace_place
from domain.workspace.workspace import Workspace
from tests.acceptance.spending import done, on_plan
from tests.adapters.postgres.writing import writing
from tests.api.conftest import Served

START = "2026-06-01T00:00:00Z"
PAUSED, RESUMED = "BotPaused", "BotResumed"


def bot(app: Served, workspace: str, bot_id: str) -> httpx.Response:
    """Create a bot."""
    body = {"bot_id": bot_id, "name": f"Bot {bot_id}"}
    return app.post(f"/v1/workspaces/{workspace}/bots", body)


def staffed(app: Served, plan: str, count: int) -> str:
    """A workspace on a plan with the bots b01, b02, ..."""
    workspace = on_plan(app, plan)
    for number in range(1, count + 1):
        done(bot(app, workspace, f"b{number:02}"))
    return workspace


def switch(app: Served, workspace: str, bot_id: str, what: str) -> httpx.Response:
    """Pause or resume a bot."""
    return app.call("POST", f"/v1/workspaces/{workspace}/bots/{bot_id}/{what}")


def deploy(app: Served, workspace: str, deploy_id: str, bot_id: str = "b01") -> httpx.Response:
    """May a bot be deployed?"""
    body = {"bot_id": bot_id, "deploy_id": deploy_id}
    return app.post(f"/v1/workspaces/{workspace}/deploys/authorize", body)


def status(app: Served, workspace: str) -> Any:
    """How a workspace stands."""
    return app.get(f"/v1/workspaces/{workspace}/status")


def bots(app: Served, workspace: str, state: str = "active") -> list[str]:
    """The ids of the bots in a state, the oldest first."""
    found = app.get(f"/v1/workspaces/{workspace}/bots")["data"]
    return [one["bot_id"] for one in found if one["state"] == state]


def facts(app: Served, workspace: str, *types: str) -> list[Any]:
    """What the feed tells of these types."""
    return list(app.get("/v1/events", workspace, types=",".join(types), limit=1000)["data"])


def within(app: Served, workspace_id: str, change: Callable[[Workspace, Context], Any]) -> None:
    """Let something happen to the workspace that its own routes do not do: what a webhook does."""
    now = datetime.fromisoformat(app.call("POST", "/v1/test/tick").json()["now"])

    async def play() -> None:
        async with writing(app.database) as writer:
            context = Context(now, "stripe")
            command = Command((workspace_place(workspace_id),), lambda w: change(w, context))
            await Ledger(writer).book.submit(command)

    asyncio.run(play())


def past_due(app: Served, workspace: str, failed: str, days: int) -> None:
    """An invoice failed for the first time at an instant."""
    at = datetime.fromisoformat(failed)
    ends = at + timedelta(days=days)
    within(app, workspace, lambda w, c: w.mark_past_due("in_1", at, days, ends, c))
