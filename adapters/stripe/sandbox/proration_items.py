"""What a change of a subscription's items puts on a bill: credits for unused time, charges."""

from __future__ import annotations

from dataclasses import dataclass

from adapters.stripe.sandbox.books import Books, Json
from adapters.stripe.sandbox.errors import invalid
from adapters.stripe.sandbox.invoice_items import blank_item
from adapters.stripe.sandbox.proration import Debit, day_of, remaining, unused
from adapters.stripe.sandbox.subscription_items import (
    cost,
    is_changed,
    last_debit,
    period_of,
    record_debit,
)


@dataclass(frozen=True, slots=True)
class Proration:
    """The invoice items of one change, and the debits they leave behind once they hold."""

    items: list[Json]
    debits: list[Json]
    """{item, amount, start, end, invoice_item}: plain JSON, since a pending update keeps them."""


def prorate(books: Books, subscription: Json, after: list[Json], at: int) -> Proration:
    """What it costs to have the items `after` from the instant `at` on. Writes nothing.

    Each changed item gives a credit for what was billed and not used, then a charge for the
    rest of the period. An item that is not changed gives nothing.
    """
    before = {item["id"]: item for item in subscription["items"]["data"]}
    kept = {item["id"] for item in after}
    items: list[Json] = []
    debits: list[Json] = []
    for gone in (item for item in before.values() if item["id"] not in kept):
        items += _credit(books, subscription, gone, at)
    for item in after:
        former = before.get(item["id"])
        if former is not None and not is_changed(former, item):
            continue
        if former is not None:
            items += _credit(books, subscription, former, at)
        charge = _charge(books, subscription, item, at)
        items.append(charge)
        debits.append(
            {
                "item": item["id"],
                "amount": charge["amount"],
                "start": at,
                "end": item["current_period_end"],
                "invoice_item": charge["id"],
            }
        )
    return Proration(items, debits)


def keep_debits(books: Books, debits: list[Json]) -> None:
    """The change holds: these are now what the items were last billed."""
    for debit in debits:
        record_debit(
            books,
            debit["item"],
            Debit(debit["amount"], debit["start"], debit["end"]),
            {"invoice_item": debit["invoice_item"]},
        )


def proration_date(subscription: Json, asked: int | None, now: int) -> int:
    """The instant that a change counts from; it must lie in the current period."""
    start, end = period_of(subscription)
    at = now if asked is None else asked
    if not start <= at <= end:
        raise invalid(
            "Cannot specify a proration date outside of the current subscription period.",
            "proration_date",
        )
    return at


def _credit(books: Books, subscription: Json, item: Json, at: int) -> list[Json]:
    billed = last_debit(books, item["id"])
    end = item["current_period_end"]
    if subscription["billing_mode"]["type"] == "classic":
        amount = -remaining(cost(item), item["current_period_start"], end, at)
    elif billed is None:
        return []
    else:
        amount = unused(billed[0], at)
    source = {} if billed is None else billed[1]
    return [_item(books, subscription, item, amount, (at, end), "Unused", source)]


def _charge(books: Books, subscription: Json, item: Json, at: int) -> Json:
    end = item["current_period_end"]
    amount = remaining(cost(item), item["current_period_start"], end, at)
    return _item(books, subscription, item, amount, (at, end), "Remaining", {})


def _item(
    books: Books,
    subscription: Json,
    item: Json,
    amount: int,
    period: tuple[int, int],
    which: str,
    credited: Json,
) -> Json:
    """One proration as an invoice item, tied to its subscription item. It is not written."""
    quantity = item["quantity"]
    name = books.get("product", item["price"]["product"])["name"]
    times = f"{quantity} × " if quantity > 1 else ""
    made = blank_item(books, subscription["customer"], subscription["currency"], amount, period)
    return {
        **made,
        "description": f"{which} time on {times}{name} after {day_of(period[0])}",
        "discountable": False,
        "parent": {
            "subscription_details": {
                "subscription": subscription["id"],
                "subscription_item": item["id"],
            },
            "type": "subscription_details",
        },
        "pricing": price_details(item["price"], amount, quantity),
        "proration": True,
        "proration_details": {"credited_items": _credited(credited), "discount_amounts": []},
        "quantity": quantity,
        "quantity_decimal": str(quantity),
    }


def price_details(price: Json, amount: int, quantity: int) -> Json:
    """Where a line's amount comes from. A share of a price has its own unit amount."""
    unit, odd = divmod(amount, quantity) if quantity else (amount, 0)
    return {
        "price_details": {"price": price["id"], "product": price["product"]},
        "type": "price_details",
        "unit_amount_decimal": str(amount) if odd else str(unit),
    }


def _credited(source: Json) -> Json | None:
    if not source:
        return None
    if "invoice_item" in source:
        return {
            "invoice_item": source["invoice_item"],
            "invoice_line_item_details": None,
            "type": "invoice_item",
        }
    lines = {"invoice": source["invoice"], "invoice_line_items": [source["line"]]}
    return {"invoice_item": None, "invoice_line_item_details": lines, "type": "invoice_line_items"}
