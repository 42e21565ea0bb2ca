"""Sending by several processes at once, by one that dies, and what comes of streams that do not
name their workspace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from psycopg_pool import AsyncConnectionPool

from adapters.clock import START
from adapters.postgres import outbox
from adapters.settings import Settings
from api.outgoing.sending import run_once
from tests.acceptance.spending import on_plan
from tests.api.conftest import Served
from tests.api.contract.invoicing import END, invoice, mirrored
from tests.api.outgoing.receiver import Receiver, receiving
from tests.api.outgoing.test_webhooks import freeze, register, tick


@dataclass
class Stand:
    """One process that sends."""

    settings: Settings
    pool: AsyncConnectionPool[Any]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as one:
        yield one


@asynccontextmanager
async def process(app: Served) -> AsyncIterator[Stand]:
    """As a process of its own would stand there."""
    pool: AsyncConnectionPool[Any] = AsyncConnectionPool(
        app.database.conninfo(), min_size=1, max_size=4, kwargs={"autocommit": True}, open=False
    )
    async with pool:
        yield Stand(app.settings, pool)


def play(story: Callable[[], Awaitable[None]]) -> None:
    """Let it happen."""

    async def whole() -> None:
        await story()

    asyncio.run(whole())


def test_several_processes_make_and_send_every_message_once_and_in_order(
    app: Served, receiver: Receiver
) -> None:
    workspaces = [app.workspace("5") for _ in range(4)]
    for workspace in workspaces:
        register(app, workspace, receiver.url)
        for number in range(25):
            freeze(app, workspace, f"{number:02}")

    async def story() -> None:
        async with process(app) as one, process(app) as two, process(app) as three:

            async def work(stand: Stand) -> None:
                while await run_once(stand, START):
                    pass

            await asyncio.gather(work(one), work(two), work(three))
            await work(one)

    play(story)

    for workspace in workspaces:
        refs = [one.data["ref"] for one in receiver.taken if one.data["workspace_id"] == workspace]
        assert refs == [f"{number:02}" for number in range(25)]
    assert len({one.id for one in receiver.received}) == len(receiver.received) == 100


def test_what_a_process_that_died_was_sending_is_sent_again(
    app: Served, receiver: Receiver
) -> None:
    workspace = app.workspace("5")
    register(app, workspace, receiver.url)
    freeze(app, workspace, "one")

    async def story() -> None:
        async with process(app) as stand:
            assert await run_once(stand, START) >= 1
            async with stand.pool.connection() as connection:  # as if it was never noted
                await connection.execute(
                    "UPDATE outgoing_messages SET status = 'pending', next_attempt_at = created_at"
                )
                assert len(await outbox.claim(connection, START, 8)) == 1
            assert await run_once(stand, START) == 0, "somebody has it"
            async with stand.pool.connection() as connection:
                await connection.execute("UPDATE outgoing_endpoints SET leased_until = now()")
            assert await run_once(stand, START) == 1

    play(story)

    assert [one.data["ref"] for one in receiver.taken] == ["one", "one"]
    assert len({one.id for one in receiver.taken}) == 1


def test_one_silent_receiver_holds_up_no_other(app: Served, receiver: Receiver) -> None:
    one, two = app.workspace("5"), app.workspace("5")
    register(app, one, "http://127.0.0.1:1/")
    register(app, two, receiver.url)
    freeze(app, one, "lost")
    freeze(app, two, "told")

    tick(app)

    assert [one.data["ref"] for one in receiver.taken] == ["told"]


def test_invoices_and_payments_are_told_to_their_workspace(
    flarex: Served, receiver: Receiver
) -> None:
    workspace, other = on_plan(flarex, "pro"), flarex.workspace()
    register(flarex, workspace, receiver.url)
    mirrored(flarex.database, invoice(other, "in_other"), failed=1)
    mirrored(flarex.database, invoice(workspace, "in_mine"), failed=1)
    done = invoice(workspace, "in_mine", status="paid", amount_paid=4_184, paid_at=END)
    mirrored(flarex.database, done)

    tick(flarex)

    assert receiver.types == ["invoice.payment_failed", "invoice.paid"]
    failed, paid = receiver.taken
    assert failed.data["invoice_id"] == paid.data["invoice_id"] == "in_mine"
    assert (failed.data["attempt"], failed.data["decline_code"]) == (1, "insufficient_funds")
    assert (paid.data["amount_paid_minor"], paid.data["workspace_id"]) == (4_184, workspace)


def test_old_messages_are_forgotten_and_waiting_ones_are_not(
    app: Served, receiver: Receiver
) -> None:
    workspace = app.workspace("5")
    endpoint = register(app, workspace, receiver.url)
    receiver.answers = [200, 500]
    freeze(app, workspace, "delivered")
    freeze(app, workspace, "waiting")
    tick(app)

    async def story() -> None:
        async with process(app) as stand, stand.pool.connection() as connection:
            await outbox.purge(connection, START + timedelta(days=31))

    play(story)

    left = app.get(f"/v1/billing/webhook-endpoints/{endpoint['id']}/deliveries", workspace)
    assert [one["status"] for one in left["data"]] == ["pending"]
