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
