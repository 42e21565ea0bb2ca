"""`/v1/billing/invoices`: invoices of subscriptions and of usage, and receipts for top-ups."""

from __future__ import annotations

import asyncio
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from adapters.invoice_pdf import pdf
from api.call import Call, answer, enter
from api.contract.invoice_document import printed
from api.openapi import documented, path_parameter, query
from api.reading import cursor_of, limit_of, position_of_cursor
from api.reads import reading
from domain.errors import InvalidInput, NotFound
from domain.money import usd
from projections import invoice_list, workspaces
from projections.documents import Document, Line, failures_of

PATH = "/v1/billing/invoices"
router = APIRouter(prefix=PATH, tags=["billing"])

STATUSES = ("draft", "open", "paid", "void", "uncollectible")
KINDS = ("subscription", "overage", "receipt")
MODEL = "invoices"
INVOICE = [path_parameter("invoice_id", "in_1")]
WAIT = query("min_position", "Wait until this position is in it", kind="integer")


class InvoiceLineView(msgspec.Struct, frozen=True):
    """A line. `unit_price_usd` is for one of `quantity`, exactly; `amount_minor` is what counts,
    in cents."""

    id: str
    kind: str
    description: str
    quantity: int
    unit_price_usd: Decimal | None
    amount_minor: int
    cycle_id: str | None
    bot_id: str | None
    plan: str | None
    plan_version: int | None
    period_start: datetime | None
    period_end: datetime | None


class InvoiceAttempt(msgspec.Struct, frozen=True):
    """An attempt to collect it that failed."""

    attempt: int
    failed_at: datetime
    next_attempt_at: datetime | None
    decline_code: str | None


class InvoiceView(msgspec.Struct, frozen=True):
    """An invoice or a receipt, in cents; its lines add up to `subtotal_minor`."""

    id: str
    number: str | None
    status: str
    kind: str
    billing_reason: str | None
    payment_ref: str | None
    created_at: datetime | None
    finalized_at: datetime | None
    paid_at: datetime | None
    period_start: datetime | None
    period_end: datetime | None
    subtotal_minor: int
    tax_minor: int
    total_minor: int
    amount_due_minor: int
    amount_paid_minor: int
    refunded_minor: int
    currency: str
    hosted_url: str | None
    pdf_url: str
    first_failed_at: datetime | None
    next_attempt_at: datetime | None
    attempts: list[InvoiceAttempt]
    lines: list[InvoiceLineView]


class InvoicePage(msgspec.Struct, frozen=True):
    """Invoices and receipts, the newest first."""

    data: list[InvoiceView]
    has_more: bool
    next_cursor: str | None
    as_of_position: int


@router.get(
    "",
    **documented(
        "Invoices and receipts",
        "billing:read",
        answers={200: InvoicePage},
        parameters=[
            query("status", "Only these", enum=STATUSES),
            query("kind", "Only these", enum=KINDS),
            query("limit", "1 to 100; 20 if left out", kind="integer"),
            query("cursor", "next_cursor of the page before"),
            WAIT,
        ],
    ),
)
async def page(request: Request) -> Response:
    """The newest first. A receipt appears when the payment has opened credits."""
    call = await enter(request, "billing:read")
    status, kind = _one_of(call, "status", STATUSES), _one_of(call, "kind", KINDS)
    limit, before = limit_of(request), position_of_cursor(request) or None
    async with reading(call, MODEL) as (connection, position):
        if not before and not await workspaces.tenant(connection, call.workspace_id):
            await call.house.ledger.account(call.workspace_id)
        found = await invoice_list.page(
            connection,
            call.workspace_id,
            status=status,
            kind=kind,
            before=before,
            limit=limit + 1,
        )
        shown = found[:limit]
        lines = await invoice_list.lines(connection, shown)
    more = len(found) > limit
    data = [view(one, lines[one.id]) for one in shown]
    cursor = cursor_of(shown[-1].position) if more else None
    return answer(InvoicePage(data, more, cursor, position))


@router.get(
    "/{invoice_id}",
    **documented(
        "An invoice or a receipt",
        "billing:read",
        answers={200: InvoiceView},
        parameters=[*INVOICE, WAIT],
    ),
)
async def one(request: Request) -> Response:
    """With all its lines."""
    call = await enter(request, "billing:read")
    return answer(view(*await _found(call)))


@router.get(
    "/{invoice_id}/pdf",
    **documented(
        "An invoice or a receipt as PDF",
        "billing:read",
        answers={200: bytes},
        parameters=[*INVOICE, WAIT],
        media="application/pdf",
    ),
)
async def as_pdf(request: Request) -> Response:
    """For the archive: the same document gives the same file."""
    call = await enter(request, "billing:read")
    document, lines = await _found(call)
    plans = await call.house.ledger.plans()
    async with call.house.pool.connection() as connection:
        tenant = await workspaces.tenant(connection, call.workspace_id)
    name = tenant.name if tenant else call.workspace_id
    made = await asyncio.to_thread(pdf, printed(document, lines, plans.current, name))
    filename = f"{document.kind}-{document.number or document.id}.pdf"
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in filename)
    headers = {"Content-Disposition": f'inline; filename="{safe}"'}
    return Response(made, headers=headers, media_type="application/pdf")


async def _found(call: Call) -> tuple[Document, list[Line]]:
    invoice_id = call.request.path_params["invoice_id"]
    async with reading(call, MODEL) as (connection, _):
        document = await invoice_list.find(connection, call.workspace_id, invoice_id)
        if document is None:
            raise NotFound("invoice", invoice_id)
        lines = await invoice_list.lines(connection, [document])
    return document, lines[document.id]


def _one_of(call: Call, name: str, known: tuple[str, ...]) -> str | None:
    value = call.request.query_params.get(name)
    if value is not None and value not in known:
        raise InvalidInput(("query", name), f"must be one of {', '.join(known)}")
    return value


def view(document: Document, lines: list[Line]) -> InvoiceView:
    """A document as it is shown."""
    derived: dict[str, Any] = {
        "created_at": document.drafted_at,
        "subtotal_minor": document.subtotal,
        "tax_minor": document.tax,
        "total_minor": document.total,
        "amount_due_minor": document.amount_due,
        "amount_paid_minor": document.amount_paid,
        "refunded_minor": document.refunded,
        "pdf_url": f"{PATH}/{document.id}/pdf",
        "attempts": [
            InvoiceAttempt(one.attempt, one.failed_at, one.next_attempt_at, one.decline_code)
            for one in failures_of(document)
        ],
        "lines": [_line(line) for line in lines],
    }
    same = {n: getattr(document, n) for n in InvoiceView.__struct_fields__ if n not in derived}
    return InvoiceView(**derived, **same)


def _line(line: Line) -> InvoiceLineView:
    return InvoiceLineView(
        line.line_id,
        line.kind,
        line.description,
        line.quantity,
        None if line.unit_amount is None else usd(line.unit_amount),
        line.amount,
        line.cycle_id,
        line.bot_id,
        line.plan_id,
        line.plan_version,
        line.period_start,
        line.period_end,
    )
