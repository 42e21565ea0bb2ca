"""Disputes: the holder of a card wants a payment back.

POST /sandbox/disputes       {"charge", "amount"?, "reason"?, "inquiry"?: bool}
POST /sandbox/disputes/{id}  {"step": a key of STEPS}
"""

from __future__ import annotations

from adapters.stripe.sandbox.balance import DISPUTE_FEE, transact
from adapters.stripe.sandbox.control import order
from adapters.stripe.sandbox.errors import invalid
from adapters.stripe.sandbox.fields import changed, merged
from adapters.stripe.sandbox.listing import listed
from adapters.stripe.sandbox.route import Books, Call, Json, route
from adapters.stripe.sandbox.supported import only

URL = "/v1/disputes"
ANSWER_WITHIN_S = 8 * 24 * 3600
CLOSED = ("won", "lost", "warning_closed", "prevented")
STEPS = ("funds_withdrawn", "funds_reinstated", "under_review", *CLOSED)
NETWORK_REASONS = {"fraudulent": "10.4", "product_not_received": "13.1"}
EVIDENCE = (
    "access_activity_log", "billing_address", "cancellation_policy",
    "cancellation_policy_disclosure", "cancellation_rebuttal", "customer_communication",
    "customer_email_address", "customer_name", "customer_purchase_ip", "customer_signature",
    "duplicate_charge_documentation", "duplicate_charge_explanation", "duplicate_charge_id",
    "product_description", "receipt", "refund_policy", "refund_policy_disclosure",
    "refund_refusal_explanation", "service_date", "service_documentation", "shipping_address",
    "shipping_carrier", "shipping_date", "shipping_documentation", "shipping_tracking_number",
    "uncategorized_file", "uncategorized_text",
)  # fmt: skip
OUTCOMES = {"winning_evidence": "won", "losing_evidence": "lost"}
"""Stripe's test mode decides a dispute by these words in `uncategorized_text`."""


def open_dispute(
    books: Books,
    charge: Json,
    *,
    amount: int | None = None,
    reason: str = "fraudulent",
    inquiry: bool = False,
    withdrawn: bool = False,
) -> Json:
    """A charge is disputed; its money goes at once if `withdrawn`, unless it is an inquiry."""
    if charge["status"] != "succeeded":
        raise invalid(f"Charge {charge['id']} has not been paid.", "charge")
    if charge["disputed"]:
        raise invalid(f"Charge {charge['id']} is disputed already.", "charge")
    disputed = charge["amount_captured"] if amount is None else amount
    if not 1 <= disputed <= charge["amount_captured"]:
        raise invalid("No more can be disputed than was paid.", "amount")
    dispute = books.put(_blank(books, charge, disputed, reason, inquiry))
    books.put(charge | {"disputed": True})
    books.emit("charge.dispute.created", dispute)
    if withdrawn and not inquiry:
        dispute = take_step(books, dispute, "funds_withdrawn")
    return dispute


def take_step(books: Books, dispute: Json, step: str) -> Json:
    """What the bank does next; StripeError 400 for a step that cannot be the next one."""
    if step not in STEPS:
        raise invalid(f"A step is one of {', '.join(STEPS)}.", "step")
    booked = sum(entry["amount"] for entry in dispute["balance_transactions"])
    if step == "funds_withdrawn":
        if booked < 0:
            raise invalid("The money is withdrawn already.", "step")
        return _move(books, dispute, -dispute["amount"], DISPUTE_FEE, step)
    if step == "funds_reinstated":
        if booked >= 0:
            raise invalid("There is no money to reinstate.", "step")
        return _move(books, dispute, dispute["amount"], 0, step)
    if dispute["status"] in CLOSED:
        raise invalid(f"The dispute is closed: {dispute['status']}.", "step")
    inquiry = dispute["status"].startswith("warning")
    status = "warning_under_review" if inquiry and step == "under_review" else step
    after = books.put(dispute | {"status": status, "is_charge_refundable": False})
    kind = "closed" if step in CLOSED else "updated"
    books.emit(f"charge.dispute.{kind}", after, changed(dispute, after))
    return after


