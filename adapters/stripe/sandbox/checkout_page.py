"""The hosted page of a checkout session, and the same acts as JSON for who has no browser."""

from __future__ import annotations

from adapters.stripe.sandbox import pages
from adapters.stripe.sandbox.checkout import SESSION, order_of, success_url
from adapters.stripe.sandbox.checkout_delayed import pay_later, settle
from adapters.stripe.sandbox.checkout_payment import pay, refusal_of
from adapters.stripe.sandbox.control import order
from adapters.stripe.sandbox.errors import invalid
from adapters.stripe.sandbox.route import Books, Html, Json, Redirect, StripeError, Visit, page

HEADINGS = {"payment": "Pay", "setup": "Save a card", "subscription": "Subscribe"}


@page("GET", "/pay/{id}")
def show(visit: Visit) -> Html | Redirect:
    """The page; of a session that is over, what became of it."""
    session = visit.books.get(SESSION, visit.path["id"], "session")
    if session["status"] == "complete":
        return Redirect(success_url(session))
    if session["status"] == "expired":
        return _expired(session)
    return _page(visit.books, session, refusal_of(visit.books, order_of(visit.books, session)))


@page("POST", "/pay/{id}")
def act(visit: Visit) -> Html | Redirect:
    """Pay with the card of the form, or by a debit that settles later."""
    session = visit.books.get(SESSION, visit.path["id"], "session")
    if not pages.is_ours(visit, session["id"]):
        return pages.foreign()
    if session["status"] != "open":
        return show(visit)
    email = visit.form.get("email") or None
    try:
        if visit.form.get("outcome") == "delayed":
            return Redirect(pay_later(visit.books, session, email))
        return Redirect(pay(visit.books, session, pages.card_of(visit.form), email))
    except StripeError as refusal:
        if not refusal.kept:
            raise
        session = visit.books.get(SESSION, session["id"])
        return _page(visit.books, session, str(refusal), 402)


@order("/checkout/{id}")
def carry_out(books: Books, told: Json) -> Json:
    """POST /sandbox/checkout/{id}: what a person would do on the page.

    `outcome` is "pay" (with `card`, a number; 4242… if none is given), "cancel" (leave the
    page: the session stays open), "delayed" (a bank debit), and for a delayed one later
    "settle" or "fail". Answers {"session", "url": where the browser would be, "error"}; a
    card that asks for authentication leads to a url, see authentication.py.
    """
    session = books.get(SESSION, told["id"], "session")
    outcome = told.get("outcome", "pay")
    if outcome in ("settle", "fail"):
        settle(books, session, ok=outcome == "settle")
        return _told(books, session["id"], None)
    if session["status"] != "open":
        raise invalid(f"This session has the status `{session['status']}`.")
    if outcome == "cancel":
        return _told(books, session["id"], session["cancel_url"])
    email = told.get("email")
    if outcome == "delayed":
        return _told(books, session["id"], pay_later(books, session, email))
    if outcome != "pay":
        raise invalid("`outcome` must be one of pay, cancel, delayed, settle, fail.", "outcome")
    card = pages.card_of({"card": pages.TEST_CARDS[0].number} | told)
    try:
        return _told(books, session["id"], pay(books, session, card, email))
    except StripeError as refusal:
        if not refusal.kept:
            raise
        return _told(books, session["id"], session["url"], refusal.error)


def _told(books: Books, session_id: str, url: str | None, error: Json | None = None) -> Json:
    return {"session": books.get(SESSION, session_id), "url": url, "error": error}


def _page(books: Books, session: Json, refusal: str | None, status: int = 200) -> Html:
    lines = order_of(books, session)["lines"]
    currency = session["currency"]
    total = None
    if session["amount_total"] is not None:
        total = pages.amount(session["amount_total"], currency)
    recurring = [line["price"]["recurring"] for line in lines if line["price"]["recurring"]]
    verb = HEADINGS[session["mode"]]
    return pages.html(
        "checkout.html",
        verb,
        status,
        mode=session["mode"],
        total=total,
        interval=recurring[0]["interval"] if recurring else None,
        lines=[
            {
                "words": line["description"],
                "quantity": line["quantity"],
                "amount": pages.amount(line["amount_total"], currency),
            }
            for line in lines
        ],
        cancel_url=session["cancel_url"],
        pay="Save card" if session["mode"] == "setup" else f"{verb} {total}",
        refusal=refusal,
        delayed=session["mode"] != "setup",
        ask_email=session["mode"] == "subscription"
        and session["customer"] is None
        and session["customer_email"] is None,
        action=f"/pay/{session['id']}",
        token=pages.token(books, session["id"]),
    )


def _expired(session: Json) -> Html:
    return pages.notice(
        "This page has expired",
        "Nothing was paid. Go back and start again.",
        session["cancel_url"],
        "Go back",
        status=410,
    )
