"""Subscription items: what a subscription is made of, and the time that each item is paid for."""

from __future__ import annotations

from adapters.stripe.sandbox.books import Books, Json
from adapters.stripe.sandbox.errors import invalid
from adapters.stripe.sandbox.fields import merged
from adapters.stripe.sandbox.proration import Debit
from adapters.stripe.sandbox.route import Call, route
from adapters.stripe.sandbox.supported import only

ITEM_PARAMS = ("id", "price", "quantity", "metadata", "deleted")


def licensed_price(books: Books, price_id: str, param: str) -> Json:
    """An active recurring price; refused if it is one-off, archived or metered."""
    price = books.get("price", price_id, param)
    if price["type"] != "recurring":
        raise invalid(
            f"The price specified is set to `type=one_time` but this field only accepts"
            f" prices with `type=recurring`: {price_id}.",
            param,
        )
    if not price["active"]:
        raise invalid(f"The price specified is inactive: {price_id}.", param)
    if price["recurring"]["usage_type"] != "licensed" or price["unit_amount"] is None:
        raise invalid("The sandbox bills licensed prices of whole cents only.", param)
    return price


def new_item(books: Books, subscription_id: str, asked: Json, period: tuple[int, int]) -> Json:
    """A subscription item for (start, end); it is not written."""
    only(asked, ITEM_PARAMS, "items")
    if "price" not in asked:
        raise invalid("Missing required param: items[0][price].", "items", "parameter_missing")
    price = licensed_price(books, asked["price"], "items[0][price]")
    start, end = period
    return {
        "id": books.new_id("si"),
        "object": "subscription_item",
        "billed_until": None,
        "billing_thresholds": None,
        "created": books.now(),
        "current_period_end": end,
        "current_period_start": start,
        "current_trial": None,
        "discounts": [],
        "metadata": merged({}, asked.get("metadata")),
        "plan": _plan(price),
        "price": price,
        "quantity": asked.get("quantity", 1),
        "subscription": subscription_id,
        "tax_rates": [],
    }


def changed_items(books: Books, subscription: Json, asked: list[Json]) -> list[Json]:
    """The items as they would be after `items=[...]` of an update; nothing is written.

    An entry with an id changes that item (or removes it: `deleted`), one without adds an item.
    """
    items = [dict(item) for item in subscription["items"]["data"]]
    by_id = {item["id"]: item for item in items}
    first = items[0]
    for number, entry in enumerate(asked):
        only(entry, ITEM_PARAMS, f"items[{number}]")
        if "id" not in entry:
            period = (first["current_period_start"], first["current_period_end"])
            items.append(new_item(books, subscription["id"], entry, period))
            continue
        item = by_id.get(entry["id"])
        if item is None:
            raise invalid(f"No such subscription item: '{entry['id']}'", f"items[{number}][id]")
        if entry.get("deleted"):
            items.remove(item)
            continue
        _change(books, item, entry, f"items[{number}][price]")
    if not items:
        raise invalid("A subscription must have at least one active plan.", "items")
    same_terms(items)
    return items


def cost(item: Json) -> int:
    """What a whole period of this item costs, in minor units."""
    amount: int = item["price"]["unit_amount"]
    quantity: int = item["quantity"]
    return amount * quantity


def is_changed(before: Json, after: Json) -> bool:
    """Whether the two differ in what is billed."""
    same_price = before["price"]["id"] == after["price"]["id"]
    return not same_price or before["quantity"] != after["quantity"]


def period_of(subscription: Json) -> tuple[int, int]:
    """The current period (start, end): since basil it lives on the items."""
    item = subscription["items"]["data"][0]
    return item["current_period_start"], item["current_period_end"]


# What an item was last billed is the sandbox's own record: flexible mode credits from it.


def record_debit(books: Books, item_id: str, debit: Debit, source: Json) -> None:
    """Remember what was last billed for an item.

    `source` is {"invoice_item"} or {"invoice", "line"}: what a later credit names.
    """
    books.put(
        {
            "object": "sandbox.debit",
            "id": f"debit_{item_id}",
            "amount": debit.amount,
            "start": debit.start,
            "end": debit.end,
            "source": source,
        }
    )


def last_debit(books: Books, item_id: str) -> tuple[Debit, Json] | None:
    """What was last billed for an item, and where; None if it never was."""
    record = books.look("sandbox.debit", f"debit_{item_id}")
    if record is None:
        return None
    return Debit(record["amount"], record["start"], record["end"]), record["source"]


@route("GET", "/v1/subscription_items")
def items_of(call: Call) -> Json:
    """The items of one subscription."""
    subscription = call.books.get("subscription", call.params["subscription"], "subscription")
    return {**subscription["items"], "url": "/v1/subscription_items"}


def _change(books: Books, item: Json, entry: Json, param: str) -> None:
    if "price" in entry:
        item["price"] = licensed_price(books, entry["price"], param)
        item["plan"] = _plan(item["price"])
    if "quantity" in entry:
        item["quantity"] = entry["quantity"]
    if "metadata" in entry:
        item["metadata"] = merged(item["metadata"], entry["metadata"])


def same_terms(items: list[Json]) -> None:
    """Items of one subscription share currency and, in the sandbox, the interval."""
    terms = {(i["price"]["currency"], *_interval(i["price"])) for i in items}
    if len({currency for currency, *_ in terms}) > 1:
        raise invalid("All prices on a subscription must have the same currency.", "items")
    if len(terms) > 1:
        raise invalid("The sandbox does not mix billing intervals on one subscription.", "items")


def _interval(price: Json) -> tuple[str, int]:
    return price["recurring"]["interval"], price["recurring"]["interval_count"]


def _plan(price: Json) -> Json:
    """The price in the clothes of Stripe's older object, which items still carry."""
    return {
        "id": price["id"],
        "object": "plan",
        "active": price["active"],
        "amount": price["unit_amount"],
        "amount_decimal": price["unit_amount_decimal"],
        "billing_scheme": "per_unit",
        "created": price["created"],
        "currency": price["currency"],
        "interval": price["recurring"]["interval"],
        "interval_count": price["recurring"]["interval_count"],
        "livemode": False,
        "metadata": price["metadata"],
        "meter": None,
        "nickname": price["nickname"],
        "product": price["product"],
        "tiers_mode": None,
        "transform_usage": None,
        "trial_period_days": None,
        "usage_type": "licensed",
    }
