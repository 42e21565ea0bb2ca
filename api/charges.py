"""Charges as the page lists them: one line each, newest first."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, NamedTuple

from fastapi import Request
from psycopg import AsyncConnection

from domain.identity import account_id, usage_id

PAGE = 25
POSITION = re.compile(r"[0-9]{1,18}")


class Charge(NamedTuple):
    """One metered act as a line. ``charged`` is what the customer pays for it, in µ;
    ``changed_at`` the position of the act, or of its void."""

    usage_id: str
    position: int
    changed_at: int
    at: datetime
    meter: str
    model: str | None
    input_tokens: int
    output_tokens: int
    paid_by: str
    charged: int
    is_voided: bool
    late: bool


def position_of(request: Request, name: str) -> int | None:
    """A position in the query; None where there is none, or it makes no sense."""
    text = request.query_params.get(name, "")
    return int(text) if POSITION.fullmatch(text) else None


COLUMNS = """position, version, occurred_at, meter, llm_model, input_tokens, output_tokens,
    included_units, overage_units, absorbed_units, wallet, overage, external, absorbed, is_unrated,
    late, voided_at"""


async def page(
    connection: AsyncConnection[Any], workspace_id: str, before: int | None
) -> list[Charge]:
    """The newest charges before a position: one more than a page holds, if there are more."""
    cursor = await connection.execute(
        f"SELECT {COLUMNS} FROM usage_events WHERE stream = %s AND position < %s ORDER BY position DESC LIMIT %s".encode(),
        (account_id(workspace_id), before or 2**62, PAGE + 1),
    )
    return [_charge(workspace_id, row) for row in await cursor.fetchall()]


async def since(connection: AsyncConnection[Any], workspace_id: str, position: int) -> list[Charge]:
    """What came or was voided after a position: at most the newest page of it."""
    cursor = await connection.execute(
        f"SELECT {COLUMNS} FROM usage_events WHERE stream = %s ORDER BY position DESC LIMIT %s".encode(),
        (account_id(workspace_id), PAGE),
    )
    rows = [_charge(workspace_id, row) for row in await cursor.fetchall()]
    return [row for row in rows if row.changed_at > position]


def _charge(workspace_id: str, row: tuple[Any, ...]) -> Charge:
    (position, version, at, meter, model, tokens_in, tokens_out, included, over_units, absorbed_units,
     wallet, overage, external, absorbed, unrated, late, voided_at) = row
    sources = []
    if wallet:
        sources.append("Credit")
    if included:
        sources.append(f"{included:,} included")
    if over_units or overage:
        sources.append(f"{over_units:,} overage")
    if external:
        sources.append("Own provider account")
    if absorbed or absorbed_units:
        sources.append("Absorbed")
    paid = " + ".join(sources) or ("Not yet priced" if unrated else "Nothing to pay")
    return Charge(
        usage_id(account_id(workspace_id), version), position, max(position, voided_at or 0), at, meter, model,
        tokens_in, tokens_out, paid, wallet + overage, voided_at is not None, late,
    )
