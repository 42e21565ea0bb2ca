"""The event table as plain values: what an auditor reads with SQL and a JSON parser."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import yaml

from adapters.postgres.database import Database

QUERY = """
    SELECT notification_id, originator_id::text, kind, convert_from(state, 'UTF8'), amount
    FROM events ORDER BY notification_id
"""
CATALOGUES = Path(__file__).resolve().parents[3] / "adapters" / "catalogues"


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
    """Everything that happened, by workspace in order of position, and the catalogue's figures."""

    entries: list[Entry]
    by_workspace: dict[str, list[Entry]]
    plans: dict[str, dict[str, Any]]
    default_plan: str

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

    def price(self, plan: str) -> int:
        """Cents a month."""
        return int(self.plans[plan]["price_minor"])


def moment(text: str) -> datetime:
    """An instant as JSON has it."""
    return datetime.fromisoformat(text)


def read(database: Database, catalogue: str) -> Journal:
    """All events of a deployment."""
    with psycopg.connect(database.conninfo()) as connection:
        rows = connection.execute(QUERY).fetchall()
    entries = [Entry(row[0], row[1], row[2], json.loads(row[3]), row[4]) for row in rows]
    document = yaml.safe_load((CATALOGUES / f"{catalogue}.yaml").read_text())
    return Journal(entries, _sorted(entries), document["plans"], document["default_plan"])


def _sorted(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    """A stream is of the workspace that its first fact names."""
    owners: dict[str, str] = {}
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        owner = owners.setdefault(entry.stream, str(entry.data.get("workspace_id", "")))
        if owner:
            found.setdefault(owner, []).append(entry)
    return found
