"""What every account holds: balance, freeze, plan, and the sums that made the balance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from psycopg import AsyncConnection, Connection

from domain.account.credit_facts import (
    AccountFrozen,
    AccountUnfrozen,
    CreditAccountOpened,
    Credited,
    CreditsExpired,
    CreditsReinstated,
    CreditsReversed,
    SpendPolicySet,
)
from domain.account.usage_facts import Debited, UsageVoided
from domain.identity import account_id
from domain.workspace.facts import PaymentMethodRemoved, PaymentMethodSaved
from domain.workspace.workspace import workspace_stream
from projections.read_model import Changes, Posted, ReadModel, UnknownAccount

TABLE = """
CREATE TABLE IF NOT EXISTS {table} (
    stream uuid PRIMARY KEY,            -- the account's
    workspace_id text NOT NULL,
    currency text NOT NULL,
    balance bigint NOT NULL DEFAULT 0,  -- µ, as all amounts; negative is debt
    is_frozen boolean NOT NULL DEFAULT false,
    freeze_reasons text[] NOT NULL DEFAULT '{{}}',  -- reason:ref, in the order they came
    plan_id text NOT NULL DEFAULT '',
    credited bigint NOT NULL DEFAULT 0,
    debited bigint NOT NULL DEFAULT 0,
    reversed bigint NOT NULL DEFAULT 0, -- less what was reinstated
    expired bigint NOT NULL DEFAULT 0,
    voided bigint NOT NULL DEFAULT 0,
    last_position bigint NOT NULL,
    workspace_stream uuid NOT NULL UNIQUE,
    has_payment_method boolean NOT NULL DEFAULT false
) WITH (fillfactor = 60)
"""
OPEN = """
    INSERT INTO {balances} (stream, workspace_id, currency, last_position, workspace_stream)
    SELECT * FROM unnest(%b::uuid[], %b::text[], %b::text[], %b::bigint[], %b::uuid[])
"""
MOVE = """
    UPDATE {balances} now SET
        credited = now.credited + new.credited,
        debited = now.debited + new.debited,
        reversed = now.reversed + new.reversed,
        expired = now.expired + new.expired,
        voided = now.voided + new.voided,
        balance = now.balance + new.credited - new.debited - new.reversed - new.expired
                  + new.voided,
        plan_id = coalesce(new.plan_id, now.plan_id),
        last_position = new.position
    FROM unnest(%b::uuid[], %b::bigint[], %b::bigint[], %b::bigint[], %b::bigint[], %b::bigint[],
                %b::text[], %b::bigint[])
         AS new (stream, credited, debited, reversed, expired, voided, plan_id, position)
    WHERE now.stream = new.stream
"""
FREEZE = """
    UPDATE {balances} SET is_frozen = true, freeze_reasons = array_append(freeze_reasons, %b::text)
    WHERE stream = %b
"""
UNFREEZE = """
    UPDATE {balances} SET is_frozen = cardinality(array_remove(freeze_reasons, %b::text)) > 0,
        freeze_reasons = array_remove(freeze_reasons, %b::text)
    WHERE stream = %b
