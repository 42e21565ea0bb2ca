"""What a person does at a checkout session: pay, be refused, authenticate, leave.

All of it is carried out through Stripe's own operations, so that what happens to intents,
subscriptions and invoices, and in which order it is told, is decided where it is for everybody.
"""

from __future__ import annotations

from adapters.stripe.sandbox.checkout import SESSION, order_of, success_url
from adapters.stripe.sandbox.pages import ask
from adapters.stripe.sandbox.route import Books, Json, StripeError

NOT_AUTHENTICATED = (
    "We are unable to authenticate your payment method. Please choose a different payment method"
    " and try again."
)


def pay(books: Books, session: Json, card: Json, email: str | None = None) -> str:
    """Pay an open session with a card, or save the card; where the browser goes next.

    That is the success address, or a page that asks for authentication.

    :raises StripeError: a card_error; the session stays open for another card.
    """
    order = order_of(books, session)
    customer = payer(books, session, email)
    if customer is not None:
        order["customer"] = customer
    method = ask(books, "POST", "/v1/payment_methods", card)["id"]
    tried = {"payment": _pay_once, "setup": _save, "subscription": _subscribe}[session["mode"]]
    onward = tried(books, session, order, method)
    return onward or finish(books, order)


def finish(books: Books, order: Json) -> str:
    """Complete a session whose payment has come through; where the browser goes next."""
    session = books.get(SESSION, order["session"])
    if session["status"] == "open":
        status = "no_payment_required" if session["mode"] == "setup" else "paid"
        complete(books, session, order, status)
    return success_url(session)


def authenticated(books: Books, intent_id: str) -> None:
    """An intent was authenticated, or not: the session that waits for it is completed."""
    for order in books.find("sandbox.checkout", intent=intent_id):
        session = books.get(SESSION, order["session"])
        if session["status"] == "open" and _is_through(books, order):
            finish(books, order)


def refusal_of(books: Books, order: Json) -> str | None:
    """Why the last attempt of an open session failed, in Stripe's words to the person."""
    if order["intent"] is None:
        return None
    intent = _intent(books, order)
    error = intent.get("last_payment_error") or intent.get("last_setup_error")
    if error is None:
        return None
    if error["code"].endswith("authentication_failure"):
        return NOT_AUTHENTICATED
    return str(error["message"])


# -- with a card ----------------------------------------------------------------------------------


def _pay_once(books: Books, session: Json, order: Json, method: str) -> str | None:
    intent_id = order["intent"]
    if intent_id is None:
        intent_id = new_intent(books, session, order)
    wanted = {"payment_method": method, "return_url": _back(books, session)}
    where = {"id": intent_id}
    return _onward(ask(books, "POST", "/v1/payment_intents/{id}/confirm", wanted, **where))


def _save(books: Books, session: Json, order: Json, method: str) -> str | None:
    order["intent"] = session["setup_intent"]
    books.put(order)
    wanted = {"payment_method": method, "return_url": _back(books, session)}
    where = {"id": session["setup_intent"]}
    return _onward(ask(books, "POST", "/v1/setup_intents/{id}/confirm", wanted, **where))


def _subscribe(books: Books, session: Json, order: Json, method: str) -> str | None:
    where = {"id": method}
    ask(books, "POST", "/v1/payment_methods/{id}/attach", {"customer": order["customer"]}, **where)
    subscription = _subscription(books, order)
    if subscription is None:
        wanted = agreement(order) | {
            "default_payment_method": method,
            "payment_behavior": "allow_incomplete",
        }
        subscription = ask(books, "POST", "/v1/subscriptions", wanted)
        order["subscription"] = subscription["id"]
    else:
        where = {"id": subscription["id"]}
        changed = {"default_payment_method": method}
        ask(books, "POST", "/v1/subscriptions/{id}", changed, **where)
        pay_invoice(books, subscription, method)
    return _subscription_outcome(books, session, order)


def _subscription_outcome(books: Books, session: Json, order: Json) -> str | None:
    subscription = books.get("subscription", order["subscription"])
    order["intent"] = intent_of_invoice(books, subscription["latest_invoice"])
    books.put(order)
    if subscription["status"] in ("active", "trialing"):
        return None
    intent = _intent(books, order)
    if (onward := _onward(intent)) is not None:
        # The invoice would lead back to its own page; here it is the session's.
        intent["next_action"]["redirect_to_url"]["return_url"] = _back(books, session)
        books.put(intent)
        return onward
    error = intent.get("last_payment_error") or {}
    raise StripeError(
        402,
        "card_error",
        error.get("message", "Your card was declined."),
        error.get("code", "card_declined"),
        decline_code=error.get("decline_code"),
    )


