"""What happens to a workspace: its people and bots, its plan's limits, its customer at Stripe,
and what being unpaid means for it. `WorkspaceCreated` and its like are in `workspace.py`."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Literal

import msgspec

from domain.facts import Fact

if TYPE_CHECKING:
    from domain.workspace.workspace import Workspace

Pauser = Literal["user", "plan_limit"]
Resumer = Literal["user", "slot_freed", "upgrade"]
Denial = Literal["account_frozen", "deploy_blocked_past_due", "bot_paused", "plan_limit_reached"]


class Bot(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A bot: active unless somebody paused it."""

    bot_id: str
    name: str
    created_at: datetime
    paused_by: Pauser | None = None

    @property
    def is_active(self) -> bool:
        """Whether it counts towards the plan's cap."""
        return self.paused_by is None


class PaymentMethod(msgspec.Struct, frozen=True, gc=False):
    """A card as it may be shown: Stripe's id, brand and last four digits."""

    id: str
    brand: str
    last4: str


class MemberAdded(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """Another person takes a seat. ``member_id`` is an id of the product's, never an address."""

    member_id: str

    def apply(self, workspace: Workspace) -> None:
        workspace.members = (*workspace.members, self.member_id)


class MemberRemoved(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """A seat is free again."""

    member_id: str

    def apply(self, workspace: Workspace) -> None:
        workspace.members = tuple(m for m in workspace.members if m != self.member_id)


class BotCreated(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """A bot exists, and is active."""

    bot_id: str
    name: str
    created_at: datetime

    def apply(self, workspace: Workspace) -> None:
        workspace.put_bot(Bot(self.bot_id, self.name, self.created_at))


class BotPaused(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """A bot stops. ``limit`` is the cap that it was beyond, where the plan paused it."""

    bot_id: str
    by: Pauser
    limit: int | None = None

    def apply(self, workspace: Workspace) -> None:
        workspace.set_pause(self.bot_id, self.by)


class BotResumed(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """A bot runs again."""

    bot_id: str
    by: Resumer

    def apply(self, workspace: Workspace) -> None:
        workspace.set_pause(self.bot_id, None)


class BotRemoved(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """A bot is gone; its id may be taken again."""

    bot_id: str

    def apply(self, workspace: Workspace) -> None:
        workspace.drop_bot(self.bot_id)


class WorkspaceMarkedPastDue(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """An invoice is unpaid: deploys go on until ``grace_ends_at``, everything else anyway."""

    first_failed_at: datetime
    grace_days: int
    grace_ends_at: datetime
    invoice_id: str

    def apply(self, workspace: Workspace) -> None:
        workspace.status = "past_due"
        workspace.first_failed_at = self.first_failed_at
        workspace.grace_days = self.grace_days
        workspace.move_grace_to(self.grace_ends_at)


class GraceMoved(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """The oldest unpaid invoice, or its first failure, turned out to be another one."""

    grace_ends_at: datetime
    first_failed_at: datetime | None = None
    grace_days: int | None = None  # where they are others, too

    def apply(self, workspace: Workspace) -> None:
        workspace.first_failed_at = self.first_failed_at or workspace.first_failed_at
        if self.grace_days is not None:
            workspace.grace_days = self.grace_days
        workspace.move_grace_to(self.grace_ends_at)


class DeploysBlocked(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """The end of the grace was noticed. For the record only: what decides is the time."""

    since: datetime
    noticed_at: datetime

    def apply(self, workspace: Workspace) -> None:
        workspace.blocked_since = self.since


class WorkspaceReactivated(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """Nothing is unpaid any more, from the moment at which this was recorded."""

    deploys_were_blocked: bool = False

    def apply(self, workspace: Workspace) -> None:
        workspace.status = "active"
        workspace.first_failed_at = workspace.grace_ends_at = workspace.blocked_since = None
        workspace.grace_days = 0


DeployKind = Literal["deploy", "rollback", "restart"]
"""A `restart` lets what was deployed run again, as after a crash; a `rollback` an earlier one."""


class DeployAuthorised(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """A deploy may run."""

    deploy_id: str
    bot_id: str
    deploy_kind: DeployKind = "deploy"

    def apply(self, workspace: Workspace) -> None:
        """A deploy moves nothing here."""


class DeployDenied(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """A deploy may not run."""

    deploy_id: str
    bot_id: str
    reason: Denial
    deploy_kind: DeployKind = "deploy"

    def apply(self, workspace: Workspace) -> None:
        """A deploy moves nothing here."""


class StripeCustomerLinked(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """Who this workspace is at Stripe."""

    stripe_customer_id: str

    def apply(self, workspace: Workspace) -> None:
        workspace.stripe_customer_id = self.stripe_customer_id


class PaymentMethodSaved(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """A card is on file, in the place of any other."""

    payment_method_id: str
    brand: str
    last4: str

    def apply(self, workspace: Workspace) -> None:
        workspace.payment_method = PaymentMethod(self.payment_method_id, self.brand, self.last4)


class PaymentMethodRemoved(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """The card is off file."""

    payment_method_id: str
    brand: str
    last4: str

    def apply(self, workspace: Workspace) -> None:
        card = workspace.payment_method
        if card is not None and card.id == self.payment_method_id:
            workspace.payment_method = None


class StorageReported(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """How much the bots of the workspace store, all together."""

    used_bytes: int

    def apply(self, workspace: Workspace) -> None:
        workspace.storage_used = self.used_bytes
