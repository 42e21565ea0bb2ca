"""PaymentIntents: one intended payment, with as many attempts as it takes."""

from __future__ import annotations

import secrets

from adapters.stripe.sandbox import payment_methods
from adapters.stripe.sandbox.customers import living
from adapters.stripe.sandbox.errors import StripeError, invalid
from adapters.stripe.sandbox.fields import merged
from adapters.stripe.sandbox.intent_state import (
    CONFIRMABLE,
    Terms,
    complete_authentication,
    confirm,
    tell,
    unexpected,
)
from adapters.stripe.sandbox.listing import listed, searched
from adapters.stripe.sandbox.route import Books, Call, Json, route
from adapters.stripe.sandbox.supported import only

__all__ = ["complete_authentication"]

URL = "/v1/payment_intents"
AMOUNT_MAX = 99_999_999
AMOUNTS_MIN = {"usd": 50, "eur": 50, "gbp": 30, "cad": 50, "aud": 50, "chf": 50, "jpy": 50}
CONFIRMING = (
    "payment_method", "payment_method_data", "off_session", "return_url",
    "error_on_requires_action", "setup_future_usage", "receipt_email", "payment_method_options",
    "allowed_payment_method_types", "payment_method_types", "use_stripe_sdk",
)  # fmt: skip
DESCRIBING = (
    "amount", "currency", "customer", "description", "metadata", "receipt_email",
    "statement_descriptor", "statement_descriptor_suffix", "setup_future_usage", "payment_method",
    "payment_method_options", "allowed_payment_method_types", "payment_method_types",
)  # fmt: skip
CREATING = (
    *DESCRIBING, *CONFIRMING, "confirm", "automatic_payment_methods", "capture_method",
    "confirmation_method",
)  # fmt: skip
# payment_method_types: not asked for in this version of the API, but by checkout, from within.
TEXTS = ("description", "receipt_email", "statement_descriptor", "statement_descriptor_suffix")


@route("POST", URL)
def create(call: Call) -> Json:
    """A new intent; paid at once if `confirm` says so and the card allows it."""
    only(call.params, CREATING)
    books, params = call.books, call.params
    if params.get("capture_method", "automatic") == "manual":
        raise invalid("The sandbox does not play manual capture; Stripe would.", "capture_method")
    if params.get("off_session") and not params.get("confirm"):
        text = "You must specify `confirm=true` when `off_session` is provided."
        raise invalid(text, "off_session", "parameter_missing")
    intent = books.put(_with(books, _blank(books, params), params))
    books.emit("payment_intent.created", intent)
    if params.get("confirm"):
        return _confirmed(call, intent)
    return intent


@route("GET", URL)
def list_all(call: Call) -> Json:
    """Intents, newest first, by customer."""
    equal = {"customer": call.params["customer"]} if "customer" in call.params else {}
    return listed(call, URL, call.books.find("payment_intent", **equal))


@route("GET", f"{URL}/search")
def search(call: Call) -> Json:
    """Intents by amount, customer, status, created or metadata. (Stripe's own search lags.)"""
    return searched(call, f"{URL}/search", call.books.find("payment_intent"))


@route("GET", URL + "/{id}")
def retrieve(call: Call) -> Json:
    """One intent."""
    return call.books.get("payment_intent", call.path["id"], "intent")


@route("POST", URL + "/{id}")
def update(call: Call) -> Json:
    """Change an intent that is not paid yet; of a paid one, what is said of it."""
    only(call.params, DESCRIBING)
    intent = call.books.get("payment_intent", call.path["id"], "intent")
    open_still = intent["status"] in CONFIRMABLE
    if not open_still and call.params.keys() - {"metadata", "description", "receipt_email"}:
        raise unexpected(intent, "update")
    return call.books.put(_with(call.books, intent, call.params))


@route("POST", URL + "/{id}/confirm")
def confirm_intent(call: Call) -> Json:
    """Try to pay."""
    only(call.params, CONFIRMING)
    intent = call.books.get("payment_intent", call.path["id"], "intent")
    if intent["status"] == "succeeded":
        text = (
            "You cannot confirm this PaymentIntent because it has already succeeded after being"
            " previously confirmed."
        )
        raise _again(intent, text)
    if intent["status"] not in CONFIRMABLE:
        raise unexpected(intent, "confirm")
    confirmed = _confirmed(call, intent)
    tell(call.books, confirmed)
    return confirmed


@route("POST", URL + "/{id}/cancel")
def cancel(call: Call) -> Json:
    """Give up an intent that is not paid."""
    only(call.params, ("cancellation_reason",))
    intent = call.books.get("payment_intent", call.path["id"], "intent")
    if intent["status"] not in (*CONFIRMABLE, "processing"):
        raise unexpected(intent, "cancel")
    intent = call.books.put(
        intent
        | {
            "status": "canceled",
            "canceled_at": call.now,
            "cancellation_reason": call.params.get("cancellation_reason"),
            "next_action": None,
        }
    )
    call.books.emit("payment_intent.canceled", intent)
    return intent


