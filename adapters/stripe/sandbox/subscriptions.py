"""Subscriptions over HTTP: create, read, list, change what costs nothing, cancel.

subscription_change.py changes their items; renewal.py does what time brings.
"""

from __future__ import annotations

from typing import Any

from adapters.stripe.sandbox.books import Books, Json
from adapters.stripe.sandbox.customers import living
from adapters.stripe.sandbox.errors import invalid
from adapters.stripe.sandbox.fields import merged, text_or_none
from adapters.stripe.sandbox.listing import listed, searched
from adapters.stripe.sandbox.route import Call, route
from adapters.stripe.sandbox.subscription_change import change_items
from adapters.stripe.sandbox.subscription_items import period_of
from adapters.stripe.sandbox.subscription_start import start_subscription
from adapters.stripe.sandbox.subscription_state import ENDED, end, revise
from adapters.stripe.sandbox.supported import only

CREATE = (
    "add_invoice_items", "billing_mode", "cancel_at_period_end", "collection_method",
    "currency", "customer", "default_payment_method", "description", "items", "metadata",
    "off_session", "payment_behavior", "payment_settings", "proration_behavior",
)  # fmt: skip
UPDATE = (
    "cancel_at", "cancel_at_period_end", "cancellation_details", "collection_method",
    "default_payment_method", "description", "items", "metadata", "off_session",
    "payment_behavior", "payment_settings", "proration_behavior", "proration_date",
)  # fmt: skip
PENDING = ("expand", "items", "payment_behavior", "proration_behavior", "proration_date")
"""All that may be sent with pending_if_incomplete (of what the sandbox knows)."""


@route("POST", "/v1/subscriptions")
def create(call: Call) -> Json:
    """Subscribe a customer; the first invoice is made, and paid if a card allows it."""
    books, asked = call.books, call.params
    only(asked, CREATE)
    _charge_only(asked)
    if asked.get("payment_behavior") == "pending_if_incomplete":
        raise invalid(
            "`payment_behavior` cannot be `pending_if_incomplete` on a new subscription.",
            "payment_behavior",
        )
    customer = living(books, asked["customer"], "customer")
    fields = _plain_fields(books, asked, customer["id"])
    method = fields.pop("default_payment_method", None)
    if mode := asked.get("billing_mode"):
        only(mode, ("type",), "billing_mode")
        fields["billing_mode"] = {"flexible": None, "type": mode["type"], "updated_at": None}
    if asked.get("cancel_at_period_end"):
        raise invalid("The sandbox cancels an existing subscription only.", "cancel_at_period_end")
    return start_subscription(
        books,
        customer,
        asked.get("items", []),
        merged({}, asked.get("metadata")),
        method,
        asked.get("payment_behavior", "allow_incomplete"),
        asked.get("add_invoice_items", ()),
        **fields,
    )


@route("GET", "/v1/subscriptions/{id}")
def retrieve(call: Call) -> Json:
    """One subscription."""
    return _of(call)


@route("GET", "/v1/subscriptions")
def list_subscriptions(call: Call) -> Json:
    """Subscriptions, newest first; without `status` those that have not been cancelled."""
    asked = call.params
    only(asked, ("created", "customer", "ending_before", "limit", "price", "starting_after",
                 "status"))  # fmt: skip
    equal = {"customer": asked["customer"]} if "customer" in asked else {}
    found = call.books.find("subscription", **equal)
    status = asked.get("status")
    if status == "ended":
        found = [each for each in found if each["status"] in ENDED]
    elif status is None:
        found = [each for each in found if each["status"] != "canceled"]
    elif status != "all":
        found = [each for each in found if each["status"] == status]
    if price := asked.get("price"):
        found = [e for e in found if any(i["price"]["id"] == price for i in e["items"]["data"])]
    return listed(call, "/v1/subscriptions", found)


@route("GET", "/v1/subscriptions/search")
def search(call: Call) -> Json:
    """Subscriptions that match a query, such as ``metadata['workspace']:'w1'``."""
    return searched(call, "/v1/subscriptions/search", call.books.find("subscription"))


