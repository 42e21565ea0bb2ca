"""Rows as text arrive in PostgreSQL as they were."""

from datetime import UTC, datetime
from typing import Any

import psycopg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from adapters.postgres.embedded import EmbeddedServer
from projections.appending import OPTIONS, as_array, as_csv

NASTY = [
    "\\",
    '"',
    ",",
    "\n",
    "\r",
    "\t",
    "\\.",
    "\n\\.\n",
    "null",
    "NULL",
    "",
    "]\n[",
    "\x01",
    "ß長",
]
TEXTS = st.none() | st.sampled_from(NASTY) | st.text(st.characters(exclude_categories=["Cs"]))


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(TEXTS, st.integers(-(2**63), 2**63 - 1), st.booleans()), min_size=1))
def test_whatever_a_text_holds_it_arrives(
    server: EmbeddedServer, rows: list[tuple[str | None, int, bool]]
) -> None:
    sent = [(number, *row) for number, row in enumerate(rows)]
    arrived = copied(server, "n int, label text, amount bigint, flag boolean", sent)
    expected = [
        (number, text if text is None else text.replace("\0", "\ufffd"), amount, flag)
        for number, text, amount, flag in sent
    ]
    assert arrived == expected


def test_times_and_missing_values_arrive(server: EmbeddedServer) -> None:
    at = datetime(2026, 6, 1, 12, 0, 0, 123456, tzinfo=UTC)
    sent = [(1, at, None), (2, at.replace(microsecond=0), "x")]
    assert copied(server, "n int, at timestamptz, label text", sent) == sent


def test_arrays_arrive(server: EmbeddedServer) -> None:
    with psycopg.connect(server.url_for("postgres")) as connection:
        query = "SELECT %t::bigint[], %t::uuid[]::text[], %t::bigint[]"
        row = connection.execute(query, (as_array([1, -2]), as_array(["0" * 32]), as_array([])))
        assert row.fetchone() == ([1, -2], ["00000000-0000-0000-0000-000000000000"], [])


def copied(server: EmbeddedServer, columns: str, rows: list[tuple[Any, ...]]) -> list[Any]:
    """What a table holds after the rows were copied into it."""
    with psycopg.connect(server.url_for("postgres")) as connection:
        connection.execute("SET TIME ZONE 'UTC'")
        connection.execute(sql.SQL("CREATE TEMP TABLE arrived ({})").format(sql.SQL(columns)))
        with connection.cursor().copy(f"COPY arrived FROM STDIN {OPTIONS}".encode()) as copy:
            copy.write(as_csv(rows))
        found = connection.execute("SELECT * FROM arrived ORDER BY 1").fetchall()
        connection.rollback()
        return found
