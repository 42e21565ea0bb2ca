"""How the domain says no where plans are bought, changed and ended.

Conflict ─ AlreadySubscribed, NotSubscribed, PlanNotAvailable, CheckoutRequired, PastDue,
           PreviewStale, PlanChangeIsPending
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from domain.errors import Conflict


class AlreadySubscribed(Conflict):
    """There is a subscription already, or the plan is the one in force."""

    code: ClassVar[str] = "already_subscribed"


class NotSubscribed(Conflict):
    """There is no subscription to cancel, resume or change."""

    code: ClassVar[str] = "not_subscribed"


class PlanNotAvailable(Conflict):
    """The plan is not sold (any more)."""

    code: ClassVar[str] = "plan_not_available"


class CheckoutRequired(Conflict):
    """No card stands behind this contract yet: the plan has to be bought on a payment page."""

    code: ClassVar[str] = "checkout_required"


class PastDue(Conflict):
    """Plans change only when everything is paid."""

    code: ClassVar[str] = "subscription_past_due"


@dataclass(eq=False)
class PreviewStale(Conflict):
    """The preview no longer holds; nothing was changed and nothing charged. Where only the amount
    is another one, ``amount_due_now`` is the new figure in minor units."""

    code: ClassVar[str] = "preview_stale"
    amount_due_now: int | None = None


class PlanChangeIsPending(Conflict):
    """An upgrade waits for its payment; nothing else may be changed meanwhile."""

    code: ClassVar[str] = "plan_change_pending"
