"""The customer portal: cards, e-mail, invoices, and the end of a subscription.

A link opens it once and for five minutes; the page that it leads to lasts an hour from then.
Everything is done by Stripe's own operations, so the events are those of the API.
"""

from __future__ import annotations

from adapters.stripe.sandbox import pages
from adapters.stripe.sandbox.errors import missing
from adapters.stripe.sandbox.pages import ask
from adapters.stripe.sandbox.portal import CONFIGURATION, SESSION
from adapters.stripe.sandbox.portal_figures import (
    card_figures,
    invoice_figures,
    period_end,
    subscription_figures,
)
from adapters.stripe.sandbox.route import Books, Html, Json, Redirect, StripeError, Visit, page

OPEN_S = 3_600
PAGE_OF_FLOW = {"payment_method_update": "/card", "subscription_cancel": "/cancel"}
LIVING = ("active", "trialing", "past_due", "unpaid")


@page("GET", "/portal/session/{secret}")
def enter(visit: Visit) -> Html | Redirect:
    """Use the link: it leads on to a page of its own, and nobody can use it again."""
    books = visit.books
    opened = books.look("sandbox.portal", visit.path["secret"])
    if opened is None:
        raise missing("portal session", visit.path["secret"])
    if opened["page"] is not None or opened["until"] <= books.now():
        return _closed()
    opened |= {"page": books.new_id("page"), "until": books.now() + OPEN_S}
    books.put(opened)
    session = books.get(SESSION, opened["session"])
    flow = "" if session["flow"] is None else session["flow"]["type"]
    return Redirect(f"/portal/{opened['page']}{PAGE_OF_FLOW.get(flow, '')}")


@page("GET", "/portal/{page}")
def home(visit: Visit) -> Html | Redirect:
    """Everything at a glance."""
    session = _session(visit)
    return _closed() if session is None else _home(visit, session)


@page("POST", "/portal/{page}")
def act(visit: Visit) -> Html | Redirect:
    """What a button of the page says: `act` is default, remove, email, cancel or renew."""
    session = _session(visit)
    if session is None:
        return _closed()
    if not pages.is_ours(visit, visit.path["page"]):
        return pages.foreign()
    try:
        done = _do(visit.books, session, visit.form)
    except StripeError as refusal:
        return _home(visit, session, refusal=str(refusal), status=refusal.status)
    if visit.form.get("act") == "cancel" and (onward := _after_flow(session)):
        return Redirect(onward)
    return _home(visit, session, done=done)


@page("GET", "/portal/{page}/card")
def card(visit: Visit) -> Html | Redirect:
    """The form for another card."""
    session = _session(visit)
    return _closed() if session is None else _card(visit, None)


@page("POST", "/portal/{page}/card")
def save_card(visit: Visit) -> Html | Redirect:
    """Save a card and make it the default."""
    session = _session(visit)
    if session is None:
        return _closed()
    if not pages.is_ours(visit, visit.path["page"]):
        return pages.foreign()
    here = f"/portal/{visit.path['page']}"
    try:
        method = ask(visit.books, "POST", "/v1/payment_methods", pages.card_of(visit.form))
        wanted = {
            "customer": session["customer"],
            "payment_method": method["id"],
            "usage": "off_session",
            "confirm": True,
            "return_url": f"{visit.books.url}{here}",
            "payment_method_types": ["card"],
        }
        intent = ask(visit.books, "POST", "/v1/setup_intents", wanted)
    except StripeError as refusal:
        return _card(visit, str(refusal), refusal.status)
    if intent["status"] == "requires_action":
        visit.books.put(
            {
                "object": "sandbox.portal_card",
                "id": f"card_of_{intent['id']}",
                "intent": intent["id"],
                "customer": session["customer"],
            }
        )
        return Redirect(intent["next_action"]["redirect_to_url"]["url"])
    _make_default(visit.books, session["customer"], method["id"])
    return Redirect(_after_flow(session) or here)


def card_authenticated(books: Books, intent_id: str) -> None:
    """A card that asked for authentication is the default once it has it."""
    waiting = books.look("sandbox.portal_card", f"card_of_{intent_id}")
    if waiting is not None:
        intent = books.get("setup_intent", intent_id)
        if intent["status"] == "succeeded":
            _make_default(books, waiting["customer"], intent["payment_method"])
        books.remove(waiting["id"])


@page("GET", "/portal/{page}/cancel")
def ask_to_cancel(visit: Visit) -> Html | Redirect:
    """Are you sure? For the flow that names the subscription."""
    session = _session(visit)
    if session is None:
        return _closed()
    named = ((session["flow"] or {}).get("subscription_cancel") or {}).get("subscription")
    if named is None:
        return Redirect(f"/portal/{visit.path['page']}")
    subscription = visit.books.get("subscription", named)
    return pages.html(
        "portal_cancel.html",
        "Cancel your subscription",
        ends=pages.day(period_end(subscription)),
        subscription=named,
        back=session["return_url"] or f"/portal/{visit.path['page']}",
        action=f"/portal/{visit.path['page']}",
        token=pages.token(visit.books, visit.path["page"]),
    )


