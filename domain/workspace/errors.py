"""How a workspace says no (the tree's top is in `domain/errors.py`).

Refusal
├── Forbidden ─ PlanLimitReached
├── PaymentRequired ─ DeployBlockedPastDue
└── Conflict ─ BotConflict, BotIsPaused, DeployConflict, OwnerStays
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from domain.errors import Conflict, Forbidden, PaymentRequired

NOUNS = {"bots": "active bots", "seats": "seats", "storage": "bytes of storage"}


@dataclass(eq=False, kw_only=True)
class PlanLimitReached(Forbidden):
    """The plan allows no more. ``limit`` and ``current`` count the ``resource``."""

    code: ClassVar[str] = "plan_limit_reached"
    message: str = ""
    resource: str
    limit: int
    current: int

    def __str__(self) -> str:
        noun = NOUNS.get(self.resource, self.resource)
        return f"The plan allows {self.limit} {noun}; there are {self.current}."


@dataclass(eq=False, kw_only=True)
class DeployBlockedPastDue(PaymentRequired):
    """An invoice is unpaid and the grace is over. What runs goes on running."""

    code: ClassVar[str] = "deploy_blocked_past_due"
    grace_ended_at: datetime | None = None
    portal: str = ""

    def __str__(self) -> str:
        return "An invoice is unpaid and the grace is over; paying it lets deploys go on."


class BotConflict(Conflict):
    """The bot's id is taken by a bot of another name."""

    code: ClassVar[str] = "bot_conflict"


class BotIsPaused(Conflict):
    """A paused bot is not deployed; resume it first."""

    code: ClassVar[str] = "bot_paused"


class DeployConflict(Conflict):
    """The ``deploy_id`` was used for another bot."""

    code: ClassVar[str] = "deploy_conflict"


class OwnerStays(Conflict):
    """The owner's own seat cannot be given up."""

    code: ClassVar[str] = "owner_stays"
