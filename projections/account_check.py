"""The auditor's own account: aggregates folded from all events, against balances and columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias
from uuid import UUID

from psycopg import Connection

from domain.account.credit_account import CreditAccount
from domain.account.credit_facts import Credited, CreditsExpired, CreditsReinstated, CreditsReversed
from domain.account.usage_facts import Debited, UsageVoided
from domain.facts import Fact, aggregate_class

Finding: TypeAlias = tuple[UUID | str, str, object, object]
"""Stream or workspace, field, what is written, what the facts say."""

FIELDS = (
    *("workspace_id", "currency", "balance", "is_frozen", "freeze_reasons", "plan_id"),
    *("credited", "debited", "reversed", "expired", "voided", "last_position"),
)
BALANCES = f"SELECT stream, {', '.join(FIELDS)} FROM balances"  # noqa: S608 - names of ours
LIFETIME = {
    # kind of fact -> (which sum, its sign there)
    Credited: (0, 1),
    Debited: (1, 1),
    CreditsReversed: (2, 1),
    CreditsReinstated: (2, -1),
    CreditsExpired: (3, 1),
    UsageVoided: (4, 1),
}
SHOWN = frozenset({"AccountFrozen", "AccountUnfrozen", "CreditAccountOpened", "SpendPolicySet"})
FINDINGS_MAX = 10_000
"""A broken book has no use for more."""


class AccountCheck:
    """Folds every account with the domain's own code, and looks at each event on the way."""

    def __init__(self) -> None:
        self._accounts: dict[UUID, CreditAccount] = {}
        self._sums: dict[UUID, list[int]] = {}
        self._last: dict[UUID, int] = {}
        self._findings: list[Finding] = []

    def take(
        self, position: int, stream: UUID, version: int, fact: Fact, columns: tuple[Any, ...]
    ) -> None:
        """Check one event's typed columns and its place, and fold it."""
        kind = type(fact)
        move = fact.wallet_move()
        said = (kind.__name__, fact.unique_cause(), *(move or (None, None)))
        if said != columns:
            self._find(stream, f"event {position} columns", columns, said)
        if aggregate_class(kind) is not CreditAccount:
            return
        account = self._accounts.get(stream)
        if account is None:
            account = self._accounts[stream] = CreditAccount(stream)
            self._sums[stream] = [0] * 5
        if version != account.version + 1:
            self._find(stream, f"event {position} version", version, account.version + 1)
        account.fold(fact, version)
        if move is not None:
            if move[1] != account.wallet.balance:
                what = f"event {position} balance_after"
                self._find(stream, what, move[1], account.wallet.balance)
            index, sign = LIFETIME[kind]
            self._sums[stream][index] += sign * abs(move[0])
            self._last[stream] = position
        elif kind.__name__ in SHOWN:
            self._last[stream] = position

    def differences(self, connection: Connection[Any]) -> Iterator[Finding]:
        """Everything found on the way, and every row of balances that says something else."""
        yield from self._findings
        written = {row[0]: row[1:] for row in connection.execute(BALANCES)}
        for stream, account in self._accounts.items():
            wallet = account.wallet
            remaining = sum(grant.remaining for grant in wallet.grants)
            if remaining - wallet.debt != wallet.balance or (wallet.grants and wallet.debt):
                yield stream, "grants - debt", wallet.balance, remaining - wallet.debt
            facts = (
                account.workspace_id,
                account.currency,
                wallet.balance,
                account.is_frozen,
                [f"{reason}:{ref}" for reason, ref in account.freezes],
                account.plan,
                *self._sums[stream],
                self._last.get(stream),
            )
            row = written.pop(stream, (None,) * len(FIELDS))
            for field, projected, replayed in zip(FIELDS, row, facts, strict=True):
                if projected != replayed:
                    yield stream, field, projected, replayed
        for stream, row in written.items():
            yield stream, "balance", row[2], None

    def _find(self, stream: UUID, field: str, written: object, said: object) -> None:
        if len(self._findings) < FINDINGS_MAX:
            self._findings.append((stream, field, written, said))