# -- what is done ---------------------------------------------------------------------------------


def _do(books: Books, session: Json, form: dict[str, str]) -> str:
    customer = session["customer"]
    match form.get("act"):
        case "default":
            method = _own(books, "payment_method", form.get("payment_method", ""), customer)
            _make_default(books, customer, method)
            return "This card is now the default."
        case "remove":
            method = _own(books, "payment_method", form.get("payment_method", ""), customer)
            ask(books, "POST", "/v1/payment_methods/{id}/detach", id=method)
            return "The card was removed."
        case "email" if _features(books, session)["customer_update"]["enabled"]:
            changed = {"email": form.get("email", "")}
            ask(books, "POST", "/v1/customers/{id}", changed, id=customer)
            return "The e-mail was saved."
        case "cancel" | "renew" as act if _features(books, session)["subscription_cancel"][
            "enabled"
        ]:
            subscription = _own(books, "subscription", form.get("subscription", ""), customer)
            return _end_or_renew(books, session, subscription, act)
    return ""


def _end_or_renew(books: Books, session: Json, subscription: str, act: str) -> str:
    at_once = _features(books, session)["subscription_cancel"]["mode"] == "immediately"
    if act == "cancel" and at_once:
        ask(books, "DELETE", "/v1/subscriptions/{id}", id=subscription)
        return "The subscription was cancelled."
    wanted = {"cancel_at_period_end": act == "cancel"}
    ask(books, "POST", "/v1/subscriptions/{id}", wanted, id=subscription)
    return "The subscription ends with its period." if act == "cancel" else "It goes on."


def _make_default(books: Books, customer: str, method: str) -> None:
    """For invoices of the customer, and for subscriptions that had a card of their own."""
    wanted = {"invoice_settings": {"default_payment_method": method}}
    ask(books, "POST", "/v1/customers/{id}", wanted, id=customer)
    for subscription in books.find("subscription", customer=customer):
        if subscription["status"] in LIVING and subscription["default_payment_method"]:
            changed = {"default_payment_method": method}
            ask(books, "POST", "/v1/subscriptions/{id}", changed, id=subscription["id"])


def _own(books: Books, name: str, object_id: str, customer: str) -> str:
    """The object's id if it is this customer's."""
    if books.get(name, object_id).get("customer") != customer:
        raise missing(name, object_id)
    return object_id


# -- what is shown --------------------------------------------------------------------------------


def _session(visit: Visit) -> Json | None:
    """The session whose link led to this page; None if the page has had its time."""
    opened = visit.books.find("sandbox.portal", page=visit.path["page"])
    if not opened:
        raise missing("portal page", visit.path["page"])
    if opened[0]["until"] <= visit.books.now():
        return None
    return visit.books.get(SESSION, opened[0]["session"])


def _features(books: Books, session: Json) -> Json:
    features: Json = books.get(CONFIGURATION, session["configuration"])["features"]
    return features


def _after_flow(session: Json) -> str | None:
    """Where a session that was made for one thing leads when that is done."""
    flow = session["flow"]
    if flow is None:
        return None
    redirect = flow["after_completion"]["redirect"]
    return None if redirect is None else str(redirect["return_url"])


def _closed() -> Html:
    words = "A link to the portal can be used once. Go back and ask for another one."
    return pages.notice("This link has been used", words, status=410)


def _home(
    visit: Visit, session: Json, refusal: str = "", done: str = "", status: int = 200
) -> Html:
    books, features = visit.books, _features(visit.books, session)
    customer = books.get("customer", session["customer"])
    return pages.html(
        "portal.html",
        "Your billing",
        status,
        return_url=session["return_url"],
        refusal=refusal,
        done=done,
        subscriptions=[
            subscription_figures(books, subscription)
            for subscription in books.find("subscription", customer=customer["id"])
            if subscription["status"] in LIVING
        ],
        cards=card_figures(books, customer),
        email=customer.get("email") or "",
        invoices=invoice_figures(books, customer["id"]),
        may_cancel=features["subscription_cancel"]["enabled"],
        may_add=features["payment_method_update"]["enabled"],
        may_update=features["customer_update"]["enabled"]
        and "email" in features["customer_update"]["allowed_updates"],
        may_see_invoices=features["invoice_history"]["enabled"],
        action=f"/portal/{visit.path['page']}",
        token=pages.token(books, visit.path["page"]),
    )


def _card(visit: Visit, refusal: str | None, status: int = 200) -> Html:
    here = f"/portal/{visit.path['page']}"
    return pages.html(
        "portal_card.html",
        "Add a card",
        status,
        refusal=refusal,
        pay="Save card",
        back=here,
        action=f"{here}/card",
        token=pages.token(visit.books, visit.path["page"]),
    )
