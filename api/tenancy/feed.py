"""`/v1/events`: what happened, for services that act upon it (a bot paused, an account frozen)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.call import Call, answer, enter
from api.facts import told
from api.openapi import documented, query
from api.reading import limit_of, number_of
from api.reads import newest_position
from domain.codec import decode_fact
from domain.contract.subscription import subscription_stream
from domain.errors import InvalidInput
from domain.identity import account_id
from domain.workspace.workspace import workspace_stream
from projections import positions

router = APIRouter(prefix="/v1/events", tags=["workspaces"])

PAGE = 100
PAGE_MAX = 1_000
TYPES_MAX = 50
INTERNAL = frozenset({"note", "ticket_ref"})
"""What administrators write for each other."""

OF_ONE = """
    SELECT notification_id, %(workspace_id)s::text, topic, state, kind FROM events
    WHERE notification_id > %(after)s AND originator_id = ANY(%(streams)s::uuid[])
      AND (%(kinds)s::text[] IS NULL OR kind = ANY(%(kinds)s))
    ORDER BY notification_id LIMIT %(limit)s
"""
OF_ALL = """
    SELECT notification_id, workspace_id, topic, state, kind
    FROM events JOIN due_streams ON originator_id = stream
    WHERE notification_id > %(after)s AND notification_id <= %(upto)s
      AND (%(kinds)s::text[] IS NULL OR kind = ANY(%(kinds)s))
    ORDER BY notification_id LIMIT %(limit)s
"""
Row = tuple[int, str, str, bytes, str]


class FeedEvent(msgspec.Struct, frozen=True):
    """One fact of a workspace. `data` holds what its type says."""

    position: int
    workspace_id: str
    type: str
    recorded_at: datetime
    data: dict[str, Any]


class FeedPage(msgspec.Struct, frozen=True):
    """Facts in the order in which they were committed; go on with `after=next_after`."""

    data: list[FeedEvent]
    has_more: bool
    next_after: int
    as_of_position: int


@router.get(
    "",
    **documented(
        "What happened in a workspace",
        "billing:read",
        answers={200: FeedPage},
        of="anything",
        parameters=[
            query("after", "The position of the last event that you have seen", kind="integer"),
            query("types", "Only these, as in BotPaused,BotResumed"),
            query("limit", f"1 to {PAGE_MAX}", kind="integer"),
        ],
    ),
)
async def events(request: Request) -> Response:
    """In order, from any position on: keep `next_after` once you have acted. A service key that
    names no workspace is told of all."""
    call = await enter(request, "billing:read", "anything")
    if call.workspace_id:
        await call.house.ledger.account(call.workspace_id)  # or there is no such workspace
    after = number_of(request, "after", 0) or 0
    limit = limit_of(request, PAGE, PAGE_MAX)
    kinds = _kinds(request)
    upto, rows = await _read(call, after, kinds, limit + 1)
    data = [_event(row) for row in rows[:limit]]
    more = len(rows) > limit
    seen = data[-1].position if data else after
    return answer(FeedPage(data, more, seen if more else max(seen, upto), upto))


async def _read(
    call: Call, after: int, kinds: list[str] | None, limit: int
) -> tuple[int, list[Row]]:
    """The next facts, and a position up to which there are no others."""
    values: dict[str, Any] = {"after": after, "kinds": kinds, "limit": limit}
    if not call.workspace_id:
        # Which workspace a stream is of, a read model knows: as far as that is.
        async with call.house.pool.connection() as connection:
            upto = await positions.position(connection, "due_work")
            cursor = await connection.execute(OF_ALL, values | {"upto": upto})
            return upto, await cursor.fetchall()
    upto = await newest_position(call.house)  # before the rows: nothing is passed over
    name = call.workspace_id
    streams = [account_id(name), workspace_stream(name), subscription_stream(name)]
    values |= {"workspace_id": name, "streams": streams}
    async with call.house.pool.connection() as connection:
        return upto, await (await connection.execute(OF_ONE, values)).fetchall()


def _event(row: Row) -> FeedEvent:
    position, workspace_id, topic, state, kind = row
    fact = decode_fact(topic, state)
    data = {name: value for name, value in told(fact).items() if name not in INTERNAL}
    return FeedEvent(position, workspace_id, kind, fact.recorded_at, data)


def _kinds(request: Request) -> list[str] | None:
    text = request.query_params.get("types")
    if not text:
        return None
    kinds = [kind.strip() for kind in text.split(",") if kind.strip()]
    if len(kinds) > TYPES_MAX:
        raise InvalidInput(("query", "types"), f"names at most {TYPES_MAX}")
    return kinds
