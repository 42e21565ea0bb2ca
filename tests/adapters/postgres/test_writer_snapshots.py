"""Long accounts load from a snapshot and what came after it; a snapshot is never needed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from adapters.postgres.application import LedgerApplication
from adapters.postgres.database import Database
from domain.account.credit_account import CreditAccount
from domain.facts import project
from domain.identity import account_id
from domain.ledger import Ledger, account_stream
from tests.adapters.postgres.writing import debits, ledger_with, writing
from tests.domain.given import at, call


def test_a_long_account_loads_from_a_snapshot_and_its_tail(database: Database) -> None:
    async def story() -> None:
        async with ledger_with(database, 10**9, snapshot_every=100) as (ledger, writer):
            await asyncio.gather(*(ledger.charge("acme", call(f"u{n}"), at()) for n in range(450)))
            full = await writer.fresh(account_stream("acme"))
        await _until(lambda: bool(_snapshots(database)))

        async with writing(database) as cold:
            loaded = await cold.fresh(account_stream("acme"))
            charge = await Ledger(cold).charge("acme", call("next"), at())
        folded = project(None, await _whole(database))
        assert loaded == full
        assert folded is not None
        assert isinstance(folded, CreditAccount)
        assert charge.balance_after == folded.balance == 10**9 - 451_000

    asyncio.run(story())
    assert len(debits(database)) == 451


def test_a_snapshot_is_used_at_all(database: Database) -> None:
    """The control: a snapshot that lies is believed, so the test above did load from one."""

    async def story() -> None:
        async with ledger_with(database, 10**6, snapshot_every=100) as (ledger, _):
            await asyncio.gather(*(ledger.charge("acme", call(f"u{n}"), at()) for n in range(150)))
        await _until(lambda: bool(_snapshots(database)))
        with psycopg.connect(database.conninfo(owner=True)) as connection:
            connection.execute("""
                UPDATE snapshots SET state = convert_to(replace(
                    convert_from(state, 'UTF8'), '"workspace_id":"acme"', '"workspace_id":"liar"'
                ), 'UTF8')
            """)
        async with writing(database) as cold:
            account = await cold.fresh(account_stream("acme"))
            assert isinstance(account, CreditAccount)
            assert account.workspace_id == "liar"

    asyncio.run(story())


@pytest.mark.parametrize(
    ("topic", "state"),
    [
        (None, b"not json"),
        (None, b"[]"),
        (None, b'{"version": "seven"}'),
        (None, b"\xff\xfe"),
        (None, b"{}"),
        ("domain.no_such_module:Nothing", b"{}"),
        ("no_such_package:Nothing", b"{}"),
        ("domain.account.wallet:Grant", b'{"grant_id":"g1","remaining":5}'),
        ("domain.account.wallet", b"{}"),
    ],
)
def test_a_corrupt_snapshot_is_passed_over(
    database: Database, topic: str | None, state: bytes
) -> None:
    async def story() -> None:
        async with ledger_with(database, 10**6, snapshot_every=10) as (ledger, _):
            await asyncio.gather(*(ledger.charge("acme", call(f"u{n}"), at()) for n in range(50)))
        await _until(lambda: bool(_snapshots(database)))
        with psycopg.connect(database.conninfo(owner=True)) as connection:
            connection.execute(
                "UPDATE snapshots SET topic = coalesce(%s, topic), state = %s", [topic, state]
            )

        async with writing(database) as cold:
            charge = await Ledger(cold).charge("acme", call("next"), at())
            assert charge.balance_after == 10**6 - 51_000

    asyncio.run(story())
    assert len(debits(database)) == 51


async def _until(holds: Callable[[], bool]) -> None:
    """Poll until it holds, at most ten seconds."""
    loop = asyncio.get_running_loop()
    end = loop.time() + 10
    while not holds():
        assert loop.time() < end, "it never came to hold"
        await asyncio.sleep(0.01)


def _snapshots(database: Database) -> list[tuple[int]]:
    with psycopg.connect(database.conninfo()) as connection:
        return connection.execute("SELECT originator_version FROM snapshots").fetchall()


async def _whole(database: Database) -> list[Any]:
    """Every event of the account, read by the library."""
    with LedgerApplication(database.conninfo()) as app:
        return list(app.events.get(account_id("acme")))
