"""X25 under haste: several confirmations of one workspace at the same moment."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from adapters.postgres.database import Database
from tests.acceptance.paying import settle
from tests.acceptance.spending import done
from tests.acceptance.subscribing import (
    confirm,
    events,
    last,
    preview,
    stripe_invoices,
    subscribed,
    subscription,
)
from tests.api.sandboxed import Sandboxed, sandboxed

ROUNDS = 4


@pytest.fixture
def shop(database: Database) -> Iterator[Sandboxed]:
    """`flarex` with its sandbox, whose webhooks wait to be delivered."""
    with sandboxed(database, "flarex", mode="held") as both:
        yield both


def confirmed(shop: Sandboxed, workspace: str, *quotes: Any) -> list[httpx.Response]:
    """The answers to confirmations that are sent at once, in the order of the quotes."""
    ids = [quote["preview_id"] for quote in quotes]
    with ThreadPoolExecutor(len(ids)) as pool:
        return list(pool.map(lambda id: confirm(shop, workspace, id), ids))


def taken(shop: Sandboxed, workspace: str) -> list[int]:
    """What Stripe charged for changes of plan."""
    invoices = stripe_invoices(shop, workspace)
    return [one["total"] for one in invoices if one["billing_reason"] == "subscription_update"]


def test_of_two_previews_one_is_charged_as_shown_and_the_other_is_stale(shop: Sandboxed) -> None:
    for _ in range(ROUNDS):
        workspace = subscribed(shop, "starter")
        quotes = [done(preview(shop, workspace, plan), 200) for plan in ("pro", "enterprise")]
        answers = confirmed(shop, workspace, *quotes)
        settle(shop)

        assert sorted(answer.status_code for answer in answers) == [200, 409]
        [winner] = [n for n, answer in enumerate(answers) if answer.status_code == 200]
        due = quotes[winner]["amount_due_now_minor"]
        assert done(answers[winner], 200)["charged_minor"] == due
        assert answers[1 - winner].json()["code"] == "preview_stale"
        assert taken(shop, workspace) == [due]
        assert subscription(shop, workspace)["plan"] == quotes[winner]["plan"]
        assert last(shop, workspace, "PlanChanged")["charged"] == due


def test_one_preview_that_is_confirmed_many_times_happens_once(shop: Sandboxed) -> None:
    workspace = subscribed(shop, "starter")
    quote = done(preview(shop, workspace, "pro"), 200)

    answers = confirmed(shop, workspace, *[quote] * 5)
    settle(shop)

    assert len({answer.content for answer in answers}) == 1
    assert done(answers[0], 200)["charged_minor"] == 3_000
    assert taken(shop, workspace) == [3_000]
    changes = [one for one in events(shop, workspace) if one["type"] == "PlanChanged"]
    assert len(changes) == 2, "to Starter, and to Pro"


def test_up_and_down_at_once_is_one_of_the_two(shop: Sandboxed) -> None:
    for _ in range(ROUNDS):
        workspace = subscribed(shop, "pro")
        quotes = [done(preview(shop, workspace, plan), 200) for plan in ("enterprise", "starter")]
        up, down = confirmed(shop, workspace, *quotes)
        settle(shop)

        seen = subscription(shop, workspace)
        assert sorted((up.status_code, down.status_code)) == [200, 409]
        if up.status_code == 200:
            assert (seen["plan"], seen["scheduled_change"]) == ("enterprise", None)
            assert taken(shop, workspace) == [36_000]
        else:
            assert (seen["plan"], seen["scheduled_change"]["plan"]) == ("pro", "starter")
            assert taken(shop, workspace) == []
