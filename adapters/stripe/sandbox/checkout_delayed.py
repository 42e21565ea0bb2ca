"""A checkout session that is paid by bank debit: complete at once, settled days later."""

from __future__ import annotations

from adapters.stripe.sandbox.checkout import SESSION, order_of, success_url
from adapters.stripe.sandbox.checkout_payment import (
    agreement,
    complete,
    new_intent,
    pay_invoice,
    payer,
)
from adapters.stripe.sandbox.errors import invalid
from adapters.stripe.sandbox.pages import ask
from adapters.stripe.sandbox.route import Books, Json, StripeError, due
from adapters.stripe.sandbox.subscription_state import ENDED

SETTLES_AFTER_S = 3 * 24 * 3600
"""How long a delayed payment takes if nobody settles it before."""

SAVED_CARD = "pm_card_visa"
FAILING_CARD = "pm_card_chargeCustomerFail"


def pay_later(books: Books, session: Json, email: str | None = None) -> str:
    """Complete a session without its money, which comes or fails later; where to go next."""
    if session["mode"] == "setup":
        raise invalid("A session in `setup` mode has nothing to settle.")
    order = order_of(books, session)
    order["customer"] = payer(books, session, email)
    order["settles"] = books.now() + SETTLES_AFTER_S
    if session["mode"] == "payment":
        order["intent"] = order["intent"] or new_intent(books, session, order)
        intent = books.get("payment_intent", order["intent"])
        intent["status"] = "processing"
        books.put(intent)
        books.emit("payment_intent.processing", intent)
    elif order["subscription"] is None:
        wanted = agreement(order) | {"payment_behavior": "default_incomplete"}
        order["subscription"] = ask(books, "POST", "/v1/subscriptions", wanted)["id"]
    books.put(order)
    complete(books, session, order, "unpaid")
    return success_url(session)


def settle(books: Books, session: Json, *, ok: bool) -> None:
    """A delayed payment arrives, or fails."""
    order = order_of(books, session)
    if order["settles"] is None:
        raise invalid("This session has no payment that has still to settle.")
    order["settles"] = None
    books.put(order)
    if session["mode"] == "subscription":
        # What is over by now takes no money any more.
        ok = ok and books.get("subscription", order["subscription"])["status"] not in ENDED
    with_card = SAVED_CARD if ok else FAILING_CARD
    if session["mode"] == "payment":
        _settle_intent(books, order, with_card)
    else:
        _settle_invoice(books, order, with_card)
    if ok:
        session["payment_status"] = "paid"
        books.put(session)
    outcome = "succeeded" if ok else "failed"
    books.emit(f"checkout.session.async_payment_{outcome}", session)


@due
def settle_due(books: Books, now: int) -> int | None:
    """What nobody has settled arrives by itself."""
    for order in books.until("sandbox.checkout", "settles", now):
        settle(books, books.get(SESSION, order["session"]), ok=True)
    return books.earliest("sandbox.checkout", "settles")


def _settle_intent(books: Books, order: Json, card: str) -> None:
    intent = books.get("payment_intent", order["intent"])
    intent["status"] = "requires_confirmation"
    books.put(intent)
    where = {"id": intent["id"]}
    try:
        ask(
            *(books, "POST", "/v1/payment_intents/{id}/confirm"),
            {"payment_method": card, "return_url": books.url},
            **where,
        )
    except StripeError as refusal:
        if not refusal.kept:
            raise


def _settle_invoice(books: Books, order: Json, card: str) -> None:
    wanted = {"customer": order["customer"]}
    method = ask(books, "POST", "/v1/payment_methods/{id}/attach", wanted, id=card)["id"]
    subscription = books.get("subscription", order["subscription"])
    if subscription["status"] in ENDED:
        return
    where = {"id": subscription["id"]}
    ask(books, "POST", "/v1/subscriptions/{id}", {"default_payment_method": method}, **where)
    pay_invoice(books, subscription, method)
