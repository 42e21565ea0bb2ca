"""SetupIntents: a card saved, with its holder's consent to be charged when they are away."""

from __future__ import annotations

import secrets

from adapters.stripe.sandbox import payment_methods
from adapters.stripe.sandbox.cards import words_of
from adapters.stripe.sandbox.customers import living
from adapters.stripe.sandbox.errors import StripeError, invalid
from adapters.stripe.sandbox.fields import merged
from adapters.stripe.sandbox.listing import listed
from adapters.stripe.sandbox.route import Books, Call, Json, route
from adapters.stripe.sandbox.supported import only

URL = "/v1/setup_intents"
CONFIRMABLE = ("requires_payment_method", "requires_confirmation", "requires_action")
DESCRIBING = (
    "customer", "description", "metadata", "payment_method", "payment_method_options",
    "allowed_payment_method_types", "payment_method_types",
)  # fmt: skip
CONFIRMING = ("payment_method", "payment_method_data", "return_url", "use_stripe_sdk")
CREATING = (*DESCRIBING, *CONFIRMING, "confirm", "usage", "automatic_payment_methods")


@route("POST", URL)
def create(call: Call) -> Json:
    """A new intent to save a card; done at once if `confirm` says so."""
    only(call.params, CREATING)
    if call.params.get("return_url") and not call.params.get("confirm"):
        text = "`return_url` can only be provided with `confirm=true`."
        raise invalid(text, "return_url")
    intent = call.books.put(_with(call.books, _blank(call.books, call.params), call.params))
    call.books.emit("setup_intent.created", intent)
    return _confirmed(call, intent) if call.params.get("confirm") else intent


@route("GET", URL)
def list_all(call: Call) -> Json:
    """Intents to save a card, newest first, by customer or card."""
    fields = ("customer", "payment_method")
    equal = {name: call.params[name] for name in fields if name in call.params}
    return listed(call, URL, call.books.find("setup_intent", **equal))


@route("GET", URL + "/{id}")
def retrieve(call: Call) -> Json:
    """One intent to save a card."""
    return call.books.get("setup_intent", call.path["id"], "intent")


@route("POST", URL + "/{id}")
def update(call: Call) -> Json:
    """Change an intent that is not done."""
    only(call.params, DESCRIBING)
    intent = call.books.get("setup_intent", call.path["id"], "intent")
    if intent["status"] not in CONFIRMABLE and call.params.keys() - {"metadata", "description"}:
        raise _unexpected(intent, "update")
    return call.books.put(_with(call.books, intent, call.params))


@route("POST", URL + "/{id}/confirm")
def confirm(call: Call) -> Json:
    """Try to save the card."""
    only(call.params, CONFIRMING)
    intent = call.books.get("setup_intent", call.path["id"], "intent")
    if intent["status"] not in CONFIRMABLE:
        raise _unexpected(intent, "confirm")
    return _confirmed(call, intent)


@route("POST", URL + "/{id}/cancel")
def cancel(call: Call) -> Json:
    """Give up an intent that is not done."""
    only(call.params, ("cancellation_reason",))
    intent = call.books.get("setup_intent", call.path["id"], "intent")
    if intent["status"] not in CONFIRMABLE:
        raise _unexpected(intent, "cancel")
    reason = call.params.get("cancellation_reason")
    gone = {"status": "canceled", "cancellation_reason": reason, "next_action": None}
    intent = call.books.put(intent | gone)
    call.books.emit("setup_intent.canceled", intent)
    return intent


def authenticated(books: Books, intent_id: str, ok: bool) -> Json:
    """The holder has authenticated the saving of a card, or has failed to; the intent then."""
    intent = books.get("setup_intent", intent_id, "intent")
    if intent["status"] != "requires_action":
        raise _unexpected(intent, "authenticate")
    method = books.get("payment_method", intent["payment_method"])
    if ok and payment_methods.card(books, method).decline is None:
        payment_methods.note(books, method, prepared=True)
        return _saved(books, intent, method)
    code = "setup_intent_authentication_failure"
    text = (
        "The latest attempt to set up the payment method has failed because authentication failed."
    )
    return _failed(books, intent, method, code, text)


