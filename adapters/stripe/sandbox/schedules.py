"""Subscription schedules: items that change by themselves at the end of a phase."""

from __future__ import annotations

from typing import Any

from adapters.stripe.sandbox.books import Books, Json
from adapters.stripe.sandbox.errors import invalid
from adapters.stripe.sandbox.fields import merged
from adapters.stripe.sandbox.listing import listed
from adapters.stripe.sandbox.route import Call, due, route
from adapters.stripe.sandbox.schedule_phases import bounds_of, new_phase, new_phases
from adapters.stripe.sandbox.subscription_change import change_items
from adapters.stripe.sandbox.subscription_items import period_of
from adapters.stripe.sandbox.subscription_state import ENDED, end, revise
from adapters.stripe.sandbox.supported import only

UPDATE = ("end_behavior", "metadata", "phases", "proration_behavior")
OVER = ("canceled", "completed", "released")


@route("POST", "/v1/subscription_schedules")
def create(call: Call) -> Json:
    """Put a subscription under a schedule: its one phase is the current period."""
    books, asked = call.books, call.params
    only(asked, ("from_subscription", "metadata"))
    if "from_subscription" not in asked:
        raise invalid("The sandbox makes schedules `from_subscription` only.", "from_subscription")
    subscription = books.get("subscription", asked["from_subscription"], "from_subscription")
    if subscription["schedule"] is not None:
        raise invalid(
            "You cannot migrate a subscription that is already attached to a schedule:"
            f" `{subscription['schedule']}`.",
            "from_subscription",
        )
    if subscription["status"] in (*ENDED, "incomplete"):
        raise invalid(
            f"You cannot migrate a subscription that is in the `{subscription['status']}`"
            " status to a subscription schedule.",
            "from_subscription",
        )
    start, ends = period_of(subscription)
    items = [
        {"price": item["price"]["id"], "quantity": item["quantity"]}
        for item in subscription["items"]["data"]
    ]
    phase = new_phase(books, subscription, {"items": items}, (start, ends))
    schedule = _blank(books, subscription, phase) | {"metadata": merged({}, asked.get("metadata"))}
    books.emit("subscription_schedule.created", books.put(schedule))
    revise(books, subscription, schedule=schedule["id"])
    return schedule


@route("GET", "/v1/subscription_schedules/{id}")
def retrieve(call: Call) -> Json:
    """One schedule."""
    return call.books.get("subscription_schedule", call.path["id"], "schedule")


@route("GET", "/v1/subscription_schedules")
def list_schedules(call: Call) -> Json:
    """Schedules, newest first."""
    asked = call.params
    only(asked, ("created", "customer", "ending_before", "limit", "released_at", "scheduled",
                 "starting_after"))  # fmt: skip
    equal = {"customer": asked["customer"]} if "customer" in asked else {}
    found = call.books.find("subscription_schedule", **equal)
    return listed(call, "/v1/subscription_schedules", found)


@route("POST", "/v1/subscription_schedules/{id}")
def update(call: Call) -> Json:
    """Say what comes after the current phase, or what happens at the end."""
    books, asked = call.books, call.params
    only(asked, UPDATE)
    schedule = retrieve(call)
    _check_active(schedule, "update")
    subscription = books.get("subscription", schedule["subscription"])
    former: Json = {name: schedule[name] for name in ("end_behavior", "phases") if name in asked}
    if "end_behavior" in asked:
        if asked["end_behavior"] not in ("release", "cancel"):
            raise invalid("The sandbox ends a schedule by `release` or `cancel`.", "end_behavior")
        schedule["end_behavior"] = asked["end_behavior"]
    if "metadata" in asked:
        schedule["metadata"] = merged(schedule["metadata"], asked["metadata"])
    if "phases" in asked:
        schedule["phases"] = new_phases(books, schedule, subscription, asked["phases"])
        schedule["current_phase"] = bounds_of(schedule["phases"][0])
    books.emit("subscription_schedule.updated", books.put(schedule), former)
    if "phases" in asked:
        how = asked.get("proration_behavior", "create_prorations")
        _enter(books, subscription, schedule["phases"][0], how)
    return schedule


@route("POST", "/v1/subscription_schedules/{id}/release")
def release(call: Call) -> Json:
    """Leave the subscription as it is, without a schedule."""
    only(call.params, ("preserve_cancel_date",))
    schedule = retrieve(call)
    _check_active(schedule, "release")
    return _release(call.books, schedule)


