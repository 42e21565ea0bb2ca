"""The lines of an invoice: from invoice items, and from a subscription's items on renewal."""

from __future__ import annotations

from adapters.stripe.sandbox.books import Books, Json
from adapters.stripe.sandbox.subscription_items import cost

SHOWN = 10
"""An invoice shows this many lines; its `lines` must be listed for the others."""


def line_of_item(books: Books, invoice_id: str, item: Json) -> Json:
    """The line that an invoice item becomes. It is not written."""
    parent: Json
    details = (item["parent"] or {}).get("subscription_details")
    common = {
        "invoice_item": item["id"],
        "proration": item["proration"],
        "proration_details": {"credited_items": _credited_lines(books, item)},
        "subscription": details and details["subscription"],
    }
    if details and details["subscription_item"]:
        parent = {
            "invoice_item_details": None,
            "subscription_item_details": {
                **common,
                "subscription_item": details["subscription_item"],
            },
            "type": "subscription_item_details",
        }
    else:
        parent = {
            "invoice_item_details": common,
            "subscription_item_details": None,
            "type": "invoice_item_details",
        }
    return _line(books, invoice_id, item, parent, common["subscription"])


def line_of_period(books: Books, invoice_id: str, item: Json, period: tuple[int, int]) -> Json:
    """The line for a whole period (start, end) of a subscription item. It is not written."""
    price, quantity = item["price"], item["quantity"]
    name = books.get("product", price["product"])["name"]
    source = {
        "amount": cost(item),
        "currency": price["currency"],
        "description": f"{quantity} × {name} (at {_tariff(price)})",
        "discountable": True,
        "metadata": {},
        "period": {"end": period[1], "start": period[0]},
        "pricing": {
            "price_details": {"price": price["id"], "product": price["product"]},
            "type": "price_details",
            "unit_amount_decimal": str(price["unit_amount"]),
        },
        "quantity": quantity,
        "quantity_decimal": str(quantity),
    }
    parent = {
        "invoice_item_details": None,
        "subscription_item_details": {
            "invoice_item": None,
            "proration": False,
            "proration_details": {"credited_items": None},
            "subscription": item["subscription"],
            "subscription_item": item["id"],
        },
        "type": "subscription_item_details",
    }
    return _line(books, invoice_id, source, parent, item["subscription"])


def lines_of(books: Books, invoice_id: str) -> list[Json]:
    """Every line of an invoice, in Stripe's order."""
    return books.find("line_item", invoice=invoice_id)[::-1]


def _line(
    books: Books, invoice_id: str, source: Json, parent: Json, subscription: str | None
) -> Json:
    copied = (
        "amount", "currency", "description", "discountable", "metadata", "period", "pricing",
        "quantity", "quantity_decimal",
    )  # fmt: skip
    return {
        "id": books.new_id("il"),
        "object": "line_item",
        **{name: source[name] for name in copied},
        "discount_amounts": [],
        "discounts": [],
        "invoice": invoice_id,
        "livemode": False,
        "parent": parent,
        "pretax_credit_amounts": [],
        "subscription": subscription,
        "subtotal": source["amount"],
        "taxes": [],
    }


def _credited_lines(books: Books, item: Json) -> Json | None:
    """The invoice and the lines that a credit takes back, as far as they are billed yet."""
    credited = (item["proration_details"] or {}).get("credited_items")
    if not credited:
        return None
    if credited["invoice_line_item_details"]:
        return dict(credited["invoice_line_item_details"])
    lines = books.find(
        "line_item",
        parent__subscription_item_details__invoice_item=credited["invoice_item"],
    )
    if not lines:
        return None
    return {"invoice": lines[0]["invoice"], "invoice_line_items": [line["id"] for line in lines]}


def _tariff(price: Json) -> str:
    """`$10.00 / month`, as a line's description tells a price."""
    units, cents = divmod(price["unit_amount"], 100)
    amount = f"{units:,}.{cents:02d}"
    currency = price["currency"]
    money = f"${amount}" if currency == "usd" else f"{amount} {currency.upper()}"
    count, interval = price["recurring"]["interval_count"], price["recurring"]["interval"]
    return f"{money} / {interval}" if count == 1 else f"{money} every {count} {interval}s"
