"""What the portal says of a customer's subscriptions, cards and invoices."""

from __future__ import annotations

from adapters.stripe.sandbox import pages
from adapters.stripe.sandbox.route import Books, Json


def subscription_figures(books: Books, subscription: Json) -> Json:
    """What it is, what it costs, and when it renews or ends."""
    item = subscription["items"]["data"][0]
    price = item["price"]
    ends = subscription["cancel_at_period_end"] or subscription["cancel_at"] is not None
    last = pages.day(subscription["cancel_at"] or period_end(subscription))
    product = books.look("product", price["product"]) or {}
    figure = pages.amount(price["unit_amount"] * item["quantity"], price["currency"])
    return {
        "id": subscription["id"],
        "words": product.get("name", "Subscription"),
        "price": f"{figure} a {price['recurring']['interval']}",
        "status": subscription["status"].replace("_", " "),
        "ends": last if ends else None,
        "renews": last,
    }


def card_figures(books: Books, customer: Json) -> list[Json]:
    """The customer's cards, the newest first."""
    default = customer["invoice_settings"]["default_payment_method"]
    return [
        {
            "id": method["id"],
            "brand": method["card"]["brand"],
            "last4": method["card"]["last4"],
            "expiry": f"{method['card']['exp_month']:02}/{method['card']['exp_year']}",
            "is_default": method["id"] == default,
        }
        for method in books.find("payment_method", customer=customer["id"])
        if method["type"] == "card"
    ]


def invoice_figures(books: Books, customer: str) -> list[Json]:
    """The customer's invoices that are no drafts, the newest first."""
    return [
        {
            "day": pages.day(invoice["created"]),
            "number": invoice["number"] or invoice["id"],
            "status": invoice["status"],
            "total": pages.amount(invoice["total"], invoice["currency"]),
            "url": invoice["hosted_invoice_url"],
        }
        for invoice in books.find("invoice", customer=customer)
        if invoice["status"] != "draft"
    ]


def period_end(subscription: Json) -> int:
    """When the period that is paid for ends, in unix seconds."""
    return int(subscription["items"]["data"][0]["current_period_end"])
