"""Which grants end when: what a sweeper asks so that expiry is written without a call."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from psycopg import AsyncConnection, Connection

from domain.account.credit_facts import CreditAccountOpened, Credited, CreditsExpired
from domain.account.usage_facts import UsageVoided
from projections.read_model import Changes, Posted, ReadModel

GRANTS = """
CREATE TABLE IF NOT EXISTS {table} (
    stream uuid NOT NULL,               -- the account's
    grant_id text NOT NULL,
    expires_at timestamptz NOT NULL,
    last_position bigint NOT NULL,
    PRIMARY KEY (stream, grant_id)
);
CREATE INDEX IF NOT EXISTS {table}_due ON {table} (expires_at)
"""
ACCOUNTS = """
CREATE TABLE IF NOT EXISTS {table} (
    stream uuid PRIMARY KEY,
    workspace_id text NOT NULL,
    last_position bigint NOT NULL
)
"""
OPEN = """
    INSERT INTO {expiry_accounts} (stream, workspace_id, last_position)
    SELECT * FROM unnest(%b::uuid[], %b::text[], %b::bigint[])
"""
KEEP = """
    INSERT INTO {expiries} (stream, grant_id, expires_at, last_position)
    SELECT * FROM unnest(%b::uuid[], %b::text[], %b::timestamptz[], %b::bigint[])
    ON CONFLICT (stream, grant_id) DO UPDATE
    SET expires_at = excluded.expires_at, last_position = excluded.last_position
"""
REMOVE = """
    DELETE FROM {expiries} USING unnest(%b::uuid[], %b::text[]) AS gone (stream, grant_id)
    WHERE {expiries}.stream = gone.stream AND {expiries}.grant_id = gone.grant_id
"""


class Expiries(ReadModel):
    """Grants with an end that was not written yet. A grant that is spent stays until then: it
    has nothing to expire, and a void can fill it again."""

    name = "expiries"
    facts = (CreditAccountOpened, Credited, CreditsExpired, UsageVoided)
    tables = {"expiries": GRANTS, "expiry_accounts": ACCOUNTS}

    def nothing(self) -> Changes:
        """Accounts opened, and by stream and grant its end and position, None when written."""
        return [], {}

    def fold(self, events: Sequence[Posted], changes: Changes) -> None:
        """The last word on each grant counts."""
        opened, grants = changes
        for position, stream, _, fact in events:
            match fact:
                case Credited(expires_at=datetime() as at, grant_id=grant_id):
                    grants[stream, grant_id] = (at, position)
                case UsageVoided(returned=returned):
                    for grant in returned:
                        if grant.expires_at is not None:
                            grants[stream, grant.grant_id] = (grant.expires_at, position)
                case CreditsExpired(grant_id=grant_id):
                    grants[stream, grant_id] = None
                case CreditAccountOpened(workspace_id=workspace_id):
                    opened.append((stream, workspace_id, position))

    def write(self, connection: Connection, changes: Changes) -> None:
        """Insert accounts, then keep and remove grants."""
        opened, grants = changes
        kept = [(*key, *value) for key, value in grants.items() if value is not None]
        gone = [key for key, value in grants.items() if value is None]
        for statement, rows in ((OPEN, opened), (KEEP, kept), (REMOVE, gone)):
            if rows:
                columns = [list(column) for column in zip(*sorted(rows), strict=True)]
                connection.execute(self.sql(statement), columns)


async def due(connection: AsyncConnection, after: datetime | None, until: datetime) -> list[str]:
    """The workspaces with a grant that ends in (after, until], without ``after`` ever ended."""
    cursor = await connection.execute(
        """SELECT DISTINCT workspace_id FROM expiries JOIN expiry_accounts USING (stream)
           WHERE expires_at > coalesce(%s, '-infinity'::timestamptz) AND expires_at <= %s
           ORDER BY workspace_id""",
        (after, until),
    )
    return [workspace_id for (workspace_id,) in await cursor.fetchall()]
