"""Who used the included units: by face, in a period and ever."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from domain.identity import account_id

BY_FACE = """
    SELECT face_id,
           coalesce(sum(included_credits) FILTER (
               WHERE (%(cycle)s::text IS NULL OR cycle_id = %(cycle)s)
                 AND (%(since)s::timestamptz IS NULL
                      OR bucket > %(since)s::timestamptz - interval '15 minutes')), 0)::bigint,
           sum(included_credits)::bigint
    FROM usage_hourly JOIN usage_labels USING (labels)
    WHERE stream = %(stream)s AND meter = ANY(%(meters)s::text[])
    GROUP BY face_id ORDER BY face_id NULLS LAST
"""
FACES = """
    SELECT count(DISTINCT face_id) FROM usage_hourly JOIN usage_labels USING (labels)
    WHERE stream = %s
"""


class FaceQuota(NamedTuple):
    """Included units that one face used; None is usage without a face."""

    face_id: str | None
    period: int
    all_time: int


async def by_face(
    connection: AsyncConnection[Any],
    workspace_id: str,
    meters: Sequence[str],
    *,
    cycle_id: str | None = None,
    since: datetime | None = None,
) -> list[FaceQuota]:
    """Included units by face, nameless last. The period is a cycle, or what was consumed since
    an instant (to the quarter-hour); neither: all time."""
    values = {
        "stream": account_id(workspace_id),
        "meters": list(meters),
        "cycle": cycle_id,
        "since": since,
    }
    cursor = await connection.execute(BY_FACE, values)
    return [FaceQuota(*row) for row in await cursor.fetchall()]


async def face_count(connection: AsyncConnection[Any], workspace_id: str) -> int:
    """How many faces were ever used."""
    row = await (await connection.execute(FACES, (account_id(workspace_id),))).fetchone()
    return int(row[0]) if row else 0
