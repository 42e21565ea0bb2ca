"""Charges as the page lists them: one line each, in the order in which they were recorded."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, Final, NamedTuple

from fastapi import Request
from psycopg import AsyncConnection

from projections import usage_history
from projections.usage_history import ItemisedAct

PAGE: Final = 25
POSITION: Final = re.compile(r"[0-9]{1,18}")


class Charge(NamedTuple):
    """One metered act as a line. ``charged`` is what the customer pays for it, in µ, the part
    that is invoiced later included; ``changed_at`` the position of the act, or of its void."""

    usage_id: str
    position: int
    changed_at: int
    at: datetime
    meter: str
    action: str | None
    bot: str | None
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


async def page(
    connection: AsyncConnection[Any], workspace_id: str, before: int | None
) -> tuple[list[Charge], int | None]:
    """The newest charges below a position, newest first; and where the next page begins, or
    None if there is none."""
    acts = await usage_history.page(connection, workspace_id, before=before, limit=PAGE + 1)
    listed = [_line(act) for act in acts[:PAGE]]
    return listed, listed[-1].position if len(acts) > PAGE else None


async def since(connection: AsyncConnection[Any], workspace_id: str, position: int) -> list[Charge]:
    """What of the newest page came, or was voided, after a position; newest first."""
    acts = await usage_history.latest(connection, workspace_id, PAGE)
    return [line for act in acts if (line := _line(act)).changed_at > position]


def paid_by(act: ItemisedAct) -> str:
    """Who paid for an act, in words."""
    parts = (
        ("Credit", act.wallet),
        (f"{act.included_units:,} included", act.included_units),
        (f"{act.overage_units:,} overage", act.overage_units or act.overage),
        ("Own provider account", act.external),
        ("Absorbed", act.absorbed or act.absorbed_units),
    )
    words = [words for words, amount in parts if amount]
    return " + ".join(words) or ("Not yet priced" if act.is_unrated else "Nothing to pay")


def _line(act: ItemisedAct) -> Charge:
    return Charge(
        usage_id=act.usage_id,
        position=act.position,
        changed_at=max(act.position, act.voided_at or 0),
        at=act.occurred_at,
        meter=act.meter,
        action=act.action,
        bot=act.bot_id,
        model=act.llm_model,
        input_tokens=act.input_tokens,
        output_tokens=act.output_tokens,
        paid_by=paid_by(act),
        charged=act.wallet + act.overage,
        is_voided=act.is_voided,
        late=act.late,
    )
