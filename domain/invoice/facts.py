"""What happens to an invoice at Stripe. Amounts are minor units, times UTC."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Literal

from domain.facts import Fact

if TYPE_CHECKING:
    from domain.invoice.invoice import Invoice

LineKind = Literal["plan", "proration", "overage", "topup", "other"]


class InvoiceDrafted(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """There is an invoice. ``kind`` is `subscription` or `overage` (one of its own)."""

    stripe_invoice_id: str
    workspace_id: str
    subscription_id: str | None
    billing_reason: str
    period_start: datetime
    period_end: datetime
    currency: str
    drafted_at: datetime
    kind: Literal["subscription", "overage"] = "subscription"
    cycle_id: str | None = None  # of the overage

    def apply(self, invoice: Invoice) -> None:
        invoice.stripe_invoice_id = self.stripe_invoice_id
        invoice.workspace_id = self.workspace_id
        invoice.subscription_id = self.subscription_id
        invoice.billing_reason = self.billing_reason
        invoice.kind = self.kind
        invoice.status = "draft"


class InvoiceLineRecorded(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """A line of a final invoice. ``unit_amount_micros`` is µ for one of ``quantity``."""

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

    def apply(self, invoice: Invoice) -> None:
        """Lines are the read model's; the aggregate decides nothing by them."""


class InvoiceFinalized(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """The invoice has its number and changes no more."""

    number: str | None
    total: int
    amount_due: int
    subtotal: int = 0
    tax: int = 0
    hosted_url: str | None = None
    finalized_at: datetime | None = None

    def apply(self, invoice: Invoice) -> None:
        invoice.status = "open"
        invoice.amount_due = self.amount_due


class InvoicePaymentFailed(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """An attempt to collect it failed. ``attempt`` is informative: Stripe does not count manual
    ones. After ``paid_at`` it is history and nothing more."""

    attempt: int
    failed_at: datetime
    next_attempt_at: datetime | None = None
    decline_code: str | None = None

    def apply(self, invoice: Invoice) -> None:
        if invoice.first_failed_at is None or self.failed_at < invoice.first_failed_at:
            invoice.first_failed_at = self.failed_at


class InvoicePaid(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """Nothing of it is owed any more."""

    paid_at: datetime
    amount_paid: int

    def apply(self, invoice: Invoice) -> None:
        invoice.status = "paid"
        invoice.paid_at = self.paid_at


class InvoiceVoided(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """It was a mistake, or is forgiven."""

    voided_at: datetime

    def apply(self, invoice: Invoice) -> None:
        invoice.status = "void"


class InvoiceMarkedUncollectible(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """Nobody expects it to be paid; it still may be."""

    marked_at: datetime

    def apply(self, invoice: Invoice) -> None:
        invoice.status = "uncollectible"


class InvoiceDeleted(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """The draft was thrown away: it never became an invoice, and is listed no more."""

    deleted_at: datetime

    def apply(self, invoice: Invoice) -> None:
        invoice.status = "deleted"


class InvoiceRefunded(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """So much of it, in all, was given back."""

    cumulative: int

    def apply(self, invoice: Invoice) -> None:
        invoice.refunded = self.cumulative
