"""What a checkout session is asked for: held to Stripe's rules, and turned into lines."""

from __future__ import annotations

from adapters.stripe.sandbox import pages
from adapters.stripe.sandbox.errors import invalid
from adapters.stripe.sandbox.route import Books, Call, Json, StripeError
from adapters.stripe.sandbox.supported import only

LIFE_S = 24 * 3600
LIFE_MIN_S = 30 * 60
AMOUNT_MIN = 50  # of a payment, in cents
REFERENCE_MAX = 200

PARAMETERS = [
    *("cancel_url", "client_reference_id", "currency", "customer", "customer_creation"),
    *("customer_email", "expires_at", "line_items", "locale", "metadata", "mode"),
    *("payment_intent_data", "payment_method_collection", "payment_method_types"),
    *("setup_intent_data", "submit_type", "subscription_data", "success_url", "ui_mode"),
]
DATA_OF_MODE = {
    "payment": "payment_intent_data",
    "setup": "setup_intent_data",
    "subscription": "subscription_data",
}
DATA = {
    "payment_intent_data": ("description", "metadata", "setup_future_usage"),
    "setup_intent_data": ("description", "metadata"),
    "subscription_data": ("description", "metadata"),
}


def check(books: Books, asked: Json) -> None:
    """Refuse what Stripe refuses, and what the sandbox does not play."""
    only(asked, PARAMETERS)
    for name in ("mode", "success_url"):
        if name not in asked:
            raise _missing(name)
    mode = asked["mode"]
    if asked.get("ui_mode", "hosted_page") != "hosted_page":
        raise invalid("The sandbox only plays `ui_mode` hosted_page.", "ui_mode")
    for name in ("success_url", "cancel_url"):
        if name in asked and not pages.is_address(asked[name]):
            raise invalid("Not a valid URL", name, "url_invalid")
    for other, name in DATA_OF_MODE.items():
        if name in asked and other != mode:
            raise invalid(f"You can not pass `{name}` in `{mode}` mode.", name)
        only(asked.get(name, {}), DATA[name], name)
    _check_items(asked, mode)
    _check_customer(books, asked)
    if len(asked.get("client_reference_id", "")) > REFERENCE_MAX:
        raise invalid(
            f"Invalid string: must be at most {REFERENCE_MAX} characters", "client_reference_id"
        )


def _check_items(asked: Json, mode: str) -> None:
    if mode == "setup":
        if "line_items" in asked:
            raise invalid("You can not pass `line_items` in `setup` mode.", "line_items")
        if "currency" not in asked and "payment_method_types" not in asked:
            raise _missing("currency")
    elif not asked.get("line_items"):
        raise _missing("line_items")


def _check_customer(books: Books, asked: Json) -> None:
    if "customer" in asked and "customer_email" in asked:
        raise invalid(
            "You may only specify one of these parameters: customer, customer_email.", "customer"
        )
    if "customer" in asked:
        customer = books.get("customer", asked["customer"], "customer")
        if customer.get("deleted"):
            raise invalid(f"No such customer: '{customer['id']}'", "customer", "resource_missing")


def _missing(name: str) -> StripeError:
    return invalid(f"Missing required param: {name}.", name, "parameter_missing")


def expiry(call: Call) -> int:
    """When the session ends, unix seconds: 30 minutes to 24 hours from now."""
    expires_at = int(call.params.get("expires_at", call.now + LIFE_S))
    if expires_at < call.now + LIFE_MIN_S:
        raise invalid(
            "The `expires_at` timestamp must be at least 30 minutes from Checkout Session"
            " creation.",
            "expires_at",
        )
    if expires_at > call.now + LIFE_S:
        raise invalid(
            "The `expires_at` timestamp must be less than 24 hours from Checkout Session creation.",
            "expires_at",
        )
    return expires_at


