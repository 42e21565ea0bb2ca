"""Every attempt to bring money in, and what became of it. Amounts in µ."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from psycopg import AsyncConnection, Connection

from domain.facts import Fact
from domain.payment.facts import (
    DisputeClosed,
    DisputeFundsReinstated,
    DisputeFundsWithdrawn,
    PaymentAbandoned,
    PaymentDisputed,
    PaymentFailed,
    PaymentQuarantined,
    PaymentRefunded,
    PaymentRequested,
    PaymentRequiresAction,
    PaymentSubmitted,
    PaymentSucceeded,
    QuarantineResolved,
)
from projections.read_model import Changes, Posted, ReadModel

TABLE = """
CREATE TABLE IF NOT EXISTS {table} (
    stream uuid PRIMARY KEY,            -- the attempt's
    payment_attempt_id text NOT NULL,
    workspace_id text NOT NULL,
    kind text NOT NULL,                 -- empty where nobody here asked for it
    status text NOT NULL,
    amount bigint NOT NULL,             -- µ, as all amounts: asked for
    currency text NOT NULL,
    received bigint NOT NULL,
    refunded bigint NOT NULL,
    withdrawn bigint NOT NULL,          -- by disputes, less what came back
    quarantined bigint NOT NULL,        -- waiting for an administrator
    doubt text,                         -- why, the last time
    dispute text,                       -- open, won, lost, warning_closed, prevented
    payment_ref text,
    plan text,
    stripe_payment_intent text,
    stripe_session text,
    stripe_charge text,
    code text,
    decline_code text,
    requested_at timestamptz NOT NULL,
    settled_at timestamptz,
    position bigint NOT NULL,           -- of its first fact: the order of lists
    last_position bigint NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS {table}_by_id ON {table} (payment_attempt_id);
CREATE INDEX IF NOT EXISTS {table}_by_workspace ON {table} (workspace_id, position);
CREATE INDEX IF NOT EXISTS {table}_by_intent ON {table} (stripe_payment_intent);
CREATE INDEX IF NOT EXISTS {table}_in_doubt ON {table} (position) WHERE quarantined > 0
"""


class Payment(NamedTuple):
    """An attempt as last folded. Amounts in µ."""

    stream: UUID
    payment_attempt_id: str = ""
    workspace_id: str = ""
    kind: str = ""
    status: str = "none"
    amount: int = 0
    currency: str = ""
    received: int = 0
    refunded: int = 0
    withdrawn: int = 0
    quarantined: int = 0
    doubt: str | None = None
    dispute: str | None = None
    payment_ref: str | None = None
    plan: str | None = None
    stripe_payment_intent: str | None = None
    stripe_session: str | None = None
    stripe_charge: str | None = None
    code: str | None = None
    decline_code: str | None = None
    requested_at: datetime | None = None
    settled_at: datetime | None = None
    position: int = 0
    last_position: int = 0


FIELDS = ", ".join(Payment._fields)
KNOWN = f"SELECT {FIELDS} FROM {{payments}} WHERE stream = ANY(%b::uuid[])"  # noqa: S608
REMOVE = "DELETE FROM {payments} WHERE stream = ANY(%b::uuid[])"
INSERT = f"INSERT INTO {{payments}} VALUES ({', '.join(['%s'] * len(Payment._fields))})"  # noqa: S608
SELECT = f"SELECT {FIELDS} FROM payments"  # noqa: S608
AT_STRIPE = """
    SELECT payment_attempt_id FROM payments
    WHERE kind NOT IN ('', 'manual') AND requested_at BETWEEN %s AND %s
      AND status IN ('requested', 'submitted', 'requires_action', 'succeeded')
    ORDER BY position
"""
NO_END = 2**63 - 1


class Payments(ReadModel):
    """One row an attempt."""

    name = "payments"
    facts = (
        PaymentRequested,
        PaymentSubmitted,
        PaymentRequiresAction,
        PaymentSucceeded,
        PaymentFailed,
        PaymentAbandoned,
        PaymentQuarantined,
        QuarantineResolved,
        PaymentRefunded,
        PaymentDisputed,
        DisputeFundsWithdrawn,
        DisputeFundsReinstated,
        DisputeClosed,
    )
    tables = {"payments": TABLE}

    def nothing(self) -> Changes:
        """What happened to each attempt, in order."""
        return ({},)

    def fold(self, events: Sequence[Posted], changes: Changes) -> None:
        """By stream."""
        for position, stream, _, fact in events:
            changes[0].setdefault(stream, []).append((position, fact))

    def write(self, connection: Connection, changes: Changes) -> None:
        """Take each attempt through what happened to it."""
        moved = changes[0]
        streams = sorted(moved)
        known = connection.execute(self.sql(KNOWN), (streams,), binary=True)
        rows = {row[0]: Payment(*row) for row in known}
        for stream in streams:
            row = rows.get(stream) or Payment(stream)
            for position, fact in moved[stream]:
                row = _moved(row, fact)._replace(
                    position=row.position or position,
                    last_position=position,
                    requested_at=row.requested_at or fact.recorded_at,
                )
            rows[stream] = row
        connection.execute(self.sql(REMOVE), (streams,))
        with connection.cursor() as cursor:
            cursor.executemany(self.sql(INSERT), sorted(rows.values()))


def _moved(row: Payment, fact: Fact) -> Payment:
    match fact:
        case PaymentRequested():
            return row._replace(
                payment_attempt_id=fact.payment_attempt_id,
                workspace_id=fact.workspace_id,
                kind=fact.kind,
                status="requested",
                amount=fact.amount,
                currency=fact.currency,
                payment_ref=fact.payment_ref,
                plan=fact.plan,
            )
        case PaymentSubmitted(stripe_object="payment_intent"):
            return row._replace(status="submitted", stripe_payment_intent=fact.stripe_id)
        case PaymentSubmitted():
            return row._replace(status="submitted", stripe_session=fact.stripe_id)
        case PaymentRequiresAction():
            return row._replace(
                status="requires_action", stripe_payment_intent=fact.stripe_payment_intent
            )
        case PaymentSucceeded():
            return row._replace(
                status="succeeded",
                received=row.received + fact.amount_received,
                stripe_payment_intent=fact.stripe_payment_intent or row.stripe_payment_intent,
                stripe_charge=fact.stripe_charge,
                code=None,
                decline_code=None,
                settled_at=fact.at,
            )
        case PaymentFailed():
            return row._replace(
                status="failed",
                code=fact.code,
                decline_code=fact.decline_code,
                stripe_payment_intent=fact.stripe_payment_intent or row.stripe_payment_intent,
                settled_at=fact.recorded_at,
            )
        case PaymentAbandoned():
            return row._replace(status="abandoned", code=fact.reason, settled_at=fact.recorded_at)
    return _returned(row, fact)


def _returned(row: Payment, fact: Fact) -> Payment:
    """What is in doubt, given back or contested."""
    match fact:
        case PaymentQuarantined():
            return row._replace(
                payment_attempt_id=row.payment_attempt_id or fact.payment_attempt_id,
                workspace_id=row.workspace_id or fact.workspace_id,
                currency=row.currency or fact.currency,
                quarantined=row.quarantined + fact.amount_received,
                doubt=fact.why,
            )
        case QuarantineResolved():  # one that is credited succeeds in the same save
            return row._replace(quarantined=max(row.quarantined - fact.amount, 0))
        case PaymentRefunded():
            return row._replace(refunded=fact.cumulative)
        case PaymentDisputed():
            return row._replace(
                payment_attempt_id=row.payment_attempt_id or fact.payment_attempt_id,
                workspace_id=row.workspace_id or fact.workspace_id,
                dispute="open",
            )
        case DisputeFundsWithdrawn():
            return row._replace(withdrawn=row.withdrawn + fact.amount)
        case DisputeFundsReinstated():
            return row._replace(withdrawn=row.withdrawn - fact.amount)
        case DisputeClosed():
            return row._replace(dispute=fact.outcome)
    return row


async def page(
    connection: AsyncConnection[Any],
    *,
    workspace_id: str | None = None,
    status: str | None = None,
    before: int | None = None,
    limit: int,
) -> list[Payment]:
    """Attempts, the newest first, before a position. The status `quarantined` is that of money
    which waits for an administrator, whatever else became of the attempt."""
    cursor = await connection.execute(
        f"{SELECT} WHERE position < %(before)s"
        " AND (%(workspace_id)s::text IS NULL OR workspace_id = %(workspace_id)s)"
        " AND (%(status)s::text IS NULL OR status = %(status)s"
        "      OR %(status)s = 'quarantined' AND quarantined > 0)"
        " ORDER BY position DESC LIMIT %(limit)s".encode(),
        {
            "before": before or NO_END,
            "workspace_id": workspace_id,
            "status": status,
            "limit": limit,
        },
    )
    return [Payment(*row) for row in await cursor.fetchall()]


async def find(connection: AsyncConnection[Any], payment_attempt_id: str) -> Payment | None:
    """One attempt, or None."""
    query = f"{SELECT} WHERE payment_attempt_id = %s".encode()
    row = await (await connection.execute(query, (payment_attempt_id,))).fetchone()
    return None if row is None else Payment(*row)


async def at_stripe(
    connection: AsyncConnection[Any], since: datetime, before: datetime
) -> list[str]:
    """The ids of the attempts of a time that Stripe must know of, unless they failed."""
    cursor = await connection.execute(AT_STRIPE, (since, before))
    return [str(row[0]) for row in await cursor.fetchall()]
