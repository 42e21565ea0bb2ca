"""`/v1/audit`: the facts themselves, and every number made again from them."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.auditing.evidence import evidence
from api.auditing.explanation import explain, owner_of
from api.auditing.rendering import ChargeExplained, explained
from api.auditing.streams import asked_stream, names_of, own_streams
from api.call import answer, enter
from api.facts import told
from api.openapi import documented, path_parameter, query
from api.reading import cursor_of, instant_of, limit_of, number_of, position_of_cursor
from api.reads import newest_position, reached
from domain.codec import decode_fact
from domain.errors import NotFound
from projections.event_hash import COLUMNS, hashed
from projections.trail_window import trail_window

router = APIRouter(prefix="/v1/audit", tags=["audit"])

PAGE = 1_000
BETWEEN = f"""
    SELECT {COLUMNS} FROM events
    WHERE notification_id > %(after)s AND notification_id <= %(to)s
      AND (%(kind)s::text IS NULL OR kind = %(kind)s)
"""  # noqa: S608 - names of ours
RECORDED = "(convert_from(state, 'UTF8')::jsonb ->> 'at')::timestamptz"
SINCE, UNTIL = f" AND {RECORDED} >= %(since)s", f" AND {RECORDED} < %(until)s"
WITHIN = """ AND notification_id >= %(first)s
      AND (notification_id <= %(last)s OR notification_id > %(chained)s)"""
OF = " AND originator_id = ANY(%(streams)s::uuid[])"
IN_ORDER = " ORDER BY notification_id LIMIT %(limit)s"


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
    event_hash: str  # SHA-256 in hexadecimal, as the audit trail chains it
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
            query("from", "Recorded at or after this time"),
            query("to", "Recorded before this time"),
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
    asked = request.query_params.get("stream")
    stream = await asked_stream(call, asked)
    values: dict[str, Any] = {
        "after": max(position_of_cursor(request), first - 1),
        "to": number_of(request, "to_position", 10**18),
        "since": instant_of(request, "from"),
        "until": instant_of(request, "to"),
        "kind": request.query_params.get("type"),
        "limit": limit + 1,
    }
    if stream is None and call.workspace_id and call.least:
        await reached(call.house, call.least, ("payments", "invoices"))
    newest = await newest_position(call.house)
    async with call.house.pool.connection() as connection:
        if stream is not None:
            values["streams"] = [stream]
        elif call.workspace_id:
            values["streams"] = await own_streams(connection, call.workspace_id)
        since, until = values["since"], values["until"]
        is_timed = since is not None or until is not None
        if is_timed:
            window = await trail_window(connection, values["after"], since, until)
            values |= window._asdict()
        query = "".join(
            [
                BETWEEN,
                *([WITHIN] if is_timed else []),
                *([SINCE] if since is not None else []),
                *([UNTIL] if until is not None else []),
                *([OF] if "streams" in values else []),
                IN_ORDER,
            ]
        )
        cursor = await connection.execute(query.encode(), values)
        rows = await cursor.fetchall()
        names = await names_of(connection, [UUID(bytes=row[1]) for row in rows[:limit]])
    more = len(rows) > limit
    data = [_event(row, asked or names[UUID(bytes=row[1])]) for row in rows[:limit]]
    following = cursor_of(data[-1].position) if more else None
    return answer(AuditEvents(data, more, following, newest))


def _event(row: tuple[Any, ...], stream: str) -> AuditEvent:
    position, stream_id, version, topic, state, kind, cause, amount, after = row
    fact = decode_fact(topic, state)
    return AuditEvent(
        position,
        stream,
        str(UUID(bytes=stream_id)),
        version,
        kind,
        cause,
        fact.actor,
        fact.correlation_id,
        fact.recorded_at,
        amount,
        after,
        hashed(row).event_hash.hex(),
        told(fact),
    )


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
    workspace_id = call.workspace_id or await owner_of(book, usage_id)
    explanation = await explain(book, workspace_id, usage_id)
    if explanation is None:
        raise NotFound("usage", usage_id)
    async with call.house.pool.connection() as connection:
        around = await evidence(connection, workspace_id, explanation)
    return answer(explained(workspace_id, explanation, around))
