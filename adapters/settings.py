"""What a process is told by its environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from adapters.postgres.database import Database

ON = {"1": True, "true": True, "0": False, "false": False, "": False}
LOGS = ("json", "text", "quiet")


@dataclass(frozen=True)
class Sealing:
    """Where checkpoints of the log are published, what signs them, and how often: by events or
    seconds since the last one, whichever comes first."""

    file: Path
    key: Path  # its public half lies beside it
    events: int = 1_000
    seconds: float = 300.0


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
    upstream_key: str = field(default="", repr=False)
    upstream_patience_s: float = 60.0
    upstream_provider: str = ""  # whose prices are its prices, where a model has several
    stripe_key: str = field(default="", repr=False)  # "": this deployment has no Stripe
    stripe_webhook_secret: str = field(default="", repr=False)  # several, while one is rotated: a,b
    stripe_url: str | None = None  # None: Stripe itself
    stripe_is_sandbox: bool = False
    stripe_patience_s: float = 6.0  # for one answer; asked twice where that is safe
    webhooks_local: bool = False  # our webhooks may go to private addresses, and without TLS
    public_url: str = "http://127.0.0.1:8440"  # ours, where customers come back to
    sealing: Sealing | None = None  # None: the log is chained, and nobody signs for it

    @property
    def database(self) -> Database:
        """The cell that this process serves."""
        return Database(self.owner_url, self.runtime_url, self.cell)

    @property
    def stripe_webhook_secrets(self) -> tuple[str, ...]:
        """The secrets that a webhook may be signed with; none without Stripe."""
        return tuple(filter(None, map(str.strip, self.stripe_webhook_secret.split(","))))

    def environment(self) -> dict[str, str]:
        """The variables that give another process the same settings."""
        return (
            {
                "DAYBOOK_OWNER_URL": self.owner_url,
                "DAYBOOK_RUNTIME_URL": self.runtime_url,
                "DAYBOOK_CELL": self.cell,
                "BILLING_CATALOGUE": self.catalogue,
                "DAYBOOK_TEST_CLOCK": "1" if self.test_clock else "0",
                "DAYBOOK_LOG": self.log,
                "DAYBOOK_PUBLIC_URL": self.public_url,
                "DAYBOOK_WEBHOOKS_LOCAL": "1" if self.webhooks_local else "0",
            }
            | self._upstream()
            | self._stripe()
            | self._sealing()
        )

    def _sealing(self) -> dict[str, str]:
        if self.sealing is None:
            return {}
        return {
            "DAYBOOK_CHECKPOINTS": str(self.sealing.file),
            "DAYBOOK_CHECKPOINT_KEY": str(self.sealing.key),
            "DAYBOOK_CHECKPOINT_EVENTS": str(self.sealing.events),
            "DAYBOOK_CHECKPOINT_SECONDS": str(self.sealing.seconds),
        }

    def _upstream(self) -> dict[str, str]:
        if not self.upstream_url:
            return {}  # whatever the other process inherits
        return {
            "UPSTREAM_URL": self.upstream_url,
            "UPSTREAM_KEY": self.upstream_key,
            "UPSTREAM_PATIENCE_S": str(self.upstream_patience_s),
            "UPSTREAM_PROVIDER": self.upstream_provider,
        }

    def _stripe(self) -> dict[str, str]:
        return {
            "STRIPE_SECRET_KEY": self.stripe_key,
            "STRIPE_WEBHOOK_SECRET": self.stripe_webhook_secret,
            "STRIPE_API_URL": self.stripe_url or "",
            "DAYBOOK_STRIPE_SANDBOX": "1" if self.stripe_is_sandbox else "0",
            "STRIPE_PATIENCE_S": str(self.stripe_patience_s),
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
        _web_address(environment, "UPSTREAM_URL"),
        environment.get("UPSTREAM_KEY", ""),
        _patience_s(environment, "UPSTREAM_PATIENCE_S", "60"),
        environment.get("UPSTREAM_PROVIDER", "").strip(),
        *read_stripe(environment),
        _patience_s(environment, "STRIPE_PATIENCE_S", "6"),
        environment.get("DAYBOOK_WEBHOOKS_LOCAL", "0") == "1",
        public_url=_web_address(environment, "DAYBOOK_PUBLIC_URL") or Settings.public_url,
        sealing=read_sealing(environment),
    )


def read_sealing(
    environment: Mapping[str, str] = os.environ, usual: Path | None = None
) -> Sealing | None:
    """Where checkpoints are published and what signs them. ``usual`` is the file where none is
    named; without one, nobody signs. The key's file is named after it, unless it is named too.

    :raises SettingsUnusable: how often makes no sense.
    """
    named = environment.get("DAYBOOK_CHECKPOINTS")
    file = Path(named).expanduser().resolve() if named else usual
    if file is None:
        return None
    key = environment.get("DAYBOOK_CHECKPOINT_KEY")
    try:
        events = int(environment.get("DAYBOOK_CHECKPOINT_EVENTS") or Sealing.events)
        seconds = float(environment.get("DAYBOOK_CHECKPOINT_SECONDS") or Sealing.seconds)
        if events < 1 or not 0 < seconds < 10**7:
            raise ValueError
    except ValueError:
        raise SettingsUnusable(
            "DAYBOOK_CHECKPOINT_EVENTS and DAYBOOK_CHECKPOINT_SECONDS say after how many events "
            "and seconds the log is signed for: whole events, 1 or more, and seconds above 0."
        ) from None
    return Sealing(
        file,
        Path(key).expanduser().resolve() if key else file.with_suffix(".key"),
        events,
        seconds,
    )


def read_stripe(
    environment: Mapping[str, str] = os.environ,
) -> tuple[str, str, str | None, bool]:
    """Stripe's secret key and webhook secret ("" and "" for no Stripe), its address (None for
    Stripe itself), and whether that is a sandbox.

    :raises SettingsUnusable: only one of key and secret is set, or the address is none.
    """
    key = environment.get("STRIPE_SECRET_KEY", "").strip()
    secret = environment.get("STRIPE_WEBHOOK_SECRET", "").strip()
    if bool(key) != bool(secret):
        given, missing = "STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET"
        if secret:
            given, missing = missing, given
        raise SettingsUnusable(
            f"{given} is set and {missing} is not: set both to use Stripe (its dashboard shows the "
            "secret beside the webhook endpoint), or neither."
        )
    return (
        key,
        secret,
        _web_address(environment, "STRIPE_API_URL").rstrip("/") or None,
        environment.get("DAYBOOK_STRIPE_SANDBOX", "0") == "1",
    )


def _web_address(environment: Mapping[str, str], name: str) -> str:
    """ "" where it is not set."""
    text = environment.get(name, "")
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        good = False
    if text and not good:
        raise SettingsUnusable(f"{name} must be a web address, such as https://example.com/v1.")
    return text


def _patience_s(environment: Mapping[str, str], name: str, default: str) -> float:
    try:
        seconds = float(environment.get(name) or default)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 3600:
        raise SettingsUnusable(f"{name} must be a number of seconds, 1 to 3600.")
    return seconds