@due
def change_phases(books: Books, now: int) -> int | None:
    """End the phases that are over: the next begins, or the schedule is done."""
    for schedule in books.until(
        "subscription_schedule", "current_phase.end_date", now, status="active"
    ):
        _next_phase(books, schedule)
    return books.earliest("subscription_schedule", "current_phase.end_date", status="active")


def phase_items(books: Books, subscription: Json, instant: int) -> list[Json]:
    """The items of a subscription as its schedule will have them at an instant to come."""
    items: list[Json] = subscription["items"]["data"]
    if subscription["schedule"] is None:
        return items
    schedule = books.get("subscription_schedule", subscription["schedule"])
    for phase in schedule["phases"]:
        if phase["start_date"] <= instant < phase["end_date"]:
            return [
                item | {"price": books.get("price", new["price"]), "quantity": new["quantity"]}
                for item, new in zip(items, phase["items"], strict=True)
            ]
    return items


def _next_phase(books: Books, schedule: Json) -> None:
    """The current phase is over."""
    subscription = books.get("subscription", schedule["subscription"])
    over = schedule["current_phase"]
    coming = [p for p in schedule["phases"] if p["start_date"] >= over["end_date"]]
    if coming:
        schedule["current_phase"] = bounds_of(coming[0])
        books.put(schedule)
        books.emit("subscription_schedule.updated", schedule, {"current_phase": over})
        _enter(books, subscription, coming[0], coming[0]["proration_behavior"])
    elif schedule["end_behavior"] == "release":
        _release(books, schedule)
    else:
        schedule |= {"completed_at": books.now(), "current_phase": None, "status": "completed"}
        books.emit("subscription_schedule.completed", books.put(schedule))
        end(books, subscription, None)


def _enter(books: Books, subscription: Json, phase: Json, how: str) -> None:
    """Give the subscription what a phase says, if that differs from what it has."""
    current = subscription["items"]["data"]
    asked = [
        {"id": item["id"], "price": new["price"], "quantity": new["quantity"]}
        for item, new in zip(current, phase["items"], strict=True)
    ]
    fields: dict[str, Any] = {}
    if phase["metadata"]:
        fields["metadata"] = merged(subscription["metadata"], phase["metadata"])
    change_items(books, subscription, {"items": asked, "proration_behavior": how}, fields)


def _release(books: Books, schedule: Json) -> Json:
    subscription = books.get("subscription", schedule["subscription"])
    schedule |= {
        "current_phase": None,
        "released_at": books.now(),
        "released_subscription": subscription["id"],
        "status": "released",
        "subscription": None,
    }
    books.emit("subscription_schedule.released", books.put(schedule))
    revise(books, subscription, schedule=None)
    return schedule


def _check_active(schedule: Json, verb: str) -> None:
    if schedule["status"] in OVER:
        raise invalid(
            f"You cannot {verb} a subscription schedule that is currently in the"
            f" `{schedule['status']}` status."
        )


def _blank(books: Books, subscription: Json, phase: Json) -> Json:
    nothing = (
        "application", "canceled_at", "completed_at", "customer_account", "released_at",
        "released_subscription", "test_clock",
    )  # fmt: skip
    settings = (
        "application_fee_percent", "automatic_tax", "billing_thresholds",
        "default_payment_method", "description", "on_behalf_of", "transfer_data",
    )  # fmt: skip
    unset = ("account_tax_ids", "custom_fields", "days_until_due", "description", "footer")
    return {
        "id": books.new_id("sub_sched"),
        "object": "subscription_schedule",
        **dict.fromkeys(nothing),
        "billing_mode": subscription["billing_mode"],
        "created": books.now(),
        "current_phase": bounds_of(phase),
        "customer": subscription["customer"],
        "default_settings": {
            **dict.fromkeys(settings),
            "billing_cycle_anchor": "automatic",
            "collection_method": "charge_automatically",
            "invoice_settings": {
                **dict.fromkeys(unset),
                "issuer": {"account": None, "type": "self"},
            },
        },
        "end_behavior": "release",
        "livemode": False,
        "metadata": {},
        "pause_schedules": [],
        "phases": [phase],
        "status": "active",
        "subscription": subscription["id"],
    }
