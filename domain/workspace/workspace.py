"""The tenant: who it is and what its plan lets it run."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Literal
from uuid import UUID

from msgspec.structs import replace

from domain.facts import Aggregate, Context, Fact
from domain.identity import stream_id
from domain.workspace.facts import (
    Bot,
    BotCreated,
    BotPaused,
    BotRemoved,
    BotResumed,
    DeployAuthorised,
    DeployDenied,
    DeploysBlocked,
    GraceMoved,
    MemberAdded,
    MemberRemoved,
    Pauser,
    PaymentMethod,
    PaymentMethodRemoved,
    PaymentMethodSaved,
    StorageReported,
    StripeCustomerLinked,
    WorkspaceMarkedPastDue,
    WorkspaceReactivated,
)


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
    """What the plan in force allows: a snapshot of its limits and entitlements, and which bots
    the customer chose to keep where there are too many."""

    plan_id: str
    plan_version: int
    limits: dict[str, int | str | None]
    entitlements: dict[str, str] = {}
    keep_bot_ids: tuple[str, ...] = ()

    def apply(self, aggregate: Workspace) -> None:
        aggregate.limits = self.limits
        aggregate.entitlements = self.entitlements
        aggregate.keep_bot_ids = self.keep_bot_ids


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
    """A tenant: who it is, what runs in it, what it may run, and whether it has paid."""

    category: ClassVar[str] = "workspace"
    facts: ClassVar[tuple[type[Fact], ...]] = (
        WorkspaceCreated,
        LimitsChanged,
        OAuthConnected,
        OAuthDisconnected,
        MemberAdded,
        MemberRemoved,
        BotCreated,
        BotPaused,
        BotResumed,
        BotRemoved,
        WorkspaceMarkedPastDue,
        GraceMoved,
        DeploysBlocked,
        WorkspaceReactivated,
        DeployAuthorised,
        DeployDenied,
        StripeCustomerLinked,
        PaymentMethodSaved,
        PaymentMethodRemoved,
        StorageReported,
    )

    workspace_id: str = ""
    name: str = ""
    owner_id: str = ""
    timezone: str = "UTC"
    limits: dict[str, int | str | None] = {}
    entitlements: dict[str, str] = {}
    keep_bot_ids: tuple[str, ...] = ()
    oauth: dict[str, str] = {}  # provider -> connection id
    members: tuple[str, ...] = ()  # beside the owner, oldest first
    bots: dict[str, Bot] = {}
    status: Literal["active", "past_due"] = "active"
    first_failed_at: datetime | None = None
    grace_days: int = 0
    grace_ends_at: datetime | None = None
    blocked_since: datetime | None = None  # the end of the grace, once somebody noticed it
    stripe_customer_id: str | None = None
    payment_method: PaymentMethod | None = None
    storage_used: int = 0  # bytes

    # What the state answers.

    @property
    def seats(self) -> int:
        """People in the workspace, the owner included."""
        return 1 + len(self.members)

    @property
    def active_bots(self) -> int:
        """Bots that count towards the plan's cap."""
        return sum(bot.is_active for bot in self.bots.values())

    def limit(self, name: str) -> int | None:
        """A limit that is a number, or None where the plan sets none."""
        value = self.limits.get(name)
        return value if isinstance(value, int) else None

    def deploys_blocked_at(self, moment: datetime) -> bool:
        """Whether the grace is over at an instant, even if nobody noticed it yet."""
        return (
            self.status == "past_due"
            and self.grace_ends_at is not None
            and moment >= self.grace_ends_at
        )

    # How facts move it; used by their `apply` only.

    def put_bot(self, bot: Bot) -> None:
        """A bot is there, or is there in another state."""
        self.bots = {**self.bots, bot.bot_id: bot}

    def set_pause(self, bot_id: str, by: Pauser | None) -> None:
        """A bot is paused by somebody, or by nobody any more."""
        bot = self.bots.get(bot_id)
        if bot is not None:
            self.put_bot(replace(bot, paused_by=by))

    def drop_bot(self, bot_id: str) -> None:
        """A bot is there no more."""
        self.bots = {id: bot for id, bot in self.bots.items() if id != bot_id}

    def move_grace_to(self, ends_at: datetime) -> None:
        """Deploys go on until another instant; what was noticed of the old one is void."""
        self.grace_ends_at = ends_at
        self.blocked_since = None

    # What it decides about itself. Bots: `bots.py`; deploys: `deploys.py`.

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

    def mark_past_due(
        self,
        invoice_id: str,
        first_failed_at: datetime,
        grace_days: int,
        grace_ends_at: datetime,
        context: Context,
    ) -> None:
        """An invoice is unpaid. A no-op while another one is: see `move_grace`."""
        if self.status == "past_due":
            return
        self.record(
            WorkspaceMarkedPastDue(
                **self.stamp(context, f"past_due:{invoice_id}:{self.version + 1}"),
                invoice_id=invoice_id,
                first_failed_at=first_failed_at,
                grace_days=grace_days,
                grace_ends_at=grace_ends_at,
            )
        )

    def move_grace(
        self,
        grace_ends_at: datetime,
        context: Context,
        *,
        first_failed_at: datetime | None = None,
        grace_days: int | None = None,
    ) -> None:
        """The grace ends at another instant; a no-op unless it does."""
        if self.status == "past_due" and grace_ends_at != self.grace_ends_at:
            self.record(
                GraceMoved(
                    **self.stamp(context, f"grace:{self.version + 1}"),
                    grace_ends_at=grace_ends_at,
                    first_failed_at=first_failed_at,
                    grace_days=None if grace_days == self.grace_days else grace_days,
                )
            )

    def notice_grace(self, context: Context) -> bool:
        """Record that the grace is over, once for each end; whether that was news."""
        if self.blocked_since is not None or not self.deploys_blocked_at(self.moment(context)):
            return False
        assert self.grace_ends_at is not None
        self.record(
            DeploysBlocked(
                **self.stamp(context, f"deploys_blocked:{self.version + 1}"),
                since=self.grace_ends_at,
                noticed_at=self.moment(context),
            )
        )
        return True

    def reactivate(self, context: Context) -> None:
        """Everything is paid; a no-op while it is so."""
        if self.status == "active":
            return
        self.record(
            WorkspaceReactivated(
                **self.stamp(context, f"reactivated:{self.version + 1}"),
                deploys_were_blocked=self.deploys_blocked_at(self.moment(context)),
            )
        )
