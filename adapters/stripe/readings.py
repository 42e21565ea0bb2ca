"""Stripe's objects, as JSON, in the domain's words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from adapters.stripe.amounts import to_micros
from domain.payment.processor import (
    Card,
    Charge,
    Contest,
    Customer,
    Intent,
    IntentStatus,
    Refund,
    Session,
)

Json = Mapping[str, Any]

SETTLED: Mapping[str, IntentStatus] = {
    "succeeded": "succeeded",
    "processing": "processing",
    "requires_action": "requires_action",
    "canceled": "canceled",
}
REFUND_STATES: Mapping[str, Literal["succeeded", "failed"]] = {
    "succeeded": "succeeded",
    "failed": "failed",
    "canceled": "failed",
}
OUTCOMES: Mapping[str, Literal["won", "lost", "warning_closed", "prevented"]] = {
    "won": "won",
    "lost": "lost",
    "warning_closed": "warning_closed",
    "prevented": "prevented",
}


def id_of(reference: Any) -> str:
    """The id in a field that holds an id, or, where it was expanded, the object; "" for none."""
    if isinstance(reference, Mapping):
        return str(reference["id"])
    return str(reference or "")


def intent(found: Json) -> Intent:
    """A PaymentIntent. One that was tried and refused is `failed`, with the reason."""
    metadata = found.get("metadata") or {}
    error = found.get("last_payment_error") or {}
    status = SETTLED.get(found["status"], "failed" if error else "open")
    action = found.get("next_action") or {}
    method = found.get("payment_method") or error.get("payment_method")
    code = error.get("code") if status == "failed" else None
    if status == "canceled":
        code = found.get("cancellation_reason") or "canceled"
    return Intent(
        id=found["id"],
        status=status,
        amount_received=to_micros(found.get("amount_received") or 0, found["currency"]),
        currency=found["currency"],
        customer=id_of(found.get("customer")) or None,
        payment_attempt_id=metadata.get("payment_attempt_id"),
        workspace_id=metadata.get("workspace_id"),
        payment_method=id_of(method) or None,
        charge=id_of(found.get("latest_charge")) or None,
        code=code,
        decline_code=error.get("decline_code") if status == "failed" else None,
        url=(action.get("redirect_to_url") or {}).get("url"),
    )


def session(found: Json, saved: str | None) -> Session:
    """A checkout session; ``saved`` is the payment method that a setup ended with."""
    metadata = found.get("metadata") or {}
    currency = found.get("currency") or ""
    return Session(
        id=found["id"],
        mode=found["mode"],
        status=found["status"],
        is_paid=found["payment_status"] in ("paid", "no_payment_required"),
        amount=to_micros(found.get("amount_subtotal") or 0, currency),
        currency=currency,
        customer=id_of(found.get("customer")) or None,
        payment_attempt_id=metadata.get("payment_attempt_id"),
        workspace_id=metadata.get("workspace_id"),
        intent=id_of(found.get("payment_intent")) or None,
        payment_method=saved,
        url=found.get("url"),
    )


def card(found: Json) -> Card:
    """A payment method. Of what is no card, the kind stands for the brand."""
    printed = found.get("card") or {}
    return Card(
        id=found["id"],
        brand=printed.get("brand") or found["type"],
        last4=printed.get("last4") or "",
        customer=id_of(found.get("customer")) or None,
        created=datetime.fromtimestamp(found["created"], UTC),
    )


def customer(found: Json) -> Customer:
    """A customer, and the card that is charged unless told otherwise."""
    settings = found.get("invoice_settings") or {}
    return Customer(
        id=found["id"],
        workspace_id=(found.get("metadata") or {}).get("workspace_id"),
        default_card=id_of(settings.get("default_payment_method")) or None,
    )


def refund(found: Json) -> Refund:
    """A refund. One that waits for something counts: the money is on its way."""
    return Refund(
        id=found["id"],
        amount=to_micros(found["amount"], found["currency"]),
        state=REFUND_STATES.get(found.get("status") or "succeeded", "pending"),
        ticket_ref=(found.get("metadata") or {}).get("ticket_ref"),
    )


def charge(found: Json, refunds: Iterable[Json]) -> Charge:
    """A charge. Where Stripe lists no refund, what it says went back stands for one."""
    every = tuple(refund(one) for one in refunds)
    if not every and found.get("amount_refunded"):
        back = to_micros(found["amount_refunded"], found["currency"])
        every = (Refund(id=found["id"], amount=back, state="succeeded"),)
    return Charge(
        id=found["id"],
        intent=id_of(found.get("payment_intent")) or None,
        customer=id_of(found.get("customer")) or None,
        refunds=every,
    )


def contest(found: Json) -> Contest:
    """A dispute, with what moved so far: each move is a balance transaction. Where the account
    is kept in another currency than the payment, a move is of all that is disputed."""
    currency = found["currency"]
    amount = to_micros(found["amount"], currency)
    moves = []
    for one in found.get("balance_transactions") or ():
        same = one.get("currency", currency) == currency
        whole = amount if one["amount"] > 0 else -amount
        moves.append(to_micros(one["amount"], currency) if same else whole)
    return Contest(
        id=found["id"],
        amount=amount,
        charge=id_of(found.get("charge")) or None,
        intent=id_of(found.get("payment_intent")) or None,
        withdrawn=-sum(move for move in moves if move < 0),
        reinstated=sum(move for move in moves if move > 0),
        outcome=OUTCOMES.get(found["status"]),
    )