@order("/disputes")
def dispute_charge(books: Books, told: Json) -> Json:
    """Let a charge be disputed."""
    charge = books.get("charge", told["charge"], "charge")
    chosen = {name: told[name] for name in ("amount", "reason", "inquiry") if name in told}
    return open_dispute(books, charge, **chosen)


@order("/disputes/{id}")
def step_on(books: Books, told: Json) -> Json:
    """Take a dispute a step on."""
    return take_step(books, books.get("dispute", told["id"]), told["step"])


@route("GET", URL)
def list_all(call: Call) -> Json:
    """Disputes, newest first, by charge or intent."""
    fields = ("charge", "payment_intent")
    equal = {name: call.params[name] for name in fields if name in call.params}
    return listed(call, URL, call.books.find("dispute", **equal))


@route("GET", URL + "/{id}")
def retrieve(call: Call) -> Json:
    """One dispute."""
    return call.books.get("dispute", call.path["id"])


@route("POST", URL + "/{id}")
def update(call: Call) -> Json:
    """Answer a dispute; "winning_evidence" wins it, "losing_evidence" loses it."""
    only(call.params, ("evidence", "metadata", "submit"))
    before, params = call.books.get("dispute", call.path["id"]), call.params
    if before["status"] in CLOSED and "evidence" in params:
        raise invalid("This dispute is already closed.")
    after = before | {"metadata": merged(before["metadata"], params.get("metadata"))}
    given: Json = params.get("evidence") or {}
    only(given, EVIDENCE, "evidence")
    if given:
        evidence = before["evidence"] | {name: text or None for name, text in given.items()}
        sent = params.get("submit", True)
        details = before["evidence_details"] | {
            "has_evidence": True,
            "submission_count": before["evidence_details"]["submission_count"] + sent,
            "submission_method": "manual" if sent else "not_submitted",
        }
        after |= {"evidence": evidence, "evidence_details": details}
        if sent:
            after["status"] = "under_review"
    call.books.emit("charge.dispute.updated", call.books.put(after), changed(before, after))
    outcome = OUTCOMES.get(given.get("uncategorized_text", ""))
    if outcome is not None:
        after = take_step(call.books, after, outcome)
        booked = sum(entry["amount"] for entry in after["balance_transactions"])
        if outcome == "won" and booked < 0:
            after = take_step(call.books, after, "funds_reinstated")
    return after


@route("POST", URL + "/{id}/close")
def close(call: Call) -> Json:
    """Accept a dispute as lost."""
    return take_step(call.books, call.books.get("dispute", call.path["id"]), "lost")


def _move(books: Books, dispute: Json, amount: int, fee: int, step: str) -> Json:
    booked = transact(books, "adjustment", amount, fee, dispute)
    entries = [*dispute["balance_transactions"], booked]
    after = books.put(
        dispute | {"balance_transactions": entries, "is_charge_refundable": amount > 0}
    )
    books.emit(f"charge.dispute.{step}", after, changed(dispute, after))
    return after


def _blank(books: Books, charge: Json, amount: int, reason: str, inquiry: bool) -> Json:
    eligibility: Json = {}
    brand = charge["payment_method_details"]["card"]["brand"]
    network_reason = NETWORK_REASONS.get(reason, "10.4")
    return {
        "id": books.new_id("du"),
        "object": "dispute",
        "amount": amount,
        "balance_transactions": [],
        "charge": charge["id"],
        "created": books.now(),
        "currency": charge["currency"],
        "enhanced_eligibility_types": [],
        "evidence": dict.fromkeys(EVIDENCE) | {"enhanced_evidence": {}},
        "evidence_details": {
            "due_by": books.now() + ANSWER_WITHIN_S,
            "enhanced_eligibility": eligibility,
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
            "submission_method": "not_submitted",
        },
        "is_charge_refundable": inquiry,
        "livemode": False,
        "metadata": {},
        "payment_intent": charge["payment_intent"],
        "payment_method_details": {
            "card": {
                "brand": brand,
                "case_type": "inquiry" if inquiry else "chargeback",
                "network": brand,
                "network_reason_code": network_reason,
            },
            "type": "card",
        },
        "reason": reason,
        "status": "warning_needs_response" if inquiry else "needs_response",
    }
