"""Which provider of models a deployment asks: the user's, or one that follows a script."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace

from adapters.settings import Settings
from api.running.child import Child
from api.serve import Supervisor, listen, say, url_of

SILENCE_S = 5.0
"""How long the scripted provider is waited for: when it is told to fall silent, it does."""


class Provider:
    """The provider of UPSTREAM_URL, or else the scripted one, as a part of the deployment."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._environment = environment
        self._scripted: Child | None = None
        self.url = environment.get("UPSTREAM_URL", "")
        if not self.url:
            sock = listen("127.0.0.1", 0)
            self.url = f"{url_of(sock)}/v1"
            fd = sock.detach()  # it stays open for whoever replaces a dead one
            module = "adapters.scripted_upstream"
            self._scripted = Child("scripted provider", module, str(fd), environment={}, keep=(fd,))

    def told(self, settings: Settings) -> Settings:
        """The settings of a deployment that asks this provider."""
        if self._scripted is not None:
            return replace(settings, upstream_url=self.url, upstream_patience_s=SILENCE_S)
        # The rest is in the environment, that the deployment's processes inherit.
        return settings

    def join(self, supervisor: Supervisor) -> None:
        """Let the scripted one live as long as the deployment."""
        if self._scripted is not None:
            say(f"models are played by a script: set UPSTREAM_URL for real ones ({self.url})")
            supervisor.add(self._scripted)
