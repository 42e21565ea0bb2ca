"""The audit trail: how fast a book is chained, and verified."""

from __future__ import annotations

import tempfile
import threading
import time
from pathlib import Path

from adapters.settings import Sealing, Settings
from api import logs
from api.auditing import chaining
from api.auditing.trust import trust_of, verified
from scripts.benchmarks.clients import Order, Sample, no_waits


class Chaining:
    """Chains a book from its beginning to its end, signing for every 1,000 events; and verifies
    it, on one connection in a process of its own."""

    def __init__(self) -> None:
        logs.configure("quiet")
        self._folder = Path(tempfile.mkdtemp(prefix="daybook-bench-"))

    def run(self, order: Order) -> Sample:
        """``accounts`` is the runtime's URL alone; the task is "chain" or "verify"."""
        (url,) = order.accounts
        sealing = Sealing(self._folder / f"{order.tag}.jsonl", self._folder / f"{order.tag}.key")
        settings = Settings(url, url, log="quiet", sealing=sealing)
        began = time.monotonic()
        if order.task == "chain":
            with chaining.opened(settings, threading.Event()) as chainer:
                assert chainer is not None
                while chainer.step():
                    pass
                chainer.seal()
        else:
            found = verified(settings.database.conninfo(), trust_of(sealing))
            if not found.is_intact or found.unsealed:
                raise RuntimeError(f"the book is not what was chained: {found}")
        spent = time.monotonic() - began
        return Sample(order.options["events"], order.begin + spent, no_waits([spent]), {})
