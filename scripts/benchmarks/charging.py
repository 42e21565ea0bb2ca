"""Daybook's side: `Ledger.charge` over the writer, in one asyncio process on uvloop.

The whole way of a charge: a `Usage` in, rated by the price book, decided, committed, and a
`Charge` out.
"""

from __future__ import annotations

import asyncio
import gc
import random
import threading
import time
from collections.abc import Coroutine
from itertools import count
from typing import Any, TypeVar

import uvloop

from adapters.postgres.writer import Writer
from domain.account.charge import Charge
from domain.account.usage import Tokens, Usage
from domain.errors import PaymentRequired, TryAgain
from domain.ledger import Ledger
from scripts.benchmarks.clients import Order, Sample, no_waits
from scripts.benchmarks.floor import POOR_EVERY, POOR_TURN
from scripts.benchmarks.ground import now

T = TypeVar("T")

MODEL = "gpt-5.4"
TOKENS = Tokens(1234, 0, 321)


def act(event_id: str) -> Usage:
    """A chat completion, as a service reports it."""
    return Usage(
        event_id=event_id,
        meter="chat",
        llm_model=MODEL,
        tokens=TOKENS,
        api_key_id="key_1",
        model_username="alice",
    )


class Charging:
    """The clients of one process, and its writer."""

    def __init__(self, conninfo: str) -> None:
        # The loop never rests: a writer has things to do after the last answer, too, such as to
        # let go of a hot account that others wait for.
        self._loop = uvloop.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._writer = Writer(conninfo)
        self._ledger = Ledger(self._writer)
        self._wait_for(self._writer.start())
        # As the server process does, once what lives has been made.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)

    def run(self, order: Order) -> Sample:
        """Orders: ``charge``; ``bulk`` with ``size`` acts a call, for the
        time or for ``turns`` calls; ``touch`` all accounts at once;
        ``pace``, which asks at ``rate`` a second and tells the position of every answer."""
        task = {
            "charge": self._charge,
            "bulk": self._bulk,
            "touch": self._touch,
            "pace": self._pace,
        }[order.task]
        return self._wait_for(task(order))

    def _wait_for(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _charge(self, order: Order) -> Sample:
        charge = self._ledger.charge
        accounts = order.accounts
        waits = no_waits()
        spent = retried = 0

        async def client(number: int) -> None:
            nonlocal spent, retried
            draw = random.Random(f"{order.tag}.{number}").random
            for turn in count():
                began = time.monotonic()
                if began >= order.end:
                    return
                account = accounts[int(draw() * len(accounts))]
                usage = act(f"{order.tag}.{number}.{turn}")
                while True:
                    try:
                        done = await charge(account, usage, now())
                    except TryAgain:
                        retried += 1
                        continue
                    break
                waits.append(time.monotonic() - began)
                assert done.rated is not None
                spent += done.rated.total

        batches, conflicts = self._writer.batches, self._writer.conflicts
        await asyncio.sleep(order.begin - time.monotonic())
        await asyncio.gather(*(client(number) for number in range(order.clients)))
        return Sample(
            len(waits),
            time.monotonic(),
            waits,
            {
                "debits": len(waits),
                "spent": spent,
                "retried": retried,
                "batches": self._writer.batches - batches,
                "conflicts": self._writer.conflicts - conflicts,
            },
        )

    async def _bulk(self, order: Order) -> Sample:
        waits = no_waits()
        size, turns = order.options["size"], order.options.get("turns")
        accepted = spent = 0

        async def caller(number: int) -> None:
            nonlocal accepted, spent
            draw = random.Random(f"{order.tag}.{number}")
            for turn in count():
                began = time.monotonic()
                if began >= order.end if turns is None else turn == turns:
                    return
                poor = turns is None and turn % POOR_EVERY == POOR_TURN
                account = f"poor{number}" if poor else draw.choice(order.accounts)
                acts = [act(f"{order.tag}.{number}.{turn}.{n}") for n in range(size)]
                ends = await self._ledger.charge_many(account, acts, now())
                waits.append(time.monotonic() - began)
                for end in ends:
                    if isinstance(end, Charge):
                        assert end.rated is not None
                        accepted += 1
                        spent += end.rated.total
                    elif not isinstance(end, PaymentRequired):
                        raise end

        await asyncio.sleep(order.begin - time.monotonic())
        await asyncio.gather(*(caller(number) for number in range(order.clients)))
        facts: dict[str, float] = {"debits": accepted, "spent": spent}
        return Sample(len(waits) * size, time.monotonic(), waits, facts)

    async def _touch(self, order: Order) -> Sample:
        waits = no_waits()
        spent = 0

        async def touch(given: tuple[int, str]) -> None:
            nonlocal spent
            began = time.monotonic()
            done = await self._ledger.charge(given[1], act(f"{order.tag}.{given[0]}"), now())
            waits.append(time.monotonic() - began)
            assert done.rated is not None
            spent += done.rated.total

        await asyncio.gather(*map(touch, enumerate(order.accounts)))
        # A snapshot that this load asked for is part of it, and others may want to find it.
        await asyncio.sleep(0.2)
        facts: dict[str, float] = {"debits": len(waits), "spent": spent}
        return Sample(len(waits), time.monotonic(), waits, facts)

    async def _pace(self, order: Order) -> Sample:
        every = order.clients / order.options["rate"]
        waits = no_waits()
        seen: dict[str, float] = {}
        spent = 0

        async def client(number: int) -> None:
            nonlocal spent
            draw = random.Random(f"{order.tag}.{number}")
            due = order.begin + draw.random() * every
            for turn in count():
                if due > time.monotonic():
                    await asyncio.sleep(due - time.monotonic())
                began = time.monotonic()
                if began >= order.end:
                    return
                account = draw.choice(order.accounts)
                done = await self._ledger.charge(
                    account, act(f"{order.tag}.{number}.{turn}"), now()
                )
                answered = time.monotonic()
                waits.append(answered - began)
                seen[str(done.position)] = answered
                assert done.rated is not None
                spent += done.rated.total
                due += every

        await asyncio.gather(*(client(number) for number in range(order.clients)))
        facts = {"debits": float(len(waits)), "spent": float(spent), **seen}
        return Sample(len(waits), time.monotonic(), waits, facts)
