"""Every way to pay for an act, beside the plain debit; and a hold with its settlement."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from adapters.postgres.database import Database
from adapters.postgres.writer import Writer
from domain.account.credit_account import CreditAccount
from domain.account.credit_facts import SpendPolicySet
from domain.account.hold_facts import Labels
from domain.account.usage import Usage
from domain.commands import Command
from domain.places import account_stream
from scripts.benchmarks import ground
from scripts.benchmarks.books import Books
from scripts.benchmarks.charging import MODEL, TOKENS, Charging
from scripts.benchmarks.clients import Order, Sample, no_waits
from scripts.benchmarks.contest import THOUSAND, Contest
from scripts.benchmarks.crew import Crew
from scripts.benchmarks.rows import in_turn

CATALOGUE = Path(__file__).with_name("routes.yaml")
ROUTES = ("wallet", "allowance", "overflow", "oauth", "overage")
CLIENTS = 64
HOLDS = 64
"""Holds a client places in a turn, and then settles: about one an account, as in real traffic."""
HOLDS_QUICK = 16


Once = Callable[[Order, int], Awaitable[int]]


class Routes(Charging):
    """The clients of one process, who pay in every way."""

    def run(self, order: Order) -> Sample:
        """Orders: ``fund`` by ``route``, an index of `ROUTES`; ``hold`` and ``settle`` with
        ``holds`` a client."""
        if order.task in ("hold", "settle"):
            return self._wait_for(self._work(order, self._hold_once))
        return self._wait_for(self._work(order, self._fund_once))

    async def _work(self, order: Order, once: Once) -> Sample:
        waits, spent = no_waits(), [0, 0]
        await asyncio.sleep(order.begin - time.monotonic())

        async def client(number: int) -> None:
            turns = order.options.get("holds", 1 << 40)
            for turn in range(turns):
                began = time.monotonic()
                if began >= order.end and "holds" not in order.options:
                    return
                place = turn * order.clients + number
                amount = await once(order, place)
                waits.append(time.monotonic() - began)
                spent[0] += amount > 0
                spent[1] += amount

        await asyncio.gather(*(client(number) for number in range(order.clients)))
        facts: dict[str, float] = {"debits": spent[0], "spent": spent[1]}
        return Sample(len(waits), time.monotonic(), waits, facts)

    async def _fund_once(self, order: Order, place: int) -> int:
        route = ROUTES[order.options["route"]]
        account = order.accounts[place * 7919 % len(order.accounts)]
        done = await self._ledger.charge(account, _act(f"{order.tag}.{place}", route), ground.now())
        return sum(draw.amount for draw in done.draws if draw.source == "wallet")

    async def _hold_once(self, order: Order, place: int) -> int:
        account = order.accounts[place * 7919 % len(order.accounts)]
        hold = f"hold_{order.options['mark']}.{place}"
        if order.task == "settle":
            usage = msgspec.structs.replace(_act(hold, "wallet"), hold_id=hold)
            done = await self._ledger.charge(account, usage, ground.now())
            return sum(draw.amount for draw in done.draws)
        await self._ledger.authorize(
            account, hold, "wallet", TOKENS, Labels(llm_model=MODEL), ground.now()
        )
        return 0


def _act(event_id: str, route: str) -> Usage:
    return Usage(
        event_id=event_id,
        meter=route,
        llm_model=MODEL,
        tokens=TOKENS,
        api_key_id="key_1",
        route="oauth" if route == "oauth" else "metered",
    )


def measure_routes(contest: Contest) -> None:
    """64 clients on 1,000 accounts pay in each way; then place holds, and settle them."""
    database = contest.place.ledger("daybook_routes")
    ground.furnish(database, THOUSAND, catalogue=str(CATALOGUE))
    asyncio.run(_agree(database))
    books = Books(database.conninfo(owner=True))
    with Crew(Routes, database.conninfo()) as crew:
        for index in range(len(ROUTES)):  # warm, and uncounted
            crew.run("fund", CLIENTS, THOUSAND, 0.2, contest.tag(), route=index)
        books.skip()
        contest.report.say("every way to pay")
        turns = [lambda _, n=index: _fund(contest, crew, books, n) for index in range(len(ROUTES))]
        for route, samples in zip(ROUTES, in_turn(contest.pace.rounds, *turns), strict=True):
            case = "plain debit" if route == "wallet" else f"paid by {route}"
            contest.report.add(case, samples, clients=CLIENTS, accounts=len(THOUSAND))
        contest.report.say("holds, and their settlement")
        placed: list[Sample] = []
        settled: list[Sample] = []
        plain: list[Sample] = []
        for _ in range(contest.pace.rounds + 1):
            count = HOLDS_QUICK if contest.pace.quick else HOLDS
            mark = int(contest.tag()[1:])
            for task, kept in (("hold", placed), ("settle", settled)):
                kept.append(
                    crew.run(task, CLIENTS, THOUSAND, 0, contest.tag(), holds=count, mark=mark)
                )
                books.check(task, kept[-1].facts["debits"], kept[-1].facts["spent"])
            plain.append(
                crew.run("fund", CLIENTS, THOUSAND, 0, contest.tag(), holds=count, route=0)
            )
            books.skip()
        given = {"clients": CLIENTS, "accounts": len(THOUSAND)}
        note = f"{count} a client"
        contest.report.add("hold", placed[1:], **given, note=note)
        contest.report.add("settle", settled[1:], **given, note=note)
        contest.report.add("plain debit, as many", plain[1:], **given, note=note)
    contest.report.wrong += books.wrong


def _fund(contest: Contest, crew: Crew, books: Books, route: int) -> Sample:
    sample = crew.run("fund", CLIENTS, THOUSAND, contest.pace.seconds, contest.tag(), route=route)
    books.check(f"paid by {ROUTES[route]}", sample.facts["debits"], sample.facts["spent"])
    return sample


async def _agree(database: Database) -> None:
    """Link everybody's own provider account, and agree to overage."""
    writer = Writer(database.conninfo())
    await writer.start()

    def decide(account: CreditAccount) -> None:
        before, now = account.policy, ground.now()
        assert isinstance(before, SpendPolicySet)
        stamp = account.stamp(now, f"policy:{account.version + 1}")
        agreed = {"policy_version": before.policy_version + 1, "overage_enabled": True}
        account.record(
            msgspec.structs.replace(before, **stamp, **agreed, oauth={"openai": "active"})
        )

    try:
        await asyncio.gather(
            *(writer.submit(Command((account_stream(name),), decide)) for name in THOUSAND)
        )
    finally:
        await writer.stop()
