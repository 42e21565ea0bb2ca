"""Invoices and receipts as they are last known: rows of the read model `projections/invoices.py`.

Amounts are minor units (cents), signed; the lines of a document add up to its subtotal.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import msgspec


class Document(NamedTuple):
    """An invoice or a receipt as last folded. Amounts in minor units."""

    stream: UUID
    id: str = ""
    workspace_id: str = ""
    kind: str = ""
    status: str = "draft"
    number: str | None = None
    billing_reason: str | None = None
    payment_ref: str | None = None
    currency: str = ""
    drafted_at: datetime | None = None
    period_start: datetime | None = None
    period_end: datetime | None = None
    subtotal: int = 0
    tax: int = 0
    total: int = 0
    amount_due: int = 0
    amount_paid: int = 0
    refunded: int = 0
    failures: str = "[]"
    first_failed_at: datetime | None = None
    next_attempt_at: datetime | None = None
    finalized_at: datetime | None = None
    paid_at: datetime | None = None
    hosted_url: str | None = None
    position: int = 0
    last_position: int = 0


class Failure(msgspec.Struct, frozen=True):
    """An attempt to collect an invoice that failed."""

    attempt: int
    failed_at: datetime
    next_attempt_at: datetime | None
    decline_code: str | None


def failures_of(document: Document) -> list[Failure]:
    """The attempts that failed, in the order in which they were learned of."""
    return msgspec.json.decode(document.failures, type=list[Failure])


class Line(NamedTuple):
    """A line of a document; ``unit_amount`` is µ for one of ``quantity``."""

    stream: UUID
    line_id: str
    kind: str
    description: str
    quantity: int
    unit_amount: int | None
    amount: int
    cycle_id: str | None
    bot_id: str | None
    plan_id: str | None
    plan_version: int | None
    period_start: datetime | None
    period_end: datetime | None
    position: int