def _confirmed(call: Call, intent: Json) -> Json:
    books, params = call.books, call.params
    if "payment_method_data" in params:
        method = payment_methods.make(books, params["payment_method_data"])
    else:
        named = params.get("payment_method") or intent["payment_method"]
        if named is None:
            text = "You cannot confirm this SetupIntent because it's missing a payment method."
            raise _unexpected(intent, "confirm", text)
        method = payment_methods.resolve(books, named)
    payment_methods.usable(books, method, intent["customer"])
    intent = intent | {"payment_method": method["id"]}
    test_card = payment_methods.card(books, method)
    if test_card.authentication != "never":
        return _held(books, intent, params.get("return_url"))
    if test_card.decline and not test_card.saved:
        code, decline_code = test_card.decline
        _failed(books, intent, method, code, words_of(code, decline_code), decline_code)
        after = books.get("setup_intent", intent["id"])
        raise payment_methods.declined(test_card, setup_intent=after, payment_method=method)
    payment_methods.note(books, method, prepared=True)
    return _saved(books, intent, method)


def _saved(books: Books, intent: Json, method: Json) -> Json:
    if intent["customer"] is not None:
        payment_methods.attach(books, method, intent["customer"])
    done = {"status": "succeeded", "next_action": None, "last_setup_error": None}
    intent = books.put(intent | done)
    books.emit("setup_intent.succeeded", intent)
    return intent


def _held(books: Books, intent: Json, return_url: str | None) -> Json:
    page = f"{books.url}/authenticate/{intent['id']}"
    action = {
        "redirect_to_url": {"return_url": return_url, "url": page},
        "type": "redirect_to_url",
    }
    intent = books.put(intent | {"status": "requires_action", "next_action": action})
    books.emit("setup_intent.requires_action", intent)
    return intent


def _failed(
    books: Books, intent: Json, method: Json, code: str, text: str, decline_code: str = ""
) -> Json:
    error = {
        "code": code,
        "doc_url": f"https://stripe.com/docs/error-codes/{code.replace('_', '-')}",
        "message": text,
        "payment_method": method,
        "type": "card_error" if decline_code else "invalid_request_error",
    }
    if decline_code:
        error["decline_code"] = decline_code
    intent = books.put(
        intent
        | {
            "status": "requires_payment_method",
            "payment_method": None,
            "next_action": None,
            "last_setup_error": error,
        }
    )
    books.emit("setup_intent.setup_failed", intent)
    return intent


def _unexpected(intent: Json, verb: str, text: str | None = None) -> StripeError:
    text = text or (
        f"You cannot {verb} this SetupIntent because it has a status of {intent['status']}."
    )
    refused = invalid(text, code="setup_intent_unexpected_state")
    refused.error["setup_intent"] = intent
    return refused


def _with(books: Books, intent: Json, params: Json) -> Json:
    after = dict(intent)
    if "customer" in params:
        after["customer"] = living(books, params["customer"], "customer")["id"]
    if "description" in params:
        after["description"] = params["description"] or None
    after["metadata"] = merged(intent["metadata"], params.get("metadata"))
    if params.get("payment_method"):
        method = payment_methods.resolve(books, params["payment_method"])
        payment_methods.usable(books, method, after["customer"])
        after |= {"payment_method": method["id"], "status": "requires_confirmation"}
        params["payment_method"] = method["id"]
    return after


def _blank(books: Books, params: Json) -> Json:
    intent_id = books.new_id("seti")
    types = params.get("allowed_payment_method_types") or params.get("payment_method_types")
    automatic = params.get("automatic_payment_methods", {"enabled": types is None})
    redirects = automatic.get("allow_redirects", "always")
    return {
        "id": intent_id,
        "object": "setup_intent",
        "application": None,
        "automatic_payment_methods": (
            {"allow_redirects": redirects, "enabled": True} if automatic["enabled"] else None
        ),
        "cancellation_reason": None,
        "client_secret": f"{intent_id}_secret_{secrets.token_hex(12)}",
        "created": books.now(),
        "customer": None,
        "customer_account": None,
        "description": None,
        "excluded_payment_method_types": None,
        "flow_directions": None,
        "last_setup_error": None,
        "latest_attempt": None,
        "livemode": False,
        "mandate": None,
        "metadata": {},
        "next_action": None,
        "on_behalf_of": None,
        "payment_method": None,
        "payment_method_configuration_details": None,
        "payment_method_options": {"card": {"request_three_d_secure": "automatic"}},
        "payment_method_types": types or ["card"],
        "single_use_mandate": None,
        "status": "requires_payment_method",
        "usage": params.get("usage", "off_session"),
    }
