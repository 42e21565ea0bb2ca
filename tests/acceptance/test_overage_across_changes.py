"""What a unit beyond the plan costs, and on whose line it stands, when the plan changes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from adapters.postgres.database import Database
from tests.acceptance.paying import settle
from tests.acceptance.spending import done, generate, put
from tests.acceptance.subscribing import (
    at,
    change,
    last,
    lines_of,
    spend,
    stripe_invoices,
    subscribed,
)
from tests.api.sandboxed import Sandboxed, sandboxed

HALF, END, FINAL = "2026-06-16T00:00:00Z", "2026-07-01T00:00:00Z", "2026-07-01T01:00:00Z"


@pytest.fixture
def shop(database: Database) -> Iterator[Sandboxed]:
    """`flarex` with its sandbox, whose webhooks wait to be delivered."""
    with sandboxed(database, "flarex", mode="held") as both:
        yield both


def agreed(shop: Sandboxed, plan: str) -> str:
    """A subscriber who has agreed to overage."""
    workspace = subscribed(shop, plan)
    put(shop.app, "/v1/billing/overage", {"enabled": True}, workspace)
    return workspace


def test_a_unit_costs_what_the_plan_of_its_own_moment_says_though_the_close_came_late(
    shop: Sandboxed,
) -> None:
    """The request that reports it is the first to notice that the smaller plan has begun."""
    workspace = agreed(shop, "pro")
    change(shop, workspace, "starter")
    shop.to("2026-07-02T00:00:00Z")

    told = done(
        generate(shop.app, workspace, 1_500_000, occurred_at="2026-07-01T12:00:00Z", bot_id="b1")
    )

    assert [(draw["source"], draw["units"], draw["amount_micros"]) for draw in told["funding"]] == [
        ("allowance", 1_000, 0),
        ("overage", 500, 500 * 20_000),
    ]
    # A straggler of June still costs what June's plan said: 5,000 were left of that, and unused.
    late = done(generate(shop.app, workspace, 5_010_000, occurred_at="2026-06-30T12:00:00Z"))
    assert late["late"] is True
    assert late["funding"][1]["amount_micros"] == 10 * 15_000


def test_a_void_after_an_upgrade_takes_its_own_line_off_the_statement(shop: Sandboxed) -> None:
    workspace = agreed(shop, "starter")
    spend(shop, workspace, 1_000)
    mistake = spend(shop, workspace, 10, "b1")
    spend(shop, workspace, 5, "b1")
    at(shop, HALF)
    change(shop, workspace, "pro")
    settle(shop)
    void = {"reason": "sent twice", "ticket_ref": "t-1"}
    done(shop.app.post(f"/v1/usage/{mistake['usage_id']}/void", void, workspace), 200)
    at(shop, END)
    at(shop, FINAL)

    [line] = last(shop, workspace, "CycleClosed")["overage"]
    assert (line["plan_id"], line["unit_price"], line["units"]) == ("starter", 20_000, 5)
    renewal = stripe_invoices(shop, workspace)[0]["id"]
    assert [one["amount"] for one in lines_of(shop, renewal)] == [4_000, 10]


def billed(shop: Sandboxed, workspace: str) -> list[tuple[str, int, int, int, bool]]:
    """The lines of the newest statement: plan, unit price, units, cents, reported late."""
    return [
        (line["plan_id"], line["unit_price"], line["units"], line["amount_minor"],
         line.get("late", False))
        for line in last(shop, workspace, "CycleClosed")["overage"]
    ]  # fmt: skip


def test_a_line_names_the_plan_whose_price_it_has_though_another_is_in_force(
    shop: Sandboxed,
) -> None:
    """Specification 3.4: lines are keyed by plan version. Reported late, and taken back late."""
    workspace = agreed(shop, "pro")
    spend(shop, workspace, 5_000)
    mistake = spend(shop, workspace, 101)
    change(shop, workspace, "starter")
    at(shop, END)
    at(shop, FINAL)
    assert billed(shop, workspace) == [("pro", 15_000, 101, 152, False)]

    void = {"reason": "sent twice", "ticket_ref": "t-1"}
    done(shop.app.post(f"/v1/usage/{mistake['usage_id']}/void", void, workspace), 200)
    late = generate(shop.app, workspace, 40_000, occurred_at="2026-06-30T12:00:00Z")
    assert done(late)["funding"][0]["amount_micros"] == 40 * 15_000
    spend(shop, workspace, 1_007)
    at(shop, "2026-08-01T00:00:00Z")
    at(shop, "2026-08-01T01:00:00Z")

    assert sorted(billed(shop, workspace)) == [
        ("pro", 15_000, -101, -152, False),
        ("pro", 15_000, 40, 60, True),
        ("starter", 20_000, 7, 14, False),
    ]
    renewal = stripe_invoices(shop, workspace)[0]["id"]
    metadata = [one["metadata"] for one in lines_of(shop, renewal)]
    assert sorted(one["plan_id"] for one in metadata if "plan_id" in one) == [
        "pro", "pro", "starter",
    ]  # fmt: skip
