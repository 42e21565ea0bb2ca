"""What an invoice would be: the same arithmetic as the change itself, and nothing written."""

from __future__ import annotations

from adapters.stripe.sandbox import invoices
from adapters.stripe.sandbox.books import Books, Json
from adapters.stripe.sandbox.customers import living
from adapters.stripe.sandbox.errors import StripeError, invalid
from adapters.stripe.sandbox.invoice_items import pending_items
from adapters.stripe.sandbox.invoice_lines import line_of_item, line_of_period
from adapters.stripe.sandbox.proration import period_at
from adapters.stripe.sandbox.route import Call, route
from adapters.stripe.sandbox.schedules import phase_items
from adapters.stripe.sandbox.subscription_change import NOTHING, planned
from adapters.stripe.sandbox.subscription_items import period_of
from adapters.stripe.sandbox.subscription_start import blank_subscription
from adapters.stripe.sandbox.subscription_state import ENDED
from adapters.stripe.sandbox.supported import only


@route("POST", "/v1/invoices/create_preview")
def create_preview(call: Call) -> Json:
    """The next invoice of a subscription, or the one that a change of its items would make."""
    books, asked = call.books, call.params
    only(asked, ("customer", "subscription", "subscription_details"))
    details = asked.get("subscription_details", {})
    only(details, ("items", "proration_behavior", "proration_date"), "subscription_details")
    if "subscription" not in asked:
        return _of_new(books, asked, details)
    subscription = books.get("subscription", asked["subscription"], "subscription")
    if asked.get("customer", subscription["customer"]) != subscription["customer"]:
        raise invalid("The subscription is of another customer.", "customer")
    if subscription["status"] in ENDED:
        raise _none(subscription["customer"])
    after, proration, at = None, NOTHING, None
    if "items" in details:
        after, proration, at = planned(books, subscription, details)
    invoice = _blank(books, subscription, at)
    waiting = pending_items(books, subscription["customer"], subscription["id"])
    lines = [line_of_item(books, invoice["id"], item) for item in proration.items + waiting]
    if details.get("proration_behavior") != "always_invoice" or not proration.items:
        if subscription["cancel_at"] is not None and not lines:
            raise _none(subscription["customer"])
        lines += _next_period(books, subscription, after, invoice["id"])
    return invoices.total_up(invoice, lines)


def _next_period(
    books: Books, subscription: Json, after: list[Json] | None, invoice_id: str
) -> list[Json]:
    """The lines of the renewal to come."""
    if subscription["cancel_at"] is not None:
        return []
    _, ends = period_of(subscription)
    items = phase_items(books, subscription, ends) if after is None else after
    terms = items[0]["price"]["recurring"]
    anchor = subscription["billing_cycle_anchor"]
    period = period_at(anchor, terms["interval"], terms["interval_count"], ends)
    return [line_of_period(books, invoice_id, item, period) for item in items]


def _of_new(books: Books, asked: Json, details: Json) -> Json:
    """The first invoice of a subscription that does not exist yet."""
    if "customer" not in asked or "items" not in details:
        missing = "subscription" if "customer" in asked else "customer"
        raise invalid(f"Missing required param: {missing}.", missing, "parameter_missing")
    customer = living(books, asked["customer"], "customer")
    subscription = blank_subscription(books, customer["id"], details["items"])
    invoice = _blank(books, subscription, None)
    period = period_of(subscription)
    items = subscription["items"]["data"]
    lines = [line_of_period(books, invoice["id"], item, period) for item in items]
    return invoices.total_up(invoice, lines)


def _blank(books: Books, subscription: Json, at: int | None) -> Json:
    customer = books.get("customer", subscription["customer"])
    return invoices.draft(
        books,
        customer,
        "upcoming",
        subscription["currency"],
        period_of(subscription),
        id=f"upcoming_{books.new_id('in')}",
        parent=invoices.of_subscription(subscription, at),
    )


def _none(customer_id: str) -> StripeError:
    return StripeError(
        404,
        "invalid_request_error",
        f"No upcoming invoices for customer: {customer_id}",
        "invoice_upcoming_none",
    )
