"""32 clients of two writers on one account with 1,000 units left, 200 rounds a route: exactly
those are spent, whether they are charged at once, held and settled, or held and given up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from adapters.postgres.database import Database
from domain.account.hold_facts import Labels
from domain.account.usage import Tokens, Usage
from domain.catalogue.catalogue import read_catalogue
from domain.catalogue.price_book import PriceEntry
from domain.errors import PaymentRequired, TryAgain
from domain.ledger import Ledger
from tests.adapters.postgres.writing import writing
from tests.domain.given import LONG_AGO, at
from tests.domain.tenant import FOLDER

ROUNDS = 200
CLIENTS = 32
UNITS = 1_000
COST = 40  # units of a call: the limit is a multiple of it
ROUTES = ("wallet", "allowance", "overflow", "budget")
METERS = {"wallet": "chat", "allowance": "compile", "overflow": "compile", "budget": "chat"}
MODEL = "unit"  # 1 µ a token, so that a unit is a token and a µ


async def _published(ledger: Ledger) -> None:
    """Appendix A's faces with 1,000 tokens of quota, and a price of 1 µ a token."""
    document = yaml.safe_load((FOLDER / "faces.yaml").read_text())
    document["plans"]["free"]["buckets"]["compile_tokens"]["units"] = UNITS
    price = PriceEntry(MODEL, 1_000_000, 1_000_000, 1_000_000)
    context = at(LONG_AGO)
    await ledger.publish_catalogue(read_catalogue(document), "v1", context)
    await ledger.publish_prices(LONG_AGO, "usd", 0, (price,), "v1", context)


async def _prepared(ledger: Ledger, route: str, workspace: str) -> None:
    await ledger.create_workspace(workspace, workspace, "owner", "UTC", at())
    if route != "allowance":
        await ledger.grant(workspace, UNITS if route != "budget" else 10 * UNITS, "given", at())
    if route == "overflow":
        await ledger.set_overflow(workspace, True, at())
        quota = Usage(event_id="q", meter="compile", tokens=Tokens(UNITS), llm_model=MODEL)
        await ledger.charge(workspace, quota, at())
    if route == "budget":
        await ledger.set_budget(workspace, "b", "workspace", None, UNITS, "day", True, at())


async def _patiently(ask: Callable[..., Any], *arguments: Any) -> Any:
    while True:
        try:
            return await ask(*arguments)
        except TryAgain:
            continue


async def _client(ledger: Ledger, workspace: str, meter: str, number: int) -> int:
    """Call until nothing is left; how much was drawn."""
    drawn, turn = 0, 0
    while True:
        turn += 1
        id = f"{number}.{turn}"
        usage = Usage(event_id=id, meter=meter, tokens=Tokens(COST), llm_model=MODEL)
        try:
            if (number + turn) % 2:
                labels = Labels(llm_model=MODEL)
                hold = f"hold_{id}"
                placed = (workspace, hold, meter, Tokens(COST), labels, at())
                await _patiently(ledger.authorize, *placed)
                if turn % 8 == 0:
                    release = (workspace, hold, "client_cancelled", at())
                    await _patiently(ledger.release_hold, *release)
                    continue
                usage = Usage(
                    event_id=id, meter=meter, tokens=Tokens(COST), llm_model=MODEL, hold_id=hold
                )
            done = await _patiently(ledger.charge, workspace, usage, at())
        except PaymentRequired:
            return drawn
        drawn += sum(draw.units or draw.amount for draw in done.draws)


async def _rounds(database: Database, route: str) -> None:
    async with writing(database) as one, writing(database) as other:
        ledgers = (Ledger(one), Ledger(other))
        await _published(ledgers[0])
        for round in range(ROUNDS):
            workspace = f"{route}{round}"
            await _prepared(ledgers[0], route, workspace)
            drawn = await asyncio.gather(
                *(
                    _client(ledgers[number % 2], workspace, METERS[route], number)
                    for number in range(CLIENTS)
                )
            )
            # What a hold gave back after the others had left is still there for somebody.
            drawn.append(await _client(ledgers[0], workspace, METERS[route], CLIENTS))
            assert sum(drawn) == UNITS, f"round {round}"
            account = await ledgers[1].account(workspace)
            assert account.held == 0
            if route in ("wallet", "overflow"):
                assert account.balance == 0
            if route == "allowance":
                assert account.buckets["compile_tokens"].remaining == 0


@pytest.mark.parametrize("route", ROUTES)
def test_exactly_what_is_there_is_spent(database: Database, route: str) -> None:
    asyncio.run(_rounds(database, route))
