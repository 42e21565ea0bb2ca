"""Commits a model's rows together with its position: exactly once, whoever is killed when."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg import Connection

from projections.read_model import Changes, ReadModel

# The first statement of every posting: it locks the model's row, and finds it moved if another
# runner (or a rebuild) came between.
ADVANCE = """
    UPDATE positions SET position = %b, error = NULL WHERE model = %b AND position = %b
"""
ADVANCE_IDLE = """
    UPDATE positions SET position = %b WHERE model = ANY(%b::text[]) AND position = %b
"""


class Overtaken(RuntimeError):
    """Somebody else moved the model's position: what was folded here is of no use."""


def post(
    connection: Connection[Any], model: ReadModel, changes: Changes, before: int, upto: int
) -> None:
    """Take the model from position ``before`` to ``upto``, rows and all.

    :raises Overtaken: it does not stand at ``before``; nothing is written.
    """
    with connection.transaction():
        advanced = connection.execute(ADVANCE, (upto, model.name, before), prepare=True)
        if advanced.rowcount != 1:
            raise Overtaken(f"{model.name} does not stand at {before}")
        if any(changes):
            model.write(connection, changes)


def post_idle(
    connection: Connection[Any], models: Sequence[ReadModel], before: int, upto: int
) -> None:
    """Take models for which there was nothing to write from ``before`` to ``upto``.

    :raises Overtaken: one of them does not stand at ``before``; none has moved.
    """
    names = sorted(model.name for model in models)
    with connection.transaction():
        advanced = connection.execute(ADVANCE_IDLE, (upto, names, before), prepare=True)
        if advanced.rowcount != len(names):
            raise Overtaken(f"not all of {names} stand at {before}")
