"""The tenant: who it is and what its plan lets it run."""

from __future__ import annotations

from typing import ClassVar, Literal
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


class OAuthConnected(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """The user's own account at a provider may be used. No token is kept here."""

    provider: str
    connection_id: str

    def apply(self, aggregate: Workspace) -> None:
        aggregate.oauth = {**aggregate.oauth, self.provider: self.connection_id}


class OAuthDisconnected(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """The user's own account may not be used any more."""

    provider: str
    connection_id: str
    reason: Literal["user", "revoked"]

    def apply(self, aggregate: Workspace) -> None:
        aggregate.oauth = {p: c for p, c in aggregate.oauth.items() if p != self.provider}


class Workspace(Aggregate, omit_defaults=True, gc=False):
    """A tenant's name, owner and limits."""

    category: ClassVar[str] = "workspace"
    facts: ClassVar[tuple[type[Fact], ...]] = (
        WorkspaceCreated,
        LimitsChanged,
        OAuthConnected,
        OAuthDisconnected,
    )

    workspace_id: str = ""
    name: str = ""
    owner_id: str = ""
    timezone: str = "UTC"
    limits: dict[str, int | str | None] = {}
    oauth: dict[str, str] = {}  # provider -> connection id

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
