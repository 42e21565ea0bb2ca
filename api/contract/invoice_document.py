"""What stands on an invoice or a receipt, from what the read model knows of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

from adapters.invoice_pdf import Party, Printed, PrintedLine, PrintedTotal, amount, unit_price
from domain.catalogue.catalogue import Catalogue
from projections.documents import Document, Line

TITLES = {"receipt": "Receipt"}
STAMPS = {"draft": "Draft", "paid": "Paid", "void": "Void", "uncollectible": "Uncollectible"}
NAMES = {
    "subscription": "Subscription",
    "overage": "Usage beyond the plan",
    "receipt": "Prepaid credits",
}


def printed(document: Document, lines: Sequence[Line], catalogue: Catalogue, buyer: str) -> Printed:
    """The document for people. ``buyer`` is the workspace's name; nothing else of it is known."""
    issued = document.finalized_at or document.drafted_at
    assert issued is not None
    return Printed(
        TITLES.get(document.kind, "Invoice"),
        document.number or document.id,
        issued.date(),
        _seller(catalogue),
        Party(buyer, (f"Workspace {document.workspace_id}",)),
        tuple(_facts(document, issued)),
        tuple(_line(line, document.currency) for line in lines),
        tuple(_totals(document)),
        tuple(_notes(document, catalogue)),
        STAMPS.get(document.status),
    )


def _seller(catalogue: Catalogue) -> Party:
    seller = catalogue.seller
    if seller is None:
        return Party(catalogue.catalogue)
    tax = (f"Tax ID {seller.tax_id}",) if seller.tax_id else ()
    return Party(seller.name, (*seller.address, *tax))


def _facts(document: Document, issued: datetime) -> list[tuple[str, str]]:
    facts = [("Number", document.number or "not issued yet"), ("Date", day(issued))]
    if document.period_start and document.period_end:
        facts.append(("Period", between(document.period_start, document.period_end)))
    if document.payment_ref:
        facts.append(("Payment reference", document.payment_ref))
    if document.paid_at:
        facts.append(("Paid", day(document.paid_at)))
    facts.append(("For", NAMES.get(document.kind, document.kind)))
    facts.append(("Currency", document.currency.upper()))
    facts.append(("Reference", document.id))
    return facts


def _line(line: Line, currency: str) -> PrintedLine:
    details = []
    if line.bot_id:
        details.append(f"Bot {line.bot_id}")
    if line.period_start and line.period_end:
        details.append(between(line.period_start, line.period_end))
    if line.cycle_id:
        details.append(f"Cycle {line.cycle_id}")
    return PrintedLine(
        line.description,
        f"{line.quantity:,}",
        unit_price(line.unit_amount, currency),
        amount(line.amount, currency),
        (" · ".join(details),) if details else (),
    )


def _totals(document: Document) -> list[PrintedTotal]:
    currency = document.currency
    owed = 0 if document.status in ("paid", "void") else document.amount_due
    totals = [
        PrintedTotal("Subtotal", amount(document.subtotal, currency)),
        PrintedTotal("Tax", amount(document.tax, currency)),
        PrintedTotal("Total", amount(document.total, currency), True),
    ]
    if document.amount_paid:
        totals.append(PrintedTotal("Paid", amount(document.amount_paid, currency)))
    if document.refunded:
        totals.append(PrintedTotal("Refunded", amount(document.refunded, currency)))
    return [*totals, PrintedTotal("Amount due", amount(owed, currency), True)]


def _notes(document: Document, catalogue: Catalogue) -> list[str]:
    notes = []
    if document.kind == "receipt":
        notes.append("Prepaid credits are used up as services are consumed.")
    if document.status == "draft":
        notes.append("This is a draft: it has no number yet, and may change.")
    if catalogue.seller is not None and catalogue.seller.note:
        notes.append(catalogue.seller.note)
    return notes


def day(at: datetime | date) -> str:
    """A date as people write it: 1 July 2026."""
    return f"{at.day} {at:%B %Y}"


def between(start: datetime, end: datetime) -> str:
    """A period as people write it; it ends before the second date."""
    return f"{day(start)} – {day(end)}"
