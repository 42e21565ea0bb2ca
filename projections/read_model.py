"""What a read model is: a pure fold from facts to rows, its tables, and how rows are written."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, ClassVar, TypeAlias
from uuid import UUID

from psycopg import Connection

from domain.facts import Fact

Posted: TypeAlias = tuple[int, UUID, int, Fact]
"""An event as the runner hands it out: position, stream, version, fact."""

Changes: TypeAlias = tuple[Any, ...]
"""What events ask of a model's tables: collections, all empty when it is nothing."""


class ReadModel(ABC):
    """Answers one question. `fold` is pure: the same facts give the same rows, whoever folds
    them and when, so a rebuild equals what it replaces.

    A model is made for its live tables, or with a ``suffix`` for a copy beside them.
    """

    name: ClassVar[str]
    facts: ClassVar[tuple[type[Fact], ...]]
    tables: ClassVar[Mapping[str, str]]
    """Each table's name, and the statements that make it, which call it ``{table}``."""

    def __init__(self, suffix: str = "") -> None:
        self.suffix = suffix

    @abstractmethod
    def nothing(self) -> Changes:
        """Empty collections, for `fold` to fill."""

    @abstractmethod
    def fold(self, events: Sequence[Posted], changes: Changes) -> None:
        """Add to ``changes`` what these events ask of the tables."""

    @abstractmethod
    def write(self, connection: Connection, changes: Changes) -> None:
        """Apply what `fold` gave, within the caller's transaction; never called for nothing."""

    def sql(self, statement: str) -> bytes:
        """A statement about this copy's tables, which it calls ``{name_of_table}``."""
        names = {table: table + self.suffix for table in self.tables}
        return statement.format(**names).encode()

    def create(self, connection: Connection) -> None:
        """Make the tables that are missing."""
        for table, statements in self.tables.items():
            connection.execute(statements.format(table=table + self.suffix).encode())

    def drop(self, connection: Connection) -> None:
        """Remove the tables of this copy."""
        for table in self.tables:
            connection.execute(f"DROP TABLE IF EXISTS {table}{self.suffix}".encode())

    @classmethod
    def shape(cls) -> str:
        """Changes when the tables do; a stored model of another shape is rebuilt."""
        return sha256(repr(sorted(cls.tables.items())).encode()).hexdigest()[:16]


class UnknownAccount(RuntimeError):
    """An event moves an account that was never opened: the log is not what it should be."""
