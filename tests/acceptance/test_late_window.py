"""Spec 4, close grace: a cycle that is over waits for its usage, and its overage still reaches the
draft of the renewal; over HTTP against the sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adapters.catalogues import CatalogueUnusable, load
from adapters.postgres.database import Database
from tests.acceptance.conftest import catalogue
from tests.acceptance.paying import events_of, settle
from tests.acceptance.spending import done, generate, put
from tests.acceptance.subscribing import (
    at,
    happened,
    last,
    lines_of,
    spend,
    stripe_invoices,
    subscribed,
    subscription,
)
from tests.api.sandboxed import Sandboxed, sandboxed

BEFORE, END = "2026-06-30T23:59:00Z", "2026-07-01T00:00:00Z"
CLOSES, FINAL = "2026-07-01T00:45:00Z", "2026-07-01T01:00:00Z"
SHIPPED = "allowance_on_upgrade: full"


@pytest.fixture
def shop(database: Database, tmp_path: Path) -> Iterator[Sandboxed]:
    """`flarex`, whose cycles wait 45 minutes for their usage."""
    waits = catalogue(tmp_path, "flarex", (SHIPPED, f"{SHIPPED}\nlate_window_minutes: 45"))
    with sandboxed(database, waits, mode="held") as both:
        yield both


def over(shop: Sandboxed, trigger: str) -> str:
    """A workspace with overage whose cycle has just ended, as noticed by a request, a timer or a
    webhook; 20 credits beyond the plan are reported afterwards."""
    workspace = subscribed(shop, "starter")
    put(shop.app, "/v1/billing/overage", {"enabled": True}, workspace)
    spend(shop, workspace, 1_000)
    shop.to(END)
    if trigger == "request":
        done(generate(shop.app, workspace, 1_000))
    elif trigger == "timer":
        shop.tick()
    else:
        created = events_of(shop, "invoice.created")
        shop.sandbox.control.deliver(created)
    shop.to("2026-07-01T00:44:59Z")
    done(generate(shop.app, workspace, 20_000, bot_id="b1", occurred_at=BEFORE))
    return workspace


@pytest.mark.parametrize("trigger", ["request", "timer", "webhook"])
def test_stragglers_stand_on_the_renewal_of_their_own_cycle(shop: Sandboxed, trigger: str) -> None:
    workspace = over(shop, trigger)
    settle(shop)
    assert subscription(shop, workspace)["current_period_start"] == END
    assert "CycleClosed" not in happened(shop, workspace)
    assert happened(shop, workspace).count("CycleOpened") == 1
    waits = previous(shop, workspace)
    assert (waits["cycle"]["closed"], waits["totals"]["overage"]) == (False, 20)

    at(shop, CLOSES)

    closed = last(shop, workspace, "CycleClosed")
    assert (closed["period_end"], closed["overage"][0]["amount_minor"]) == (END, 40)
    at(shop, FINAL)
    renewal = stripe_invoices(shop, workspace)[0]
    kinds = [line["metadata"].get("kind") for line in lines_of(shop, renewal["id"])]
    assert kinds.count("overage") == 1
    assert (renewal["billing_reason"], renewal["total"]) == ("subscription_cycle", 1_040)
    assert previous(shop, workspace)["cycle"]["closed"] is True
    assert shop.app.get("/v1/audit/compare")["differences"] == []


def test_nobody_has_to_look_when_the_window_is_over(shop: Sandboxed) -> None:
    workspace = over(shop, "request")
    shop.to(CLOSES)

    late = done(generate(shop.app, workspace, 5_000, occurred_at=BEFORE))

    assert late["late"] is True
    assert happened(shop, workspace).count("CycleClosed") == 1
    assert last(shop, workspace, "CycleClosed")["overage"][0]["units"] == 20


def test_a_window_that_would_miss_the_draft_is_no_catalogue(tmp_path: Path) -> None:
    for minutes, wrong in (("46", "<= 45"), ("-1", ">= 0"), ("1h", "int")):
        text = f"{SHIPPED}\nlate_window_minutes: {minutes}"
        path = catalogue(tmp_path, "flarex", (SHIPPED, text))
        lines = Path(path).read_text().splitlines()
        [line] = [n for n, said in enumerate(lines, 1) if said.startswith("late_window_minutes")]
        with pytest.raises(CatalogueUnusable, match=f":{line}: late_window_minutes: .*{wrong}"):
            load(path)


def previous(shop: Sandboxed, workspace: str) -> Any:
    """The breakdown of the cycle before the one that runs."""
    path = f"/v1/workspaces/{workspace}/usage/breakdown"
    return shop.app.get(path, workspace, cycle="previous", consistency="strong")
