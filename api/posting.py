"""The poster: one process that folds events into read models and writes off expired credits.

Run as `python -m api.posting`; settings come in the environment.
"""

import asyncio
import contextlib
import signal
import threading

import psycopg
import structlog
from psycopg_pool import AsyncConnectionPool

from adapters.clock import Clock, SystemClock, TestClock
from adapters.postgres.writer import Writer
from adapters.settings import Settings, read_settings
from api import logs
from domain.errors import NotFound, TryAgain
from domain.facts import Context
from domain.ledger import Ledger
from projections import expiries
from projections.runner import Runner

SWEEP_EVERY_S = 3.0
RECONNECT_S = 0.5

log = structlog.get_logger("daybook.posting")


def main() -> None:
    """Post until SIGTERM or SIGINT."""
    settings = read_settings()
    logs.configure(settings.log)
    stop = threading.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sign, lambda *_: stop.set())
    sweeper = threading.Thread(target=_keep_sweeping, args=(settings, stop), name="sweeper")
    sweeper.start()
    try:
        Runner(settings.database.conninfo()).run(stop)
    finally:
        stop.set()
        sweeper.join()


def _keep_sweeping(settings: Settings, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            asyncio.run(_sweep(settings, stop))
        except psycopg.Error as error:
            log.warning("sweeper_lost_the_database", error=type(error).__name__)
            stop.wait(RECONNECT_S)
