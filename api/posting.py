"""The poster: one process that folds events into read models and writes off expired credits.

Run as `python -m api.posting`; settings come in the environment.
"""

import asyncio
import contextlib
import signal
import threading
from datetime import datetime, timedelta

import psycopg
import structlog
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from adapters.clock import Clock, SystemClock, TestClock
from adapters.postgres.writer import Writer
from adapters.settings import Settings, read_settings
from api import logs
from domain.errors import NotFound, TryAgain
from domain.facts import Context
from domain.ledger import Ledger
from projections import expiries
from projections.runner import Runner
from projections.tables import create_all

SWEEP_EVERY_S = 3.0
LOOK_S = 0.1
RECONNECT_S = 0.5
LATE = timedelta(minutes=5)
"""How far each sweep looks back before the last: the read model may not have been up to date."""

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
        except (psycopg.Error, PoolTimeout, TryAgain) as error:
            log.warning("sweeper_lost_the_database", error=type(error).__name__)
            stop.wait(RECONNECT_S)
        except Exception:  # An alarm; the read models go on.
            log.exception("sweep_failed")
            stop.wait(SWEEP_EVERY_S)


async def _sweep(settings: Settings, stop: threading.Event) -> None:
    """Write off what has expired, every few seconds, until `stop` or until the database goes."""
    conninfo = settings.database.conninfo(application_name="daybook-sweeper")
    with psycopg.connect(conninfo, autocommit=True) as connection:
        create_all(connection)
    async with AsyncConnectionPool(
        conninfo, min_size=1, max_size=2, kwargs={"autocommit": True}
    ) as pool:
        clock: Clock = TestClock(pool) if settings.test_clock else SystemClock()
        writer = Writer(conninfo)
        await writer.start()
        try:
            swept: datetime | None = None
            while not stop.is_set():
                swept = await _sweep_once(Ledger(writer), pool, clock, swept)
                await _rest(stop)
        finally:
            await writer.stop()


async def _sweep_once(
    ledger: Ledger, pool: AsyncConnectionPool, clock: Clock, swept: datetime | None
) -> datetime:
    """Expire what ended since the last sweep; answers the instant of this one."""
    now = await clock.now()
    async with pool.connection() as connection:
        ended = await expiries.due(connection, swept and swept - LATE, now)
    for workspace_id in ended:
        with contextlib.suppress(NotFound):
            await ledger.expire_credits(workspace_id, Context(now, "sweeper"))
    return now


async def _rest(stop: threading.Event) -> None:
    """Wait a few seconds, but not for longer than we may live."""
    for _ in range(int(SWEEP_EVERY_S / LOOK_S)):
        if stop.is_set():
            return
        await asyncio.sleep(LOOK_S)


if __name__ == "__main__":
    main()