"""
SAVE_CARD = "UPDATE {balances} SET has_payment_method = %b WHERE workspace_stream = %b"
CREDITED, DEBITED, REVERSED, EXPIRED, VOIDED, PLAN, POSITION = range(7)


class Balances(ReadModel):
    """One row an account."""

    name = "balances"
    facts = (
        CreditAccountOpened,
        SpendPolicySet,
        Credited,
        Debited,
        UsageVoided,
        CreditsExpired,
        CreditsReversed,
        CreditsReinstated,
        AccountFrozen,
        AccountUnfrozen,
        PaymentMethodSaved,
        PaymentMethodRemoved,
    )
    tables = {"balances": TABLE}

    def __init__(self, suffix: str = "") -> None:
        super().__init__(suffix)
        self._open, self._move, self._freeze, self._unfreeze, self._save_card = map(
            self.sql, (OPEN, MOVE, FREEZE, UNFREEZE, SAVE_CARD)
        )

    def nothing(self) -> Changes:
        """Accounts opened, what moved by stream, freezes and their ends in order, and which
        workspaces have a card."""
        return [], {}, [], {}

    def fold(self, events: Sequence[Posted], changes: Changes) -> None:
        """Sums of what moved; every freeze by itself."""
        opened, moves, freezes, cards = changes
        for position, stream, _, fact in events:
            if type(fact) is CreditAccountOpened:
                workspace = workspace_stream(fact.workspace_id)
                opened.append((stream, fact.workspace_id, fact.currency, position, workspace))
                continue
            if type(fact) is PaymentMethodSaved or type(fact) is PaymentMethodRemoved:
                cards[stream] = type(fact) is PaymentMethodSaved
                continue
            row = moves.get(stream.int)
            if row is None:
                row = moves[stream.int] = [0, 0, 0, 0, 0, None, 0]
            row[POSITION] = position
            if type(fact) is Debited:
                row[DEBITED] += fact.amount
            else:
                _move(row, fact)
                if isinstance(fact, AccountFrozen | AccountUnfrozen):
                    name = f"{fact.reason}:{fact.ref}"
                    freezes.append((isinstance(fact, AccountFrozen), name, stream))

    def write(self, connection: Connection, changes: Changes) -> None:
        """Open, move, then freeze.

        :raises UnknownAccount: an account moves that was never opened.
        """
        opened, moves, freezes, cards = changes
        if opened:
            columns = [list(column) for column in zip(*sorted(opened), strict=True)]
            connection.execute(self._open, columns, prepare=True)
        if moves:
            streams = sorted(moves)
            columns = [list(c) for c in zip(*map(moves.__getitem__, streams), strict=True)]
            ids = [UUID(int=stream) for stream in streams]
            moved = connection.execute(self._move, (ids, *columns), prepare=True)
            if moved.rowcount != len(streams):
                raise UnknownAccount("an account moves that was never opened")
        for frozen, name, stream in freezes:
            if frozen:
                connection.execute(self._freeze, (name, stream))
            else:
                connection.execute(self._unfreeze, (name, name, stream))
        for workspace in sorted(cards):
            connection.execute(self._save_card, (cards[workspace], workspace))


def _move(row: list[Any], fact: object) -> None:
    match fact:
        case Credited(amount=amount):
            row[CREDITED] += amount
        case UsageVoided(amount=amount):
            row[VOIDED] += amount
        case CreditsExpired(amount=amount):
            row[EXPIRED] += amount
        case CreditsReversed(amount=amount):
            row[REVERSED] += amount
        case CreditsReinstated(amount=amount):
            row[REVERSED] -= amount
        case SpendPolicySet(plan_id=plan_id):
            row[PLAN] = plan_id


class Balance(NamedTuple):
    """One account as last folded. Amounts in µ; ``position`` is that of its last event."""

    workspace_id: str
    currency: str
    balance: int
    is_frozen: bool
    freeze_reasons: list[str]
    plan_id: str
    credited: int
    debited: int
    reversed: int
    expired: int
    voided: int
    last_position: int
    has_payment_method: bool


SELECT = f"SELECT {', '.join(Balance._fields)} FROM balances"  # noqa: S608


async def balance(connection: AsyncConnection, workspace_id: str) -> Balance | None:
    """A workspace's balance, or None where it is not folded yet (or there is no such one)."""
    cursor = await connection.execute(
        f"{SELECT} WHERE stream = %s".encode(), (account_id(workspace_id),), prepare=True
    )
    row = await cursor.fetchone()
    return None if row is None else Balance(*row)


async def below(connection: AsyncConnection, threshold: int, *, limit: int = 100) -> list[Balance]:
    """Accounts that hold less than ``threshold`` µ, the poorest first."""
    cursor = await connection.execute(
        f"{SELECT} WHERE balance < %s ORDER BY balance, workspace_id LIMIT %s".encode(),
        (threshold, limit),
    )
    return [Balance(*row) for row in await cursor.fetchall()]


async def frozen(connection: AsyncConnection) -> list[Balance]:
    """Every frozen account, by workspace."""
    cursor = await connection.execute(f"{SELECT} WHERE is_frozen ORDER BY workspace_id".encode())
    return [Balance(*row) for row in await cursor.fetchall()]
