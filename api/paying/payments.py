"""`/v1/admin/payments`: every attempt to bring money in, and money that nobody can explain."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Literal, get_args

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.call import answer, enter, parse, read_body
from api.idempotency import Answer, once
from api.openapi import documented, path_parameter, query
from api.reading import cursor_of, limit_of, position_of_cursor
from api.reads import reading
from api.words import Reference
from domain.account.usage import Label
from domain.errors import InvalidInput
from domain.money import usd
from domain.payment.facts import Remedy
from projections import payments

router = APIRouter(prefix="/v1/admin/payments", tags=["admin"])

Status = Literal[
    "requested",
    "submitted",
    "requires_action",
    "succeeded",
    "failed",
    "abandoned",
    "quarantined",
]
STATUSES: tuple[str, ...] = get_args(Status)


class PaymentView(msgspec.Struct, frozen=True):
    """One attempt. `quarantined_usd` waits for an administrator, and `doubt` says why."""

    payment_attempt_id: str
    workspace_id: str
    kind: str | None
    status: str
    amount_usd: Decimal
    currency: str
    received_usd: Decimal
    refunded_usd: Decimal
    withdrawn_usd: Decimal
    quarantined_usd: Decimal
    doubt: str | None
    dispute: str | None
    payment_ref: str | None
    stripe_payment_intent: str | None
    stripe_session: str | None
    code: str | None
    decline_code: str | None
    requested_at: datetime | None
    settled_at: datetime | None


class PaymentList(msgspec.Struct, frozen=True):
    """A page, newest first."""

    data: list[PaymentView]
    has_more: bool
    next_cursor: str | None
    as_of_position: int


class Resolution(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What money in quarantine is: to be `credited` here and now, `refunded` at Stripe by
    whoever decides, or neither (`dismissed`). The intent is needed where several wait."""

    remedy: Remedy
    ticket_ref: Reference
    stripe_payment_intent: Label | None = None


class Resolved(msgspec.Struct, frozen=True):
    """The attempt and the balance afterwards."""

    payment_attempt_id: str
    workspace_id: str
    status: str
    balance_micros: int
    balance_usd: Decimal
    still_quarantined: int


_resolution = msgspec.json.Decoder(Resolution)


@router.get(
    "",
    **documented(
        "List payments",
        "admin",
        answers={200: PaymentList},
        parameters=[
            query("status", "Only these; `quarantined`: money that waits", enum=STATUSES),
            query("workspace_id", "Only of this workspace"),
            query("limit", "1 to 100", kind="integer"),
            query("cursor", "Where to go on"),
            query("min_position", "Wait until this position is in it", kind="integer"),
        ],
        of="deployment",
    ),
)
async def every(request: Request) -> Response:
    """Of all workspaces, newest first."""
    call = await enter(request, "admin", "deployment")
    status = request.query_params.get("status")
    if status is not None and status not in STATUSES:
        raise InvalidInput(("query", "status"), f"is one of {', '.join(STATUSES)}")
    limit = limit_of(request)
    async with reading(call, "payments") as (connection, position):
        rows = await payments.page(
            connection,
            workspace_id=request.query_params.get("workspace_id"),
            status=status,
            before=position_of_cursor(request) or None,
            limit=limit + 1,
        )
    more = len(rows) > limit
    cursor = cursor_of(rows[limit - 1].position) if more else None
    return answer(PaymentList([_view(row) for row in rows[:limit]], more, cursor, position))


@router.post(
    "/{payment_attempt_id}/resolve",
    **documented(
        "Decide what money in quarantine is",
        "admin",
        body=Resolution,
        answers={200: Resolved},
        examples={"ours": {"remedy": "credited", "ticket_ref": "T-12"}},
        parameters=[path_parameter("payment_attempt_id", "pay_1")],
        keyed=True,
        of="deployment",
    ),
)
async def resolve(request: Request) -> Response:
    """409 where none of the payment's money waits, or it cannot be credited."""
    call = await enter(request, "admin", "deployment")
    body = await read_body(request)
    asked = parse(_resolution, body)

    async def act(_: str) -> Answer:
        paid = await call.house.ledger.resolve_payment(
            request.path_params["payment_attempt_id"],
            asked.stripe_payment_intent,
            asked.remedy,
            asked.ticket_ref,
            await call.context(),
        )
        attempt = paid.attempt
        view = Resolved(
            attempt.payment_attempt_id,
            attempt.workspace_id,
            attempt.status,
            paid.balance,
            usd(paid.balance),
            len(attempt.quarantined),
        )
        return Answer(view, paid.position)

    return await once(call, body, act, required=True)


def _view(row: payments.Payment) -> PaymentView:
    return PaymentView(
        row.payment_attempt_id,
        row.workspace_id,
        row.kind or None,
        row.status,
        usd(row.amount),
        row.currency,
        usd(row.received),
        usd(row.refunded),
        usd(row.withdrawn),
        usd(row.quarantined),
        row.doubt,
        row.dispute,
        row.payment_ref,
        row.stripe_payment_intent,
        row.stripe_session,
        row.code,
        row.decline_code,
        row.requested_at,
        row.settled_at,
    )
