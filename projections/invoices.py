"""Invoices and receipts, with their lines: what a customer's accountant asks for.

An invoice is Stripe's, line by line; a receipt is ours, for a payment that opened credits. Amounts
are minor units (cents), signed; the lines of a document add up to its subtotal.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from psycopg import Connection

from domain.facts import Fact
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
)
from domain.money import minor_of, round_half_even
from domain.payment.facts import (
    PaymentQuarantined,
    PaymentRefunded,
    PaymentRequested,
    PaymentSucceeded,
)
from projections.act import storable
from projections.documents import Document, Failure, Line, failures_of
from projections.read_model import Changes, Posted, ReadModel

INVOICES = """
CREATE TABLE IF NOT EXISTS {table} (
    stream uuid PRIMARY KEY,            -- the invoice's, or that of the payment
    id text NOT NULL,
    workspace_id text NOT NULL,
    kind text NOT NULL,                 -- subscription, overage, receipt; empty: not paid yet
    status text NOT NULL,               -- draft, open, paid, void, uncollectible
    number text,
    billing_reason text,
    payment_ref text,
    currency text NOT NULL,
    drafted_at timestamptz NOT NULL,
    period_start timestamptz,
    period_end timestamptz,
    subtotal bigint NOT NULL,
    tax bigint NOT NULL,
    total bigint NOT NULL,
    amount_due bigint NOT NULL,
    amount_paid bigint NOT NULL,
    refunded bigint NOT NULL,
    failures text NOT NULL,             -- JSON: each attempt that failed, in order
    first_failed_at timestamptz,
    next_attempt_at timestamptz,
    finalized_at timestamptz,
    paid_at timestamptz,
    hosted_url text,
    position bigint NOT NULL,           -- of its first fact: the order of lists
    last_position bigint NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS {table}_by_id ON {table} (id);
CREATE INDEX IF NOT EXISTS {table}_by_workspace ON {table} (workspace_id, position)
"""
LINES = """
CREATE TABLE IF NOT EXISTS {table} (
    stream uuid NOT NULL,
    line_id text NOT NULL,
    kind text NOT NULL,                 -- plan, proration, overage, topup, other
    description text NOT NULL,
    quantity bigint NOT NULL,
    unit_amount bigint,                 -- µ for one
    amount bigint NOT NULL,
    cycle_id text,
    bot_id text,
    plan_id text,
    plan_version int,
    period_start timestamptz,
    period_end timestamptz,
    position bigint NOT NULL,
    PRIMARY KEY (stream, line_id)
);
CREATE INDEX IF NOT EXISTS {table}_in_order ON {table} (stream, position)
"""
RECEIPTS = ("topup", "auto_topup", "manual")
"""The kinds of payments that open credits, and are receipted."""


FIELDS = ", ".join(Document._fields)
KNOWN = f"SELECT {FIELDS} FROM {{invoices}} WHERE stream = ANY(%b::uuid[])"  # noqa: S608
REMOVE = "DELETE FROM {invoices} WHERE stream = ANY(%b::uuid[])"
INSERT = "INSERT INTO {invoices} VALUES ({values})"
INSERT_LINE = "INSERT INTO {invoice_lines} VALUES ({values}) ON CONFLICT DO NOTHING"


class Invoices(ReadModel):
    """One row a document, and its lines. A payment has a row when it has succeeded; a draft that
    was thrown away has none any more."""

    name = "invoices"
    facts = (
        InvoiceDrafted,
        InvoiceLineRecorded,
        InvoiceFinalized,
        InvoicePaymentFailed,
        InvoicePaid,
        InvoiceVoided,
        InvoiceMarkedUncollectible,
        InvoiceDeleted,
        InvoiceRefunded,
        PaymentRequested,
        PaymentSucceeded,
        PaymentQuarantined,
        PaymentRefunded,
    )
    tables = {"invoices": INVOICES, "invoice_lines": LINES}

    def nothing(self) -> Changes:
        """What happened to each document, in order."""
        return ({},)

    def fold(self, events: Sequence[Posted], changes: Changes) -> None:
        """By stream."""
        for position, stream, _, fact in events:
            changes[0].setdefault(stream, []).append((position, fact))

    def write(self, connection: Connection, changes: Changes) -> None:
        """Take each document through what happened to it."""
        moved = changes[0]
        streams = sorted(moved)
        known = connection.execute(self.sql(KNOWN), (streams,), binary=True)
        rows = {row[0]: Document(*row) for row in known}
        lines: list[Line] = []
        for stream in streams:
            row = rows.get(stream) or Document(stream)
            for position, fact in moved[stream]:
                row = _moved(row, fact, position)
                lines += _lines(row, fact, position)
                # What is no document yet is not stored, so nothing of it may outlast a fact.
                row = row if row.id else Document(stream)
            rows[stream] = row
        connection.execute(self.sql(REMOVE), (streams,))
        kept = sorted(row for row in rows.values() if row.id)
        self._insert(connection, INSERT, kept)
        self._insert(connection, INSERT_LINE, sorted(lines))

    def _insert(self, connection: Connection, statement: str, rows: Sequence[Any]) -> None:
        if rows:
            values = ", ".join(["%s"] * len(rows[0]))
            with connection.cursor() as cursor:
                cursor.executemany(self.sql(statement.replace("{values}", values)), rows)


def _moved(row: Document, fact: Fact, position: int) -> Document:
    row = row._replace(position=row.position or position, last_position=position)
    match fact:
        case InvoiceDrafted():
            return row._replace(
                id=fact.stripe_invoice_id,
                workspace_id=fact.workspace_id,
                kind=fact.kind,
                billing_reason=fact.billing_reason,
                currency=fact.currency,
                drafted_at=fact.drafted_at,
                period_start=fact.period_start,
                period_end=fact.period_end,
            )
        case InvoiceFinalized():
            return row._replace(
                status="open",
                number=fact.number,
                subtotal=fact.subtotal or fact.total - fact.tax,
                tax=fact.tax,
                total=fact.total,
                amount_due=fact.amount_due,
                hosted_url=fact.hosted_url,
                finalized_at=fact.finalized_at or fact.recorded_at,
            )
        case InvoicePaymentFailed():
            first = min(fact.failed_at, row.first_failed_at or fact.failed_at)
            failed = Failure(fact.attempt, fact.failed_at, fact.next_attempt_at, fact.decline_code)
            return row._replace(
                failures=msgspec.json.encode([*failures_of(row), failed]).decode(),
                first_failed_at=first,
                next_attempt_at=fact.next_attempt_at,
            )
        case InvoicePaid():
            return row._replace(
                status="paid",
                amount_paid=fact.amount_paid,
                paid_at=fact.paid_at,
                next_attempt_at=None,
            )
        case InvoiceVoided():
            return row._replace(status="void", next_attempt_at=None)
        case InvoiceMarkedUncollectible():
            return row._replace(status="uncollectible", next_attempt_at=None)
        case InvoiceDeleted():
            return Document(row.stream)
        case InvoiceRefunded():
            return row._replace(refunded=fact.cumulative)
    return _receipted(row, fact, position)


def _receipted(row: Document, fact: Fact, position: int) -> Document:
    """Receipts: of payments, from the moment at which they opened credits."""
    match fact:
        case PaymentRequested() if fact.kind in RECEIPTS:
            return row._replace(
                id=fact.payment_attempt_id,
                workspace_id=fact.workspace_id,
                billing_reason=fact.kind,
                payment_ref=fact.payment_ref,
                currency=fact.currency,
                drafted_at=fact.recorded_at,
            )
        case PaymentQuarantined() if not row.id:
            return row._replace(
                id=fact.payment_attempt_id,
                workspace_id=fact.workspace_id,
                currency=fact.currency,
                drafted_at=fact.recorded_at,
            )
        case PaymentSucceeded() if row.id:
            return _paid(row, fact.amount_received, fact.at, position)
        case PaymentRefunded():
            return row._replace(refunded=_minor(row, fact.cumulative))
    return row


def _minor(row: Document, micros: int) -> int:
    return round_half_even(micros, minor_of(row.currency))


def _paid(row: Document, micros: int, at: datetime, position: int) -> Document:
    total = row.total + _minor(row, micros)
    return row._replace(
        kind="receipt",
        status="paid",
        number=f"R-{row.id.removeprefix('pay_')[:12].upper()}",
        drafted_at=at,
        finalized_at=at,
        paid_at=at,
        subtotal=total,
        total=total,
        amount_due=total,
        amount_paid=total,
        position=position,
    )


def _lines(row: Document, fact: Fact, position: int) -> list[Line]:
    if isinstance(fact, InvoiceLineRecorded):
        return [
            Line(
                row.stream,
                fact.line_id,
                fact.kind,
                storable(fact.description),
                fact.quantity,
                fact.unit_amount_micros,
                fact.amount,
                fact.cycle_id,
                fact.bot_id,
                fact.plan_id,
                fact.plan_version,
                fact.period_start,
                fact.period_end,
                position,
            )
        ]
    if isinstance(fact, PaymentSucceeded) and row.id:
        return [_topped_up(row, "paid", fact.amount_received, position)]
    return []


def _topped_up(row: Document, line_id: str, micros: int, position: int) -> Line:
    amount = _minor(row, micros)
    bought = (row.stream, line_id, "topup", "Prepaid credits", 1, micros, amount)
    return Line(*bought, None, None, None, None, None, None, position)
