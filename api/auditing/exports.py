"""`/v1/audit/export`: the log as files that other people's programs read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain, islice
from typing import Any

import psycopg
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from api.auditing import formats
from api.auditing.streams import own_streams
from api.call import Call, enter
from api.freshness import LOOK_S, PATIENCE_S
from api.openapi import documented, query
from api.reading import instant_of, number_of
from api.reads import newest_position, reached
from api.refusals import ProjectionLagging
from domain.errors import InvalidInput
from projections import beancount, exporting
from projections.audit_trail import CHAINED
from projections.exporting import TABLES, Window

router = APIRouter(prefix="/v1/audit", tags=["audit"])

MEDIA = {
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
    "beancount": "text/plain; charset=utf-8",
}
AT_ONCE = 500
"""Entries in one piece."""


@router.get(
    "/export",
    **documented(
        "Export the log",
        "audit:read",
        answers={200: bytes},
        parameters=[
            query("format", "csv unless named", enum=tuple(MEDIA)),
            query(
                "table", "The journal unless named; beancount is the journal", enum=tuple(TABLES)
            ),
            query("from", "Recorded at or after this time"),
            query("to", "Recorded before this time"),
            query("from_position", "The first position", kind="integer"),
            query("to_position", "The last position", kind="integer"),
        ],
        of="anything",
        media="text/csv",
    ),
)
async def export(request: Request) -> Response:
    """Streamed, in order of position, of one snapshot. A key of one workspace gets its own."""
    call = await enter(request, "audit:read", "anything")
    kind = _one_of(request, "format", tuple(MEDIA))
    table = _one_of(request, "table", tuple(TABLES))
    if kind == "beancount" and table != "journal":
        raise InvalidInput(("query", "table"), "is journal where the format is beancount")
    first = number_of(request, "from_position", 0) or 0
    streams = await _streams(call)
    window = Window(
        max(first - 1, 0),
        number_of(request, "to_position", 10**18) or 0,
        instant_of(request, "from"),
        instant_of(request, "to"),
        streams,
    )
    newest = await newest_position(call.house)
    await _wait(call, table)
    conninfo = call.house.settings.database.conninfo(application_name="daybook-export")
    pieces = _pieces(conninfo, kind, table, window)
    # The first piece before the answer begins: what goes wrong until then is a problem yet.
    begun = await asyncio.to_thread(next, pieces, b"")
    ending = "beancount" if kind == "beancount" else kind
    return StreamingResponse(
        chain([begun], pieces),
        media_type=MEDIA[kind],
        headers={
            "Content-Disposition": f'attachment; filename="{table}.{ending}"',
            "X-Ledger-Position": str(newest),
        },
    )


def _one_of(request: Request, name: str, known: tuple[str, ...]) -> str:
    chosen = request.query_params.get(name, known[0])
    if chosen not in known:
        raise InvalidInput(("query", name), f"is one of {', '.join(known)}")
    return chosen


async def _streams(call: Call) -> list[Any] | None:
    if not call.workspace_id:
        return None
    if call.least:
        await reached(call.house, call.least, ("payments", "invoices"))
    async with call.house.pool.connection() as connection:
        return await own_streams(connection, call.workspace_id)


async def _wait(call: Call, table: str) -> None:
    """Until what is exported contains the position that was asked for."""
    if not call.least or table == "journal":  # which is folded from the events themselves
        return
    if table == "usage_events":
        await reached(call.house, call.least, ("usage_events", "balances"))
        return
    until = time.monotonic() + PATIENCE_S
    async with call.house.pool.connection() as connection:
        while True:
            row = await (await connection.execute(CHAINED)).fetchone()
            if row and row[0] >= call.least:
                return
            if time.monotonic() > until:
                raise ProjectionLagging()
            await asyncio.sleep(LOOK_S)


def _pieces(conninfo: str, kind: str, table: str, window: Window) -> Iterator[bytes]:
    """The file, in pieces, read in one snapshot."""
    with ExitStack() as stack:
        connection: psycopg.Connection[Any] = stack.enter_context(
            psycopg.connect(conninfo, autocommit=True)
        )
        stack.enter_context(connection.transaction())
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        if kind == "beancount":
            texts = beancount.text_of(exporting.entries(connection, window))
            while some := "".join(islice(texts, AT_ONCE)):
                yield some.encode()
            return
        found = TABLES[table](connection, window)
        yield from formats.csv_of(found) if kind == "csv" else formats.parquet_of(found)
