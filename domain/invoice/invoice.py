"""An invoice: the mirror of one at Stripe, with a memory of what was tried.

Stripe owns the invoice. What we are told may come late, twice and in any order, so what is
recorded is the difference between what we had and what Stripe has now.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Literal
from uuid import UUID

import msgspec

from domain.facts import Aggregate, Context, Fact
from domain.identity import stream_id
from domain.invoice.facts import (
    InvoiceDeleted,
    InvoiceDrafted,
    InvoiceFinalized,
    InvoiceLineRecorded,
    InvoiceMarkedUncollectible,
    InvoicePaid,
    InvoicePaymentFailed,
    InvoiceRefunded,
    InvoiceVoided,
    LineKind,
)

InvoiceStatus = Literal["none", "draft", "open", "paid", "void", "uncollectible", "deleted"]
DUNNED = ("subscription_cycle", "subscription_threshold")
"""Why Stripe makes the invoices whose failure makes a subscription past due."""


def invoice_stream(stripe_invoice_id: str) -> UUID:
    """The stream of an invoice."""
    return stream_id("invoice", stripe_invoice_id)


class DocumentLine(msgspec.Struct, frozen=True, gc=False):
    """A line of an invoice as Stripe has it; minor units, signed."""

    line_id: str
    kind: LineKind
    description: str
    amount: int
    quantity: int = 1
    unit_amount_micros: int | None = None
    cycle_id: str | None = None
    bot_id: str | None = None
    plan_id: str | None = None
    plan_version: int | None = None
    period_start: datetime | None = None
    period_end: datetime | None = None


class InvoiceDocument(msgspec.Struct, frozen=True, gc=False):
    """An invoice as Stripe has it now; minor units, UTC."""

    id: str
    status: InvoiceStatus
    workspace_id: str | None  # None: none of ours
    subscription_id: str | None
    customer_id: str
    billing_reason: str
    period_start: datetime
    period_end: datetime
    currency: str
    created: datetime
    number: str | None = None
    subtotal: int = 0
    tax: int = 0
    total: int = 0
    amount_due: int = 0
    amount_paid: int = 0
    hosted_url: str | None = None
    finalized_at: datetime | None = None
    paid_at: datetime | None = None
    voided_at: datetime | None = None
    uncollectible_at: datetime | None = None
    cycle_id: str | None = None  # of overage that stands on an invoice of its own
    lines: tuple[DocumentLine, ...] = ()

    @property
    def is_overage(self) -> bool:
        """Whether it is ours, for overage alone."""
        return self.cycle_id is not None

    @property
    def is_settled(self) -> bool:
        """Whether nothing is owed on it."""
        return self.status in ("paid", "void")


class Invoice(Aggregate, omit_defaults=True, gc=False):
    """What we know of an invoice. `paid`, `void` and `deleted` are for ever; `uncollectible` may
    be paid."""

    category: ClassVar[str] = "invoice"
    facts: ClassVar[tuple[type[Fact], ...]] = (
        InvoiceDrafted,
        InvoiceLineRecorded,
        InvoiceFinalized,
        InvoicePaymentFailed,
        InvoicePaid,
        InvoiceVoided,
        InvoiceMarkedUncollectible,
        InvoiceDeleted,
        InvoiceRefunded,
    )

    stripe_invoice_id: str = ""
    workspace_id: str = ""
    subscription_id: str | None = None
    billing_reason: str = ""
    kind: str = ""
    status: InvoiceStatus = "none"
    amount_due: int = 0
    first_failed_at: datetime | None = None
    paid_at: datetime | None = None
    refunded: int = 0

    def mirror(self, document: InvoiceDocument, context: Context) -> None:
        """Record what Stripe has and we had not. An older picture than ours changes nothing."""
        if self.status == "none":
            self._draft(document, context)
        if self.status == "draft" and document.status not in ("none", "draft"):
            self._finalize(document, context)
        if self.status in ("paid", "void", "deleted") or document.status == self.status:
            return
        if document.status == "paid":
            self.record(
                InvoicePaid(
                    **self.stamp(context, "invoice_paid"),
                    paid_at=document.paid_at or self.moment(context),
                    amount_paid=document.amount_paid,
                )
            )
        elif document.status == "void":
            at = document.voided_at or self.moment(context)
            self.record(InvoiceVoided(**self.stamp(context, "invoice_voided"), voided_at=at))
        elif document.status == "uncollectible":
            at = document.uncollectible_at or self.moment(context)
            stamp = self.stamp(context, "invoice_uncollectible")
            self.record(InvoiceMarkedUncollectible(**stamp, marked_at=at))

    def note_deleted(self, document: InvoiceDocument, at: datetime, context: Context) -> None:
        """Stripe has no such draft any more; what is told of it later changes nothing."""
        self.mirror(document, context)
        if self.status == "draft":
            stamp = self.stamp(context, "invoice_deleted")
            self.record(InvoiceDeleted(**stamp, deleted_at=at))

    def note_refunded(self, cumulative: int, context: Context) -> None:
        """So much was given back by now, in all; a no-op for what is no more than that."""
        if self.version and cumulative > self.refunded:
            stamp = self.stamp(context, f"invoice_refunded:{cumulative}")
            self.record(InvoiceRefunded(**stamp, cumulative=cumulative))

    def note_failure(
        self,
        event_id: str,
        failed_at: datetime,
        attempt: int,
        context: Context,
        *,
        next_attempt_at: datetime | None = None,
        decline_code: str | None = None,
    ) -> None:
        """Remember a failed attempt, once for each event of Stripe's."""
        self.record(
            InvoicePaymentFailed(
                **self.stamp(context, f"stripe:{event_id}"),
                attempt=attempt,
                failed_at=failed_at,
                next_attempt_at=next_attempt_at,
                decline_code=decline_code,
            )
        )

    def _draft(self, document: InvoiceDocument, context: Context) -> None:
        self.record(
            InvoiceDrafted(
                **self.stamp(context, "invoice_drafted"),
                stripe_invoice_id=document.id,
                workspace_id=document.workspace_id or "",
                subscription_id=document.subscription_id,
                billing_reason=document.billing_reason,
                period_start=document.period_start,
                period_end=document.period_end,
                currency=document.currency,
                drafted_at=document.created,
                kind="overage" if document.is_overage else "subscription",
                cycle_id=document.cycle_id,
            )
        )

    def _finalize(self, document: InvoiceDocument, context: Context) -> None:
        for line in document.lines:
            stamp = self.stamp(context, f"invoice_line:{line.line_id}")
            self.record(InvoiceLineRecorded(**stamp, **msgspec.structs.asdict(line)))
        self.record(
            InvoiceFinalized(
                **self.stamp(context, "invoice_finalized"),
                number=document.number,
                total=document.total,
                amount_due=document.amount_due,
                subtotal=document.subtotal,
                tax=document.tax,
                hosted_url=document.hosted_url,
                finalized_at=document.finalized_at,
            )
        )


def is_dunned(document: InvoiceDocument, subscription_status: str | None) -> bool:
    """Whether a failure of this invoice makes the subscription past due: recurring ones and our
    own for overage; a declined upgrade only if Stripe says that the subscription itself is."""
    if document.billing_reason in DUNNED or document.is_overage:
        return True
    return document.billing_reason == "subscription_update" and subscription_status in (
        "past_due",
        "unpaid",
    )
