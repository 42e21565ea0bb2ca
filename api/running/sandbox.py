"""Which Stripe a deployment uses: the user's, a sandbox that we bring, or none."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from socket import socket
from typing import Any

from adapters.settings import Settings, read_stripe
from api.running.child import Child
from api.running.deployment import Deployment
from api.running.notes import Notes
from api.serve import CannotServe, Supervisor, listen, say, url_of

WEBHOOK = "/v1/webhooks/stripe"
OWN = "Stripe is the one whose keys are in the environment."
SANDBOX = (
    "Stripe is played by a sandbox and no money moves: set STRIPE_SECRET_KEY and "
    "STRIPE_WEBHOOK_SECRET for the real one ({url})"
)


@dataclass(frozen=True)
class Access:
    """A way to a Stripe. ``url`` None is Stripe itself."""

    url: str | None
    key: str
    webhook_secret: str
    is_sandbox: bool

    def line(self) -> dict[str, Any]:
        """What programs are told that drive a deployment; keys of the real Stripe are not."""
        return {
            "url": self.url or "https://api.stripe.com",
            "secret_key": self.key if self.is_sandbox else None,
            "webhook_secret": self.webhook_secret if self.is_sandbox else None,
            "sandbox": self.is_sandbox,
        }


class Stripe:
    """The Stripe of the environment's keys, or else, where one is wanted, a sandbox of this
    deployment's own. Its data, its keys and where it listens are kept beside the ledger's."""

    def __init__(
        self,
        deployment: Deployment,
        url: str,
        *,
        sandbox: bool,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        """``url`` is where the deployment is called.

        :raises SettingsUnusable: only one of Stripe's two keys is set.
        """
        key, secret, own_url, is_sandbox = read_stripe(environment)
        self.access: Access | None = None
        self._child: Child | None = None
        if key:
            self.access = Access(own_url, key, secret, is_sandbox)
        elif sandbox:
            self._play(deployment.notes, f"{url}{WEBHOOK}")

    def told(self, settings: Settings) -> Settings:
        """The settings of a deployment that uses this Stripe."""
        if self.access is None:
            return settings
        return replace(
            settings,
            stripe_key=self.access.key,
            stripe_webhook_secret=self.access.webhook_secret,
            stripe_url=self.access.url,
            stripe_is_sandbox=self.access.is_sandbox,
        )

    def join(self, supervisor: Supervisor) -> None:
        """Let the sandbox live as long as the deployment."""
        if self._child is not None and self.access is not None:
            say(SANDBOX.format(url=self.access.url))
            supervisor.add(self._child)
        elif self.access is not None:
            say(OWN)

    def _play(self, notes: Notes, webhook: str) -> None:
        sock = _where_it_was(notes)
        kept = notes.read().get("stripe", {})
        key = kept.get("key") or f"sk_test_{secrets.token_hex(16)}"
        secret = kept.get("webhook_secret") or f"whsec_{secrets.token_hex(24)}"
        port = sock.getsockname()[1]
        notes.keep(stripe={"key": key, "webhook_secret": secret, "port": port})
        self.access = Access(url_of(sock), key, secret, True)
        fd = sock.detach()  # it stays open for whoever replaces a dead one
        data = str(notes.path.with_suffix(".stripe"))
        self._child = Child(
            "stripe sandbox",
            "adapters.stripe.sandbox.server",
            *(str(fd), "--data", data, "--webhook", webhook),
            # Keys are not for the list of processes.
            environment={"STRIPE_SECRET_KEY": key, "STRIPE_WEBHOOK_SECRET": secret},
            keep=(fd,),
        )


def _where_it_was(notes: Notes) -> socket:
    """A socket on the port of the last run, whose pages people may have open, or on any."""
    port = notes.read().get("stripe", {}).get("port")
    if isinstance(port, int):
        try:
            return listen("127.0.0.1", port)
        except CannotServe:
            pass  # somebody else has it now
    return listen("127.0.0.1", 0)
