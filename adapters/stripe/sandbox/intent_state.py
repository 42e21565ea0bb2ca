"""What becomes of a PaymentIntent: paid, refused, or held until its payer has authenticated.

Events come in Stripe's order: the charge's own first, then the intent's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from adapters.stripe.sandbox import payment_methods
from adapters.stripe.sandbox.cards import words_of
from adapters.stripe.sandbox.charges import SecureResult, charge, refuse
from adapters.stripe.sandbox.disputes import open_dispute
from adapters.stripe.sandbox.errors import StripeError, invalid
from adapters.stripe.sandbox.route import Books, Json
from adapters.stripe.sandbox.setup_intents import authenticated

CONFIRMABLE = ("requires_payment_method", "requires_confirmation", "requires_action")
ASKED = ("authentication_required", "authentication_required")
Settled = Callable[[Books, Json], None]
SETTLED: list[Settled] = []


def settled(function: Settled) -> Settled:
    """This function hears of an intent that its payer confirmed or authenticated, as it is then."""
    SETTLED.append(function)
    return function


@dataclass(frozen=True)
class Terms:
    """How a payment is confirmed: is its payer away, and where do they come back to?"""

    off_session: bool = False
    error_on_action: bool = False
    return_url: str | None = None


def confirm(books: Books, intent: Json, method: Json, terms: Terms) -> Json:
    """Try to pay with this card: the intent has succeeded, or requires_action.

    :raises StripeError: card_error with the intent as it is then; the attempt is kept.
    """
    payment_methods.usable(books, method, intent["customer"])
    card = payment_methods.card(books, method)
    intent = intent | {"payment_method": method["id"], "next_action": None}
    asks = card.authentication == "always" or (
        card.authentication == "unless_prepared" and not payment_methods.is_prepared(books, method)
    )
    if asks and (terms.off_session or terms.error_on_action):
        raise _refused(books, intent, method, *ASKED)
    if asks:
        return _held(books, intent, terms)
    if card.decline is not None:
        raise _refused(books, intent, method, *card.decline)
    return _paid(books, intent, method)


def complete_authentication(books: Books, intent_id: str, ok: bool) -> Json:
    """The payer has authenticated a payment or the saving of a card, or has failed to.

    Answers the intent, whatever became of it; StripeError 400 if it does not wait for that.
    """
    if intent_id.startswith("seti_"):
        return authenticated(books, intent_id, ok)
    intent = books.get("payment_intent", intent_id)
    if intent["status"] != "requires_action":
        raise unexpected(intent, "authenticate")
    method = books.get("payment_method", intent["payment_method"])
    decline = payment_methods.card(books, method).decline
    intent = intent | {"next_action": None}
    if not ok:
        intent = _unauthenticated(books, intent, method)
    elif decline is not None:
        _refused(books, intent, method, *decline)
    else:
        intent = _paid(books, intent, method, "authenticated")
    intent = books.get("payment_intent", intent["id"])
    tell(books, intent)
    return intent


def tell(books: Books, intent: Json) -> None:
    """Let whoever waits for an intent know how it stands now."""
    for hear in SETTLED:
        hear(books, intent)


def unexpected(intent: Json, verb: str) -> StripeError:
    """400: an intent in this state cannot be …ed."""
    text = f"You cannot {verb} this PaymentIntent because it has a status of {intent['status']}."
    refused = invalid(text, code="payment_intent_unexpected_state")
    refused.error["payment_intent"] = intent
    return refused


def _paid(books: Books, intent: Json, method: Json, secure: SecureResult | None = None) -> Json:
    taken = charge(books, intent, method, secure)
    intent = books.put(
        intent
        | {
            "status": "succeeded",
            "amount_received": intent["amount"],
            "latest_charge": taken["id"],
            "last_payment_error": None,
            "next_action": None,
        }
    )
    if intent["setup_future_usage"] and intent["customer"] and method["customer"] is None:
        payment_methods.attach(books, method, intent["customer"])
        payment_methods.note(books, method, prepared=True)
    elif method["customer"] is None:
        payment_methods.note(books, method, used=True)
    books.emit("payment_intent.succeeded", intent)
    card = payment_methods.card(books, method)
    if card.dispute is not None:
        open_dispute(books, taken, reason=card.dispute, inquiry=card.inquiry, withdrawn=True)
    return intent


def _held(books: Books, intent: Json, terms: Terms) -> Json:
    page = f"{books.url}/authenticate/{intent['id']}"
    action = {
        "redirect_to_url": {"return_url": terms.return_url, "url": page},
        "type": "redirect_to_url",
    }
    intent = books.put(
        intent | {"status": "requires_action", "next_action": action, "last_payment_error": None}
    )
    books.emit("payment_intent.requires_action", intent)
    return intent


def _refused(books: Books, intent: Json, method: Json, code: str, decline_code: str) -> StripeError:
    failed = refuse(books, intent, method, code, decline_code)
    error = {
        "charge": failed["id"],
        "code": code,
        "doc_url": f"https://stripe.com/docs/error-codes/{code.replace('_', '-')}",
        "message": words_of(code, decline_code),
        "payment_method": method,
        "type": "card_error",
    }
    if decline_code:
        error["decline_code"] = decline_code
    intent = books.put(
        intent
        | {
            "status": "requires_payment_method",
            "payment_method": None,
            "latest_charge": failed["id"],
            "last_payment_error": error,
        }
    )
    books.emit("payment_intent.payment_failed", intent)
    more = {name: error[name] for name in ("charge", "decline_code") if name in error}
    return StripeError(
        402,
        "card_error",
        error["message"],
        code,
        payment_intent=intent,
        payment_method=method,
        **more,
    )


def _unauthenticated(books: Books, intent: Json, method: Json) -> Json:
    code = "payment_intent_authentication_failure"
    error = {
        "code": code,
        "doc_url": f"https://stripe.com/docs/error-codes/{code.replace('_', '-')}",
        "message": "The provided PaymentMethod has failed authentication. You can provide"
        " payment_method_data or a new PaymentMethod to attempt to fulfill this PaymentIntent"
        " again.",
        "payment_method": method,
        "type": "invalid_request_error",
    }
    intent = books.put(
        intent
        | {
            "status": "requires_payment_method",
            "payment_method": None,
            "last_payment_error": error,
        }
    )
    books.emit("payment_intent.payment_failed", intent)
    return intent
