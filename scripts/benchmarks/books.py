"""Do the books say what the contestants were told? A fast ledger that is wrong is no ledger."""

from __future__ import annotations

from typing import Any

import psycopg

LAST = "SELECT coalesce(max(notification_id), 0) FROM events"
SINCE = """
    WITH fresh AS (
        SELECT originator_id AS id, originator_version AS version, kind, amount FROM events
        WHERE notification_id > %s),
    moved AS (
        SELECT id, sum(amount) AS moved, count(*) AS facts, min(version) AS lo, max(version) AS hi
        FROM fresh WHERE amount IS NOT NULL GROUP BY id)
    SELECT (SELECT count(*) FROM fresh WHERE kind = 'Debited'),
           (SELECT coalesce(-sum(amount), 0) FROM fresh WHERE kind = 'Debited'),
           (SELECT count(*) FROM moved
            JOIN events a ON a.originator_id = moved.id AND a.originator_version = moved.lo
            JOIN events b ON b.originator_id = moved.id AND b.originator_version = moved.hi
            WHERE b.balance_after - a.balance_after + a.amount <> moved.moved
               OR hi - lo + 1 <> facts)
"""
ALL = """
    WITH sums AS (
        SELECT originator_id AS id, sum(amount) AS balance, max(originator_version)
               FILTER (WHERE balance_after IS NOT NULL) AS last
        FROM events GROUP BY 1 HAVING sum(amount) IS NOT NULL)
    SELECT count(*) FROM sums
    JOIN events e ON e.originator_id = sums.id AND e.originator_version = sums.last
    WHERE e.balance_after <> sums.balance
"""


class Books:
    """Reads a ledger's events behind the contestants' backs."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self.wrong: list[str] = []
        self._seen = int(self._one(LAST))

    def skip(self) -> int:
        """Take what is there as given; returns the last position."""
        self._seen = int(self._one(LAST))
        return self._seen

    def check(self, label: str, debits: float, spent: float | None = None) -> None:
        """Compare what was recorded since the last look with what was acknowledged: so many
        debits of so many µ in all, and every balance moved by exactly its debits."""
        with psycopg.connect(self._conninfo) as connection:
            row = connection.execute(SINCE, (self._seen,)).fetchone()
        assert row is not None
        recorded, moved, broken = row
        if recorded != debits:
            self.wrong.append(f"{label}: {debits:.0f} acknowledged, {recorded} recorded")
        if spent is not None and moved != spent:
            self.wrong.append(f"{label}: {spent:.0f} µ acknowledged, {moved} µ recorded")
        if broken:
            self.wrong.append(f"{label}: {broken} accounts do not add up")
        self.skip()

    def audit(self) -> None:
        """Every balance is the sum of everything that ever moved it."""
        if broken := self._one(ALL):
            self.wrong.append(f"audit: {broken} balances are not credit less debits")

    def _one(self, query: str) -> Any:
        with psycopg.connect(self._conninfo) as connection:
            row = connection.execute(query.encode()).fetchone()
        return row[0] if row is not None else 0
