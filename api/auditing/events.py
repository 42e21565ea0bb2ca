"""`/v1/audit`: the facts themselves, and every number made again from them."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.auditing.explanation import explain
from api.auditing.rendering import ChargeExplained, explained
from api.call import Call, answer, enter
from api.facts import told
from api.openapi import documented, path_parameter, query
from api.reading import cursor_of, limit_of, number_of, position_of_cursor
from api.reads import newest_position
from domain.account.credit_facts import CreditAccountOpened
from domain.codec import decode_fact
from domain.contract.subscription import SubscriptionStarted, subscription_stream
from domain.errors import InvalidInput, NotFound
from domain.facts import aggregate_class
from domain.identity import account_id, parse_usage_id, stream_id
from domain.invoice.facts import InvoiceDrafted
from domain.payment.attempt import PaymentAttempt
from domain.payment.facts import (
    PaymentDisputed,
    PaymentQuarantined,
    PaymentRequested,
    attempt_id,
    attempt_stream,
)
from domain.workspace.workspace import WorkspaceCreated, workspace_stream

router = APIRouter(prefix="/v1/audit", tags=["audit"])

PAGE = 1_000
COLUMNS = """
    SELECT notification_id, originator_id, originator_version, topic, state, cause, kind,
           amount, balance_after FROM events
    WHERE notification_id > %(after)s AND notification_id <= %(to)s
      AND (%(kind)s::text IS NULL OR kind = %(kind)s)
"""
EVERY = COLUMNS + " ORDER BY notification_id LIMIT %(limit)s"
SOME = COLUMNS + (
    " AND originator_id = ANY(%(streams)s::uuid[]) ORDER BY notification_id LIMIT %(limit)s"
)
OPENED = """
    SELECT originator_id, topic, state FROM events
    WHERE originator_id = ANY(%s::uuid[]) AND originator_version = 1
"""


class AuditEvent(msgspec.Struct, frozen=True):
    """One fact at its place. `amount_micros` is signed, of facts that moved wallet money."""

    position: int
    stream: str
    stream_id: str
    version: int
    type: str
    cause: str
    actor: str
    correlation_id: str | None
    recorded_at: datetime
    amount_micros: int | None
    balance_after_micros: int | None
    data: dict[str, Any]


class AuditEvents(msgspec.Struct, frozen=True):
    """A page of facts in the order in which they were committed."""

    data: list[AuditEvent]
    has_more: bool
    next_cursor: str | None
    as_of_position: int


@router.get(
    "/events",
    **documented(
        "The facts",
        "audit:read",
        answers={200: AuditEvents},
        parameters=[
            query("stream", "Such as credit_account/ws_1"),
            query("type", "Such as Debited"),
            query("from_position", "The first position", kind="integer"),
            query("to_position", "The last position", kind="integer"),
            query("limit", "1 to 1000", kind="integer"),
            query("cursor", "Where to go on"),
        ],
        of="anything",
    ),
)
async def events(request: Request) -> Response:
    """Oldest first. A key of one workspace sees that workspace's streams."""
    call = await enter(request, "audit:read", "anything")
    limit = limit_of(request, PAGE, PAGE)
    first = number_of(request, "from_position", 0) or 0
    last = number_of(request, "to_position", 10**18)
    streams = _streams(call)
    newest = await newest_position(call.house)
    values = {
        "after": max(position_of_cursor(request), first - 1),
        "to": last,
        "kind": request.query_params.get("type"),
        "limit": limit + 1,
        "streams": streams,
    }
    async with call.house.pool.connection() as connection:
        cursor = await connection.execute(EVERY if streams is None else SOME, values)
        rows = await cursor.fetchall()
        ids = list({row[1] for row in rows[:limit]})
        names = {
            stream: _name(stream, decode_fact(topic, state))
            for stream, topic, state in await (await connection.execute(OPENED, (ids,))).fetchall()
        }
    more = len(rows) > limit
    asked = request.query_params.get("stream")
    data = [_event(row, asked or names[row[1]]) for row in rows[:limit]]
    following = cursor_of(data[-1].position) if more else None
    return answer(AuditEvents(data, more, following, newest))


def _event(row: tuple[Any, ...], stream: str) -> AuditEvent:
    position, stream_uuid, version, topic, state, cause, kind, amount, after = row
    fact = decode_fact(topic, state)
    return AuditEvent(
        position,
        stream,
        str(stream_uuid),
        version,
        kind,
        cause,
        fact.actor,
        fact.correlation_id,
        fact.recorded_at,
        amount,
        after,
        told(fact),
    )


def _name(stream: UUID, opened: object) -> str:
    """The stream as people call it; its first fact knows of what it is."""
    match opened:
        case CreditAccountOpened(workspace_id=name) | WorkspaceCreated(workspace_id=name):
            pass
        case SubscriptionStarted(workspace_id=name) | InvoiceDrafted(stripe_invoice_id=name):
            pass
        case PaymentRequested(payment_ref=str(name)):
            return f"payment_ref/{name}"
        case PaymentRequested() | PaymentQuarantined() | PaymentDisputed():
            name = attempt_id(stream)
        case _:
            name = str(stream)
            if stream in (stream_id(kind, "default") for kind in ("price_book", "plan_catalogue")):
                name = "default"
    return f"{aggregate_class(type(opened)).category}/{name}"  # type: ignore[arg-type]


def stream_of(name: str) -> UUID:
    """The stream that a name such as `credit_account/ws_1` or `subscription/{uuid}` means.

    :raises InvalidInput: it has no such form.
    """
    category, _, rest = name.partition("/")
    if not rest or not category.isidentifier():
        raise InvalidInput(("query", "stream"), "has the form credit_account/{workspace_id}")
    if category == PaymentAttempt.category:
        return attempt_stream(rest)
    try:
        return UUID(rest)
    except ValueError:
        return stream_id(category, rest)


def _streams(call: Call) -> list[UUID] | None:
    """The streams that were asked for, as far as the key may see them; None for all."""
    asked = call.request.query_params.get("stream")
    chosen = None if asked is None else stream_of(asked)
    workspace_id = call.workspace_id
    if not workspace_id:
        return None if chosen is None else [chosen]
    own = [
        account_id(workspace_id),
        workspace_stream(workspace_id),
        subscription_stream(workspace_id),
    ]
    if chosen is None:
        return own
    if chosen not in own and call.caller.workspace_id is not None:
        raise NotFound("stream", asked or "")
    return [chosen]


@router.get(
    "/charges/{usage_id}/explain",
    **documented(
        "Why one act cost what it cost",
        "audit:read",
        answers={200: ChargeExplained},
        parameters=[path_parameter("usage_id", "use_…")],
        of="anything",
    ),
)
async def explain_charge(request: Request) -> Response:
    """From its price, exactly, over the one rounding, to the grants that paid."""
    call = await enter(request, "audit:read", "anything")
    usage_id = request.path_params["usage_id"]
    book = call.house.ledger.book
    workspace_id = call.workspace_id
    place = parse_usage_id(usage_id)
    if not workspace_id and place is not None:
        opened = await book.find(place[0], 1)
        if opened is not None and isinstance(opened[0].fact, CreditAccountOpened):
            workspace_id = opened[0].fact.workspace_id
    explanation = await explain(book, workspace_id, usage_id)
    if explanation is None:
        raise NotFound("usage", usage_id)
    return answer(explained(workspace_id, explanation))
