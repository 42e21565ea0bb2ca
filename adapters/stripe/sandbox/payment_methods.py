"""PaymentMethods: cards, saved on customers or used once."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from adapters.stripe.sandbox.cards import TOKENS, TestCard, card_of, words_of
from adapters.stripe.sandbox.control import order
from adapters.stripe.sandbox.errors import StripeError, invalid
from adapters.stripe.sandbox.fields import changed, merged
from adapters.stripe.sandbox.listing import listed
from adapters.stripe.sandbox.route import Books, Call, Json, route
from adapters.stripe.sandbox.supported import only

EXPIRES = (12, 2_034)
BILLING = {"address": None, "email": None, "name": None, "phone": None, "tax_id": None}
ADDRESS = ("city", "country", "line1", "line2", "postal_code", "state")
USED = (
    "The provided PaymentMethod was previously used with a PaymentIntent without Customer"
    " attachment, shared with a connected account without Customer attachment, or was detached"
    " from a Customer. It may not be used again. To use a PaymentMethod multiple times, you must"
    " attach it to a Customer first."
)


def resolve(books: Books, name: str, param: str = "payment_method") -> Json:
    """The PaymentMethod of this id; for a token such as pm_card_visa, a new one."""
    if name in TOKENS:
        month, year = EXPIRES
        card = {"number": TOKENS[name], "exp_month": month, "exp_year": year, "cvc": "123"}
        return make(books, {"type": "card", "card": card})
    return books.get("payment_method", name, param)


def make(books: Books, params: Json) -> Json:
    """A new PaymentMethod from a card's number or token."""
    if params.get("type") != "card":
        raise invalid("The sandbox takes cards only.", "type")
    given: Json = params.get("card") or {}
    if "token" in given:
        token = str(given["token"]).replace("tok_", "pm_card_")
        if token not in TOKENS:
            raise invalid(f"No such token: '{given['token']}'", "card[token]", "resource_missing")
        given = {"number": TOKENS[token], "exp_month": EXPIRES[0], "exp_year": EXPIRES[1]}
    for name in ("number", "exp_month", "exp_year"):
        if name not in given:
            param = f"card[{name}]"
            raise invalid(f"Missing required param: {param}.", param, "parameter_missing")
    card = card_of(given["number"])
    _refuse_expired(books, given["exp_month"], given["exp_year"])
    method = _blank(books, card, given, params)
    record = {"object": "sandbox.card", "id": f"card:{method['id']}", "number": card.number}
    books.put(record | {"prepared": False, "used": False})
    return books.put(method)


def card(books: Books, method: Json) -> TestCard:
    """The test card behind a PaymentMethod."""
    return card_of(_record(books, method["id"])["number"])


def is_prepared(books: Books, method: Json) -> bool:
    """Whether its holder has authenticated it for payments without them."""
    return bool(_record(books, method["id"])["prepared"])


def note(books: Books, method: Json, **facts: bool) -> None:
    """Remember that a card was `prepared`, or `used` without being saved."""
    books.put(_record(books, method["id"]) | facts)


def usable(books: Books, method: Json, customer: str | None) -> None:
    """Demand that this customer, or a payment without one, may use this PaymentMethod."""
    owner = method["customer"]
    if owner is None and _record(books, method["id"])["used"]:
        raise invalid(USED, "payment_method", "payment_method_unexpected_state")
    if owner is not None and customer is None:
        text = (
            "The PaymentMethod supplied belongs to a Customer. Please include the Customer in the"
            " `customer` parameter."
        )
        raise invalid(text, "payment_method")
    if owner is not None and owner != customer:
        text = (
            "The PaymentMethod supplied belongs to a different Customer. Please include the"
            " Customer in the `customer` parameter."
        )
        raise invalid(text, "payment_method")


def attach(books: Books, method: Json, customer: str) -> Json:
    """Save a PaymentMethod on a customer. Nothing, if it is there already."""
    if method["customer"] == customer:
        return method
    if _record(books, method["id"])["used"]:
        raise invalid(USED, "payment_method", "payment_method_unexpected_state")
    if method["customer"] is not None:
        text = "The payment method you provided has already been attached to a customer."
        raise invalid(text, "payment_method", "payment_method_unexpected_state")
    method = books.put(method | {"customer": customer})
    books.emit("payment_method.attached", method)
    return method


def declined(test_card: TestCard, **more: Any) -> StripeError:
    """The refusal of a card that is always refused."""
    code, decline_code = test_card.decline or ("card_declined", "generic_decline")
    text = words_of(code, decline_code)
    if decline_code:
        more["decline_code"] = decline_code
    return StripeError(402, "card_error", text, code, **more)


@route("POST", "/v1/payment_methods")
def create(call: Call) -> Json:
    """A new card that nobody has saved yet."""
    only(call.params, ("type", "card", "billing_details", "metadata", "allow_redisplay"))
    if "type" not in call.params:
        raise invalid("Missing required param: type.", "type", "parameter_missing")
    return make(call.books, call.params)


@route("GET", "/v1/payment_methods/{id}")
def retrieve(call: Call) -> Json:
    """One PaymentMethod."""
    return resolve(call.books, call.path["id"])


@route("POST", "/v1/payment_methods/{id}")
def update(call: Call) -> Json:
    """Change what is known of a saved card."""
    only(call.params, ("billing_details", "metadata", "allow_redisplay", "card"))
    before = call.books.get("payment_method", call.path["id"])
    if before["customer"] is None:
        raise invalid("You must save this PaymentMethod to a customer before you can update it.")
    after = dict(before)
    after["metadata"] = merged(before["metadata"], call.params.get("metadata"))
    after["billing_details"] = before["billing_details"] | _billing(call.params)
    after["card"] = before["card"] | {
        name: value
        for name, value in call.params.get("card", {}).items()
        if name in ("exp_month", "exp_year")
    }
    after["allow_redisplay"] = call.params.get("allow_redisplay", before["allow_redisplay"])
    call.books.emit("payment_method.updated", call.books.put(after), changed(before, after))
    return after


