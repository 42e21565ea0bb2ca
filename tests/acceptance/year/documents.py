"""The invoices of the year, three times over: as our events mirror them, as Stripe has them, and
as customers are shown them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from adapters.stripe.sandbox.books import Books
from tests.acceptance.year.journal import Entry, Journal, moment
from tests.api.conftest import Served

SETTLING = {
    "InvoicePaid": "paid",
    "InvoiceVoided": "void",
    "InvoiceMarkedUncollectible": "uncollectible",
}


@dataclass
class Line:
    """Cents, and for overage whose and in which cycle."""

    kind: str
    amount: int
    starts: datetime | None = None
    cycle: str | None = None
    bot: str | None = None
    units: int | None = None

    @property
    def key(self) -> tuple[object, ...]:
        """What must be the same in all books."""
        return (self.kind, self.amount, self.cycle or "", self.bot or "")


@dataclass
class Document:
    """An invoice in one of the three books; cents."""

    id: str
    subscription: str
    reason: str
    at: datetime
    status: str
    total: int = 0
    paid: int = 0
    lines: list[Line] = field(default_factory=list)
    first_failed_at: datetime | None = None

    @property
    def of_contract(self) -> list[int]:
        """The cents of its lines that are no overage."""
        return [line.amount for line in self.lines if line.kind != "overage"]

    def differs(self, other: Document) -> str:
        """What another book says otherwise; nothing if they agree."""
        if self.status == other.status == "draft":
            return ""  # it may change yet; its figures are taken in when it is final
        told = []
        for name in ("subscription", "reason", "status", "total", "paid"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                told.append(f"{name} {mine} / {theirs}")
        mine, theirs = (sorted(line.key for line in one.lines) for one in (self, other))
        if mine != theirs:
            told.append(f"lines {mine} / {theirs}")
        return ", ".join(told)


def mirrored(journal: Journal, workspace: str) -> dict[str, Document]:
    """As our events tell of them."""
    found: dict[str, Document] = {}
    for entry in journal.by_workspace.get(workspace, ()):
        if entry.kind == "InvoiceDrafted":
            data = entry.data
            found[entry.stream] = Document(
                data["stripe_invoice_id"],
                data.get("subscription_id") or "",
                data["billing_reason"],
                moment(data["drafted_at"]),
                "draft",
            )
        elif entry.stream in found:
            _mirror(found[entry.stream], entry)
    return {document.id: document for document in found.values()}


def _mirror(document: Document, entry: Entry) -> None:
    data = entry.data
    if entry.kind == "InvoiceLineRecorded":
        starts = moment(data["period_start"]) if data.get("period_start") else None
        document.lines.append(
            Line(
                data["kind"],
                data["amount"],
                starts,
                data.get("cycle_id"),
                data.get("bot_id"),
                data.get("quantity", 1),
            )
        )
    elif entry.kind == "InvoiceFinalized":
        document.status, document.total = "open", data["total"]
    elif entry.kind == "InvoicePaymentFailed":
        failed = moment(data["failed_at"])
        first = document.first_failed_at
        document.first_failed_at = failed if first is None else min(first, failed)
    elif entry.kind in SETTLING:
        document.status = SETTLING[entry.kind]
        document.paid = data.get("amount_paid", 0)


def at_stripe(books: Books, workspace: str) -> dict[str, Document]:
    """As Stripe has them."""
    found: dict[str, Document] = {}
    for customer in books.find("customer", metadata__workspace_id=workspace):
        for invoice in books.find("invoice", customer=customer["id"]):
            parent = invoice["parent"] or {}
            subscription = (parent.get("subscription_details") or {}).get("subscription") or ""
            found[invoice["id"]] = Document(
                invoice["id"],
                subscription,
                invoice["billing_reason"],
                datetime.fromtimestamp(invoice["created"], UTC),
                invoice["status"],
                invoice["total"],
                invoice["amount_paid"],
                [_line(one) for one in books.find("line_item", invoice=invoice["id"])],
            )
    return found


def _line(one: dict[str, Any]) -> Line:
    metadata, starts = one["metadata"], datetime.fromtimestamp(one["period"]["start"], UTC)
    if metadata.get("kind") == "overage":
        units = int(metadata["units"])
        bot, cycle = metadata.get("bot_id"), metadata["cycle_id"]
        return Line("overage", one["amount"], starts, cycle, bot, units)
    parent = one["parent"] or {}
    details = parent.get(parent.get("type", "")) or {}
    return Line("proration" if details.get("proration") else "plan", one["amount"], starts)


def shown(app: Served, workspace: str) -> dict[str, Document]:
    """As customers are shown them, receipts left out."""
    found: dict[str, Document] = {}
    for view in pages(lambda **query: app.get("/v1/billing/invoices", workspace, **query)):
        if view["kind"] != "receipt":
            lines = [
                Line(one["kind"], one["amount_minor"], None, one["cycle_id"], one["bot_id"])
                for one in view["lines"]
            ]
            found[view["id"]] = Document(
                view["id"],
                "",
                view["billing_reason"],
                moment(view["created_at"]),
                view["status"],
                view["total_minor"],
                view["amount_paid_minor"],
                lines,
            )
    return found


def pages(get: Callable[..., Any]) -> list[Any]:
    """All of a list that comes in pages."""
    found: list[Any] = []
    more: dict[str, Any] = {}
    while True:
        page = get(limit=100, **more)
        found += page["data"]
        if not page["has_more"]:
            return found
        more = {"cursor": page["next_cursor"]}
