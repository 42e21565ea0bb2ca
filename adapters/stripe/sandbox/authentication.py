"""The page on which a bank would ask whether it is really you (3D Secure)."""

from __future__ import annotations

from adapters.stripe.sandbox import pages
from adapters.stripe.sandbox.checkout_payment import authenticated
from adapters.stripe.sandbox.control import order
from adapters.stripe.sandbox.errors import invalid
from adapters.stripe.sandbox.payment_intents import complete_authentication
from adapters.stripe.sandbox.portal_page import card_authenticated
from adapters.stripe.sandbox.route import Books, Html, Json, Redirect, StripeError, Visit, page

INTENTS = {"pi": "payment_intent", "seti": "setup_intent"}


@page("GET", "/authenticate/{id}")
def show(visit: Visit) -> Html | Redirect:
    """The challenge; of an intent that asks for none, what became of it."""
    intent = _intent(visit.books, visit.path["id"])
    if intent["status"] != "requires_action":
        return _over(visit.books, intent, visit.query.get("return_url"))
    method = visit.books.look("payment_method", intent["payment_method"] or "") or {}
    total = None
    if "amount" in intent:
        total = pages.amount(intent["amount"], intent["currency"])
    return pages.html(
        "challenge.html",
        "Is it you?",
        last4=(method.get("card") or {}).get("last4", "····"),
        total=total,
        action=f"/authenticate/{intent['id']}",
        token=pages.token(visit.books, intent["id"]),
    )


@page("POST", "/authenticate/{id}")
def act(visit: Visit) -> Html | Redirect:
    """What the person answers: `outcome` is "complete" or "fail"."""
    intent = _intent(visit.books, visit.path["id"])
    if not pages.is_ours(visit, intent["id"]):
        return pages.foreign()
    return_url = _return_url(intent)
    if intent["status"] == "requires_action":
        answer(visit.books, intent["id"], visit.form.get("outcome") == "complete")
    return _over(visit.books, _intent(visit.books, intent["id"]), return_url)


@order("/authenticate/{id}")
def carry_out(books: Books, told: Json) -> Json:
    """POST /sandbox/authenticate/{id} {"outcome": "complete"|"fail"}; the intent after it."""
    intent = _intent(books, told["id"])
    if intent["status"] != "requires_action":
        raise invalid(f"This intent has the status `{intent['status']}`.")
    answer(books, intent["id"], told.get("outcome", "complete") == "complete")
    return _intent(books, intent["id"])


def answer(books: Books, intent_id: str, ok: bool) -> None:
    """Let an authentication succeed or fail, with all that follows from it."""
    try:
        complete_authentication(books, intent_id, ok)
    except StripeError as refusal:
        if not refusal.kept:
            raise
    authenticated(books, intent_id)
    card_authenticated(books, intent_id)


def _intent(books: Books, intent_id: str) -> Json:
    return books.get(INTENTS.get(intent_id.partition("_")[0], "payment_intent"), intent_id)


def _return_url(intent: Json) -> str | None:
    action = (intent["next_action"] or {}).get("redirect_to_url") or {}
    url = action.get("return_url")
    return None if url is None else str(url)


def _over(books: Books, intent: Json, return_url: str | None) -> Html | Redirect:
    if return_url is not None:
        return Redirect(return_url)
    if intent["status"] in ("succeeded", "processing"):
        return pages.notice("Authenticated", "Thank you. You can close this page.")
    return pages.notice("Not authenticated", "Nothing was paid. You can close this page.")
