"""What an account decides in Stripe's dashboard: when failed payments are tried again, and then?

POST /sandbox/billing {"retry_days": [3, 5, 7], "after_last": "leave", "draft_s": 3600}
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal, cast

from adapters.stripe.sandbox.books import Books, Json
from adapters.stripe.sandbox.control import order
from adapters.stripe.sandbox.errors import invalid

AFTER = ("leave", "cancel", "unpaid")


@dataclass(frozen=True, slots=True)
class BillingSettings:
    """How the account collects."""

    retry_days: tuple[int, ...] = (3, 5, 7)
    """Days from each failed automatic attempt to the next."""
    after_last: Literal["leave", "cancel", "unpaid"] = "leave"
    """What becomes of the subscription when the last of them has failed."""
    draft_s: int = 3_600
    """How long a draft waits before it is finalised by itself."""


def settings(books: Books) -> BillingSettings:
    """The settings in force."""
    record = books.look("sandbox.billing", "billing_settings")
    if record is None:
        return BillingSettings()
    return BillingSettings(tuple(record["retry_days"]), record["after_last"], record["draft_s"])


@order("/billing")
def settle_on(books: Books, asked: Json) -> Json:
    """Change some of the settings; all of them as JSON. StripeError 400 for anything odd."""
    known = asdict(settings(books))
    if unknown := asked.keys() - known.keys():
        raise invalid(f"Unknown setting: {min(unknown)}", min(unknown))
    chosen = known | asked
    if chosen["after_last"] not in AFTER:
        raise invalid(f"One of {', '.join(AFTER)}.", "after_last")
    days = cast("list[int]", chosen["retry_days"])
    if not all(isinstance(day, int) and day > 0 for day in days):
        raise invalid("Whole days, one or more each.", "retry_days")
    if not isinstance(chosen["draft_s"], int) or chosen["draft_s"] < 0:
        raise invalid("Whole seconds, none or more.", "draft_s")
    books.put({"object": "sandbox.billing", "id": "billing_settings", **chosen})
    return chosen
