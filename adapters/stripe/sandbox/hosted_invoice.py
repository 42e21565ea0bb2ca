"""The hosted page of an invoice: what it is for, and a card to pay it with."""

from __future__ import annotations

from adapters.stripe.sandbox import pages
from adapters.stripe.sandbox.checkout_payment import intent_of_invoice
from adapters.stripe.sandbox.invoice_lines import lines_of
from adapters.stripe.sandbox.pages import ask
from adapters.stripe.sandbox.route import Books, Html, Json, Redirect, StripeError, Visit, page


@page("GET", "/invoice/{id}")
def show(visit: Visit) -> Html | Redirect:
    """The invoice, and the form while something is due."""
    return _page(visit.books, visit.books.get("invoice", visit.path["id"]))


@page("GET", "/invoice/{id}/pdf")
def document(visit: Visit) -> Html | Redirect:
    """The sandbox prints no PDF: the page itself can be printed."""
    return Redirect(f"/invoice/{visit.path['id']}")


@page("POST", "/invoice/{id}")
def act(visit: Visit) -> Html | Redirect:
    """Pay with the card of the form."""
    books = visit.books
    invoice = books.get("invoice", visit.path["id"])
    if not pages.is_ours(visit, invoice["id"]):
        return pages.foreign()
    if invoice["status"] != "open":
        return _page(books, invoice)
    try:
        card = ask(books, "POST", "/v1/payment_methods", pages.card_of(visit.form))
        wanted = {"customer": invoice["customer"]}
        ask(books, "POST", "/v1/payment_methods/{id}/attach", wanted, id=card["id"])
        chosen = {"payment_method": card["id"], "off_session": False}
        ask(books, "POST", "/v1/invoices/{id}/pay", chosen, id=invoice["id"])
    except StripeError as refusal:
        if (onward := _challenge(books, invoice["id"])) is not None:
            return Redirect(onward)
        return _page(books, books.get("invoice", invoice["id"]), str(refusal), refusal.status)
    return _page(books, books.get("invoice", invoice["id"]))


def _challenge(books: Books, invoice_id: str) -> str | None:
    """The page on which the payment of this invoice asks for authentication."""
    intent_id = intent_of_invoice(books, invoice_id)
    intent = books.look("payment_intent", intent_id or "")
    if intent is None or intent["status"] != "requires_action":
        return None
    return str(intent["next_action"]["redirect_to_url"]["url"])


def _page(books: Books, invoice: Json, refusal: str = "", status: int = 200) -> Html:
    currency = invoice["currency"]
    is_due = invoice["status"] == "open" and invoice["amount_remaining"] > 0
    due = pages.amount(invoice["amount_remaining"], currency) if is_due else None
    return pages.html(
        "invoice.html",
        f"Invoice {invoice['number'] or invoice['id']}",
        status,
        total=pages.amount(invoice["total"], currency),
        due=due,
        status_word=invoice["status"],
        lines=[
            {
                "words": line["description"] or "",
                "period": _period(line),
                "amount": pages.amount(line["amount"], currency),
            }
            for line in lines_of(books, invoice["id"])
        ],
        refusal=refusal,
        pay=f"Pay {due}",
        action=f"/invoice/{invoice['id']}",
        token=pages.token(books, invoice["id"]),
    )


def _period(line: Json) -> str:
    start, end = line["period"]["start"], line["period"]["end"]
    return pages.day(start) if start == end else f"{pages.day(start)} – {pages.day(end)}"
