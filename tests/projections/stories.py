"""Books with something in them, read models that are up to date with them, and runners."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from psycopg import AsyncConnection

from adapters.postgres.database import Database
from domain.account.usage import Usage
from domain.errors import Refusal
from domain.ledger import Ledger
from projections.compare import compare
from projections.models import MODELS
from projections.rebuild import rebuild
from projections.runner import Runner
from tests.adapters.postgres.writing import writing
from tests.domain.given import LONG_AGO, NOW, USD, at, call, chat, entries, open_ledger

ROOT = Path(__file__).parents[2]
DEADLINE_S = 60.0
FACES = ("alice", "bob", None)
MODEL_NAMES = ("gpt-5.4", "gpt-5.4-mini", "claude-sonnet-4-6")

Answer = TypeVar("Answer")


def write(
    database: Database,
    story: Callable[[Ledger], Awaitable[Answer]],
    *workspaces: str,
    **opened: Any,
) -> Answer:
    """Let a story happen in a ledger where these workspaces (or `acme`) are open."""

    async def play() -> Answer:
        async with writing(database) as writer:
            return await story(await open_ledger(writer, *(workspaces or ("acme",)), **opened))

    return asyncio.run(play())


def post(database: Database) -> int:
    """Bring the read models up to date; the position they contain."""
    return Runner(database.conninfo()).run_until_caught_up()


def ask(database: Database, query: Callable[[AsyncConnection], Awaitable[Answer]]) -> Answer:
    """What a query of a read model answers."""

    async def connected() -> Answer:
        async with await AsyncConnection.connect(
            database.conninfo(), autocommit=True
        ) as connection:
            return await query(connection)

    return asyncio.run(connected())


def rows(database: Database, query: str, *values: Any, owner: bool = False) -> list[Any]:
    """What plain SQL answers."""
    with psycopg.connect(database.conninfo(owner=owner), autocommit=True) as connection:
        cursor = connection.execute(query.encode(), values)
        return cursor.fetchall() if cursor.description else []


def dump(database: Database, *models: str) -> dict[str, bytes]:
    """Every table of these read models (or of all), as the bytes of its rows in key order."""
    dumps = {}
    with psycopg.connect(database.conninfo()) as connection:
        for model in MODELS:
            for table in model.tables if not models or model.name in models else ():
                query = f'COPY (SELECT * FROM {table} t ORDER BY t::text COLLATE "C") TO STDOUT'
                with connection.cursor().copy(query.encode()) as copy:
                    dumps[table] = b"".join(bytes(block) for block in copy)
    return dumps


async def everything(ledger: Ledger, name: str = "acme") -> None:
    """Every kind of fact that the read models fold, in one workspace."""
    await ledger.grant(name, 20 * USD, "first", at())
    await ledger.record_payment(name, 10 * USD, f"wire-{name}", at())
    await ledger.grant(name, 2 * USD, "soon", at(), expires_at=NOW + timedelta(hours=1), priority=1)
    for number, model in enumerate(MODEL_NAMES):
        usage = chat(f"c{number}", model, 12_345, 678, model_username=FACES[number])
        await ledger.charge(name, usage, at(minutes=number))
    await ledger.charge(name, chat("tiny", "gpt-4o-mini", 1, api_key_id="key_1"), at(minutes=4))
    split = chat("split", "gpt-5.4-mini", 5_000, 1_000, meter="interview", thread_id="t\t1\\")
    await ledger.charge(name, split, at(minutes=5))
    voided = await ledger.charge(name, call("wrong", bot_id="bot_1"), at(minutes=6))
    assert voided.usage_id is not None
    await ledger.void(name, voided.usage_id, at(minutes=7), reason="wrong", ticket_ref="T1")
    late = call("late", occurred_at=NOW - timedelta(days=1))
    await ledger.charge(name, late, at(minutes=8))
    await ledger.adjust(name, -USD, "down", "goodwill", "T2", at(minutes=9))
    await ledger.adjust(name, USD // 2, "up", "goodwill", "T3", at(minutes=9))
    await ledger.freeze(name, "admin", "T4", None, at(minutes=10))
    await ledger.freeze(name, "fraud", "T5", None, at(minutes=11))
    await ledger.unfreeze(name, "admin", "T4", None, at(minutes=12))
    await ledger.charge(name, call("fact", mode="record"), at(minutes=13))
    await ledger.unfreeze(name, None, "T5", None, at(minutes=14))
    await ledger.charge(name, call("after expiry"), at(hours=2))
    later = NOW + timedelta(days=30)
    await ledger.grant(name, USD, "later", at(hours=2), expires_at=later)
    await ledger.create_bot(name, "bot_1", "Support", at(hours=2))
    await ledger.pause_bot(name, "bot_1", at(hours=2))


async def hours_of_calls(
    ledger: Ledger, names: list[str], count: int, seed: int = 1, tag: str = ""
) -> list[str]:
    """Random calls of random workspaces; some are voided, some refused. Answers the usage_ids."""
    luck = random.Random(seed)
    for name in names:
        await ledger.grant(name, 100 * USD, f"given{tag}", at())

    async def one(number: int) -> str | None:
        name, moment = luck.choice(names), at(minutes=luck.randrange(600))
        usage = Usage(
            event_id=f"{tag}{number}",
            meter=luck.choice(("chat", "chat", "interview")),
            tokens=chat(input=luck.randrange(20_000), output=luck.randrange(2_000)).tokens,
            llm_model=luck.choice(MODEL_NAMES),
            model_username=luck.choice(FACES),
            api_key_id=luck.choice(("key_1", "key_2", None)),
            bot_id=luck.choice(("bot_1", None)),
            thread_id=luck.choice(("t1", "t2", None)),
            occurred_at=moment.now - timedelta(minutes=luck.randrange(3_000)),
        )
        with suppress(Refusal):
            charge = await ledger.charge(name, usage, moment)
            if charge.usage_id is not None and number % 10 == 0:
                await ledger.void(name, charge.usage_id, moment)
            return charge.usage_id
        return None

    found: list[str] = []
    for start in range(0, count, 200):
        ends = await asyncio.gather(*(one(n) for n in range(start, min(start + 200, count))))
        found += [id for id in ends if id is not None]
    return found


async def publish_new_model(ledger: Ledger, model: str) -> int:
    """Put a price on one more model, from long ago on; the price book's version."""
    first = entries()[0]
    more = (*entries(), type(first)(model, 1_000_000, 100_000, 2_000_000))
    return await ledger.publish_prices(NOW, "usd", 0, more, f"with {model}", at(LONG_AGO))


