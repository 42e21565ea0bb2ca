"""Invoices over HTTP."""

from __future__ import annotations

from adapters.stripe.sandbox import invoice_payment, invoices, payment_methods
from adapters.stripe.sandbox.books import Json
from adapters.stripe.sandbox.customers import living
from adapters.stripe.sandbox.errors import invalid
from adapters.stripe.sandbox.fields import changed, merged, text_or_none
from adapters.stripe.sandbox.invoice_items import bill_items, pending_items
from adapters.stripe.sandbox.invoice_lines import lines_of
from adapters.stripe.sandbox.listing import listed, searched
from adapters.stripe.sandbox.route import Call, route
from adapters.stripe.sandbox.subscription_state import settle
from adapters.stripe.sandbox.supported import only

CREATE = (
    "auto_advance", "collection_method", "currency", "customer", "default_payment_method",
    "description", "metadata", "pending_invoice_items_behavior", "subscription",
)  # fmt: skip
UPDATE = ("auto_advance", "default_payment_method", "description", "metadata")
PAY = ("off_session", "paid_out_of_band", "payment_method")
LIST = ("collection_method", "created", "customer", "ending_before", "limit", "starting_after",
        "status", "subscription")  # fmt: skip


@route("POST", "/v1/invoices")
def create(call: Call) -> Json:
    """A draft of its own, for one customer and perhaps one subscription."""
    books, asked = call.books, call.params
    only(asked, CREATE)
    if asked.get("collection_method", "charge_automatically") != "charge_automatically":
        raise invalid("The sandbox only charges automatically.", "collection_method")
    parent, customer_id, currency = None, asked.get("customer"), asked.get("currency")
    if "subscription" in asked:
        subscription = books.get("subscription", asked["subscription"], "subscription")
        parent = invoices.of_subscription(subscription)
        customer_id = customer_id or subscription["customer"]
        currency = currency or subscription["currency"]
    if customer_id is None:
        raise invalid("Missing required param: customer.", "customer", "parameter_missing")
    customer = living(books, customer_id, "customer")
    invoice = invoices.draft(
        books,
        customer,
        "manual",
        currency or customer.get("currency") or "usd",
        (call.now, call.now),
        auto_advance=asked.get("auto_advance", False),
        default_payment_method=asked.get("default_payment_method"),
        description=asked.get("description"),
        metadata=merged({}, asked.get("metadata")),
        parent=parent,
    )
    books.put(invoice)
    if asked.get("pending_invoice_items_behavior") == "include":
        waiting = pending_items(books, customer["id"], asked.get("subscription"))
        invoice = bill_items(books, invoice, waiting)
    books.emit("invoice.created", invoice)
    return invoice


@route("GET", "/v1/invoices/{id}")
def retrieve(call: Call) -> Json:
    """One invoice; its `lines` are the first of them."""
    return call.books.get("invoice", call.path["id"], "invoice")


@route("GET", "/v1/invoices/{id}/lines")
def list_lines(call: Call) -> Json:
    """All lines of an invoice, page by page."""
    invoice = retrieve(call)
    return listed(call, f"/v1/invoices/{invoice['id']}/lines", lines_of(call.books, invoice["id"]))


@route("GET", "/v1/invoices")
def list_invoices(call: Call) -> Json:
    """Invoices, newest first."""
    asked = call.params
    only(asked, LIST)
    names = ("collection_method", "customer", "status")
    equal = {name: asked[name] for name in names if name in asked}
    if "subscription" in asked:
        equal["parent__subscription_details__subscription"] = asked["subscription"]
    return listed(call, "/v1/invoices", call.books.find("invoice", **equal))


@route("GET", "/v1/invoices/search")
def search(call: Call) -> Json:
    """Invoices that match a query, such as ``metadata['cycle']:'c1'``."""
    return searched(call, "/v1/invoices/search", call.books.find("invoice"))


