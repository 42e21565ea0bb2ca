"""How an invoice is collected: its PaymentIntent, the attempts, and what each outcome brings."""

from __future__ import annotations

from adapters.stripe.sandbox import intent_state, invoices, payment_intents, payment_methods
from adapters.stripe.sandbox.billing_settings import settings
from adapters.stripe.sandbox.books import Books, Json
from adapters.stripe.sandbox.errors import StripeError, invalid
from adapters.stripe.sandbox.intent_state import Terms, settled
from adapters.stripe.sandbox.invoices import subscription_of
from adapters.stripe.sandbox.listing import listed
from adapters.stripe.sandbox.proration import DAY_S
from adapters.stripe.sandbox.route import Call, includes, route
from adapters.stripe.sandbox.subscription_state import ENDED, end, pending_of, revise, settle

PURPOSE = {
    "subscription_create": "Subscription creation",
    "subscription_update": "Subscription update",
}


def open_for_payment(books: Books, invoice: Json, auto_advance: bool | None = None) -> Json:
    """Finalise a draft and make the PaymentIntent that it is to be paid with."""
    invoice = invoices.finalise(books, invoice, auto_advance)
    if invoice["status"] == "paid":
        settle(books, invoice)
        return invoice
    wanted = {
        "amount": invoice["amount_due"],
        "currency": invoice["currency"],
        "customer": invoice["customer"],
        "description": PURPOSE.get(invoice["billing_reason"], "Payment for Invoice"),
        "payment_method_types": ["card"],
    }
    intent = payment_intents.create(Call(books, {}, wanted))
    books.put(
        {
            "id": books.new_id("inpay"),
            "object": "invoice_payment",
            "amount_paid": None,
            "amount_requested": invoice["amount_due"],
            "created": books.now(),
            "currency": invoice["currency"],
            "invoice": invoice["id"],
            "is_default": True,
            "livemode": False,
            "payment": {
                "charge": None,
                "payment_intent": intent["id"],
                "payment_record": None,
                "type": "payment_intent",
            },
            "status": "open",
            "status_transitions": {"canceled_at": None, "paid_at": None},
        }
    )
    return invoice


def collect(
    books: Books, invoice: Json, method: str | None = None, *, automatic: bool = False
) -> tuple[Json, StripeError | None]:
    """Try to take what an open invoice asks for from a card; the invoice, and why it failed.

    Without a method it is the invoice's, the subscription's or the customer's default.
    """
    method = method or default_method(books, invoice)
    refusal: StripeError | None = None
    intent = _intent_of(books, invoice)
    if method is None:
        refusal = invalid(
            "This customer has no attached payment source or default payment method. Please"
            " consider adding a default payment method.",
            code="resource_missing",
        )
    else:
        try:
            card = payment_methods.resolve(books, method)
            terms = Terms(return_url=invoice["hosted_invoice_url"])
            intent = intent_state.confirm(books, intent, card, terms)
        except StripeError as declined:
            refusal = declined
            intent = books.get("payment_intent", intent["id"])
    if refusal is None and intent["status"] == "succeeded":
        if automatic or invoice["attempt_count"] == 0:
            invoice = invoice | {"attempt_count": invoice["attempt_count"] + 1}
        return _succeeded(books, invoice, intent), None
    if refusal is None and intent["status"] == "processing":
        return _attempted(books, invoice, automatic=automatic), None
    if refusal is None:
        refusal = StripeError(
            402,
            "card_error",
            "This payment requires additional user action before it can be completed"
            " successfully. Payment can be completed using the PaymentIntent associated with"
            " the invoice.",
            "invoice_payment_intent_requires_action",
            payment_intent=intent,
        )
    return _failed(books, invoice, intent, automatic=automatic), refusal


@settled
def intent_settled(books: Books, intent: Json) -> None:
    """An intent came through without us: its invoice, if it has one that is unpaid, is paid."""
    for payment in books.find("invoice_payment", payment__payment_intent=intent["id"]):
        invoice = books.get("invoice", payment["invoice"])
        if intent["status"] == "succeeded" and invoice["status"] in ("open", "uncollectible"):
            _succeeded(books, invoice, intent)


def forgive(books: Books, invoice: Json) -> None:
    """Nothing will be collected for this invoice: its PaymentIntent is cancelled."""
    for payment in books.find("invoice_payment", invoice=invoice["id"], status="open"):
        intent = books.get("payment_intent", payment["payment"]["payment_intent"])
        if intent["status"] not in ("succeeded", "canceled", "processing"):
            payment_intents.cancel(Call(books, {"id": intent["id"]}, {}))
        payment["status"] = "canceled"
        payment["status_transitions"]["canceled_at"] = books.now()
        books.put(payment)


