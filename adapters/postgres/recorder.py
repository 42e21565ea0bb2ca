"""The `eventsourcing` library's recorder over our own table: its readers, subscriptions and
notification log see what the writer wrote, and what it inserts, the writer sees."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any
from uuid import UUID

import psycopg
from eventsourcing.persistence import ProgrammingError, StoredEvent
from eventsourcing.postgres import ConnectionPool, PostgresApplicationRecorder, PostgresDatastore
from eventsourcing.utils import TopicError
from psycopg import Connection
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import DictRow, dict_row

from domain.codec import decode_fact, kind_of

TABLE = "events"
APPEND = (
    "SELECT append_events(%b::uuid[], %b::bigint[], %b::text[], %b::bytea[], %b::text[],"
    " %b::bigint[], %b::bigint[], '{}', '{}', '{}', '{}') AS last"
)


class CellDatastore(PostgresDatastore):
    """The library's connection pool, connecting as the conninfo of a cell says.

    The library asks for host, user and password one by one and would lose the search path.
    """

    def __init__(self, conninfo: str, *, pool_size: int = 2, max_overflow: int = 20) -> None:
        """:raises psycopg.OperationalError: the server does not answer."""
        parts = conninfo_to_dict(conninfo)
        super().__init__(
            dbname=str(parts.get("dbname", "")),
            host=str(parts.get("host", "")),
            port=str(parts.get("port", "")),
            user=str(parts.get("user", "")),
            password=str(parts.get("password", "")),
            schema=_schema_of(conninfo),
        )
        self.pool = ConnectionPool(
            conninfo,
            connection_class=Connection[DictRow],
            kwargs={"row_factory": dict_row},
            min_size=pool_size,
            max_size=pool_size + max_overflow,
            open=False,
            configure=self.after_connect_func(),
            # Inserts are not repeated, so a connection that died idle must be noticed before.
            check=ConnectionPool.check_connection,
        )


class EventRecorder(PostgresApplicationRecorder):
    """Inserts through `append_events`, once: an insert whose answer is lost is not sent again.

    Everything that reads is the library's.
    """

    def __init__(self, datastore: CellDatastore) -> None:
        super().__init__(datastore, events_table_name=TABLE)

    def create_table(self) -> None:
        """Create nothing: tables come from migrations.

        :raises ProgrammingError: the migrations were not applied.
        """
        with self.datastore.get_connection() as connection:
            row = connection.execute("SELECT to_regclass('events') IS NOT NULL AS known").fetchone()
        if row is None or not row["known"]:
            raise ProgrammingError("There is no table `events` here: apply the migrations first.")

    def insert_events(
        self, stored_events: Sequence[StoredEvent], **kwargs: Any
    ) -> Sequence[int] | None:
        """Commit all or none; returns their positions.

        :raises eventsourcing.persistence.IntegrityError: another event has a place or a cause.
        :raises eventsourcing.persistence.OperationalError: the outcome is unknown.
        """
        if not stored_events:
            return None
        columns = [list(column) for column in zip(*map(_row, stored_events), strict=True)]
        with self.datastore.get_connection() as connection, connection.cursor(binary=True) as found:
            row = found.execute(APPEND, columns, prepare=True).fetchone()
        assert row is not None
        last = int(row["last"])
        # Ids are drawn under the lock, so those of one call follow each other.
        return list(range(last - len(stored_events) + 1, last + 1))


def _row(
    event: StoredEvent,
) -> tuple[UUID, int, str, bytes, str | None, int | None, int | None]:
    """The columns of `append_events`. A topic that is not ours has no cause and moves nothing."""
    assert isinstance(event.originator_id, UUID)
    cause: str | None = None
    amount: int | None = None
    balance_after: int | None = None
    if _is_ours(event.topic):
        fact = decode_fact(event.topic, event.state)
        cause = fact.unique_cause()
        if (move := fact.wallet_move()) is not None:
            amount, balance_after = move
    return (
        event.originator_id,
        event.originator_version,
        event.topic,
        event.state,
        cause,
        amount,
        balance_after,
    )


@lru_cache(maxsize=1_024)
def _is_ours(topic: str) -> bool:
    try:
        kind_of(topic)
    except TopicError:
        return False
    return True


def _schema_of(conninfo: str) -> str:
    """Where unqualified names lead: the library's SQL names the schema of every table."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        row = connection.execute("SELECT current_schema()").fetchone()
    return str(row[0]) if row is not None and row[0] is not None else ""
