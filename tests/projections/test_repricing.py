"""What the past would have cost by other prices."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import psycopg
import pytest
from msgspec.structs import replace

from adapters.postgres.database import Database
from domain.catalogue.price_book import PriceBookVersion, PriceEntry
from domain.ledger import Ledger
from projections.repricing import Repriced, reprice
from tests.domain.given import NOW, USD, at, chat, entries
from tests.projections.stories import everything, hours_of_calls, post, rows, write

DOLLAR = 1_000_000


def book(*listed: PriceEntry, markup_bps: int = 0) -> PriceBookVersion:
    """Prices that nobody has published."""
    return PriceBookVersion(0, NOW, "usd", markup_bps, {one.model: (one,) for one in listed})


def tried(database: Database, prices: PriceBookVersion, **asked: Any) -> list[Repriced]:
    """What they would have made of it."""
    with psycopg.connect(database.conninfo(), autocommit=True) as connection:
        return reprice(connection, prices, **asked)


def test_the_same_prices_ask_for_the_same_of_every_act(database: Database) -> None:
    async def story(ledger: Ledger) -> None:
        await everything(ledger)
        await hours_of_calls(ledger, ["acme", "other"], 400)

    write(database, story, "acme", "other", markup_bps=700)
    post(database)

    found = tried(database, book(*entries(), markup_bps=700))

    assert len(found) > 5
    assert [row for row in found if row.difference or row.unpriced] == []
    query = "SELECT sum(wallet + absorbed)::bigint FROM usage_events WHERE voided_at IS NULL"
    assert sum(row.charged for row in found) == rows(database, query)[0][0] > 0


def test_each_act_is_rated_anew_and_rounded_once(database: Database) -> None:
    async def story(ledger: Ledger) -> None:
        await ledger.grant("acme", 20 * USD, "g", at())
        await ledger.charge("acme", chat("a", "gpt-5.4", 12_345, 678), at())
        # 30 tokens were 4.5 µ, and 4 of them to pay; by the other price they are 7.5, so 8.
        await ledger.charge("acme", chat("b", "gpt-4o-mini", 30), at())
        # Of 6,000 units 5,000 are included: a sixth of 3,250 µ, and of 12,000.
        split = chat("c", "gpt-5.4-mini", 5_000, 1_000, meter="interview")
        await ledger.charge("acme", split, at())
        gone = await ledger.charge("acme", chat("d", "gpt-5.4", 1_000), at())
        assert gone.usage_id is not None
        await ledger.void("acme", gone.usage_id, at())

    write(database, story)
    post(database)
    cheaper, finer = (
        replace(entry, input=price)
        for entry, price in zip(entries()[:2], (2 * DOLLAR, 2 * DOLLAR), strict=True)
    )
    mini = next(replace(e, input=DOLLAR // 4) for e in entries() if e.model == "gpt-4o-mini")
    assert (cheaper.model, finer.model) == ("gpt-5.4", "gpt-5.4-mini")

    found = {row.llm_model: row for row in tried(database, book(cheaper, finer, mini))}

    assert found["gpt-5.4"] == Repriced("acme", "gpt-5.4", 1, 47_205, 34_860)
    assert found["gpt-4o-mini"] == Repriced("acme", "gpt-4o-mini", 1, 4, 8)
    assert found["gpt-5.4-mini"] == Repriced("acme", "gpt-5.4-mini", 1, 542, 2_000)
    assert found["gpt-5.4"].difference == -12_345


@pytest.mark.parametrize(("shift", "counted"), [(0, 1), (1, 0)])
def test_a_period_is_half_open_and_a_model_without_a_price_is_said(
    database: Database, shift: int, counted: int
) -> None:
    async def story(ledger: Ledger) -> None:
        for name in ("acme", "other"):
            await ledger.grant(name, 20 * USD, "g", at())
            await ledger.charge(
                name, chat("a", "gpt-5.4", 1_000, occurred_at=NOW - timedelta(hours=1)), at()
            )

    write(database, story, "acme", "other")
    post(database)
    then = NOW - timedelta(hours=1)
    instant = then + timedelta(microseconds=shift)
    unknown = book(*(entry for entry in entries() if entry.model != "gpt-5.4"))

    from_then = tried(database, book(*entries()), start=instant, workspace_id="acme")
    until_then = tried(database, book(*entries()), end=instant, workspace_id="acme")

    assert (len(from_then), len(until_then)) == (counted, 1 - counted)
    assert [row.unpriced for row in tried(database, unknown)] == [1, 1]
    assert [row.charged for row in tried(database, unknown)] == [0, 0]
