"""The poster: one process that folds events into read models, chains and seals them, records what
time does alone, and carries out what facts ask of the outside.

Run as `python -m api.posting`; settings come in the environment.
"""

import asyncio
import signal
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import psycopg
import structlog
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from adapters.clock import SystemClock
from adapters.postgres.writer import Writer
from adapters.settings import Settings, read_settings
from api import logs
from api.auditing import chaining
from api.running.due import run_due
from api.stripe import border
from domain import codec
from domain.errors import TryAgain
from domain.ledger import Ledger
from projections.runner import Runner
from projections.tables import create_all

SWEEP_EVERY_S = 3.0
LOOK_S = 0.1
RECONNECT_S = 0.5
LATE = timedelta(minutes=5)
"""How far each sweep looks back before the last: the read model may not have been up to date."""
THOROUGH_EVERY = timedelta(hours=1)
"""How often a sweep looks back to the beginning: something may have failed for longer."""

log = structlog.get_logger("daybook.posting")


def main() -> None:
    """Post until SIGTERM or SIGINT."""
    settings = read_settings()
    logs.configure(settings.log)
    codec.prepare()
    stop = threading.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sign, lambda *_: stop.set())
    sweeper = threading.Thread(target=_keep_sweeping, args=(settings, stop), name="sweeper")
    sweeper.start()
    keeper = threading.Thread(target=border.run, args=(settings, stop), name="border")
    keeper.start()
    chainer = threading.Thread(target=chaining.run, args=(settings, stop), name="chainer")
    chainer.start()
    try:
        Runner(settings.database.conninfo()).run(stop)
    finally:
        stop.set()
        sweeper.join()
        keeper.join()
        chainer.join()


def _keep_sweeping(settings: Settings, stop: threading.Event) -> None:
    # Nothing happens behind the back of whoever moves a test clock: `/v1/test/tick` does it.
    while not stop.is_set() and not settings.test_clock:
        try:
            asyncio.run(_sweep(settings, stop))
        except (psycopg.Error, PoolTimeout, TryAgain) as error:
            log.warning("sweeper_lost_the_database", error=type(error).__name__)
            stop.wait(RECONNECT_S)
        except Exception:  # An alarm; the read models go on.
            log.exception("sweep_failed")
            stop.wait(SWEEP_EVERY_S)


@dataclass(frozen=True, slots=True)
class Stand:
    """What due work needs."""

    ledger: Ledger
    pool: AsyncConnectionPool[Any]


async def _sweep(settings: Settings, stop: threading.Event) -> None:
    """Do what is due, every few seconds, until `stop` or until the database goes."""
    conninfo = settings.database.conninfo(application_name="daybook-sweeper")
    with psycopg.connect(conninfo, autocommit=True) as connection:
        create_all(connection)
    async with AsyncConnectionPool(
        conninfo, min_size=1, max_size=2, kwargs={"autocommit": True}
    ) as pool:
        clock, writer = SystemClock(), Writer(conninfo)
        await writer.start()
        stand = Stand(Ledger(writer), pool)
        try:
            since: datetime | None = None
            thorough: datetime | None = None
            while not stop.is_set():
                now = await clock.now()
                if thorough is None or now - thorough >= THOROUGH_EVERY:
                    since, thorough = None, now
                await run_due(stand, now, since=since)
                since = now - LATE
                await _rest(stop)
        finally:
            await writer.stop()


async def _rest(stop: threading.Event) -> None:
    """Wait a few seconds, but not for longer than we may live."""
    for _ in range(int(SWEEP_EVERY_S / LOOK_S)):
        if stop.is_set():
            return
        await asyncio.sleep(LOOK_S)


if __name__ == "__main__":
    main()
