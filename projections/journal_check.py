"""The auditor's trial balance: every entry of the journal is in balance, unit by unit, and what is
owed to each workspace by the journal is what the read model says it holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any
from uuid import UUID

from psycopg import Connection

from domain.account.credit_facts import CreditAccountOpened
from domain.facts import Fact
from projections.account_check import Finding
from projections.journal import credits_of, entry
from projections.surroundings import OnTheWay

BALANCES = "SELECT stream, balance FROM balances"


class JournalCheck:
    """Folds every event into the journal and adds up its accounts."""

    def __init__(self) -> None:
        self._around = OnTheWay()
        self._owed: Counter[UUID] = Counter()
        self._accounts: set[UUID] = set()
        self._units: Counter[str] = Counter()
        self._findings: list[Finding] = []

    def take(
        self, position: int, stream: UUID, version: int, fact: Fact, columns: tuple[Any, ...]
    ) -> None:
        """Post one event."""
        self._around.pass_by(stream, version, fact)
        if isinstance(fact, CreditAccountOpened):
            self._accounts.add(stream)
        made = entry(position, stream, version, fact, self._around)
        if made is None:
            return
        sums: Counter[str] = Counter()
        owed = credits_of(self._around.holder(stream))
        for posting in made.postings:
            sums[posting.unit] += posting.amount
            if posting.account == owed:
                self._owed[stream] -= posting.amount
        self._units.update(sums)
        for unit, amount in sums.items():
            if amount:
                self._findings.append((stream, f"journal {position}: {unit}", amount, 0))

    def differences(self, connection: Connection[Any]) -> Iterator[Finding]:
        """Entries and units that are not in balance, and workspaces that are owed another sum
        than their balance."""
        yield from self._findings
        for unit, amount in sorted(self._units.items()):
            if amount:
                yield UUID(int=0), f"journal: {unit} in all", amount, 0
        written = dict(connection.execute(BALANCES).fetchall())
        for stream in self._accounts:
            owed = self._owed[stream]
            if written.get(stream) != owed:
                yield stream, "journal: Liabilities:Credits", written.get(stream), owed
