"""Packed columns arrive at PostgreSQL as the values they were."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.postgres import arrays
from adapters.postgres.database import Database

BIGINTS = st.integers(-(2**63), 2**63 - 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(st.uuids()),
    st.lists(BIGINTS | st.none()),
    st.lists(TEXTS),
    st.lists(st.binary()),
)
def test_what_is_packed_is_what_arrives(
    database: Database,
    uuids: list[UUID],
    bigints: list[int | None],
    texts: list[str],
    byteas: list[bytes],
) -> None:
    with _connected(database) as connection:
        row = connection.execute(
            "SELECT %b::uuid[], %b::bigint[], %b::text[], %b::bytea[]",
            (
                arrays.uuids(uuids),
                arrays.bigints(bigints),
                arrays.texts(texts),
                arrays.byteas(byteas),
            ),
        ).fetchone()

    assert row == (uuids, bigints, texts, byteas)


def test_what_cannot_be_packed_is_refused_as_the_database_would() -> None:
    for values in ([2**63], [None, -(2**63) - 1]):
        with pytest.raises(psycopg.DataError, match="out of range"):
            arrays.bigints(values)
    with pytest.raises(psycopg.DataError, match="not Unicode"):
        arrays.texts(["\ud800"])


def _connected(database: Database) -> psycopg.Connection[Any]:
    connection = psycopg.connect(database.conninfo(), autocommit=True)
    for kind, dumper in arrays.DUMPERS:
        connection.adapters.register_dumper(kind, dumper)
    return connection
