"""The tenant: who it is and what its plan lets it run."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

from domain.facts import Aggregate, Context, Fact
from domain.identity import stream_id


def workspace_stream(workspace_id: str) -> UUID:
    """The stream of a workspace."""
    return stream_id("workspace", workspace_id)


class WorkspaceCreated(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """A tenant exists. ``timezone`` is an IANA name, for showing dates only."""

    workspace_id: str
    name: str
    owner_id: str
    timezone: str

    def apply(self, aggregate: Workspace) -> None:
        aggregate.workspace_id = self.workspace_id
        aggregate.name = self.name
        aggregate.owner_id = self.owner_id
        aggregate.timezone = self.timezone


class LimitsChanged(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """What the plan in force allows: a snapshot of its limits and entitlements."""

    plan_id: str
    plan_version: int
    limits: dict[str, int | str | None]
    entitlements: dict[str, str] = {}

    def apply(self, aggregate: Workspace) -> None:
        aggregate.limits = self.limits


class Workspace(Aggregate, omit_defaults=True, gc=False):
    """A tenant's name, owner and limits."""

    category: ClassVar[str] = "workspace"
    facts: ClassVar[tuple[type[Fact], ...]] = (WorkspaceCreated, LimitsChanged)

    workspace_id: str = ""
    name: str = ""
    owner_id: str = ""
    timezone: str = "UTC"
    limits: dict[str, int | str | None] = {}

    def create(
        self, workspace_id: str, name: str, owner_id: str, timezone: str, context: Context
    ) -> None:
        """Open the tenant; it never changes its id."""
        self.record(
            WorkspaceCreated(
                **self.stamp(context, f"workspace:{workspace_id}"),
                workspace_id=workspace_id,
                name=name,
                owner_id=owner_id,
                timezone=timezone,
            )
        )
