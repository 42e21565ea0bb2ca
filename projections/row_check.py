"""Rows: read models folded anew into tables of the session's own, and every column of every row
compared with the live ones. Whatever no sum of the auditor's looks at is found here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

import psycopg
from psycopg import Connection

from projections.account_check import FIELDS, FINDINGS_MAX, Finding
from projections.feed import Feed
from projections.models import MODELS
from projections.money_check import INVOICE_FIELDS, INVOICE_KINDS, PAYMENT_FIELDS
from projections.read_model import ReadModel
from projections.usage_hourly import UsageHourly

SUFFIX = "_anew"
BATCH = 20_000
NOWHERE = UUID(int=0)

BY_ROW: dict[str, type[ReadModel]] = {
    # The sums of usage by the quarter-hour have no column that is not a label or a sum.
    model.name: model
    for model in MODELS
    if model is not UsageHourly
}
SUMMED: Mapping[str, Sequence[str]] = {
    "balances": FIELDS,
    "invoices": INVOICE_FIELDS,
    "payments": PAYMENT_FIELDS,
}
"""Columns that the auditor's own fold looks at, by table: what differs is said once."""
CALLED = {"invoices": "id", "payments": "payment_attempt_id", "usage_events": "event_id"}
"""What a table's rows are called by where it is not the rest of their key."""
OWNERS = ("workspace_id", "stream")

KEY = """
    SELECT array_agg(attname::text ORDER BY attnum) FROM pg_attribute, (
        SELECT indkey::int2[] AS parts FROM pg_index
        WHERE indrelid = %s::regclass AND indisunique
        ORDER BY indisprimary DESC, indexrelid LIMIT 1) AS key
    WHERE attrelid = %s::regclass AND attnum = ANY(key.parts)
"""
DIFFERENT = """
    SELECT to_jsonb(live), to_jsonb(anew) FROM {table} AS live
    FULL JOIN {table}{suffix} AS anew USING ({key})
    WHERE live IS DISTINCT FROM anew ORDER BY {key} LIMIT {limit}
"""


def rows_that_differ(
    connection: Connection[Any],
    stands: Mapping[type[ReadModel], int],
) -> Iterator[Finding]:
    """Every column of the models' rows that is not what a fold up to the position where each of
    them ``stands`` gives. Within the caller's transaction, which sees one snapshot; what is made
    in it vanishes with it."""
    connection.execute("SELECT set_config('search_path', 'pg_temp, ' || current_schema(), true)")
    connection.execute("SET LOCAL client_min_messages = warning")
    anew = [model(SUFFIX) for model in stands]
    for model in anew:
        model.create(connection)
    failed = _fold(connection, anew, stands)
    for model in anew:
        if model.name in failed:
            yield NOWHERE, f"{model.name}: cannot be folded anew", None, failed[model.name]
            continue
        for table in model.tables:
            yield from _differences(connection, table)


def _fold(
    connection: Connection[Any],
    anew: Sequence[ReadModel],
    stands: Mapping[type[ReadModel], int],
) -> dict[str, str]:
    """Fold each model up to where it stands, in one pass; by name, why some could not be."""
    feed, at, failed = Feed(connection), 0, dict[str, str]()
    for upto in sorted(set(stands.values())):
        models = [model for model in anew if stands[type(model)] >= upto]
        while at < upto:
            rows = [row for row in feed.read(at, BATCH) if row[0] <= upto]
            if not rows:
                break
            going = [model for model in models if model.name not in failed]
            batch = feed.fold(rows, going)
            failed |= {name: _said(error) for name, error in batch.errors.items()}
            for model in going:
                changes = batch.changes[model.name]
                if model.name not in failed and any(changes):
                    try:
                        with connection.transaction():
                            model.write(connection, changes)
                    except (psycopg.Error, LookupError, RuntimeError, ValueError) as error:
                        failed[model.name] = _said(error)
            at = batch.upto
        at = upto
    return failed


def _differences(connection: Connection[Any], table: str) -> Iterator[Finding]:
    row = connection.execute(KEY, (table, table)).fetchone()
    key: list[str] = row[0] if row else []
    query = DIFFERENT.format(table=table, suffix=SUFFIX, key=", ".join(key), limit=FINDINGS_MAX)
    for live, anew in connection.execute(query.encode()).fetchall():
        there = anew or live
        owner = next((there[name] for name in OWNERS if name in there), None)
        whose = _whose(owner)
        called = [CALLED[table]] if table in CALLED else [one for one in key if one not in OWNERS]
        name = " ".join([table, *(str(there[one]) for one in called)])
        if live is None or anew is None:
            yield whose, f"{name}: row", live, anew
            continue
        for column, projected in live.items():
            if projected != anew[column] and not _is_summed(table, anew, column):
                yield whose, f"{name}: {column}", projected, anew[column]


def _is_summed(table: str, row: Mapping[str, Any], column: str) -> bool:
    """Whether the auditor's own fold says so already; receipts are no invoices to him."""
    is_receipt = table == "invoices" and row["kind"] not in INVOICE_KINDS
    return column in SUMMED.get(table, ()) and not is_receipt


def _whose(owner: str | None) -> UUID | str:
    """A workspace by its id, or a stream that is known to belong to one."""
    if owner is None:
        return NOWHERE
    try:
        return UUID(owner)
    except ValueError:
        return owner


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".strip()
