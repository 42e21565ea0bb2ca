"""The storage that all bots of a workspace share: a gauge that services report."""

from __future__ import annotations

from typing import NamedTuple

from domain.facts import Context
from domain.workspace.facts import StorageReported
from domain.workspace.workspace import Workspace

GIGABYTE = 1_000_000_000
"""As disks and plans are sold."""


class Storage(NamedTuple):
    """Bytes in use and allowed (None: no limit)."""

    used: int
    limit: int | None

    @property
    def may_grow(self) -> bool:
        """Whether anything more may be stored; nothing is ever deleted for it."""
        return self.limit is None or self.used < self.limit


def storage_of(workspace: Workspace) -> Storage:
    """How the gauge stands against the plan."""
    gigabytes = workspace.limit("storage_gb")
    return Storage(workspace.storage_used, None if gigabytes is None else gigabytes * GIGABYTE)


def report_storage(workspace: Workspace, used_bytes: int, context: Context) -> Storage:
    """Note what is stored now; a gauge that stands as before says nothing new."""
    if used_bytes != workspace.storage_used:
        stamp = workspace.stamp(context, f"storage:{workspace.version + 1}")
        workspace.record(StorageReported(**stamp, used_bytes=used_bytes))
    return storage_of(workspace)