@route("POST", "/v1/payment_methods/{id}/attach")
def attach_to(call: Call) -> Json:
    """Save a card on a customer; a card whose payments are refused is refused."""
    only(call.params, ("customer",))
    if "customer" not in call.params:
        raise invalid("Missing required param: customer.", "customer", "parameter_missing")
    customer = call.books.get("customer", call.params["customer"], "customer")
    method = resolve(call.books, call.path["id"])
    test_card = card(call.books, method)
    if test_card.decline and not test_card.saved and method["customer"] is None:
        raise declined(test_card, kept=False)
    return attach(call.books, method, customer["id"])


@route("POST", "/v1/payment_methods/{id}/detach")
def detach(call: Call) -> Json:
    """Take a card from its customer, for ever."""
    method = call.books.get("payment_method", call.path["id"])
    owner = method["customer"]
    if owner is None:
        text = (
            "The payment method you provided is not attached to a customer so detachment is"
            " impossible."
        )
        raise invalid(text, "payment_method", "payment_method_unexpected_state")
    note(call.books, method, used=True)
    after = call.books.put(method | {"customer": None})
    call.books.emit("payment_method.detached", after, {"customer": owner})
    customer = call.books.get("customer", owner)
    if customer["invoice_settings"]["default_payment_method"] == method["id"]:
        settings = customer["invoice_settings"] | {"default_payment_method": None}
        without = call.books.put(customer | {"invoice_settings": settings})
        call.books.emit("customer.updated", without, changed(customer, without))
    return after


@route("GET", "/v1/payment_methods")
def list_all(call: Call) -> Json:
    """The cards of a customer, newest first."""
    return _listed(call, call.params.get("customer"), "/v1/payment_methods")


@route("GET", "/v1/customers/{id}/payment_methods")
def list_of_customer(call: Call) -> Json:
    """The cards of a customer, newest first."""
    customer = call.books.get("customer", call.path["id"], "customer")["id"]
    return _listed(call, customer, f"/v1/customers/{customer}/payment_methods")


@route("GET", "/v1/customers/{customer}/payment_methods/{id}")
def retrieve_of_customer(call: Call) -> Json:
    """One card of a customer."""
    method = call.books.get("payment_method", call.path["id"], "payment_method")
    if method["customer"] != call.path["customer"]:
        raise invalid(f"No such PaymentMethod: '{method['id']}'", code="resource_missing")
    return method


@order("/cards")
def give(books: Books, told: Json) -> Json:
    """Save a card, even one that payments fail with, and make it the default of its customer."""
    customer = books.get("customer", told["customer"], "customer")
    name = str(told.get("card", "pm_card_visa"))
    if name not in TOKENS and not name.startswith("pm_"):
        card = {"number": name, "exp_month": EXPIRES[0], "exp_year": EXPIRES[1]}
        method = make(books, {"type": "card", "card": card})
    else:
        method = resolve(books, name, "card")
    method = attach(books, method, customer["id"])
    settings = customer["invoice_settings"] | {"default_payment_method": method["id"]}
    after = books.put(customer | {"invoice_settings": settings})
    books.emit("customer.updated", after, changed(customer, after))
    return method


def _listed(call: Call, customer: str | None, url: str) -> Json:
    if customer is None or call.params.get("type", "card") != "card":
        return listed(call, url, [])
    return listed(call, url, call.books.find("payment_method", customer=customer))


def _record(books: Books, method_id: str) -> Json:
    return books.get("sandbox.card", f"card:{method_id}")


def _refuse_expired(books: Books, month: int, year: int) -> None:
    today = datetime.fromtimestamp(books.now(), UTC)
    if not 1 <= month <= 12:
        text = "Your card's expiration month is invalid."
        raise StripeError(402, "card_error", text, "invalid_expiry_month", "exp_month", kept=False)
    if (year, month) < (today.year, today.month):
        text = "Your card's expiration year is invalid."
        raise StripeError(402, "card_error", text, "invalid_expiry_year", "exp_year", kept=False)


def _billing(params: Json) -> Json:
    given: Json = dict(params.get("billing_details") or {})
    if isinstance(given.get("address"), dict):
        given["address"] = {name: given["address"].get(name) for name in ADDRESS}
    return {name: value or None for name, value in given.items()}


def _blank(books: Books, test_card: TestCard, given: Json, params: Json) -> Json:
    empty = dict.fromkeys(ADDRESS)
    return {
        "id": books.new_id("pm"),
        "object": "payment_method",
        "allow_redisplay": params.get("allow_redisplay", "unspecified"),
        "billing_details": BILLING | {"address": empty} | _billing(params),
        "card": {
            "brand": test_card.brand,
            "checks": {
                "address_line1_check": None,
                "address_postal_code_check": None,
                "cvc_check": "pass" if given.get("cvc") else "unchecked",
            },
            "country": "US",
            "display_brand": test_card.brand,
            "exp_month": given["exp_month"],
            "exp_year": given["exp_year"],
            "fingerprint": test_card.fingerprint,
            "funding": test_card.funding,
            "generated_from": None,
            "last4": test_card.last4,
            "networks": {"available": [test_card.brand], "preferred": None},
            "regulated_status": "unregulated",
            "three_d_secure_usage": {"supported": True},
            "wallet": None,
        },
        "created": books.now(),
        "customer": None,
        "livemode": False,
        "metadata": merged({}, params.get("metadata")),
        "type": "card",
    }
