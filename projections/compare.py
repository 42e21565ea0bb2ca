"""Compare: every balance, usage total, invoice and payment, folded anew from all events, against
the read models. An empty list is the pass condition."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from eventsourcing.utils import TopicError
from psycopg import Connection

from domain.codec import decode_fact
from domain.facts import Fact
from projections.account_check import AccountCheck
from projections.money_check import InvoiceCheck, PaymentCheck
from projections.usage_check import HourlyCheck, ItemsCheck

CHUNK = 20_000
TABLES = (
    "positions, balances, usage_events, usage_hourly, usage_labels, invoices, invoice_lines,"
    " payments"
)
EVENTS = """
    SELECT notification_id, originator_id, originator_version, topic, state, kind, cause, amount,
           balance_after
    FROM events WHERE notification_id <= %s ORDER BY notification_id
"""

Progress = Callable[[int, int], None]
"""Called with (positions folded, positions to fold)."""


class Difference(NamedTuple):
    """What a read model says, and what the events say. Amounts in µ; None: nothing at all."""

    workspace: str
    field: str
    projected: object
    replayed: object


class Columns(NamedTuple):
    """The typed columns of an event, which plain SQL trusts."""

    kind: str | None
    cause: str | None
    amount: int | None
    balance_after: int | None


def compare(connection: Connection[Any], progress: Progress | None = None) -> list[Difference]:
    """Everything in which the read models, or the typed columns of the book, differ from the
    facts. Each model is compared at the position where it stands, in one snapshot; writers and
    the runner go on meanwhile. The connection is in autocommit.
    """
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        # Before the snapshot is taken: a rebuild that swaps in between would show empty tables.
        connection.execute(f"LOCK TABLE {TABLES} IN ACCESS SHARE MODE".encode())
        stands = dict(connection.execute("SELECT model, position FROM positions").fetchall())
        accounts = AccountCheck()
        checks = (
            (accounts, stands.get("balances", 0)),
            (HourlyCheck(), stands.get("usage_hourly", 0)),
            (ItemsCheck(), stands.get("usage_events", 0)),
            (InvoiceCheck(), stands.get("invoices", 0)),
            (PaymentCheck(), stands.get("payments", 0)),
        )
        upto = max(cut for _, cut in checks)
        differences: list[Difference] = []
        facts = _facts(connection, upto, differences)
        for count, (position, stream, version, fact, columns) in enumerate(facts):
            for check, cut in checks:
                if position <= cut:
                    check.take(position, stream, version, fact, columns)
            if progress is not None and count % CHUNK == 0:
                progress(position, upto)
        if progress is not None:
            progress(upto, upto)
        for check, _ in checks:
            for stream, field, projected, replayed in check.differences(connection):
                workspace = accounts.workspace(stream)
                differences.append(Difference(workspace, field, projected, replayed))
        return differences


def _facts(
    connection: Connection[Any], upto: int, differences: list[Difference]
) -> Iterator[tuple[int, UUID, int, Fact, Columns]]:
    """Every event up to a position, decoded. One that cannot be read is a difference; one of a
    kind that this code does not know is passed over."""
    streams: dict[UUID, UUID] = {}
    with connection.cursor(name="compare", binary=True) as cursor:
        cursor.itersize = CHUNK
        cursor.execute(EVENTS, (upto,))
        for position, stream, version, topic, state, *columns in cursor:
            try:
                fact = decode_fact(topic, state)
            except TopicError:
                continue
            except msgspec.MsgspecError as error:
                name = f"event {position}"
                differences.append(Difference(str(stream), name, "cannot be read", str(error)))
                continue
            known = streams.setdefault(stream, stream)
            yield position, known, version, fact, Columns(*columns)
