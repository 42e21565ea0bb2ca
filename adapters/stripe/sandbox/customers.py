"""Customers."""

from __future__ import annotations

from adapters.stripe.sandbox import payment_methods
from adapters.stripe.sandbox.errors import invalid, missing
from adapters.stripe.sandbox.fields import changed, merged
from adapters.stripe.sandbox.listing import listed, searched
from adapters.stripe.sandbox.route import ROUTES, Books, Call, Json, route
from adapters.stripe.sandbox.supported import only

URL = "/v1/customers"
TEXTS = ("description", "email", "name", "phone")
PLAIN = ("balance", "invoice_prefix", "next_invoice_sequence", "preferred_locales", "tax_exempt")
PLAYED = (*TEXTS, *PLAIN, "address", "shipping", "invoice_settings", "metadata", "validate")
ADDRESS = ("city", "country", "line1", "line2", "postal_code", "state")
LIVE = ("active", "trialing", "past_due", "incomplete", "unpaid", "paused")


@route("POST", URL)
def create(call: Call) -> Json:
    """A new customer, with a card if one is given."""
    only(call.params, (*PLAYED, "payment_method", "test_clock"))
    books, params = call.books, call.params
    customer = books.put(_blank(books))
    method = params.get("payment_method")
    saved = payment_methods.resolve(books, method) if method else None
    if "test_clock" in params:
        clock = books.get("test_helpers.test_clock", params["test_clock"], "test_clock")
        customer["test_clock"] = clock["id"]
    if saved is not None:
        test_card = payment_methods.card(books, saved)
        if test_card.decline and not test_card.saved:
            raise payment_methods.declined(test_card, kept=False)
        books.put(saved | {"customer": customer["id"]})
    customer = books.put(_with(books, customer, params))
    books.emit("customer.created", customer)
    if saved is not None:
        books.emit("payment_method.attached", books.get("payment_method", saved["id"]))
    return customer


@route("GET", URL)
def list_all(call: Call) -> Json:
    """Customers, newest first, by email or test clock."""
    equal = {name: call.params[name] for name in ("email", "test_clock") if name in call.params}
    living = [one for one in call.books.find("customer", **equal) if not one.get("deleted")]
    return listed(call, URL, living)


@route("GET", f"{URL}/search")
def search(call: Call) -> Json:
    """Customers by name, email, phone, created or metadata. (Stripe's own search lags a minute.)"""
    living = [one for one in call.books.find("customer") if not one.get("deleted")]
    return searched(call, f"{URL}/search", living)


@route("GET", URL + "/{id}")
def retrieve(call: Call) -> Json:
    """A customer; of a deleted one, that it is deleted."""
    return call.books.get("customer", call.path["id"])


@route("POST", URL + "/{id}")
def update(call: Call) -> Json:
    """Change a customer."""
    only(call.params, PLAYED)
    before = living(call.books, call.path["id"])
    after = _with(call.books, before, call.params)
    if after != before:
        call.books.emit("customer.updated", call.books.put(after), changed(before, after))
    return after


@route("DELETE", URL + "/{id}")
def delete(call: Call) -> Json:
    """Delete a customer, and cancel what it subscribes to."""
    books, customer = call.books, living(call.books, call.path["id"])
    for subscription in books.find("subscription", customer=customer["id"]):
        if subscription["status"] in LIVE:
            cancel = ROUTES["DELETE", "/v1/subscriptions/{id}"]
            cancel(Call(books, {"id": subscription["id"]}, {}))
    for method in books.find("payment_method", customer=customer["id"]):
        books.put(method | {"customer": None})
        payment_methods.note(books, method, used=True)
    gone = books.put({"id": customer["id"], "object": "customer", "deleted": True})
    books.emit("customer.deleted", customer)
    return gone


def living(books: Books, customer_id: str, param: str = "id") -> Json:
    """A customer that is not deleted."""
    customer = books.get("customer", customer_id, param)
    if customer.get("deleted"):
        raise missing("customer", customer_id, param)
    return customer


def _with(books: Books, customer: Json, params: Json) -> Json:
    after = dict(customer)
    after |= {name: params[name] or None for name in TEXTS if name in params}
    after |= {name: params[name] for name in PLAIN if name in params}
    after["tax_exempt"] = after["tax_exempt"] or "none"
    if "address" in params:
        after["address"] = _address(params["address"])
    if "shipping" in params:
        given = params["shipping"]
        after["shipping"] = given and {
            "address": _address(given["address"]),
            "name": given["name"],
            "phone": given.get("phone"),
        }
        after["shipping"] = after["shipping"] or None
    after["metadata"] = merged(customer["metadata"], params.get("metadata"))
    asked: Json = params.get("invoice_settings", {})
    only(asked, ("default_payment_method", "footer", "custom_fields"), "invoice_settings")
    given = {name: value or None for name, value in asked.items()}
    method = given.get("default_payment_method")
    if method is not None:
        _own(books, customer["id"], method)
    after["invoice_settings"] = customer["invoice_settings"] | given
    return after


def _own(books: Books, customer: str, method: str) -> None:
    param = "invoice_settings[default_payment_method]"
    found = books.get("payment_method", method, param)
    if found["customer"] != customer:
        text = (
            f"The customer does not have a payment method with the ID {method}. The payment method"
            " must be attached to the customer."
        )
        raise invalid(text, param, "resource_missing")


def _address(given: Json | str) -> Json | None:
    return {name: given.get(name) for name in ADDRESS} if isinstance(given, dict) else None


def _blank(books: Books) -> Json:
    customer_id = books.new_id("cus")
    return {
        "id": customer_id,
        "object": "customer",
        "address": None,
        "balance": 0,
        "created": books.now(),
        "currency": None,
        "customer_account": None,
        "default_source": None,
        "delinquent": False,
        "description": None,
        "discount": None,
        "email": None,
        "invoice_prefix": customer_id[-8:].upper(),
        "invoice_settings": {
            "custom_fields": None,
            "default_payment_method": None,
            "footer": None,
            "rendering_options": None,
        },
        "livemode": False,
        "metadata": {},
        "name": None,
        "next_invoice_sequence": 1,
        "phone": None,
        "preferred_locales": [],
        "shipping": None,
        "tax_exempt": "none",
        "test_clock": None,
    }
