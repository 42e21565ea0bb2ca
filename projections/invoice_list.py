"""Questions about invoices and receipts."""

from __future__ import annotations

from typing import Any

from psycopg import AsyncConnection

from projections.documents import Document, Line

SELECT = f"SELECT {', '.join(Document._fields)} FROM invoices WHERE kind <> ''"  # noqa: S608
SELECT_LINES = f"SELECT {', '.join(Line._fields)} FROM invoice_lines"  # noqa: S608
NO_END = 2**63 - 1


async def page(
    connection: AsyncConnection[Any],
    workspace_id: str,
    *,
    status: str | None = None,
    kind: str | None = None,
    before: int | None = None,
    limit: int,
) -> list[Document]:
    """A workspace's documents, the newest first, before a position."""
    cursor = await connection.execute(
        f"{SELECT} AND workspace_id = %s AND position < %s"
        " AND (%s::text IS NULL OR status = %s) AND (%s::text IS NULL OR kind = %s)"
        " ORDER BY position DESC LIMIT %s".encode(),
        (workspace_id, before or NO_END, status, status, kind, kind, limit),
    )
    return [Document(*row) for row in await cursor.fetchall()]


async def find(connection: AsyncConnection[Any], workspace_id: str, id: str) -> Document | None:
    """One document of a workspace, or None."""
    query = f"{SELECT} AND workspace_id = %s AND id = %s".encode()
    row = await (await connection.execute(query, (workspace_id, id))).fetchone()
    return None if row is None else Document(*row)


async def lines(
    connection: AsyncConnection[Any], documents: list[Document]
) -> dict[str, list[Line]]:
    """The lines of documents, each in its order, by the document's id."""
    ids = {document.stream: document.id for document in documents}
    cursor = await connection.execute(
        f"{SELECT_LINES} WHERE stream = ANY(%s) ORDER BY stream, position, line_id".encode(),
        (list(ids),),
    )
    found: dict[str, list[Line]] = {id: [] for id in ids.values()}
    for row in await cursor.fetchall():
        line = Line(*row)
        found[ids[line.stream]].append(line)
    return found
