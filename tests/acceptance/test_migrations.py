"""Subscribers who pay by card, brought to a newer version of their plan by an administrator; over
HTTP against the sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from adapters.postgres.database import Database
from tests.acceptance.paying import settle
from tests.acceptance.spending import done
from tests.acceptance.subscribing import (
    asked,
    at,
    change,
    happened,
    last,
    preview,
    stripe_invoices,
    subscribed,
    subscription,
)
from tests.api.contract.test_catalogue import DEARER, publish
from tests.api.outgoing.receiver import Receiver, receiving
from tests.api.outgoing.test_webhooks import register
from tests.api.sandboxed import Sandboxed, sandboxed

HALF, END, FINAL = "2026-06-16T00:00:00Z", "2026-07-01T00:00:00Z", "2026-07-01T02:00:00Z"


@pytest.fixture
def shop(database: Database) -> Iterator[Sandboxed]:
    """`flarex` with its sandbox, whose webhooks wait to be delivered."""
    with sandboxed(database, "flarex", mode="held") as both:
        yield both


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Who is told."""
    with receiving() as one:
        yield one


def migrate(shop: Sandboxed, *, dry_run: bool = False) -> list[Any]:
    """Bring every subscriber of Starter to the version in force; what became of each."""
    path = "/v1/admin/plans/starter/migrate"
    steps: list[Any] = done(shop.app.post(path, {"dry_run": dry_run}), 200)["data"]
    return steps


def test_a_migration_is_told_as_one_everywhere(shop: Sandboxed) -> None:
    workspace = subscribed(shop, "starter")
    assert publish(shop.app, DEARER).status_code == 201
    before = shop.app.position()
    [would] = migrate(shop, dry_run=True)
    assert (would["outcome"], would["effective_at"]) == ("would_change", END)
    assert shop.app.position() == before
    assert subscription(shop, workspace)["scheduled_change"] is None

    [step] = migrate(shop)
    assert step["outcome"] == "scheduled"
    settle(shop)

    coming = subscription(shop, workspace)["scheduled_change"]
    assert coming == {
        "direction": "migration",
        "plan": "starter",
        "plan_version": 2,
        "effective_at": END,
        "keep_bot_ids": [],
    }
    schedule = asked(shop, "POST", "/v1/subscription_schedules/")[-1]["params"]
    assert (len(schedule["phases"]), schedule["proration_behavior"]) == (2, "none")
    kept = done(shop.app.call("DELETE", "/v1/billing/plan-change", workspace=workspace), 200)
    assert kept == {"scheduled_change": coming}, "the customer does not take it back"
    assert happened(shop, workspace).count("PlanMigrationScheduled") == 1
    assert "DowngradeScheduled" not in happened(shop, workspace)

    at(shop, END)
    at(shop, FINAL)

    seen = subscription(shop, workspace)
    assert (seen["plan"], seen["plan_version"], seen["scheduled_change"]) == ("starter", 2, None)
    changed = last(shop, workspace, "PlanChanged")
    assert (changed["direction"], changed["from_version"]) == ("migration", 1)
    assert stripe_invoices(shop, workspace)[0]["total"] == 1_200
    assert shop.app.get("/v1/audit/compare")["differences"] == []


def test_a_migration_is_told_to_webhooks_once_it_is_in_force(
    shop: Sandboxed, receiver: Receiver
) -> None:
    workspace, other = subscribed(shop, "starter"), subscribed(shop, "pro")
    for one in (workspace, other):
        register(shop.app, one, receiver.url)
    publish(shop.app, DEARER)
    migrate(shop)
    at(shop, "2026-06-30T23:59:59Z")
    assert receiver.taken == []

    at(shop, END)
    at(shop, FINAL)

    [told] = [one for one in receiver.taken if one.type == "plan.changed"]
    assert {k: v for k, v in told.data.items() if k != "position"} == {
        "workspace_id": workspace,
        "from_plan": "starter",
        "from_version": 1,
        "to_plan": "starter",
        "to_version": 2,
        "direction": "migration",
        "effective_at": END,
        "charged_minor": 0,
    }


def test_an_upgrade_takes_the_place_of_a_migration(shop: Sandboxed) -> None:
    workspace = subscribed(shop, "starter")
    publish(shop.app, DEARER)
    migrate(shop)
    settle(shop)
    at(shop, HALF)

    assert done(preview(shop, workspace, "pro"), 200)["amount_due_now_minor"] == 1_500
    assert change(shop, workspace, "pro")["status"] == "applied"
    settle(shop)

    assert subscription(shop, workspace)["scheduled_change"] is None
    assert last(shop, workspace, "PlanMigrationUnscheduled")["reason"] == "superseded"
    at(shop, FINAL)
    assert subscription(shop, workspace)["plan"] == "pro"
    assert stripe_invoices(shop, workspace)[0]["total"] == 4_000


def test_a_migration_that_the_schedules_webhook_overtakes_happens_once(shop: Sandboxed) -> None:
    workspace = subscribed(shop, "starter")
    publish(shop.app, DEARER)
    shop.sandbox.control.script(
        {"path": "/v1/subscription_schedules/{id}", "fault": "drop_after", "method": "POST"}
    )
    shop.app.post("/v1/admin/plans/starter/migrate", {"dry_run": False})
    settle(shop)
    migrate(shop)
    settle(shop)
    assert subscription(shop, workspace)["scheduled_change"]["direction"] == "migration"
    at(shop, FINAL)
    assert stripe_invoices(shop, workspace)[0]["total"] == 1_200