@route("POST", "/v1/subscriptions/{id}")
def update(call: Call) -> Json:
    """Change a subscription: its items with or without proration, its end, its plain fields."""
    books, asked = call.books, call.params
    only(asked, UPDATE)
    _charge_only(asked)
    subscription = _of(call)
    if subscription["status"] in ENDED and asked.keys() - {"metadata", "cancellation_details"}:
        raise invalid(
            "A canceled subscription can only update its cancellation_details and metadata."
        )
    if asked.get("payment_behavior") == "pending_if_incomplete":
        _check_pending(asked)
    fields = _plain_fields(books, asked, subscription["customer"])
    if "metadata" in asked:
        fields["metadata"] = merged(subscription["metadata"], asked["metadata"])
    fields |= _ending(subscription, asked, call.now)
    if "items" not in asked:
        return revise(books, subscription, **fields)
    if subscription["schedule"] is not None:
        raise invalid(
            "The sandbox changes the items of a subscription under a schedule by the schedule"
            f" `{subscription['schedule']}` only: release it first.",
            "items",
        )
    return change_items(books, subscription, asked, fields)


@route("DELETE", "/v1/subscriptions/{id}")
def cancel(call: Call) -> Json:
    """Cancel at once."""
    books, asked = call.books, call.params
    only(asked, ("cancellation_details", "invoice_now", "prorate"))
    for name in ("invoice_now", "prorate"):
        if asked.get(name):
            raise invalid(f"The sandbox cancels without `{name}`.", name)
    subscription = _of(call)
    if subscription["status"] in ENDED:
        raise invalid(f"No such subscription: '{subscription['id']}'", "id", "resource_missing")
    return end(books, subscription, None, **asked.get("cancellation_details", {}))


def _of(call: Call) -> Json:
    return call.books.get("subscription", call.path["id"], "id")


def _charge_only(asked: Json) -> None:
    if asked.get("collection_method", "charge_automatically") != "charge_automatically":
        raise invalid("The sandbox only charges automatically.", "collection_method")


def _plain_fields(books: Books, asked: Json, customer_id: str) -> dict[str, Any]:
    """The fields that are what was asked."""
    fields: dict[str, Any] = {}
    if "default_payment_method" in asked:
        method = text_or_none(asked["default_payment_method"])
        if method is not None:
            _check_saved(books, method, customer_id)
        fields["default_payment_method"] = method
    if "description" in asked:
        fields["description"] = text_or_none(asked["description"])
    if payment := asked.get("payment_settings"):
        only(payment, ("payment_method_types", "save_default_payment_method"), "payment_settings")
        fields["payment_settings"] = {
            "payment_method_options": None,
            "payment_method_types": payment.get("payment_method_types"),
            "save_default_payment_method": payment.get("save_default_payment_method", "off"),
        }
    return fields


def _check_saved(books: Books, method: str, customer_id: str) -> None:
    found = books.look("payment_method", method)
    if found is None or found["customer"] != customer_id:
        raise invalid(
            f"The customer does not have a payment method with the ID {method}. The payment"
            " method must be attached to the customer.",
            "default_payment_method",
            "resource_missing",
        )


def _check_pending(asked: Json) -> None:
    for name in asked.keys() - set(PENDING):
        raise invalid(
            "When `payment_behavior` is set to `pending_if_incomplete`, you can only pass"
            f" supported params. `{name}` is not supported. See https://stripe.com/docs/billing/"
            "subscriptions/pending-updates-reference#supported-attributes for more details.",
            name,
        )


def _ending(subscription: Json, asked: Json, now: int) -> dict[str, Any]:
    """The fields that say when a subscription ends, if the request changes that."""
    fields: dict[str, Any] = {}
    details = asked.get("cancellation_details")
    if details is not None:
        fields["cancellation_details"] = subscription["cancellation_details"] | details
    if "cancel_at" not in asked and "cancel_at_period_end" not in asked:
        return fields
    if subscription["schedule"] is not None:
        raise invalid(
            f"The subscription is managed by the subscription schedule"
            f" `{subscription['schedule']}`, and updating any cancelation behavior directly is"
            " not allowed. Please update the schedule instead.",
            "cancel_at_period_end" if "cancel_at_period_end" in asked else "cancel_at",
        )
    at_end: bool = asked.get("cancel_at_period_end", False)
    when: int | str | None = asked.get("cancel_at") or None
    if at_end or isinstance(when, str):
        # "min_period_end" and "max_period_end" are one, as all items share their period.
        when = period_of(subscription)[1]
    if when is not None and when <= now:
        raise invalid("`cancel_at` must be a time to come.", "cancel_at")
    former: Json = (subscription | fields)["cancellation_details"]
    reason = "cancellation_requested" if when else None
    return fields | {
        "cancel_at": when,
        "cancel_at_period_end": at_end,
        "canceled_at": now if when else None,
        "cancellation_details": former | {"reason": reason},
    }
