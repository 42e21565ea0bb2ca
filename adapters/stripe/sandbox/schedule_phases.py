"""The phases of a subscription schedule: when each begins and ends, and with which items."""

from __future__ import annotations

from adapters.stripe.sandbox.books import Books, Json
from adapters.stripe.sandbox.errors import invalid
from adapters.stripe.sandbox.fields import merged
from adapters.stripe.sandbox.proration import boundary, period_at
from adapters.stripe.sandbox.subscription_items import licensed_price
from adapters.stripe.sandbox.supported import only

PHASE = ("duration", "end_date", "items", "metadata", "proration_behavior", "start_date")


def new_phases(books: Books, schedule: Json, subscription: Json, asked: list[Json]) -> list[Json]:
    """The phases that were asked for: the current one first, each beginning where one ended."""
    current = schedule["current_phase"]
    phases: list[Json] = []
    starts = current["start_date"]
    for number, entry in enumerate(asked):
        only(entry, PHASE, f"phases[{number}]")
        if entry.get("start_date", starts) != starts:
            raise invalid(
                "The first phase must start where the current one did, and each other where"
                " the one before it ends.",
                f"phases[{number}][start_date]",
            )
        ends = _end_of(subscription, entry, starts)
        phases.append(new_phase(books, subscription, entry, (starts, ends)))
        starts = ends
    if not phases or phases[0]["end_date"] <= books.now():
        raise invalid("The current phase must be among the phases.", "phases")
    return phases


def _end_of(subscription: Json, entry: Json, starts: int) -> int:
    """When a phase ends: at its date, after its duration, or with the billing period."""
    if "end_date" in entry:
        if not isinstance(entry["end_date"], int) or entry["end_date"] <= starts:
            raise invalid("A phase must end after it begins.", "phases")
        return int(entry["end_date"])
    if duration := entry.get("duration"):
        return boundary(starts, duration["interval"], duration.get("interval_count", 1))
    terms = subscription["items"]["data"][0]["price"]["recurring"]
    anchor = subscription["billing_cycle_anchor"]
    return period_at(anchor, terms["interval"], terms["interval_count"], starts)[1]


def new_phase(books: Books, subscription: Json, entry: Json, bounds: tuple[int, int]) -> Json:
    """A phase (start, end) as the schedule shows it."""
    if len(entry["items"]) != len(subscription["items"]["data"]):
        raise invalid("The sandbox keeps the number of items over a schedule.", "phases")
    nothing = (
        "application_fee_percent", "automatic_tax", "billing_cycle_anchor", "billing_thresholds",
        "collection_method", "default_payment_method", "description", "invoice_settings",
        "on_behalf_of", "transfer_data", "trial_end",
    )  # fmt: skip
    return {
        **dict.fromkeys(nothing),
        "add_invoice_items": [],
        "currency": subscription["currency"],
        "default_tax_rates": [],
        "discounts": [],
        "end_date": bounds[1],
        "items": [_phase_item(books, item) for item in entry["items"]],
        "metadata": merged({}, entry.get("metadata")),
        "proration_behavior": entry.get("proration_behavior", "create_prorations"),
        "start_date": bounds[0],
    }


def _phase_item(books: Books, asked: Json) -> Json:
    only(asked, ("price", "quantity"), "phases[items]")
    if "price" not in asked:
        raise invalid("Missing required param: price.", "phases", "parameter_missing")
    price = licensed_price(books, asked["price"], "phases[items][price]")
    return {
        "billing_thresholds": None,
        "discounts": [],
        "metadata": {},
        "plan": price["id"],
        "price": price["id"],
        "quantity": asked.get("quantity", 1),
        "tax_rates": [],
    }


def bounds_of(phase: Json) -> Json:
    """When a phase begins and ends, as `current_phase` shows it."""
    return {"end_date": phase["end_date"], "start_date": phase["start_date"]}
