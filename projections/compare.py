"""Compare: every balance, usage total, invoice and payment, folded anew from all events, against
the read models, and then every row of these. An empty list is the pass condition."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, NamedTuple, Protocol
from uuid import UUID

import msgspec
from eventsourcing.utils import TopicError
from psycopg import Connection

from domain.account.credit_facts import CreditAccountOpened
from domain.codec import decode_fact
from domain.contract.subscription import subscription_stream
from domain.facts import Fact
from domain.invoice.facts import InvoiceDrafted
from domain.payment.facts import PaymentRequested
from domain.workspace.workspace import WorkspaceCreated
from projections.account_check import AccountCheck, Finding
from projections.journal_check import JournalCheck
from projections.money_check import InvoiceCheck, PaymentCheck
from projections.row_check import BY_ROW, rows_that_differ
from projections.usage_check import HourlyCheck, ItemsCheck

CHUNK = 20_000
EVENTS = """
    SELECT notification_id, originator_id, originator_version, topic, state, kind, cause, amount,
           balance_after
    FROM events WHERE notification_id <= %s ORDER BY notification_id
"""


class Check(Protocol):
    """Folds all facts anew, and says where the tables differ."""

    def take(
        self, position: int, stream: UUID, version: int, fact: Fact, columns: tuple[Any, ...]
    ) -> None:
        """Fold one fact."""
        ...

    def differences(self, connection: Connection[Any]) -> Iterator[Finding]:
        """Everything that differs."""
        ...


CHECKS: dict[str, tuple[Callable[[], Check], tuple[str, ...]]] = {
    # read model -> what adds it up anew, from which tables
    "balances": (AccountCheck, ("balances",)),
    "usage_hourly": (HourlyCheck, ("usage_hourly", "usage_labels")),
    "usage_events": (ItemsCheck, ("usage_events",)),
    "invoices": (InvoiceCheck, ("invoices", "invoice_lines")),
    "payments": (PaymentCheck, ("payments",)),
    "journal": (JournalCheck, ("balances",)),
}
"""What the auditor adds up by himself. The journal is not stored: its accounts have to be in
balance, and to owe each workspace what `balances` says."""
COMPARED = (*CHECKS, *(name for name in BY_ROW if name not in CHECKS))
"""What can be compared."""

OPENING = (CreditAccountOpened, WorkspaceCreated, InvoiceDrafted, PaymentRequested)

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


def compare(
    connection: Connection[Any],
    progress: Progress | None = None,
    *,
    only: str | None = None,
) -> list[Difference]:
    """Everything in which the read models, or the typed columns of the book, differ from the
    facts; ``only`` names one of `COMPARED`, and nothing else is looked at. Each model is compared
    at the position where it stands, in one snapshot; writers and the runner go on meanwhile. The
    connection is in autocommit.
    """
    chosen = {name: check for name, check in CHECKS.items() if only in (None, name)}
    models = [model for name, model in BY_ROW.items() if only in (None, name)]
    tables = {"positions", "balances", *(one for _, names in chosen.values() for one in names)}
    tables |= {table for model in models for table in model.tables}
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        # Before the snapshot is taken: a rebuild that swaps in between would show empty tables.
        names = ", ".join(sorted(tables))
        connection.execute(f"LOCK TABLE {names} IN ACCESS SHARE MODE".encode())
        stood = connection.execute("SELECT model, position, shape FROM positions").fetchall()
        stands = {name: position for name, position, _ in stood}
        shapes = {name: shape for name, _, shape in stood}
        stands["journal"] = stands.get("balances", 0)
        accounts = Names()
        checks = [(kind(), stands.get(name, 0)) for name, (kind, _) in chosen.items()]
        # What an older release has made, and nobody has made anew yet, has other columns.
        by_row = {
            model: stands[model.name] for model in models if shapes.get(model.name) == model.shape()
        }
        upto = max([*(cut for _, cut in checks), *by_row.values()], default=0)
        differences: list[Difference] = []
        facts = _facts(connection, upto, differences)
        for count, (position, stream, version, fact, columns) in enumerate(facts):
            accounts.take(stream, fact)
            for check, cut in checks:
                if position <= cut:
                    check.take(position, stream, version, fact, columns)
            if progress is not None and count % CHUNK == 0:
                progress(position, upto)
        if progress is not None:
            progress(upto, upto)
        found = chain(
            *(check.differences(connection) for check, _ in checks),
            rows_that_differ(connection, by_row),
        )
        for owner, field, projected, replayed in found:
            workspace = accounts.workspace(owner)
            differences.append(Difference(workspace, field, projected, replayed))
        return differences


class Names:
    """Which workspace a stream belongs to, as far as its first fact says so."""

    def __init__(self) -> None:
        self._known: dict[UUID, str] = {}

    def take(self, stream: UUID, fact: Fact) -> None:
        """Note the name that an account, a workspace, an invoice or a payment is opened under."""
        if isinstance(fact, OPENING):
            self._known[stream] = fact.workspace_id
            if type(fact) is WorkspaceCreated:
                self._known[subscription_stream(fact.workspace_id)] = fact.workspace_id

    def workspace(self, stream: UUID | str) -> str:
        """The workspace that a stream belongs to, or the stream where it has none."""
        return stream if isinstance(stream, str) else self._known.get(stream, str(stream))


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
