"""Prices: what a product costs, once or each period. A price never changes its amount."""

from __future__ import annotations

from decimal import Decimal

from adapters.stripe.sandbox.errors import invalid
from adapters.stripe.sandbox.fields import changed, merged
from adapters.stripe.sandbox.listing import listed, searched
from adapters.stripe.sandbox.products import make as make_product
from adapters.stripe.sandbox.route import Books, Call, Json, route
from adapters.stripe.sandbox.supported import only

URL = "/v1/prices"
PLAYED = (
    "currency", "unit_amount", "unit_amount_decimal", "recurring", "product", "product_data",
    "nickname", "lookup_key", "transfer_lookup_key", "metadata", "active", "tax_behavior",
    "billing_scheme",
)  # fmt: skip
YEARS_MAX = {"day": 1_095, "week": 156, "month": 36, "year": 3}


@route("POST", URL)
def create(call: Call) -> Json:
    """A new price of a product that is there, or of one that is described."""
    only(call.params, PLAYED)
    books, params = call.books, call.params
    if params.get("billing_scheme", "per_unit") != "per_unit":
        raise invalid("The sandbox does not play tiered prices; Stripe would.", "billing_scheme")
    amount = _amount(params)
    product = _product(books, params)
    recurring = _recurring(params.get("recurring"))
    price = {
        "id": books.new_id("price"),
        "object": "price",
        "active": params.get("active", True),
        "billing_scheme": "per_unit",
        "created": books.now(),
        "currency": params["currency"].lower(),
        "custom_unit_amount": None,
        "livemode": False,
        "lookup_key": _lookup_key(books, params),
        "metadata": merged({}, params.get("metadata")),
        "nickname": params.get("nickname") or None,
        "product": product,
        "recurring": recurring,
        "tax_behavior": params.get("tax_behavior", "unspecified"),
        "tiers_mode": None,
        "transform_quantity": None,
        "type": "recurring" if recurring else "one_time",
        "unit_amount": int(amount) if amount == int(amount) else None,
        "unit_amount_decimal": str(amount),
    }
    books.emit("price.created", books.put(price))
    return price


@route("GET", URL)
def list_all(call: Call) -> Json:
    """Prices, newest first, by active, currency, product, type, lookup keys or interval."""
    params = call.params
    fields = ("active", "currency", "product", "type")
    equal = {name: params[name] for name in fields if name in params}
    keys = params.get("lookup_keys")
    interval = params.get("recurring", {}).get("interval")
    found = [
        price
        for price in call.books.find("price", **equal)
        if (keys is None or price["lookup_key"] in keys)
        and (interval is None or (price["recurring"] or {}).get("interval") == interval)
    ]
    return listed(call, URL, found)


@route("GET", f"{URL}/search")
def search(call: Call) -> Json:
    """Prices by active, currency, lookup_key, product, type or metadata."""
    return searched(call, f"{URL}/search", call.books.find("price"))


@route("GET", URL + "/{id}")
def retrieve(call: Call) -> Json:
    """One price."""
    return call.books.get("price", call.path["id"])


@route("POST", URL + "/{id}")
def update(call: Call) -> Json:
    """Change what may be changed of a price."""
    names = ("active", "metadata", "nickname", "lookup_key", "transfer_lookup_key", "tax_behavior")
    only(call.params, names)
    before, params = call.books.get("price", call.path["id"]), call.params
    after = dict(before)
    after["active"] = params.get("active", before["active"])
    after["metadata"] = merged(before["metadata"], params.get("metadata"))
    after["tax_behavior"] = params.get("tax_behavior", before["tax_behavior"])
    if "nickname" in params:
        after["nickname"] = params["nickname"] or None
    if "lookup_key" in params and params["lookup_key"] != before["lookup_key"]:
        after["lookup_key"] = _lookup_key(call.books, params)
    call.books.emit("price.updated", call.books.put(after), changed(before, after))
    return after


def _amount(params: Json) -> Decimal:
    given = [params[name] for name in ("unit_amount", "unit_amount_decimal") if name in params]
    if len(given) != 1:
        text = "You must specify either `unit_amount` or `unit_amount_decimal`."
        raise invalid(text, "unit_amount", "parameter_missing")
    amount = Decimal(given[0])
    if amount < 0:
        text = "Invalid non-negative integer"
        raise invalid(text, "unit_amount", "parameter_invalid_integer")
    if amount.normalize().as_tuple().exponent < -12:  # type: ignore[operator]
        raise invalid("Only up to 12 decimal places are allowed.", "unit_amount_decimal")
    return amount


def _product(books: Books, params: Json) -> str:
    if ("product" in params) == ("product_data" in params):
        raise invalid("You must specify either `product` or `product_data`.", "product")
    if "product" in params:
        return str(books.get("product", params["product"], "product")["id"])
    data = params["product_data"]
    product = make_product(books, data.get("id") or books.new_id("prod"), data)
    books.emit("product.created", books.put(product))
    return str(product["id"])


def _recurring(asked: Json | None) -> Json | None:
    if asked is None:
        return None
    if asked.get("usage_type", "licensed") != "licensed":
        text = "The sandbox does not play metered prices; Stripe would."
        raise invalid(text, "recurring[usage_type]")
    count = asked.get("interval_count", 1)
    if not 1 <= count <= YEARS_MAX[asked["interval"]]:
        raise invalid("An interval may last three years at most.", "recurring[interval_count]")
    return {
        "interval": asked["interval"],
        "interval_count": count,
        "meter": None,
        "trial_period_days": asked.get("trial_period_days"),
        "usage_type": "licensed",
    }


def _lookup_key(books: Books, params: Json) -> str | None:
    key: str | None = params.get("lookup_key") or None
    holders = books.find("price", lookup_key=key) if key else []
    if holders and not params.get("transfer_lookup_key"):
        text = (
            f"A price (`{holders[0]['id']}`) already uses that lookup key. To transfer it, set"
            " `transfer_lookup_key`."
        )
        raise invalid(text, "lookup_key", "resource_already_exists")
    for holder in holders:
        after = books.put(holder | {"lookup_key": None})
        books.emit("price.updated", after, {"lookup_key": key})
    return key
