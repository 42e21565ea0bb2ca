"""The auditor's own account of invoices and payments, from all events, against their tables: the
lines of an invoice add up to it, and every payment opened the credits that it paid for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast
from uuid import UUID

from psycopg import Connection

from domain.account.credit_facts import Credited
from domain.facts import Fact, aggregate_class
from domain.invoice.facts import InvoiceFinalized, InvoiceLineRecorded, InvoicePaid
from domain.invoice.invoice import Invoice
from domain.payment.attempt import PaymentAttempt
from domain.payment.facts import PaymentSucceeded, attempt_stream
from projections.account_check import Finding

INVOICE_KINDS = ("subscription", "overage")
INVOICES = f"""
    SELECT i.stream, i.status, i.total, i.amount_paid, i.refunded,
           coalesce((SELECT sum(amount) FROM invoice_lines l WHERE l.stream = i.stream), 0)::bigint
    FROM invoices i WHERE i.kind IN {INVOICE_KINDS}
"""  # noqa: S608 - names of ours
INVOICE_FIELDS = ("status", "total", "amount_paid", "refunded", "lines")
PAYMENTS = "SELECT stream, status, amount, received, refunded FROM payments"
PAYMENT_FIELDS = ("status", "amount", "received", "refunded")
CREDITED = ("card_topup", "auto_topup", "manual_payment_ref")
OPENS_CREDITS = ("topup", "auto_topup", "manual", None)


class InvoiceCheck:
    """Folds every invoice with the domain's own code, and adds up its lines."""

    def __init__(self) -> None:
        self._invoices: dict[UUID, Invoice] = {}
        self._lines: dict[UUID, int] = {}
        self._final: dict[UUID, tuple[int, int]] = {}  # total, subtotal
        self._paid: dict[UUID, int] = {}

    def take(
        self, position: int, stream: UUID, version: int, fact: Fact, columns: tuple[Any, ...]
    ) -> None:
        """Fold what happened to an invoice."""
        if aggregate_class(type(fact)) is not Invoice:
            return
        invoice = self._invoices.setdefault(stream, Invoice(stream))
        invoice.fold(fact, version)
        match fact:
            case InvoiceLineRecorded(amount=amount):
                self._lines[stream] = self._lines.get(stream, 0) + amount
            case InvoiceFinalized(total=total, tax=tax, subtotal=subtotal):
                self._final[stream] = (total, subtotal or total - tax)
            case InvoicePaid(amount_paid=paid):
                self._paid[stream] = paid

    def differences(self, connection: Connection[Any]) -> Iterator[Finding]:
        """Every invoice that the table puts otherwise, or whose lines do not add up."""
        written = {row[0]: row[1:] for row in connection.execute(INVOICES)}
        for stream, invoice in self._invoices.items():
            if invoice.status == "deleted":
                continue
            total, subtotal = self._final.get(stream, (0, 0))
            lines = self._lines.get(stream, 0)
            if lines != subtotal:
                yield stream, f"{invoice.stripe_invoice_id}: lines - subtotal", lines, subtotal
            facts = (invoice.status, total, self._paid.get(stream, 0), invoice.refunded, lines)
            name = invoice.stripe_invoice_id
            yield from _compared(stream, name, INVOICE_FIELDS, written.pop(stream, None), facts)
        for stream, row in written.items():
            yield stream, "invoice", row[1], None


class PaymentCheck:
    """Folds every attempt with the domain's own code, and adds up what it was credited."""

    def __init__(self) -> None:
        self._attempts: dict[UUID, PaymentAttempt] = {}
        self._received: dict[UUID, int] = {}
        self._credited: dict[UUID, int] = {}

    def take(
        self, position: int, stream: UUID, version: int, fact: Fact, columns: tuple[Any, ...]
    ) -> None:
        """Fold what happened to an attempt, and note the credits that name one."""
        if type(fact) is Credited:
            if fact.source in CREDITED and fact.payment_attempt_id is not None:
                place = attempt_stream(fact.payment_attempt_id)
                self._credited[place] = self._credited.get(place, 0) + fact.amount
            return
        if aggregate_class(type(fact)) is not PaymentAttempt:
            return
        self._attempts.setdefault(stream, PaymentAttempt(stream)).fold(fact, version)
        if type(fact) is PaymentSucceeded:
            self._received[stream] = self._received.get(stream, 0) + fact.amount_received

    def differences(self, connection: Connection[Any]) -> Iterator[Finding]:
        """Every attempt that the table puts otherwise, or that was credited another amount."""
        written = {row[0]: row[1:] for row in connection.execute(PAYMENTS)}
        for stream, attempt in self._attempts.items():
            name, received = attempt.payment_attempt_id, self._received.get(stream, 0)
            credited = self._credited.pop(stream, 0)
            if attempt.kind in OPENS_CREDITS and credited != received:
                yield stream, f"{name}: credited - received", credited, received
            facts = (attempt.status, attempt.amount, received, attempt.refunded)
            yield from _compared(stream, name, PAYMENT_FIELDS, written.pop(stream, None), facts)
        for stream, row in written.items():
            yield stream, "payment", row[1], None
        for stream, credited in self._credited.items():
            yield stream, "credited without a payment", credited, None


def _compared(
    stream: UUID,
    name: str,
    fields: tuple[str, ...],
    row: tuple[object, ...] | None,
    facts: tuple[object, ...],
) -> Iterator[Finding]:
    written = row if row is not None else cast("tuple[object, ...]", (None,) * len(fields))
    for field, projected, replayed in zip(fields, written, facts, strict=True):
        if projected != replayed:
            yield stream, f"{name}: {field}", projected, replayed
