"""Itemised usage, as asked for: pages, one act, the latest, and what came since."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from psycopg import AsyncConnection

from domain.identity import account_id, parse_usage_id, usage_id

FILTERS = frozenset(
    {"llm_model", "api_key_id", "model_username", "bot_id", "thread_id", "meter", "face_id"}
)


class ItemisedAct(NamedTuple):
    """One metered act. Amounts in µ; who paid is in ``wallet`` (now), ``overage`` (invoiced),
    ``external`` (would have cost; the user's own provider account paid) and ``absorbed``
    (nobody, ever). Costs are what the price book asks, None where it was not asked.
    ``voided_at`` is the position of its void."""

    stream: UUID
    position: int
    version: int
    occurred_at: datetime
    recorded_at: datetime
    event_id: str
    meter: str
    action: str | None
    mode: str
    llm_model: str | None
    provider: str | None
    route: str
    api_key_id: str | None
    model_username: str | None
    model_iam_id: str | None
    face_id: str | None
    bot_id: str | None
    thread_id: str | None
    cycle_id: str | None
    hold_id: str | None
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    reasoning_tokens: int
    units: int
    included_units: int
    overage_units: int
    absorbed_units: int
    wallet: int
    overage: int
    external: int
    absorbed: int
    is_unrated: bool
    late: bool
    provider_cost: int | None
    markup: int | None
    total_cost: int | None
    price_book_version: int | None
    balance_after: int | None
    voided_at: int | None

    @property
    def usage_id(self) -> str:
        """The public id of the act."""
        return usage_id(self.stream, self.version)

    @property
    def is_voided(self) -> bool:
        """Whether the act was taken back."""
        return self.voided_at is not None


SELECT = f"SELECT {', '.join(f'act.{name}' for name in ItemisedAct._fields)} FROM usage_events act"  # noqa: S608


async def page(
    connection: AsyncConnection,
    workspace_id: str,
    *,
    filters: Mapping[str, str] | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    before: int | None = None,
    limit: int = 20,
) -> list[ItemisedAct]:
    """A workspace's acts, newest first, those of positions below ``before`` (the cursor: the
    last position of the page before). ``start`` ≤ occurred_at < ``end``.

    :raises ValueError: a filter that is no column; see `FILTERS`.
    """
    where = ["stream = %(stream)s"]
    for name in filters or {}:
        if name not in FILTERS:
            raise ValueError(f"usage cannot be filtered by {name}")
        where.append(f"{name} = %({name})s")
    values: dict[str, Any] = {**(filters or {}), "stream": account_id(workspace_id)}
    values |= {"before": before, "start": start, "end": end, "limit": limit}
    if before is not None:
        where.append("position < %(before)s")
    if start is not None:
        where.append("occurred_at >= %(start)s")
    if end is not None:
        where.append("occurred_at < %(end)s")
    query = f"{SELECT} WHERE {' AND '.join(where)} ORDER BY position DESC LIMIT %(limit)s"
    return await _acts(connection, query, values)


async def one(connection: AsyncConnection, id: str) -> ItemisedAct | None:
    """The act of a usage_id, or None where there is none (or it is not folded yet)."""
    place = parse_usage_id(id)
    if place is None:
        return None
    query = (
        f"{SELECT} JOIN events e ON act.stream = e.originator_id"
        " AND act.position = e.notification_id"
        " WHERE e.originator_id = %(stream)s AND e.originator_version = %(version)s"
    )
    found = await _acts(connection, query, {"stream": place[0], "version": place[1]})
    return found[0] if found else None


async def latest(
    connection: AsyncConnection, workspace_id: str, limit: int = 10
) -> list[ItemisedAct]:
    """The newest acts of a workspace."""
    return await page(connection, workspace_id, limit=limit)


async def since(
    connection: AsyncConnection, position: int, *, workspace_id: str | None = None, limit: int = 100
) -> list[ItemisedAct]:
    """Acts behind a position in order, of one workspace or of all: for live streams."""
    where, values = "position > %(position)s", {"position": position, "limit": limit}
    if workspace_id is not None:
        where += " AND stream = %(stream)s"
        values["stream"] = account_id(workspace_id)  # type: ignore[assignment]
    query = f"{SELECT} WHERE {where} ORDER BY position LIMIT %(limit)s"
    return await _acts(connection, query, values)


async def unrated(
    connection: AsyncConnection,
    models: Sequence[str] | None = None,
    *,
    after: int = 0,
    limit: int = 1000,
) -> list[tuple[str, str]]:
    """Acts that wait for a price, oldest first from behind a position on: (workspace_id,
    usage_id) of these models, or of all. What `Ledger.rate_unrated` takes."""
    cursor = await connection.execute(
        """SELECT balances.workspace_id, act.stream, act.version FROM usage_events act
           JOIN balances USING (stream)
           WHERE act.is_unrated AND act.position > %(after)s
             AND (%(models)s::text[] IS NULL OR act.llm_model = ANY(%(models)s))
           ORDER BY act.position LIMIT %(limit)s""",
        {"models": None if models is None else list(models), "after": after, "limit": limit},
    )
    return [(name, usage_id(stream, version)) for name, stream, version in await cursor.fetchall()]


async def _acts(
    connection: AsyncConnection, query: str, values: Mapping[str, Any]
) -> list[ItemisedAct]:
    cursor = await connection.execute(query.encode(), values)
    return [ItemisedAct(*row) for row in await cursor.fetchall()]
