"""Invoices as Stripe would have them, put into a ledger."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import msgspec

from adapters.postgres.database import Database
from domain.commands import Command, Stream
from domain.facts import Context
from domain.invoice.invoice import DocumentLine, Invoice, InvoiceDocument, invoice_stream
from domain.ledger import Ledger
from tests.adapters.postgres.writing import writing

START, END = datetime(2026, 6, 1, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC)
CYCLE = "sub_1:2026-06-01T00:00:00+00:00"
PLAN_LINE = DocumentLine(
    "il_plan",
    "plan",
    "Pro (July 2026)",
    4_000,
    unit_amount_micros=40_000_000,
    plan_id="pro",
    plan_version=1,
    period_start=END,
    period_end=datetime(2026, 8, 1, tzinfo=UTC),
)


def overage(bot: str, units: int, amount: int) -> DocumentLine:
    """What a bot used beyond the plan."""
    return DocumentLine(
        f"il_{bot}",
        "overage",
        "AI credits beyond the plan",
        amount,
        units,
        15_000,
        CYCLE,
        bot,
        "pro",
        1,
        START,
        END,
    )


LINES = (PLAN_LINE, overage("b1", 60, 90), overage("b2", 41, 61), overage("b3", 22, 33))
"""Scenario S66: $40.00, and $1.845 of overage that is $1.84."""


def invoice(workspace: str, id: str = "in_1", **changes: object) -> InvoiceDocument:
    """S66's invoice, open."""
    lines = changes.get("lines", LINES)
    assert isinstance(lines, tuple)
    total = sum(line.amount for line in lines)
    document = InvoiceDocument(
        id=id,
        status="open",
        workspace_id=workspace,
        subscription_id="sub_stripe",
        customer_id="cus_1",
        billing_reason="subscription_cycle",
        period_start=START,
        period_end=END,
        currency="usd",
        created=END,
        number=f"DB-{id}",
        subtotal=total,
        total=total,
        amount_due=total,
        hosted_url=f"https://stripe.example/{id}",
        finalized_at=END,
        lines=LINES,
    )
    return msgspec.structs.replace(document, **changes)


def mirrored(database: Database, *documents: InvoiceDocument, failed: int = 0) -> None:
    """Take in what Stripe has, one after the other; then so many failed attempts of the last."""

    async def take_in() -> None:
        async with writing(database) as writer:
            book = Ledger(writer).book
            for number, document in enumerate(documents):
                at = Context(END + timedelta(minutes=number), "stripe")
                await book.submit(
                    Command(
                        (Stream(Invoice, invoice_stream(document.id)),),
                        lambda mine, d=document, c=at: mine.mirror(d, c),
                    )
                )
            for attempt in range(1, failed + 1):
                at = Context(END + timedelta(days=attempt), "stripe")
                await book.submit(
                    Command(
                        (Stream(Invoice, invoice_stream(documents[-1].id)),),
                        lambda mine, n=attempt, c=at: mine.note_failure(
                            f"evt_{n}", c.now, n, c, decline_code="insufficient_funds"
                        ),
                    )
                )

    asyncio.run(take_in())
