"""Checkout sessions: created by an API call, completed on their hosted page, expired by time.

checkout_payment.py carries out what a person does on the page; checkout_page.py draws it.
"""

from __future__ import annotations

from adapters.stripe.sandbox import pages
from adapters.stripe.sandbox.checkout_order import (
    DATA_OF_MODE,
    blank,
    check,
    expiry,
    lines_of,
    setup_intent,
)
from adapters.stripe.sandbox.errors import invalid
from adapters.stripe.sandbox.listing import listed, listing
from adapters.stripe.sandbox.route import Books, Call, Json, due, includes, route

SESSION = "checkout.session"
ID_HERE = "{CHECKOUT_SESSION_ID}"


@route("POST", "/v1/checkout/sessions")
def create(call: Call) -> Json:
    """A session, open until it is paid or expires."""
    books, asked = call.books, call.params
    check(books, asked)
    mode = asked["mode"]
    session_id = books.new_id("cs_test")
    lines = lines_of(books, asked)
    currency = lines[0]["currency"] if lines else asked.get("currency")
    session = blank(session_id, mode, call.now) | {
        "cancel_url": asked.get("cancel_url"),
        "client_reference_id": asked.get("client_reference_id"),
        "currency": currency,
        "customer": asked.get("customer"),
        "customer_creation": None
        if asked.get("customer") or mode == "subscription"
        else asked.get("customer_creation", "if_required"),
        "customer_email": asked.get("customer_email"),
        "expires_at": expiry(call),
        "locale": asked.get("locale"),
        "metadata": asked.get("metadata") or {},
        "payment_method_types": asked.get("payment_method_types") or ["card"],
        "payment_method_collection": asked.get("payment_method_collection", "always")
        if mode == "subscription"
        else "if_required",
        "payment_status": "no_payment_required" if mode == "setup" else "unpaid",
        "submit_type": asked.get("submit_type"),
        "success_url": asked["success_url"],
        "url": f"{books.url}/pay/{session_id}",
    }
    if lines:
        total = sum(line["amount_total"] for line in lines)
        session |= {
            "amount_subtotal": total,
            "amount_total": total,
            "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
        }
    if mode == "setup":
        session["setup_intent"] = setup_intent(books, asked)
    order = {
        "object": "sandbox.checkout",
        "id": f"order_{session_id}",
        "session": session_id,
        "lines": lines,
        "data": asked.get(DATA_OF_MODE[mode]) or {},
        "intent": None,  # the PaymentIntent or SetupIntent that was tried last
        "subscription": None,  # the one that was tried last
        "settles": None,  # when a delayed payment does, if nobody settles it before
    }
    books.put(order)
    return books.put(session)


@route("GET", "/v1/checkout/sessions/{id}")
def retrieve(call: Call) -> Json:
    """One session."""
    return call.books.get(SESSION, call.path["id"], "session")


@route("GET", "/v1/checkout/sessions")
def list_sessions(call: Call) -> Json:
    """Sessions, newest first, by customer, status, payment intent, subscription or time."""
    asked = call.params
    equal = {
        name: asked[name]
        for name in ("customer", "status", "payment_intent", "subscription")
        if name in asked
    }
    found = call.books.find(SESSION, **equal)
    return listed(call, "/v1/checkout/sessions", found)


@route("GET", "/v1/checkout/sessions/{id}/line_items")
def list_lines(call: Call) -> Json:
    """What a session is for."""
    session = call.books.get(SESSION, call.path["id"], "session")
    url = f"/v1/checkout/sessions/{session['id']}/line_items"
    return listed(call, url, order_of(call.books, session)["lines"])


@includes(SESSION, "line_items")
def line_items(books: Books, session: Json) -> Json:
    """The lines within the session, when they are asked for."""
    url = f"/v1/checkout/sessions/{session['id']}/line_items"
    return listing(url, order_of(books, session)["lines"])


@route("POST", "/v1/checkout/sessions/{id}/expire")
def expire(call: Call) -> Json:
    """End an open session before its time."""
    session = call.books.get(SESSION, call.path["id"], "session")
    if session["status"] != "open":
        raise invalid(
            'Only Checkout Sessions with a status in ["open"] can be expired.'
            f" This Checkout Session has a status of `{session['status']}`."
        )
    return _end(call.books, session)


@due
def expire_due(books: Books, now: int) -> int | None:
    """End what has reached its time."""
    for session in books.until(SESSION, "expires_at", now, status="open"):
        _end(books, session)
    return books.earliest(SESSION, "expires_at", status="open")


def order_of(books: Books, session: Json) -> Json:
    """What the sandbox keeps about a session beside the session itself."""
    return books.get("sandbox.checkout", f"order_{session['id']}")


def success_url(session: Json) -> str:
    """Where the browser goes after success."""
    return str(session["success_url"]).replace(ID_HERE, session["id"])


def _end(books: Books, session: Json) -> Json:
    session |= {"status": "expired", "url": None}
    books.put(session)
    if session["setup_intent"] is not None:
        intent = books.get("setup_intent", session["setup_intent"])
        if intent["status"] not in ("succeeded", "canceled"):
            where = {"id": intent["id"]}
            pages.ask(books, "POST", "/v1/setup_intents/{id}/cancel", {}, **where)
    books.emit("checkout.session.expired", session)
    return session
