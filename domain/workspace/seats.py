"""Who works in a workspace, and how many the plan lets in. The owner takes a seat too."""

from __future__ import annotations

from domain.errors import InvalidInput, NotFound
from domain.facts import Context
from domain.workspace.errors import OwnerStays, PlanLimitReached
from domain.workspace.facts import MemberAdded, MemberRemoved
from domain.workspace.workspace import Workspace

MEMBERS_MAX = 2_000
"""People of one workspace, whatever the plan: the workspace's state stays small."""


def add_member(workspace: Workspace, member_id: str, context: Context) -> bool:
    """Give a person a seat; False if they have one. Nobody loses one to a smaller plan.

    :raises PlanLimitReached: every seat of the plan is taken.
    """
    if "@" in member_id:
        raise InvalidInput(("member_id",), "is an id of your own, never an address of a person")
    if member_id == workspace.owner_id or member_id in workspace.members:
        return False
    if len(workspace.members) >= MEMBERS_MAX:
        raise InvalidInput(("member_id",), f"a workspace has at most {MEMBERS_MAX} members")
    limit = workspace.limit("seats")
    if limit is not None and workspace.seats >= limit:
        raise PlanLimitReached(resource="seats", limit=limit, current=workspace.seats)
    stamp = workspace.stamp(context, f"member:{member_id}:{workspace.version + 1}")
    workspace.record(MemberAdded(**stamp, member_id=member_id))
    return True


def remove_member(workspace: Workspace, member_id: str, context: Context) -> None:
    """Free a person's seat.

    :raises OwnerStays: the owner cannot leave.
    :raises NotFound: nobody of this id has a seat.
    """
    if member_id == workspace.owner_id:
        raise OwnerStays("the owner cannot leave the workspace")
    if member_id not in workspace.members:
        raise NotFound("member", member_id)
    stamp = workspace.stamp(context, f"member_removed:{member_id}:{workspace.version + 1}")
    workspace.record(MemberRemoved(**stamp, member_id=member_id))
