"""The tables of all read models, and how far each one is folded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg import Connection

from projections.models import MODELS
from projections.read_model import ReadModel

POSITIONS = """
CREATE TABLE IF NOT EXISTS positions (
    model text PRIMARY KEY,
    position bigint NOT NULL,           -- of the last event that its rows contain
    shape text NOT NULL,                -- of the tables; see ReadModel.shape
    error text                          -- why it stopped, until it goes on
) WITH (fillfactor = 10)
"""
ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(7004, 'events'::regclass::oid::int)"


def create_all(connection: Connection[Any], models: Sequence[type[ReadModel]] = MODELS) -> None:
    """Make what is missing; any number of processes may do so at once, and again."""
    with connection.transaction():
        connection.execute(ONE_AT_A_TIME)
        connection.execute("SET LOCAL client_min_messages = warning")
        connection.execute(POSITIONS)
        for model in models:
            known = connection.execute(
                "INSERT INTO positions (model, position, shape) VALUES (%s, 0, %s)"
                " ON CONFLICT DO NOTHING",
                (model.name, model.shape()),
            )
            if known.rowcount:
                model().create(connection)
