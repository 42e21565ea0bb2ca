"""What a dashboard shows above everything while something is unpaid, as a function of now."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from api.call import Call
from api.paying.portal import portal_link
from domain.workspace.workspace import Workspace


class Banner(msgspec.Struct, frozen=True):
    """`none`; `yellow` while deploys still work; `red` once they do not."""

    level: Literal["none", "yellow", "red"]
    message: str | None
    action_url: str | None


NOTHING = Banner("none", None, None)


def portal_path(call: Call, now: datetime) -> str:
    """Where a card is changed. Portal pages open once only, so this is a signed link of our own,
    which opens one for whoever follows it."""
    settings = call.house.settings
    return portal_link(settings, call.workspace_id, now, "payment_method_update")


def banner(workspace: Workspace, now: datetime, portal: str) -> Banner:
    """The banner of a workspace at an instant."""
    if workspace.status != "past_due" or workspace.grace_ends_at is None:
        return NOTHING
    if workspace.deploys_blocked_at(now):
        message = "An invoice is unpaid: new deploys are blocked. Running bots go on."
        return Banner("red", message, portal)
    ends = workspace.grace_ends_at.strftime("%Y-%m-%d %H:%M UTC")
    message = f"An invoice is unpaid. Please update your card: deploys go on until {ends}."
    return Banner("yellow", message, portal)