def _again(intent: Json, text: str) -> StripeError:
    refused = invalid(text, code="payment_intent_unexpected_state")
    refused.error["payment_intent"] = intent
    return refused


def _confirmed(call: Call, intent: Json) -> Json:
    books, params = call.books, call.params
    if "payment_method_data" in params:
        method = payment_methods.make(books, params["payment_method_data"])
    else:
        named = params.get("payment_method") or intent["payment_method"]
        if named is None:
            text = (
                "You cannot confirm this PaymentIntent because it's missing a payment method."
                " You can either update the PaymentIntent with a payment method and then confirm"
                " it again, or confirm it again directly with a payment method or"
                " ConfirmationToken."
            )
            raise _again(intent, text)
        method = payment_methods.resolve(books, named)
    off_session = params.get("off_session") not in (None, False)
    terms = Terms(
        off_session, bool(params.get("error_on_requires_action")), params.get("return_url")
    )
    _demand_return(intent, terms)
    if "setup_future_usage" in params:
        intent = intent | {"setup_future_usage": params["setup_future_usage"] or None}
    if "receipt_email" in params:
        intent = intent | {"receipt_email": params["receipt_email"] or None}
    return confirm(books, intent, method, terms)


def _demand_return(intent: Json, terms: Terms) -> None:
    automatic = intent["automatic_payment_methods"]
    if automatic is None or automatic["allow_redirects"] == "never":
        return
    if terms.off_session or terms.error_on_action or terms.return_url:
        return
    raise invalid(
        "This PaymentIntent is configured to accept payment methods enabled in your Dashboard."
        " Because some of these payment methods might redirect your customer off of your page, you"
        " must provide a `return_url`. If you don't want to accept redirect-based payment methods,"
        " set `automatic_payment_methods[enabled]` to `true` and"
        " `automatic_payment_methods[allow_redirects]` to `never` when creating Setup Intents and"
        " Payment Intents."
    )


def _with(books: Books, intent: Json, params: Json) -> Json:
    after: Json = dict(intent)
    after |= {name: params[name] or None for name in TEXTS if name in params}
    if "amount" in params or "currency" in params:
        asked = intent | params
        after["currency"] = asked["currency"].lower()
        after["amount"] = _amount(asked["amount"], after["currency"])
    if "customer" in params:
        named = params["customer"]
        after["customer"] = living(books, named, "customer")["id"] if named else None
    after["metadata"] = merged(intent["metadata"], params.get("metadata"))
    if "setup_future_usage" in params:
        after["setup_future_usage"] = params["setup_future_usage"] or None
    if params.get("payment_method"):
        method = payment_methods.resolve(books, params["payment_method"])
        payment_methods.usable(books, method, after["customer"])
        after |= {"payment_method": method["id"], "status": "requires_confirmation"}
        params["payment_method"] = method["id"]
    return after


def _amount(amount: int, currency: str) -> int:
    least = AMOUNTS_MIN.get(currency, 1)
    if amount < 1:
        raise invalid("Invalid positive integer", "amount", "parameter_invalid_integer")
    if amount < least:
        sign = "$" if currency == "usd" else ""
        shown = f"{sign}{least // 100}.{least % 100:02} {currency}"
        raise invalid(f"Amount must be at least {shown}", "amount", "amount_too_small")
    if amount > AMOUNT_MAX:
        text = "Amount must be no more than $999,999.99"
        raise invalid(text, "amount", "amount_too_large")
    return amount


def _blank(books: Books, params: Json) -> Json:
    intent_id = books.new_id("pi")
    types = params.get("allowed_payment_method_types") or params.get("payment_method_types")
    automatic = params.get("automatic_payment_methods", {"enabled": types is None})
    redirects = automatic.get("allow_redirects", "always")
    return {
        "id": intent_id,
        "object": "payment_intent",
        "amount": params["amount"],
        "amount_capturable": 0,
        "amount_details": {"tip": {}},
        "amount_received": 0,
        "application": None,
        "application_fee_amount": None,
        "automatic_payment_methods": (
            {"allow_redirects": redirects, "enabled": True} if automatic["enabled"] else None
        ),
        "canceled_at": None,
        "cancellation_reason": None,
        "capture_method": "automatic_async",
        "client_secret": f"{intent_id}_secret_{secrets.token_hex(12)}",
        "confirmation_method": params.get("confirmation_method", "automatic"),
        "created": books.now(),
        "currency": params["currency"].lower(),
        "customer": None,
        "customer_account": None,
        "description": None,
        "excluded_payment_method_types": None,
        "last_payment_error": None,
        "latest_charge": None,
        "livemode": False,
        "metadata": {},
        "next_action": None,
        "on_behalf_of": None,
        "payment_method": None,
        "payment_method_configuration_details": None,
        "payment_method_options": {"card": {"request_three_d_secure": "automatic"}},
        "payment_method_types": types or ["card"],
        "processing": None,
        "receipt_email": None,
        "review": None,
        "setup_future_usage": None,
        "shipping": None,
        "source": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": "requires_payment_method",
        "transfer_data": None,
        "transfer_group": None,
    }
