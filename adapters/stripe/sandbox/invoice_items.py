"""Invoice items: amounts put onto a draft, or left pending for the next invoice."""

from __future__ import annotations

from adapters.stripe.sandbox.books import Books, Json
from adapters.stripe.sandbox.customers import living
from adapters.stripe.sandbox.errors import invalid
from adapters.stripe.sandbox.fields import merged
from adapters.stripe.sandbox.invoice_lines import line_of_item, lines_of
from adapters.stripe.sandbox.invoices import add_lines, subscription_of, total_up
from adapters.stripe.sandbox.listing import listed
from adapters.stripe.sandbox.route import Call, route
from adapters.stripe.sandbox.supported import only

CREATE = (
    "amount", "currency", "customer", "description", "discountable", "invoice", "metadata",
    "period", "subscription",
)  # fmt: skip


def blank_item(
    books: Books, customer_id: str, currency: str, amount: int, period: tuple[int, int]
) -> Json:
    """An invoice item of an amount in minor units for (start, end). It is not written."""
    return {
        "id": books.new_id("ii"),
        "object": "invoiceitem",
        "amount": amount,
        "currency": currency,
        "customer": customer_id,
        "customer_account": None,
        "date": books.now(),
        "description": None,
        "discountable": True,
        "discounts": [],
        "frozen_fields": None,
        "invoice": None,
        "invoicing_rules": None,
        "livemode": False,
        "metadata": {},
        "net_amount": amount,
        "parent": None,
        "period": {"end": period[1], "start": period[0]},
        "pricing": {
            "price_details": None,
            "type": "price_details",
            "unit_amount_decimal": str(amount),
        },
        "proration": False,
        "proration_details": None,
        "quantity": 1,
        "quantity_decimal": "1",
        "tax_rates": [],
        "test_clock": None,
    }


def one_off(books: Books, customer_id: str, asked: Json, subscription_id: str) -> Json:
    """The item for {price, quantity} of a one-off price. It is not written."""
    only(asked, ("price", "quantity"), "add_invoice_items")
    price = books.get("price", asked["price"], "add_invoice_items[0][price]")
    if price["type"] != "one_time" or price["unit_amount"] is None:
        raise invalid("The price must be of the type `one_time`.", "add_invoice_items[0][price]")
    quantity = asked.get("quantity", 1)
    amount = price["unit_amount"] * quantity
    now = books.now()
    return blank_item(books, customer_id, price["currency"], amount, (now, now)) | {
        "description": books.get("product", price["product"])["name"],
        "parent": _parent(subscription_id),
        "pricing": {
            "price_details": {"price": price["id"], "product": price["product"]},
            "type": "price_details",
            "unit_amount_decimal": str(price["unit_amount"]),
        },
        "quantity": quantity,
        "quantity_decimal": str(quantity),
    }


def pending_items(books: Books, customer_id: str, subscription_id: str | None) -> list[Json]:
    """Items that wait for the next invoice of a subscription (None: of none), newest first."""
    waiting = books.find("invoiceitem", customer=customer_id, invoice=None)
    return [item for item in waiting if _subscription(item) == subscription_id]


def bill_items(books: Books, invoice: Json, items: list[Json]) -> Json:
    """Put items onto a draft as lines, in this order; new ones are written and announced."""
    for item in items:
        is_new = books.look("invoiceitem", item["id"]) is None
        item["invoice"] = invoice["id"]
        books.put(item)
        if is_new:
            books.emit("invoiceitem.created", item)
    lines = [line_of_item(books, invoice["id"], item) for item in items]
    return add_lines(books, invoice, lines)


@route("POST", "/v1/invoiceitems")
def create(call: Call) -> Json:
    """An amount for a customer, onto a draft or pending."""
    books, asked = call.books, call.params
    only(asked, CREATE)
    invoice = None
    if "invoice" in asked:
        invoice = books.get("invoice", asked["invoice"], "invoice")
        _check_draft(invoice)
    customer_id = asked.get("customer", invoice["customer"] if invoice else None)
    for param, value in (("customer", customer_id), ("amount", asked.get("amount"))):
        if value is None:
            raise invalid(f"Missing required param: {param}.", param, "parameter_missing")
    customer = living(books, str(customer_id), "customer")
    currency = asked.get("currency") or (invoice["currency"] if invoice else "usd")
    if invoice and (invoice["customer"], invoice["currency"]) != (customer["id"], currency):
        raise invalid("The invoice is of another customer or currency.", "invoice")
    item = blank_item(books, customer["id"], currency, asked["amount"], _period(call))
    item |= {
        "description": asked.get("description"),
        "discountable": asked.get("discountable", True),
        "metadata": merged({}, asked.get("metadata")),
    }
    subscription_id = asked.get("subscription") or (invoice and subscription_of(invoice))
    if subscription_id:
        books.get("subscription", subscription_id, "subscription")
        item["parent"] = _parent(subscription_id)
    if invoice is None:
        books.emit("invoiceitem.created", books.put(item))
        return item
    former = invoice["amount_due"]
    invoice = bill_items(books, invoice, [item])
    books.emit("invoice.updated", invoice, {"amount_due": former})
    return item


@route("GET", "/v1/invoiceitems/{item}")
def retrieve(call: Call) -> Json:
    """One item."""
    return call.books.get("invoiceitem", call.path["item"], "invoiceitem")


@route("GET", "/v1/invoiceitems")
def list_items(call: Call) -> Json:
    """Items, newest first, by customer, invoice, and whether they wait."""
    asked = call.params
    equal = {name: asked[name] for name in ("customer", "invoice") if name in asked}
    items = call.books.find("invoiceitem", **equal)
    if "pending" in asked:
        items = [item for item in items if (item["invoice"] is None) == asked["pending"]]
    return listed(call, "/v1/invoiceitems", items)


@route("DELETE", "/v1/invoiceitems/{item}")
def delete(call: Call) -> Json:
    """Take an item away, also from its draft."""
    books = call.books
    item = books.get("invoiceitem", call.path["item"], "invoiceitem")
    books.remove(item["id"])
    if item["invoice"] is not None:
        invoice = books.get("invoice", item["invoice"])
        _check_draft(invoice)
        for line in lines_of(books, invoice["id"]):
            if _item_of(line) == item["id"]:
                books.remove(line["id"])
        former = invoice["amount_due"]
        invoice = books.put(total_up(invoice, lines_of(books, invoice["id"])))
        books.emit("invoice.updated", invoice, {"amount_due": former})
    books.emit("invoiceitem.deleted", item)
    return {"id": item["id"], "object": "invoiceitem", "deleted": True}


def _check_draft(invoice: Json) -> None:
    if invoice["status"] != "draft":
        raise invalid(
            "The specified invoice is no longer editable: it is not a draft.",
            "invoice",
            "invoice_not_editable",
        )


def _parent(subscription_id: str) -> Json:
    return {
        "subscription_details": {"subscription": subscription_id, "subscription_item": None},
        "type": "subscription_details",
    }


def _period(call: Call) -> tuple[int, int]:
    period = call.params.get("period")
    return (call.now, call.now) if period is None else (period["start"], period["end"])


def _subscription(item: Json) -> str | None:
    details = (item["parent"] or {}).get("subscription_details")
    return None if details is None else details["subscription"]


def _item_of(line: Json) -> str | None:
    parent = line["parent"]
    details = parent["invoice_item_details"] or parent["subscription_item_details"]
    found: str | None = details["invoice_item"]
    return found
