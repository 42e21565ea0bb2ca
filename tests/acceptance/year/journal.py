"""The event table as plain values: what an auditor reads with SQL and a JSON parser."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple

import psycopg

from adapters.postgres.database import Database

QUERY = """
    SELECT notification_id, originator_id::text, kind, convert_from(state, 'UTF8'), amount
    FROM events ORDER BY notification_id
"""
Terms = dict[str, Any]
"""What a version of a plan says."""


class Entry(NamedTuple):
    """One row: its position, its stream, the fact's name, and its JSON; signed µ, if any."""

    position: int
    stream: str
    kind: str
    data: dict[str, Any]
    amount: int | None

    @property
    def at(self) -> datetime:
        """When it was recorded."""
        return moment(self.data["at"])


@dataclass
class Journal:
    """Everything that happened, by workspace in order of position; and what was ever for sale, as
    the events tell of it: plans by name and version, and the price books of models."""

    entries: list[Entry]
    by_workspace: dict[str, list[Entry]]
    plans: dict[tuple[str, int], Terms]
    price_books: list[tuple[datetime, Terms]]

    @property
    def workspaces(self) -> list[str]:
        """Their ids, the oldest first."""
        return [name for name in self.by_workspace if name.startswith("ws_")]

    def altered(self, change: Callable[[Entry], Entry | None]) -> Journal:
        """Another journal, in which entries are different or missing."""
        changed = {
            workspace: [new for entry in entries if (new := change(entry)) is not None]
            for workspace, entries in self.by_workspace.items()
        }
        return replace(self, by_workspace=changed)

    def price(self, plan: str, version: int) -> int:
        """Cents a month."""
        return int(self.plans[plan, version].get("price_minor", 0))

    def price_book(self, at: datetime) -> Terms:
        """What models cost at an instant."""
        return [book for since, book in self.price_books if since <= at][-1]


def moment(text: str) -> datetime:
    """An instant as JSON has it."""
    return datetime.fromisoformat(text)


def read(database: Database) -> Journal:
    """All events of a deployment."""
    with psycopg.connect(database.conninfo()) as connection:
        rows = connection.execute(QUERY).fetchall()
    entries = [Entry(row[0], row[1], row[2], json.loads(row[3]), row[4]) for row in rows]
    plans: dict[tuple[str, int], Terms] = {}
    books: list[tuple[datetime, Terms]] = []
    for entry in entries:
        data = entry.data
        if entry.kind == "CatalogueVersionPublished":
            document = json.loads(data["document"])
            plans |= {(name, data["version"]): one for name, one in document["plans"].items()}
        elif entry.kind == "CustomPlanDefined":
            plans[data["plan_id"], data["custom_version"]] = data["plan"]
        elif entry.kind == "PriceBookVersionPublished":
            books.append((moment(data["effective_from"]), data))
    return Journal(entries, _sorted(entries), plans, books)


def _sorted(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    """A stream is of the workspace that its first fact names."""
    owners: dict[str, str] = {}
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        owner = owners.setdefault(entry.stream, str(entry.data.get("workspace_id", "")))
        if owner:
            found.setdefault(owner, []).append(entry)
    return found