def pay_invoice(books: Books, subscription: Json, method: str) -> None:
    """Try to pay what a subscription has invoiced last."""
    try:
        where = {"id": subscription["latest_invoice"]}
        ask(books, "POST", "/v1/invoices/{id}/pay", {"payment_method": method}, **where)
    except StripeError as refusal:
        if not refusal.kept:
            raise


# -- what a session is made of --------------------------------------------------------------------


def payer(books: Books, session: Json, email: str | None) -> str | None:
    """Whoever pays; made when a subscription, or the session's wish, needs one."""
    if session["customer"] is not None:
        return str(session["customer"])
    order = order_of(books, session)
    if order.get("customer") is not None:
        return str(order["customer"])
    if session["mode"] != "subscription" and session["customer_creation"] != "always":
        return None
    address = session["customer_email"] or email
    wanted = {} if address is None else {"email": address}
    customer = str(ask(books, "POST", "/v1/customers", wanted)["id"])
    order["customer"] = customer
    books.put(order)
    return customer


def new_intent(books: Books, session: Json, order: Json) -> str:
    """The id of a new PaymentIntent over what the session is for."""
    wanted: Json = {
        "amount": session["amount_total"],
        "currency": session["currency"],
        "payment_method_types": session["payment_method_types"],
        **order["data"],
    }
    if order.get("customer") is not None:
        wanted["customer"] = order["customer"]
    intent_id = str(ask(books, "POST", "/v1/payment_intents", wanted)["id"])
    order["intent"] = intent_id
    books.put(order)
    return intent_id


def agreement(order: Json) -> Json:
    """What a new subscription is asked for."""
    items = [
        {"price": line["price"]["id"], "quantity": line["quantity"]} for line in order["lines"]
    ]
    return {"customer": order["customer"], "items": items, **order["data"]}


def _subscription(books: Books, order: Json) -> Json | None:
    """The one that an earlier card has left incomplete."""
    if order["subscription"] is None:
        return None
    subscription = books.get("subscription", order["subscription"])
    return None if subscription["status"] == "incomplete_expired" else subscription


def intent_of_invoice(books: Books, invoice_id: str) -> str | None:
    """The PaymentIntent that an invoice is paid with."""
    for payment in books.find("invoice_payment", invoice=invoice_id):
        if payment["payment"].get("payment_intent"):
            return str(payment["payment"]["payment_intent"])
    return None


def _intent(books: Books, order: Json) -> Json:
    name = "setup_intent" if order["intent"].startswith("seti") else "payment_intent"
    return books.get(name, order["intent"])


def _is_through(books: Books, order: Json) -> bool:
    return bool(_intent(books, order)["status"] == "succeeded")


def _onward(intent: Json) -> str | None:
    """The page where an intent is authenticated, if it asks for that."""
    if intent["status"] != "requires_action":
        return None
    return str(intent["next_action"]["redirect_to_url"]["url"])


def _back(books: Books, session: Json) -> str:
    return f"{books.url}/pay/{session['id']}"


def complete(books: Books, session: Json, order: Json, payment_status: str) -> None:
    """End the session well, and tell it."""
    customer = order.get("customer")
    email = session["customer_email"]
    if customer is not None:
        email = books.get("customer", customer).get("email") or email
    session |= {
        "status": "complete",
        "url": None,
        "payment_status": payment_status,
        "customer": customer,
        "customer_details": {
            "address": None,
            "business_name": None,
            "email": email,
            "individual_name": None,
            "name": None,
            "phone": None,
            "tax_exempt": "none",
            "tax_ids": [],
        },
    }
    if session["mode"] == "payment":
        session["payment_intent"] = order["intent"]
    elif session["mode"] == "subscription":
        session["subscription"] = order["subscription"]
        subscription = books.get("subscription", order["subscription"])
        session["invoice"] = subscription["latest_invoice"]
    books.put(session)
    books.emit("checkout.session.completed", session)
