"""What a plan allows to run at once, in words: bots, seats, storage."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import NamedTuple

from api.dashboard.figures import count
from domain.workspace.storage import GIGABYTE, storage_of
from domain.workspace.workspace import Workspace


class Limit(NamedTuple):
    """How much of something there is; ``allowed`` is empty where the plan has no limit."""

    name: str
    used: str
    allowed: str = ""
    note: str = ""


def limits_of(workspace: Workspace) -> Iterator[Limit]:
    """What the plan speaks of; nothing of what it does not."""
    bots, seats = workspace.limit("bots"), workspace.limit("seats")
    if bots is not None:
        paused = [bot.paused_by for bot in workspace.bots.values()].count("plan_limit")
        note = f"{count(paused)} paused by the plan" if paused else ""
        yield Limit("Active bots", count(workspace.active_bots), count(bots), note)
    if seats is not None:
        yield Limit("Seats", count(workspace.seats), count(seats))
    storage = storage_of(workspace)
    if storage.limit is not None:
        gigabytes = (Decimal(storage.used) / GIGABYTE).quantize(Decimal("0.01"))
        allowed = f"{count(storage.limit // GIGABYTE)} GB"
        yield Limit("Storage", f"{gigabytes.normalize():,f}", allowed)