def lines_of(books: Books, asked: Json) -> list[Json]:
    """What is paid for, as line items."""
    lines = [
        _line(books, number, item, asked["mode"])
        for number, item in enumerate(asked.get("line_items", []))
    ]
    if len({line["currency"] for line in lines}) > 1:
        raise invalid("All prices on a Checkout Session must have the same currency.", "line_items")
    total = sum(line["amount_total"] for line in lines)
    if asked["mode"] == "payment" and total < AMOUNT_MIN:
        raise invalid(
            "The Checkout Session's total amount due must add up to at least"
            f" {pages.amount(AMOUNT_MIN, lines[0]['currency'])}.",
            None,
            "amount_too_small",
        )
    return lines


def _line(books: Books, number: int, item: Json, mode: str) -> Json:
    price = _price(books, number, item)
    if mode == "subscription" and not price["recurring"]:
        raise invalid(
            "The sandbox does not play one-time prices in `subscription` mode; Stripe would.",
            f"line_items[{number}][price]",
        )
    if mode == "payment" and price["recurring"]:
        raise invalid(
            "You specified `payment` mode but passed a recurring price. Either switch to"
            " `subscription` mode or use only one-time prices.",
            f"line_items[{number}][price]",
        )
    quantity = item.get("quantity")
    if quantity is None:
        raise _missing(f"line_items[{number}][quantity]")
    total = int(price["unit_amount"]) * int(quantity)
    product = books.get("product", price["product"])
    return {
        "id": books.new_id("li"),
        "object": "item",
        "adjustable_quantity": None,
        "amount_discount": 0,
        "amount_subtotal": total,
        "amount_tax": 0,
        "amount_total": total,
        "currency": price["currency"],
        "description": product["name"],
        "metadata": {},
        "price": price,
        "quantity": quantity,
    }


def _price(books: Books, number: int, item: Json) -> Json:
    if "price_data" in item:
        return pages.ask(books, "POST", "/v1/prices", item["price_data"])
    if "price" not in item:
        raise _missing(f"line_items[{number}][price]")
    price = books.get("price", item["price"], f"line_items[{number}][price]")
    if not price["active"]:
        raise invalid(
            "The price specified is inactive. This field only accepts active prices.",
            f"line_items[{number}][price]",
        )
    return price


def setup_intent(books: Books, asked: Json) -> str:
    """The id of the SetupIntent that the session saves its card with."""
    data: Json = asked.get("setup_intent_data") or {}
    wanted = {
        "usage": "off_session",
        "payment_method_types": asked.get("payment_method_types") or ["card"],
        "metadata": data.get("metadata") or {},
    }
    wanted |= {name: asked[name] for name in ("customer",) if name in asked}
    wanted |= {name: data[name] for name in ("description",) if name in data}
    return str(pages.ask(books, "POST", "/v1/setup_intents", wanted)["id"])


def blank(session_id: str, mode: str, now: int) -> Json:
    """A session with what Stripe says of one that nothing special was asked for."""
    nothing = (
        "after_expiration allow_promotion_codes amount_subtotal amount_total"
        " billing_address_collection client_secret collected_information consent"
        " consent_collection currency_conversion customer_account customer_details discounts"
        " integration_identifier invoice invoice_creation origin_context payment_intent"
        " payment_link permissions presentment_details recovered_from redirect_on_completion"
        " return_url saved_payment_method_options setup_intent shipping_address_collection"
        " shipping_cost subscription total_details wallet_options"
    )
    return {
        "id": session_id,
        "object": "checkout.session",
        **dict.fromkeys(nothing.split()),
        "adaptive_pricing": {"enabled": False},
        "automatic_tax": {"enabled": False, "liability": None, "provider": None, "status": None},
        "created": now,
        "custom_fields": [],
        "custom_text": {
            "after_submit": None,
            "shipping_address": None,
            "submit": None,
            "terms_of_service_acceptance": None,
        },
        "livemode": False,
        "mode": mode,
        "payment_method_configuration_details": None,
        "payment_method_options": {},
        "phone_number_collection": {"enabled": False},
        "shipping_options": [],
        "status": "open",
        "ui_mode": "hosted_page",
    }