@route("POST", "/v1/invoices/{id}")
def update(call: Call) -> Json:
    """Change what may still change: metadata always, the rest while it is a draft."""
    books, asked = call.books, call.params
    only(asked, UPDATE)
    invoice = retrieve(call)
    before = dict(invoice)
    if asked.keys() - {"auto_advance", "metadata", "expand"}:
        _check_draft(invoice)
    if "metadata" in asked:
        invoice["metadata"] = merged(invoice["metadata"], asked["metadata"])
    for name in ("description", "default_payment_method"):
        if name in asked:
            invoice[name] = text_or_none(asked[name])
    if "auto_advance" in asked:
        invoice = invoices.advancing(books, invoice, asked["auto_advance"])
    previous = changed(before, invoice)
    if previous:
        books.emit("invoice.updated", books.put(invoice), previous)
    return invoice


@route("DELETE", "/v1/invoices/{id}")
def delete(call: Call) -> Json:
    """Throw away a draft that no subscription made."""
    books, invoice = call.books, retrieve(call)
    _check_draft(invoice)
    if invoice["billing_reason"] != "manual":
        raise invalid("You can only delete draft invoices that were created by hand.", "invoice")
    for line in lines_of(books, invoice["id"]):
        books.remove(line["id"])
    for item in books.find("invoiceitem", invoice=invoice["id"]):
        books.remove(item["id"])
    books.remove(invoice["id"])
    books.emit("invoice.deleted", invoice)
    return {"id": invoice["id"], "object": "invoice", "deleted": True}


@route("POST", "/v1/invoices/{id}/finalize")
def finalise(call: Call) -> Json:
    """Open a draft now; if it advances by itself, it is collected right after."""
    only(call.params, ("auto_advance",))
    invoice = retrieve(call)
    advance = call.params.get("auto_advance")
    invoice = invoice_payment.open_for_payment(call.books, invoice, advance)
    if invoice["status"] == "open" and invoice["auto_advance"]:
        invoice["next_payment_attempt"] = call.now
        call.books.put(invoice)
    return invoice


@route("POST", "/v1/invoices/{id}/pay")
def pay(call: Call) -> Json:
    """Collect an invoice now, or note that it was paid elsewhere. A draft is finalised first."""
    books, asked = call.books, call.params
    only(asked, PAY)
    invoice = retrieve(call)
    if invoice["status"] == "draft":
        invoice = invoice_payment.open_for_payment(books, invoice)
        if invoice["status"] == "paid":
            return invoice
    if invoice["status"] == "paid":
        raise invalid("Invoice is already paid")
    if invoice["status"] == "void":
        raise invalid("This invoice can no longer be paid: it is void.")
    if asked.get("paid_out_of_band"):
        invoice = invoices.paid(books, invoice, invoice["amount_due"], out_of_band=True)
        invoice_payment.forgive(books, invoice)
        settle(books, invoice)
        return invoice
    method = None
    if "payment_method" in asked:
        card = payment_methods.resolve(books, asked["payment_method"])
        payment_methods.usable(books, card, invoice["customer"])
        method = card["id"]
    invoice, refusal = invoice_payment.collect(books, invoice, method)
    if refusal is not None:
        refusal.kept = True
        raise refusal
    return invoice


@route("POST", "/v1/invoices/{id}/void")
def void(call: Call) -> Json:
    """Declare an open invoice a mistake."""
    return invoice_payment.void(call.books, retrieve(call))


@route("POST", "/v1/invoices/{id}/mark_uncollectible")
def mark_uncollectible(call: Call) -> Json:
    """Give up on an open invoice."""
    invoice = invoices.mark_uncollectible(call.books, retrieve(call))
    settle(call.books, invoice)
    return invoice


def _check_draft(invoice: Json) -> None:
    if invoice["status"] != "draft":
        raise invalid(
            "Finalized invoices can't be updated in this way.", code="invoice_not_editable"
        )
