"""Refunds: money given back, in whole or in parts; at once, later, or not after all."""

from __future__ import annotations

from adapters.stripe.sandbox import payment_methods
from adapters.stripe.sandbox.balance import transact
from adapters.stripe.sandbox.charges import refundable
from adapters.stripe.sandbox.errors import invalid
from adapters.stripe.sandbox.fields import changed, merged
from adapters.stripe.sandbox.listing import listed
from adapters.stripe.sandbox.route import Books, Call, Json, due, route
from adapters.stripe.sandbox.supported import only

URL = "/v1/refunds"
LATER_S = 3_600
"""After so long a refund that is pending succeeds, and one that fails has failed."""


@route("POST", URL)
def create(call: Call) -> Json:
    """Give back a part of a charge, or what is left of it."""
    only(call.params, ("charge", "payment_intent", "amount", "reason", "metadata"))
    books, params = call.books, call.params
    charge = _charge(books, params)
    left = refundable(charge)
    if left == 0:
        text = f"Charge {charge['id']} has already been refunded."
        raise invalid(text, code="charge_already_refunded")
    if charge["disputed"] and not _may_be_refunded(books, charge):
        text = f"Charge {charge['id']} has been charged back; cannot issue a refund."
        raise invalid(text, code="charge_disputed")
    amount = params.get("amount", left)
    if amount < 1:
        raise invalid("Invalid positive integer", "amount", "parameter_invalid_integer")
    if amount > left:
        text = (
            f"Refund amount ({_money(amount)}) is greater than unrefunded amount on charge"
            f" ({_money(left)})"
        )
        raise invalid(text, "amount")
    method = books.get("payment_method", charge["payment_method"])
    way = payment_methods.card(books, method).refund
    refund = _blank(books, charge, amount, params)
    refund["status"] = "pending" if way == "later" else "succeeded"
    if way != "at_once":
        outcome = "succeeded" if way == "later" else "failed"
        books.put(
            {
                "object": "sandbox.refund",
                "id": f"refund:{refund['id']}",
                "refund": refund["id"],
                "outcome": outcome,
                "due": books.now() + LATER_S,
            }
        )
    refund["balance_transaction"] = transact(books, "refund", -amount, 0, refund)["id"]
    books.put(refund)
    before, charge = charge, _count(books, charge, amount)
    books.emit("refund.created", refund)
    books.emit("charge.refunded", charge, changed(before, charge))
    return refund


@route("GET", URL)
def list_all(call: Call) -> Json:
    """Refunds, newest first, by charge or intent."""
    fields = ("charge", "payment_intent")
    equal = {name: call.params[name] for name in fields if name in call.params}
    return listed(call, URL, call.books.find("refund", **equal))


@route("GET", URL + "/{id}")
def retrieve(call: Call) -> Json:
    """One refund."""
    return call.books.get("refund", call.path["id"])


@route("POST", URL + "/{id}")
def update(call: Call) -> Json:
    """Change the metadata of a refund."""
    before = call.books.get("refund", call.path["id"])
    after = before | {"metadata": merged(before["metadata"], call.params.get("metadata"))}
    _tell(call.books, before, after)
    return after


@due
def settle(books: Books, now: int) -> int | None:
    """Banks answer, in time."""
    for record in books.until("sandbox.refund", "due", now):
        books.put(record | {"due": None})
        before = books.get("refund", record["refund"])
        after = before | {"status": record["outcome"]}
        if record["outcome"] == "failed":
            after["failure_reason"] = "expired_or_canceled_card"
            back = transact(books, "refund_failure", before["amount"], 0, before)
            after["failure_balance_transaction"] = back["id"]
            books.put(after)
            charge = books.get("charge", before["charge"])
            books.emit("refund.failed", after)
            former, charge = charge, _count(books, charge, -before["amount"])
            books.emit("charge.updated", charge, changed(former, charge))
        _tell(books, before, after)
    return books.earliest("sandbox.refund", "due")


def _tell(books: Books, before: Json, after: Json) -> None:
    books.put(after)
    previous = changed(before, after)
    books.emit("refund.updated", after, previous)
    books.emit("charge.refund.updated", after, previous)


def _charge(books: Books, params: Json) -> Json:
    if ("charge" in params) == ("payment_intent" in params):
        text = "One of the following params should be provided: charge, payment_intent."
        raise invalid(text, code="parameter_missing")
    if "charge" in params:
        return books.get("charge", params["charge"], "charge")
    intent = books.get("payment_intent", params["payment_intent"], "payment_intent")
    if intent["status"] != "succeeded" or intent["latest_charge"] is None:
        text = f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund."
        raise invalid(text, "payment_intent")
    return books.get("charge", intent["latest_charge"])


def _may_be_refunded(books: Books, charge: Json) -> bool:
    disputes = books.find("dispute", charge=charge["id"])
    return all(dispute["is_charge_refundable"] for dispute in disputes)


def _count(books: Books, charge: Json, amount: int) -> Json:
    refunded = charge["amount_refunded"] + amount
    whole = refunded == charge["amount_captured"]
    return books.put(charge | {"amount_refunded": refunded, "refunded": whole})


def _money(amount: int) -> str:
    return f"${amount // 100:,}.{amount % 100:02}"


def _blank(books: Books, charge: Json, amount: int, params: Json) -> Json:
    return {
        "id": books.new_id("re"),
        "object": "refund",
        "amount": amount,
        "balance_transaction": None,
        "charge": charge["id"],
        "created": books.now(),
        "currency": charge["currency"],
        "customer": charge["customer"],
        "customer_account": None,
        "destination_details": {
            "card": {
                "reference_status": "pending",
                "reference_type": "acquirer_reference_number",
                "type": "refund",
            },
            "type": "card",
        },
        "metadata": merged({}, params.get("metadata")),
        "payment_intent": charge["payment_intent"],
        "payment_method": charge["payment_method"],
        "reason": params.get("reason"),
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": "succeeded",
        "transfer_reversal": None,
    }
