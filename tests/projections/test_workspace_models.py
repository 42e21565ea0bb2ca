"""Bots and workspaces as read models: what they say is what the aggregates say, however the
events were cut into batches."""

from __future__ import annotations

import random
from contextlib import suppress
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from adapters.postgres.database import Database
from domain.commands import Command
from domain.errors import NotFound
from domain.facts import Context
from domain.ledger import Ledger
from domain.workspace.errors import PlanLimitReached
from domain.workspace.facts import PaymentMethodRemoved, PaymentMethodSaved
from domain.workspace.tenancy import workspace_place
from domain.workspace.workspace import Workspace
from projections import bots, workspace_status
from tests.domain.given import NOW, at
from tests.projections.stories import ask, dump, post, rebuilt, write

MOVES = ("create", "create", "create", "pause", "resume", "remove", "member", "leave", "store")


async def life(ledger: Ledger, luck: random.Random, minutes: int, name: str = "acme") -> None:
    """Anything that happens to a workspace, in any order."""
    for minute in range(minutes, minutes + 40):
        bot, person = f"b{luck.randrange(8)}", f"user_{luck.randrange(4)}"
        asked = {
            "create": (ledger.create_bot, bot, f"Bot {bot}"),
            "pause": (ledger.pause_bot, bot),
            "resume": (ledger.resume_bot, bot),
            "remove": (ledger.remove_bot, bot),
            "member": (ledger.add_member, person),
            "leave": (ledger.remove_member, person),
            "store": (ledger.report_storage, luck.randrange(10**9)),
        }[luck.choice(MOVES)]
        use_case: Any = asked[0]
        with suppress(NotFound, PlanLimitReached):
            await use_case(name, *asked[1:], at(minutes=minute))
        if luck.random() < 0.3:
            await ledger.book.submit(Command((workspace_place(name),), dunning(luck, minute)))


def dunning(luck: random.Random, minute: int) -> Any:
    """What webhooks and timers do to a workspace."""
    context = at(minutes=minute)
    ends = NOW + timedelta(minutes=minute + luck.randrange(-5, 5))
    card: Any = {"payment_method_id": f"pm_{luck.randrange(3)}", "brand": "visa", "last4": "4242"}
    what = luck.randrange(6)

    def decide(workspace: Workspace) -> None:
        stamp = workspace.stamp(context, f"card:{minute}")
        match what:
            case 0:
                workspace.mark_past_due("in_1", context.now, 3, ends, context)
            case 1:
                workspace.move_grace(ends, context, first_failed_at=NOW)
            case 2:
                workspace.notice_grace(context)
            case 3:
                workspace.reactivate(context)
            case 4:
                workspace.record(PaymentMethodSaved(**stamp, **card))
            case 5:
                workspace.record(PaymentMethodRemoved(**stamp, **card))

    return decide


def agrees(database: Database, workspace: Workspace) -> None:
    """The rows say what the aggregate says."""
    listed = ask(database, lambda c: bots.listed(c, "acme"))
    assert {row.bot_id: (row.name, row.created_at, row.paused_by) for row in listed} == {
        bot.bot_id: (bot.name, bot.created_at, bot.paused_by) for bot in workspace.bots.values()
    }
    counted = ask(database, lambda c: bots.count(c, "acme"))
    assert counted.active == workspace.active_bots
    assert sum(counted) == len(workspace.bots)
    row = ask(database, lambda c: workspace_status.find(c, "acme"))
    assert row is not None
    card = workspace.payment_method
    assert (row.seats, row.storage_used) == (workspace.seats, workspace.storage_used)
    assert row.payment_method_id == (card.id if card else None)
    assert msgspec.json.decode(row.limits) == workspace.limits
    assert row[6:11] == (
        workspace.status,
        workspace.first_failed_at,
        workspace.grace_days,
        workspace.grace_ends_at,
        workspace.blocked_since,
    )


@pytest.mark.parametrize("seed", range(4))
def test_rows_agree_with_the_aggregate_after_any_life(database: Database, seed: int) -> None:
    luck = random.Random(seed)

    for minutes in (0, 40, 80):

        async def story(ledger: Ledger, minutes: int = minutes) -> Workspace:
            await life(ledger, luck, minutes)
            return await ledger.workspace("acme")

        workspace = write(database, story, "acme", "other")
        post(database)
        agrees(database, workspace)
    before = dump(database)
    assert rebuilt(database) == before


def test_who_is_past_due_is_listed_by_the_end_of_the_grace(database: Database) -> None:
    def failed(days: int) -> Any:
        def decide(workspace: Workspace) -> None:
            ends = NOW + timedelta(days=days)
            workspace.mark_past_due("in_1", NOW, days, ends, Context(NOW))

        return decide

    async def story(ledger: Ledger) -> None:
        for name, days in (("acme", 7), ("zoo", 3)):
            await ledger.book.submit(Command((workspace_place(name),), failed(days)))

    write(database, story, "acme", "other", "zoo")
    post(database)

    found = ask(database, workspace_status.past_due)
    assert [(row.workspace_id, row.grace_days) for row in found] == [("zoo", 3), ("acme", 7)]
