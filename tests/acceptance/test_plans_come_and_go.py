"""Quotas that outlive a plan: a lifetime's tokens are granted once (S55), and whoever comes back
within a window of days finds what was left of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from adapters.postgres.database import Database
from tests.acceptance.spending import done, funding, on_plan, refused, to, use
from tests.acceptance.subscribing import at, subscribe, subscription
from tests.api.conftest import Served
from tests.api.sandboxed import Sandboxed, sandboxed

QUOTA = "/v1/billing/compile-quota"
MINI = {"llm_model": "gpt-5.4-mini"}


@pytest.fixture
def shop(database: Database) -> Iterator[Sandboxed]:
    """`faces` with its sandbox, whose webhooks wait to be delivered."""
    with sandboxed(database, "faces", mode="held") as both:
        yield both


def compiled(app: Served, workspace: str, tokens: int) -> None:
    """A compilation that the quota pays."""
    assert funding(use(app, workspace, "compile", tokens, **MINI)) == {"allowance": (0, tokens)}


def quota(app: Served, workspace: str) -> tuple[int, int, int]:
    """(limit, used, remaining)"""
    shown: Any = app.get(QUOTA, workspace)
    return shown["tokens_limit"], shown["tokens_used"], shown["tokens_remaining"]


def change(app: Served, workspace: str, plan: str) -> None:
    """An administrator puts another plan in force."""
    done(app.post(f"/v1/admin/workspaces/{workspace}/plan", {"plan": plan}), 200)


@pytest.mark.scenario("S55")
@pytest.mark.parametrize("used", [5_000, 1_500])
def test_free_tokens_are_not_granted_anew_after_a_subscription(shop: Sandboxed, used: int) -> None:
    app, workspace = shop.app, shop.app.workspace()
    compiled(app, workspace, used)
    shop.to("2026-06-03T00:00:00Z")
    for month in ("07", "08"):
        subscribe(shop, workspace, "connect")
        assert quota(app, workspace) == (100_000, 0, 100_000)
        compiled(app, workspace, 70_000)
        done(app.post("/v1/billing/subscription/cancel", {}, workspace), 200)

        at(shop, f"2026-{month}-03T00:00:00Z")

        assert subscription(shop, workspace)["plan"] == "free"
        assert quota(app, workspace) == (5_000, used, 5_000 - used)
        assert app.get(QUOTA, workspace)["quota_reset_at"] is None
        beyond = use(app, workspace, "compile", 5_001 - used, **MINI)
        problem = refused(beyond, 402, "compile_quota_exceeded")
        assert problem["tokens_remaining"] == 5_000 - used
    if used < 5_000:
        compiled(app, workspace, 5_000 - used)
        assert quota(app, workspace) == (5_000, 5_000, 0)


@pytest.mark.scenario("S55")
def test_a_lifetime_survives_a_plan_of_another_kind_within_one_cycle(faces0: Served) -> None:
    workspace = faces0.workspace()
    compiled(faces0, workspace, 4_000)
    change(faces0, workspace, "connect")
    compiled(faces0, workspace, 60_000)
    change(faces0, workspace, "free")
    assert quota(faces0, workspace) == (5_000, 4_000, 1_000)
    change(faces0, workspace, "connect")
    assert quota(faces0, workspace) == (100_000, 60_000, 40_000), "this cycle's use stays too"


def test_coming_back_within_a_window_of_days_finds_what_was_left(faces0: Served) -> None:
    workspace = on_plan(faces0, "standard")  # 50,000 every 30 days
    compiled(faces0, workspace, 30_000)
    to(faces0, "2026-06-10T00:00:00Z")
    change(faces0, workspace, "free")
    to(faces0, "2026-06-20T00:00:00Z")
    change(faces0, workspace, "standard")

    assert quota(faces0, workspace) == (50_000, 30_000, 20_000)
    assert faces0.get(QUOTA, workspace)["quota_reset_at"] == "2026-07-01T00:00:00Z"
    beyond = use(faces0, workspace, "compile", 20_001, **MINI)
    problem = refused(beyond, 402, "compile_quota_exceeded")
    assert problem["resets_at"] == "2026-07-01T00:00:00Z"
    to(faces0, "2026-07-01T00:00:00Z")
    compiled(faces0, workspace, 50_000)


def test_a_void_gives_back_to_the_quota_that_paid(shop: Sandboxed) -> None:
    app, workspace = shop.app, shop.app.workspace()
    act = done(use(app, workspace, "compile", 5_000, **MINI))
    subscribe(shop, workspace, "connect")
    compiled(app, workspace, 10)

    void = app.post(f"/v1/usage/{act['usage_id']}/void", {"reason": "a bug"}, workspace)

    assert done(void, 200)["voided"] is True
    assert quota(app, workspace) == (100_000, 10, 99_990)
    done(app.post("/v1/billing/subscription/cancel", {}, workspace), 200)
    at(shop, "2026-07-01T00:00:00Z")
    assert quota(app, workspace) == (5_000, 0, 5_000)
