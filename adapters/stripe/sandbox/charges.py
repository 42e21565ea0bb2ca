"""Charges: one for each attempt to take money from a card."""

from __future__ import annotations

from typing import Literal

from adapters.stripe.sandbox.balance import fee_of, transact
from adapters.stripe.sandbox.cards import words_of
from adapters.stripe.sandbox.errors import invalid
from adapters.stripe.sandbox.fields import changed, merged
from adapters.stripe.sandbox.listing import listed, listing, searched
from adapters.stripe.sandbox.route import Books, Call, Json, includes, route
from adapters.stripe.sandbox.supported import only

URL = "/v1/charges"
ADVICE = {"insufficient_funds": "try_again_later", "generic_decline": "try_again_later"}
SecureResult = Literal["authenticated", "failed"]


def charge(books: Books, intent: Json, method: Json, secure: SecureResult | None = None) -> Json:
    """Take the amount of an intent from a card; the event follows."""
    taken = _blank(books, intent, method, secure)
    amount = intent["amount"]
    taken |= {"captured": True, "paid": True, "status": "succeeded", "amount_captured": amount}
    taken["outcome"] = _outcome("approved_by_network", "authorized", "Payment complete.")
    number = taken["id"][-12:]
    taken["receipt_url"] = f"{books.url}/receipts/{number}"
    transaction = transact(books, "charge", amount, fee_of(amount), taken)
    taken["balance_transaction"] = transaction["id"]
    books.emit("charge.succeeded", books.put(taken))
    return taken


def refuse(books: Books, intent: Json, method: Json, code: str, decline_code: str) -> Json:
    """A charge that failed for this reason; the event follows."""
    failed = _blank(books, intent, method, None)
    failed |= {
        "status": "failed",
        "failure_code": code,
        "failure_message": words_of(code, decline_code),
        "outcome": _outcome(
            "declined_by_network",
            "issuer_declined",
            "The bank did not return any further details with this decline.",
            decline_code or code,
        ),
    }
    books.emit("charge.failed", books.put(failed))
    return failed


@route("GET", URL)
def list_all(call: Call) -> Json:
    """Charges, newest first, by customer or payment intent."""
    fields = ("customer", "payment_intent", "transfer_group")
    equal = {name: call.params[name] for name in fields if name in call.params}
    return listed(call, URL, call.books.find("charge", **equal))


@route("GET", f"{URL}/search")
def search(call: Call) -> Json:
    """Charges by amount, customer, status, created or metadata."""
    return searched(call, f"{URL}/search", call.books.find("charge"))


@route("GET", URL + "/{id}")
def retrieve(call: Call) -> Json:
    """One charge."""
    return call.books.get("charge", call.path["id"])


@route("POST", URL + "/{id}")
def update(call: Call) -> Json:
    """Change what is said of a charge."""
    only(call.params, ("description", "metadata", "receipt_email"))
    before, params = call.books.get("charge", call.path["id"]), call.params
    after = before | {"metadata": merged(before["metadata"], params.get("metadata"))}
    texts = ("description", "receipt_email")
    after |= {name: params[name] or None for name in texts if name in params}
    call.books.emit("charge.updated", call.books.put(after), changed(before, after))
    return after


@includes("charge", "refunds")
def refunds(books: Books, charged: Json) -> Json:
    """The refunds of a charge, when they are asked for."""
    return listing(f"{URL}/{charged['id']}/refunds", books.find("refund", charge=charged["id"]))


def refundable(charged: Json) -> int:
    """What has not been given back yet, in minor units.

    :raises StripeError: the charge took nothing.
    """
    if charged["status"] != "succeeded":
        raise invalid(f"Charge {charged['id']} has not been paid.", "charge")
    return int(charged["amount_captured"] - charged["amount_refunded"])


def _outcome(status: str, kind: str, message: str, reason: str | None = None) -> Json:
    return {
        "advice_code": ADVICE.get(reason or ""),
        "network_advice_code": None,
        "network_decline_code": None if reason is None else "01",
        "network_status": status,
        "reason": reason,
        "risk_level": "normal",
        "risk_score": 12,
        "seller_message": message,
        "type": kind,
    }


def _blank(books: Books, intent: Json, method: Json, secure: SecureResult | None) -> Json:
    return {
        "id": books.new_id("ch"),
        "object": "charge",
        "amount": intent["amount"],
        "amount_captured": 0,
        "amount_refunded": 0,
        "application": None,
        "application_fee": None,
        "application_fee_amount": None,
        "balance_transaction": None,
        "billing_details": method["billing_details"],
        "calculated_statement_descriptor": "DAYBOOK",
        "captured": False,
        "created": books.now(),
        "currency": intent["currency"],
        "customer": intent["customer"],
        "description": intent["description"],
        "disputed": False,
        "failure_balance_transaction": None,
        "failure_code": None,
        "failure_message": None,
        "fraud_details": {},
        "livemode": False,
        "metadata": intent["metadata"],
        "on_behalf_of": None,
        "outcome": None,
        "paid": False,
        "payment_intent": intent["id"],
        "payment_method": method["id"],
        "payment_method_details": {"card": _details(intent, method, secure), "type": "card"},
        "radar_options": {},
        "receipt_email": intent["receipt_email"],
        "receipt_number": None,
        "receipt_url": None,
        "refunded": False,
        "review": None,
        "shipping": None,
        "source_transfer": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": "failed",
        "transfer_data": None,
        "transfer_group": None,
    }


def _details(intent: Json, method: Json, secure: SecureResult | None) -> Json:
    card = method["card"]
    same = ("brand", "checks", "country", "exp_month", "exp_year", "fingerprint", "funding")
    return {
        **{name: card[name] for name in same},
        "amount_authorized": intent["amount"],
        "authorization_code": None,
        "extended_authorization": {"status": "disabled"},
        "incremental_authorization": {"status": "unavailable"},
        "installments": None,
        "last4": card["last4"],
        "mandate": None,
        "multicapture": {"status": "unavailable"},
        "network": card["brand"],
        "network_token": {"used": False},
        "network_transaction_id": "104102078541101",
        "overcapture": {"maximum_amount_capturable": intent["amount"], "status": "unavailable"},
        "regulated_status": "unregulated",
        "three_d_secure": None if secure is None else _secure(secure),
        "wallet": None,
    }


def _secure(result: SecureResult) -> Json:
    return {
        "authentication_flow": "challenge",
        "electronic_commerce_indicator": "05" if result == "authenticated" else "07",
        "exemption_indicator": None,
        "result": result,
        "result_reason": None if result == "authenticated" else "rejected",
        "transaction_id": None,
        "version": "2.2.0",
    }