def void(books: Books, invoice: Json) -> Json:
    """Void an invoice, and do what this means for its payment and its subscription."""
    invoice = invoices.void(books, invoice)
    forgive(books, invoice)
    settle(books, invoice)
    return invoice


def default_method(books: Books, invoice: Json) -> str | None:
    """The payment method that an invoice is collected from when nobody names one."""
    subscription_id = subscription_of(invoice)
    of_subscription = None
    if subscription_id is not None:
        of_subscription = books.get("subscription", subscription_id)["default_payment_method"]
    customer = books.get("customer", invoice["customer"])
    of_customer = (customer.get("invoice_settings") or {}).get("default_payment_method")
    found: str | None = invoice["default_payment_method"] or of_subscription or of_customer
    return found


@includes("invoice", "payments")
def payments(books: Books, invoice: Json) -> Json:
    """The payments of an invoice, when they are asked for."""
    return {
        "object": "list",
        "data": books.find("invoice_payment", invoice=invoice["id"]),
        "has_more": False,
        "url": f"/v1/invoices/{invoice['id']}/payments",
    }


@includes("invoice", "confirmation_secret")
def confirmation_secret(books: Books, invoice: Json) -> Json | None:
    """What a page needs to finish the payment, when it is asked for."""
    if invoice["status"] != "open":
        return None
    intent = _intent_of(books, invoice)
    return {"client_secret": intent["client_secret"], "type": "payment_intent"}


@route("GET", "/v1/invoice_payments")
def list_payments(call: Call) -> Json:
    """Payments of invoices, newest first, by invoice, status, or the intent they were made with."""
    asked = call.params
    equal: Json = {name: asked[name] for name in ("invoice", "status") if name in asked}
    if "payment" in asked:
        equal["payment__payment_intent"] = asked["payment"].get("payment_intent")
    return listed(call, "/v1/invoice_payments", call.books.find("invoice_payment", **equal))


@route("GET", "/v1/invoice_payments/{id}")
def retrieve_payment(call: Call) -> Json:
    """One payment of an invoice."""
    return call.books.get("invoice_payment", call.path["id"], "invoice_payment")


# What each outcome brings.


def _succeeded(books: Books, invoice: Json, intent: Json) -> Json:
    for payment in books.find("invoice_payment", invoice=invoice["id"], status="open"):
        payment |= {"amount_paid": intent["amount_received"], "status": "paid"}
        payment["status_transitions"]["paid_at"] = books.now()
        books.emit("invoice_payment.paid", books.put(payment))
    invoice = invoices.paid(books, invoice, intent["amount_received"])
    settle(books, invoice)
    return invoice


def _failed(books: Books, invoice: Json, intent: Json, *, automatic: bool) -> Json:
    invoice = _attempted(books, invoice, automatic=automatic)
    if intent["status"] == "requires_action":
        books.emit("invoice.payment_action_required", invoice)
    books.emit("invoice.payment_failed", invoice)
    settle(books, invoice)
    if automatic and invoice["next_payment_attempt"] is None:
        _give_up(books, invoice)
    return invoice


def _attempted(books: Books, invoice: Json, *, automatic: bool) -> Json:
    """Count an attempt and plan the next. By hand only the first one counts, as at Stripe."""
    first = invoice["attempt_count"] == 0
    invoice = invoice | {"attempted": True}
    if automatic or first:
        invoice["attempt_count"] += 1
        invoice["next_payment_attempt"] = _next_attempt(books, invoice)
    return books.put(invoice)


def _next_attempt(books: Books, invoice: Json) -> int | None:
    """When the card is tried again by itself; a first payment and a pending update never are."""
    if not invoice["auto_advance"] or invoice["billing_reason"] == "subscription_create":
        return None
    subscription_id = subscription_of(invoice)
    pending = subscription_id and pending_of(books, subscription_id)
    if pending and pending["invoice"] == invoice["id"]:
        return None
    days = settings(books).retry_days
    tried = invoice["attempt_count"] - 1
    return books.now() + days[tried] * DAY_S if tried < len(days) else None


def _give_up(books: Books, invoice: Json) -> None:
    """The last attempt has failed: the account decides what becomes of the subscription."""
    subscription_id = subscription_of(invoice)
    after = settings(books).after_last
    if subscription_id is None or after == "leave":
        return
    subscription = books.get("subscription", subscription_id)
    if subscription["status"] in (*ENDED, "incomplete"):
        return
    if after == "cancel":
        end(books, subscription, "payment_failed")
    else:
        revise(books, subscription, status="unpaid")


def _intent_of(books: Books, invoice: Json) -> Json:
    payment = books.find("invoice_payment", invoice=invoice["id"])[0]
    return books.get("payment_intent", payment["payment"]["payment_intent"])
