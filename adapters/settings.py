"""What a process is told by its environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from adapters.postgres.database import Database

ON = {"1": True, "true": True, "0": False, "false": False, "": False}
LOGS = ("json", "text", "quiet")


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
    upstream_url: str = ""  # of an OpenAI-compatible API, ending in /v1; "": none
    upstream_key: str = ""
    upstream_patience_s: float = 60.0

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
        } | self._upstream()

    def _upstream(self) -> dict[str, str]:
        if not self.upstream_url:
            return {}  # whatever the other process inherits
        return {
            "UPSTREAM_URL": self.upstream_url,
            "UPSTREAM_KEY": self.upstream_key,
            "UPSTREAM_PATIENCE_S": str(self.upstream_patience_s),
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
        environment.get("UPSTREAM_URL", ""),
        environment.get("UPSTREAM_KEY", ""),
        _patience_s(environment.get("UPSTREAM_PATIENCE_S") or "60"),
    )


def _patience_s(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 3600:
        raise SettingsUnusable("UPSTREAM_PATIENCE_S must be a number of seconds, 1 to 3600.")
    return seconds
