"""Balance transactions: what a charge, a refund or a dispute does to the account's own balance."""

from __future__ import annotations

from adapters.stripe.sandbox.listing import listed
from adapters.stripe.sandbox.route import Books, Call, Json, route

URL = "/v1/balance_transactions"
AVAILABLE_AFTER_S = 2 * 24 * 3600
FEE_BPS = 290
FEE_FIXED = 30
DISPUTE_FEE = 1_500


def fee_of(amount: int) -> int:
    """What Stripe keeps of a card payment, in minor units: 2.9 % and 30, half up."""
    return (amount * FEE_BPS + 5_000) // 10_000 + FEE_FIXED


def transact(books: Books, kind: str, amount: int, fee: int, source: Json) -> Json:
    """Book `amount` minor units (less `fee`) of this kind, for a charge, refund or dispute."""
    category = "dispute" if source["object"] == "dispute" else kind
    if category == "dispute" and amount > 0:
        category = "dispute_reversal"
    return books.put(
        {
            "id": books.new_id("txn"),
            "object": "balance_transaction",
            "amount": amount,
            "available_on": books.now() + AVAILABLE_AFTER_S,
            "balance_type": "payments",
            "created": books.now(),
            "currency": source["currency"],
            "description": source.get("description"),
            "exchange_rate": None,
            "fee": fee,
            "fee_details": _fees(fee, source["currency"]) if fee else [],
            "net": amount - fee,
            "reporting_category": category,
            "source": source["id"],
            "status": "pending",
            "type": kind,
        }
    )


@route("GET", URL)
def list_all(call: Call) -> Json:
    """Balance transactions, newest first, by type, source or currency."""
    fields = ("type", "source", "currency")
    equal = {name: call.params[name] for name in fields if name in call.params}
    return listed(call, URL, call.books.find("balance_transaction", **equal))


@route("GET", URL + "/{id}")
def retrieve(call: Call) -> Json:
    """One balance transaction."""
    return call.books.get("balance_transaction", call.path["id"])


def _fees(fee: int, currency: str) -> list[Json]:
    return [
        {
            "amount": fee,
            "application": None,
            "currency": currency,
            "description": "Stripe processing fees",
            "type": "stripe_fee",
        }
    ]
