"""Subscriptions, invoices and their pages, as JSON, in the domain's words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from adapters.stripe.readings import id_of
from domain.contract.facts import EndReason, QuoteLine
from domain.contract.processor import Preview, RemoteSubscription, Session
from domain.invoice.facts import LineKind
from domain.invoice.invoice import DocumentLine, InvoiceDocument, InvoiceStatus
from domain.money import minor_of

Json = Mapping[str, Any]

END_REASONS: Mapping[str, EndReason] = {
    "payment_failed": "payment_failed",
    "payment_disputed": "disputed",
}
STATUSES: Mapping[str, InvoiceStatus] = {
    "draft": "draft",
    "open": "open",
    "paid": "paid",
    "void": "void",
    "uncollectible": "uncollectible",
}


def moment(seconds: Any) -> datetime:
    """Stripe's seconds in UTC."""
    return datetime.fromtimestamp(int(seconds), UTC)


def moment_or_none(seconds: Any) -> datetime | None:
    """As `moment`, where there may be none."""
    return None if seconds is None else moment(seconds)


def plan_of_price(price: Json) -> tuple[str, int] | None:
    """The plan version that a price of ours is of."""
    metadata = price.get("metadata") or {}
    plan_id, version = metadata.get("plan_id"), str(metadata.get("plan_version", ""))
    return (plan_id, int(version)) if plan_id and version.isdecimal() else None


def subscription(found: Json) -> RemoteSubscription:
    """A subscription with its one item."""
    item = found["items"]["data"][0]
    period_end = moment(item["current_period_end"])
    cancel_at = moment_or_none(found.get("cancel_at"))
    if cancel_at is None and found.get("cancel_at_period_end"):
        cancel_at = period_end
    details = found.get("cancellation_details") or {}
    pending = found.get("pending_update") or {}
    return RemoteSubscription(
        id=found["id"],
        status=found["status"],
        workspace_id=(found.get("metadata") or {}).get("workspace_id"),
        customer_id=id_of(found["customer"]),
        plan=plan_of_price(item["price"]),
        period_start=moment(item["current_period_start"]),
        period_end=period_end,
        anchor_at=moment(found["billing_cycle_anchor"]),
        created=moment(found["created"]),
        cancel_at=cancel_at,
        ended_at=moment_or_none(found.get("ended_at")),
        end_reason=END_REASONS.get(details.get("reason") or "", "user"),
        schedule_id=id_of(found.get("schedule")) or None,
        pending_until=moment_or_none(pending.get("expires_at")),
        pending_plan=_pending_plan(pending),
        latest_invoice_id=id_of(found.get("latest_invoice")) or None,
    )


def _pending_plan(pending: Json) -> tuple[str, int] | None:
    items = pending.get("subscription_items") or ()
    return plan_of_price(items[0]["price"]) if items else None


def session(found: Json) -> Session:
    """A checkout page for a subscription."""
    metadata = found.get("metadata") or {}
    return Session(
        id=found["id"],
        url=found.get("url"),
        status=found["status"],
        is_paid=found["payment_status"] in ("paid", "no_payment_required"),
        workspace_id=metadata.get("workspace_id"),
        payment_attempt_id=metadata.get("payment_attempt_id"),
        subscription_id=id_of(found.get("subscription")) or None,
        amount_total=int(found.get("amount_total") or 0),
    )


def preview(found: Json, lines: Iterable[Json]) -> Preview:
    """An invoice that would be."""
    return Preview(
        int(found["amount_due"]),
        tuple(
            QuoteLine(line.get("description") or "", int(line["amount"]), is_proration(line))
            for line in lines
        ),
    )


def is_proration(line: Json) -> bool:
    """Whether a line is for a part of a period."""
    parent = line.get("parent") or {}
    details = parent.get("subscription_item_details") or parent.get("invoice_item_details") or {}
    return bool(details.get("proration"))


def invoice_subscription(found: Json) -> tuple[str | None, Json]:
    """The subscription that an invoice is of, and that one's metadata when it was made."""
    details = (found.get("parent") or {}).get("subscription_details") or {}
    return id_of(details.get("subscription")) or None, details.get("metadata") or {}


def invoice(found: Json, lines: Iterable[Json]) -> InvoiceDocument:
    """An invoice with all its lines."""
    metadata = found.get("metadata") or {}
    subscription_id, terms = invoice_subscription(found)
    moved = found.get("status_transitions") or {}
    taxes = sum(int(tax["amount"]) for tax in found.get("total_taxes") or ())
    return InvoiceDocument(
        id=found["id"],
        status=STATUSES.get(found.get("status") or "draft", "draft"),
        workspace_id=metadata.get("workspace_id") or terms.get("workspace_id"),
        subscription_id=subscription_id,
        customer_id=id_of(found.get("customer")),
        billing_reason=found.get("billing_reason") or "manual",
        period_start=moment(found["period_start"]),
        period_end=moment(found["period_end"]),
        currency=found["currency"],
        created=moment(found["created"]),
        number=found.get("number"),
        subtotal=int(found.get("subtotal") or 0),
        tax=taxes,
        total=int(found.get("total") or 0),
        amount_due=int(found.get("amount_due") or 0),
        amount_paid=int(found.get("amount_paid") or 0),
        hosted_url=found.get("hosted_invoice_url"),
        finalized_at=moment_or_none(moved.get("finalized_at")),
        paid_at=moment_or_none(moved.get("paid_at")),
        voided_at=moment_or_none(moved.get("voided_at")),
        uncollectible_at=moment_or_none(moved.get("marked_uncollectible_at")),
        cycle_id=metadata.get("cycle_id"),
        lines=tuple(map(_line, lines)),
    )


def _line(found: Json) -> DocumentLine:
    metadata = found.get("metadata") or {}
    pricing = found.get("pricing") or {}
    cents = pricing.get("unit_amount_decimal")
    unit = None if cents is None else int(Decimal(str(cents)) * minor_of(found["currency"]))
    quantity = found.get("quantity")
    kind: LineKind = "other"
    if metadata.get("kind") == "overage":
        kind = "overage"
        unit, quantity = int(metadata["unit_price_micros"]), int(metadata["units"])
    elif is_proration(found):
        kind = "proration"
    elif (found.get("parent") or {}).get("subscription_item_details"):
        kind = "plan"
    version = str(metadata.get("plan_version", ""))
    period = found.get("period") or {}
    return DocumentLine(
        line_id=found["id"],
        kind=kind,
        description=found.get("description") or "",
        amount=int(found["amount"]),
        quantity=1 if quantity is None else int(quantity),
        unit_amount_micros=unit,
        cycle_id=metadata.get("cycle_id"),
        bot_id=metadata.get("bot_id"),
        plan_id=metadata.get("plan_id"),
        plan_version=int(version) if version.isdecimal() else None,
        period_start=moment_or_none(period.get("start")),
        period_end=moment_or_none(period.get("end")),
    )
