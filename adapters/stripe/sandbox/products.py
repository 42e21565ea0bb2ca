"""Products."""

from __future__ import annotations

from typing import Any

from adapters.stripe.sandbox.errors import invalid
from adapters.stripe.sandbox.fields import changed, merged
from adapters.stripe.sandbox.listing import listed, searched
from adapters.stripe.sandbox.route import ROUTES, Books, Call, Json, route
from adapters.stripe.sandbox.supported import only

URL = "/v1/products"
TEXTS = ("description", "statement_descriptor", "tax_code", "unit_label", "url")
PLAYED = (*TEXTS, "name", "active", "images", "metadata", "shippable")


@route("POST", URL)
def create(call: Call) -> Json:
    """A new product, with its default price if one is described."""
    only(call.params, (*PLAYED, "id", "default_price_data", "type"))
    books, params = call.books, call.params
    product_id = params.get("id") or books.new_id("prod")
    if books.look(None, product_id) is not None:
        raise invalid(f"Product already exists: {product_id}", "id", "resource_already_exists")
    product = books.put(make(books, product_id, params))
    if "default_price_data" in params:
        data = params["default_price_data"] | {"product": product_id}
        price = ROUTES["POST", "/v1/prices"](Call(books, {}, data))
        product = books.put(product | {"default_price": price["id"]})
    books.emit("product.created", product)
    return product


@route("GET", URL)
def list_all(call: Call) -> Json:
    """Products, newest first, by active, ids or url."""
    equal = {name: call.params[name] for name in ("active", "url") if name in call.params}
    wanted = call.params.get("ids")
    found = [
        product
        for product in call.books.find("product", **equal)
        if not product.get("deleted") and (wanted is None or product["id"] in wanted)
    ]
    return listed(call, URL, found)


@route("GET", f"{URL}/search")
def search(call: Call) -> Json:
    """Products by name, active or metadata."""
    found = [product for product in call.books.find("product") if not product.get("deleted")]
    return searched(call, f"{URL}/search", found)


@route("GET", URL + "/{id}")
def retrieve(call: Call) -> Json:
    """One product."""
    return call.books.get("product", call.path["id"])


@route("POST", URL + "/{id}")
def update(call: Call) -> Json:
    """Change a product."""
    only(call.params, (*PLAYED, "default_price"))
    before = call.books.get("product", call.path["id"])
    after = _with(before, call.params) | {"updated": call.now}
    if "default_price" in call.params:
        price = call.books.get("price", call.params["default_price"], "default_price")
        if price["product"] != before["id"]:
            text = "The price specified must belong to the product."
            raise invalid(text, "default_price")
        after["default_price"] = price["id"]
    call.books.emit("product.updated", call.books.put(after), changed(before, after))
    return after


@route("DELETE", URL + "/{id}")
def delete(call: Call) -> Json:
    """Delete a product that has no price."""
    product = call.books.get("product", call.path["id"])
    if call.books.find("price", product=product["id"]):
        text = (
            "This product cannot be deleted because it has one or more user-created prices."
            " Please delete them first, or set active: false on the product."
        )
        raise invalid(text)
    call.books.emit("product.deleted", product)
    return call.books.put({"id": product["id"], "object": "product", "deleted": True})


def make(books: Books, product_id: str, params: Json) -> Json:
    """A new product, not written yet."""
    blank: Json = {
        "id": product_id,
        "object": "product",
        "active": True,
        "created": books.now(),
        "default_price": None,
        "description": None,
        "images": [],
        "livemode": False,
        "marketing_features": [],
        "metadata": {},
        "name": "",
        "package_dimensions": None,
        "shippable": None,
        "statement_descriptor": None,
        "tax_code": None,
        "type": "service",
        "unit_label": None,
        "updated": books.now(),
        "url": None,
    }
    return _with(blank, params)


def _with(product: Json, params: Json) -> Json:
    given: dict[str, Any] = {name: params[name] or None for name in TEXTS if name in params}
    plain = ("name", "active", "images", "shippable")
    given |= {name: params[name] or type(params[name])() for name in plain if name in params}
    metadata = merged(product["metadata"], params.get("metadata"))
    return product | given | {"metadata": metadata}