def until(condition: Callable[[], Answer], deadline: float = DEADLINE_S) -> Answer:
    """The condition's answer as soon as it is true; fails when the deadline is over."""
    end = time.monotonic() + deadline
    while not (answer := condition()):
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.02)  # a condition mostly opens a connection, which costs as much as a page
    return answer


class RunnerProcess:
    """A runner in a process of its own, that can be killed."""

    def __init__(self, database: Database) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUNS, database.conninfo()],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def kill(self) -> None:
        """kill -9, and gone."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


RUNS = """
import sys, threading
from projections.runner import Runner
Runner(sys.argv[1]).run(threading.Event())
"""


LEAD = 3_000


@contextmanager
def writing_ahead(
    database: Database, read: Callable[[Database], int], *names: str
) -> Iterator[threading.Event]:
    """Calls of these workspaces are written while the block lasts, up to ``LEAD`` events ahead of
    the position that somebody has ``read``: there is work all the time, and at the end not more
    to check than was worked on. Gives what is set when the block ends."""
    ended = threading.Event()

    async def story(ledger: Ledger) -> None:
        number = 0
        while not ended.is_set():
            await hours_of_calls(ledger, list(names), 100, number, f"w{number}-")
            number += 1
            while not ended.is_set() and newest(database) - read(database) > LEAD:
                await asyncio.sleep(0.02)

    thread = threading.Thread(target=lambda: write(database, story, *names))
    thread.start()
    try:
        yield ended
    finally:
        ended.set()
        thread.join()


@contextmanager
def running(database: Database) -> Iterator[RunnerProcess]:
    """A runner process that ends with the block."""
    process = RunnerProcess(database)
    try:
        yield process
    finally:
        process.kill()
        assert process.process.stdout is not None
        process.process.stdout.close()


def newest(database: Database) -> int:
    """The position of the last event."""
    return int(rows(database, "SELECT coalesce(max(notification_id), 0) FROM events")[0][0])


def stands(database: Database, *models: str) -> int:
    """The position that all models, or these, contain; 0 before there are tables."""
    if rows(database, "SELECT to_regclass('positions')") == [(None,)]:
        return 0
    query = "SELECT min(position) FROM positions"
    if models:
        return int(rows(database, f"{query} WHERE model = ANY(%s)", list(models))[0][0] or 0)
    return int(rows(database, query)[0][0] or 0)


def differences(database: Database) -> list[Any]:
    with psycopg.connect(database.conninfo(), autocommit=True) as connection:
        return list(compare(connection))


def rebuilt(database: Database) -> dict[str, bytes]:
    """The dumps after every model was made anew from the events."""
    for model in MODELS:
        rebuild(database.conninfo(), model)
    return dump(database)


@contextmanager
def following(database: Database, **options: Any) -> Iterator[Runner]:
    """A runner in a thread of this process, stopped with the block."""
    stop = threading.Event()
    runner = Runner(database.conninfo(), **options)
    thread = threading.Thread(target=runner.run, args=(stop,), daemon=True)
    thread.start()
    try:
        yield runner
    finally:
        stop.set()
        thread.join(20)
        assert not thread.is_alive()
