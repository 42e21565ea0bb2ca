"""What a process is told by its environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from adapters.postgres.database import Database

ON = {"1": True, "true": True, "0": False, "false": False, "": False}
LOGS = ("json", "text")


class SettingsUnusable(RuntimeError):
    """The environment cannot be understood; the message names the variable and the cure."""


@dataclass(frozen=True)
class Settings:
    """Where the ledger is, what it sells, and how the process behaves."""

    owner_url: str
    runtime_url: str
    cell: str = "main"
    catalogue: str = "faces"  # a shipped name, or a path
    test_clock: bool = False
    log: str = "json"

    @property
    def database(self) -> Database:
        """The cell that this process serves."""
        return Database(self.owner_url, self.runtime_url, self.cell)

    def environment(self) -> dict[str, str]:
        """The variables that give another process the same settings."""
        return {
            "DAYBOOK_OWNER_URL": self.owner_url,
            "DAYBOOK_RUNTIME_URL": self.runtime_url,
            "DAYBOOK_CELL": self.cell,
            "BILLING_CATALOGUE": self.catalogue,
            "DAYBOOK_TEST_CLOCK": "1" if self.test_clock else "0",
            "DAYBOOK_LOG": self.log,
        }


def read_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings in these variables.

    :raises SettingsUnusable: one is missing or makes no sense. Values are not repeated: a URL
        holds a password.
    """
    runtime_url = environment.get("DAYBOOK_RUNTIME_URL", "")
    owner_url = environment.get("DAYBOOK_OWNER_URL", runtime_url)
    if not runtime_url:
        raise SettingsUnusable(
            "DAYBOOK_RUNTIME_URL is not set: give the database that the ledger is in, as "
            "postgresql://user:password@host:port/name, or start everything with scripts/run."
        )
    test_clock = ON.get(environment.get("DAYBOOK_TEST_CLOCK", "").lower())
    if test_clock is None:
        raise SettingsUnusable("DAYBOOK_TEST_CLOCK is neither 1 nor 0.")
    log = environment.get("DAYBOOK_LOG", "json")
    if log not in LOGS:
        raise SettingsUnusable(f"DAYBOOK_LOG must be one of {', '.join(LOGS)}.")
    return Settings(
        owner_url,
        runtime_url,
        environment.get("DAYBOOK_CELL", "main"),
        environment.get("BILLING_CATALOGUE", "faces"),
        test_clock,
        log,
    )
