"""Questions about what is sold: the version in force, and what one workspace was quoted or has."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from domain.catalogue.catalogue import CATALOGUE
from projections.plan_comparison import PlanRow


class Version(NamedTuple):
    """A version of the catalogue."""

    version: int
    catalogue: str
    currency: str
    default_plan: str
    content_sha256: str
    source: str
    published_at: datetime
    position: int


SELECT = f"SELECT {', '.join(PlanRow._fields)} FROM plan_comparison"  # noqa: S608
SELECT_VERSION = f"SELECT {', '.join(Version._fields)} FROM catalogue_versions"  # noqa: S608
LATEST = """
    SELECT notification_id FROM events WHERE originator_id = %s
    ORDER BY originator_version DESC LIMIT 1
"""


async def last_word(connection: AsyncConnection[Any]) -> int:
    """The position of the newest fact about what is sold."""
    row = await (await connection.execute(LATEST, (CATALOGUE,))).fetchone()
    return int(row[0]) if row else 0


async def versions(connection: AsyncConnection[Any]) -> list[Version]:
    """Every version of the catalogue, the newest first."""
    cursor = await connection.execute(f"{SELECT_VERSION} ORDER BY version DESC".encode())
    return [Version(*row) for row in await cursor.fetchall()]


async def in_force(connection: AsyncConnection[Any]) -> tuple[Version, list[PlanRow]] | None:
    """The version in force and its plans, the cheapest first; None before there is one."""
    query = f"{SELECT_VERSION} ORDER BY version DESC LIMIT 1".encode()
    row = await (await connection.execute(query)).fetchone()
    if row is None:
        return None
    version = Version(*row)
    cursor = await connection.execute(
        f"{SELECT} WHERE workspace_id = '' AND version = %s ORDER BY price_minor, plan_id".encode(),
        (version.version,),
    )
    return version, [PlanRow(*plan) for plan in await cursor.fetchall()]


async def quoted_to(connection: AsyncConnection[Any], workspace_id: str) -> list[PlanRow]:
    """The newest version of each plan that was quoted to a workspace."""
    cursor = await connection.execute(
        f"SELECT DISTINCT ON (plan_id) * FROM ({SELECT} WHERE workspace_id = %s) AS own"  # noqa: S608
        " ORDER BY plan_id, version DESC".encode(),
        (workspace_id,),
    )
    return [PlanRow(*row) for row in await cursor.fetchall()]


async def pinned(
    connection: AsyncConnection[Any], workspace_id: str, plan_id: str, version: int
) -> PlanRow | None:
    """The version of a plan that a workspace has: the catalogue's, or its own."""
    cursor = await connection.execute(
        f"{SELECT} WHERE plan_id = %s AND version = %s AND workspace_id IN ('', %s)"
        " ORDER BY workspace_id DESC LIMIT 1".encode(),
        (plan_id, version, workspace_id),
    )
    row = await cursor.fetchone()
    return None if row is None else PlanRow(*row)


async def subscribers_behind(
    connection: AsyncConnection[Any], plan_id: str, version: int
) -> list[str]:
    """The workspaces on an older version of a plan of the catalogue."""
    cursor = await connection.execute(
        "SELECT workspace_id FROM workspace_status WHERE plan_id = %s AND plan_version < %s"
        " ORDER BY workspace_id",
        (plan_id, version),
    )
    return [workspace_id for (workspace_id,) in await cursor.fetchall()]


async def subscribers_by_version(connection: AsyncConnection[Any]) -> dict[int, dict[str, int]]:
    """How many workspaces are on each plan of each version of the catalogue."""
    cursor = await connection.execute(
        "SELECT s.plan_version, s.plan_id, count(*) FROM workspace_status s"
        " JOIN plan_comparison p ON p.plan_id = s.plan_id AND p.version = s.plan_version"
        " AND p.workspace_id = '' GROUP BY 1, 2 ORDER BY 1, 2"
    )
    counts: dict[int, dict[str, int]] = {}
    for version, plan_id, count in await cursor.fetchall():
        counts.setdefault(version, {})[plan_id] = count
    return counts
