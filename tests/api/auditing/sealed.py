"""Books that are chained and sealed, and what an administrator may do to them behind our back."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import psycopg

from adapters.postgres.database import Database
from adapters.settings import Sealing, Settings
from api.auditing import chaining
from api.auditing.trust import trust_of, verified
from projections.verify import Verdict
from tests.projections.stories import rows

PAYLOAD = (
    "UPDATE events SET state = convert_to(regexp_replace(convert_from(state, 'UTF8'),"
    " '\"amount\":[0-9]+', '\"amount\":1'), 'UTF8') WHERE notification_id = {position}"
)
"""Changes the amount in an event's payload."""
UNGUARDED = "SET session_replication_role = replica"
"""As a superuser: no trigger fires any more."""


def sealing_in(folder: Path, events: int = 10, seconds: float = 300.0) -> Sealing:
    """Checkpoints every few events, published in a folder."""
    return Sealing(folder / "checkpoints.jsonl", folder / "checkpoints.key", events, seconds)


def settings_with(database: Database, sealing: Sealing | None) -> Settings:
    """The settings of a poster."""
    return Settings(
        database.owner_url, database.runtime_url, database.cell, log="text", sealing=sealing
    )


def chain(database: Database, sealing: Sealing | None = None, *, seal: bool = False) -> int:
    """Chain all that is committed, sealing as it goes and, if asked, at the end; how many."""
    count = 0
    with chaining.opened(settings_with(database, sealing), threading.Event()) as chainer:
        assert chainer is not None
        while done := chainer.step():
            count += done
        if seal:
            chainer.seal()
    return count


def verdict(database: Database, sealing: Sealing | None = None, **options: Any) -> Verdict:
    """What verification says of it."""
    return verified(database.conninfo(), trust_of(sealing), **options)


def tamper(database: Database, *statements: str) -> None:
    """As a superuser whom no trigger stops."""
    with psycopg.connect(database.conninfo(owner=True), autocommit=True) as connection:
        connection.execute(UNGUARDED)
        for statement in statements:
            connection.execute(statement.encode())


def a_debit(database: Database, number: int = 0) -> int:
    """The position of a debit in the middle."""
    found = rows(database, "SELECT notification_id FROM events WHERE kind = 'Debited' ORDER BY 1")
    return int(found[len(found) // 2 + number][0])


def signed(database: Database) -> list[int]:
    return [row[0] for row in rows(database, "SELECT position FROM audit_checkpoints ORDER BY 1")]
