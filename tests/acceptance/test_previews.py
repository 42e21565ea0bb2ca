"""Issue 5's property: a preview and its confirmation never differ by a cent, or the confirmation is
refused with the new figure. Random plans, instants, delays and meddling, over HTTP and at Stripe.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from adapters.postgres.database import Database
from adapters.stripe.sandbox.books import Json
from tests.acceptance.paying import settle
from tests.acceptance.spending import done, refused
from tests.acceptance.subscribing import (
    confirm,
    preview,
    replace_card,
    stripe_invoices,
    subscribe,
    subscription,
)
from tests.acceptance.year.arithmetic import half_away, months_after, part_of
from tests.api.sandboxed import KEY, Sandboxed, sandboxed

EXAMPLES = int(os.environ.get("PREVIEWS", "25"))
PRICES = {"starter": 1_000, "pro": 4_000, "enterprise": 40_000}
ORDER = tuple(PRICES)
STANDS_S = 15 * 60
LEAST = 50  # cents that a card can be charged
SECOND = timedelta(seconds=1)
BEGINS = datetime(2028, 1, 30, 22, 13, 20, tzinfo=UTC)


@dataclass(frozen=True)
class Story:
    """One customer: a plan, perhaps an upgrade, then the preview and what happens until it is
    confirmed. Instants are shares of a period in millionths; seconds otherwise."""

    plan: str
    first: tuple[str, int] | None
    to: str
    instant: int
    delay: int
    meddling: str
    card: str


instants = st.one_of(
    st.integers(0, 999_999), st.sampled_from([0, 1, 500_000, 999_998, 999_999, 1_000_000])
)
delays = st.one_of(
    st.integers(0, 40), st.integers(0, STANDS_S), st.sampled_from([899, 900, 901, 3_600, 86_400])
)
MEDDLING = (
    *("nothing",) * 6,
    "cancelled and resumed",
    "another confirmed",
    "overage switched",
    "the same at Stripe",
    "another at Stripe",
)


@st.composite
def stories(draw: st.DrawFn) -> Story:
    """A story whose plans go up, as what is charged does."""
    plan, to = draw(st.sampled_from([("starter", "pro"), ("starter", "enterprise"),
                                     ("pro", "enterprise")]))  # fmt: skip
    first = None
    if (plan, to) == ("starter", "enterprise") and draw(st.booleans()):
        first = ("pro", draw(st.integers(0, 900_000)))
    instant = draw(instants)
    if first is not None:
        instant = max(instant, first[1])
    return Story(
        plan,
        first,
        to,
        instant,
        draw(delays),
        draw(st.sampled_from(MEDDLING)),
        draw(st.sampled_from(["pm_card_visa"] * 4 + ["pm_card_chargeCustomerFail"])),
    )


class Clock:
    """The clock of both sides, and where it stands."""

    def __init__(self, shop: Sandboxed) -> None:
        self._shop = shop
        self.now = BEGINS
        self.to(BEGINS)

    def to(self, now: datetime) -> None:
        """Forward."""
        self.now = max(now, self.now)
        self._shop.to(self.now.isoformat())


@pytest.fixture
def shop(database: Database) -> Iterator[Sandboxed]:
    """`flarex` with its sandbox, whose webhooks wait to be delivered: a confirmation must not
    depend on them."""
    with sandboxed(database, "flarex", mode="held") as both:
        yield both


@pytest.mark.slow
def test_a_confirmation_charges_what_was_previewed_or_nothing(shop: Sandboxed) -> None:
    clock = Clock(shop)

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(stories())
    def promised_is_charged(story: Story) -> None:
        tell(shop, clock, story)

    promised_is_charged()


def tell(shop: Sandboxed, clock: Clock, story: Story) -> None:
    """Play one story with a customer of its own, and hold Daybook to its promise."""
    workspace = shop.app.workspace()
    clock.to(clock.now + timedelta(seconds=story.instant % 9_973))
    starts, ends = clock.now, months_after(clock.now, 1)
    subscribe(shop, workspace, story.plan)
    paid = (PRICES[story.plan], starts, ends)
    if story.first is not None:
        plan, share = story.first
        clock.to(starts + share * (ends - starts) // SECOND // 1_000_000 * SECOND)
        at_first = clock.now
        done(confirm(shop, workspace, quoted(shop, workspace, plan)["preview_id"]), 200)
        rest = part_of(PRICES[plan], starts, ends, at_first)
        paid = (rest, at_first, ends)
    replace_card(shop, workspace, story.card)
    clock.to(starts + story.instant * ((ends - starts) // SECOND) // 1_000_000 * SECOND)
    if clock.now >= ends:
        settle(shop)  # a new period has begun, paid at once or not
        starts, ends = ends, months_after(starts, 2)
        paid = (paid_price(story), starts, ends)
    promise = quoted(shop, workspace, story.to)
    if "code" in promise:
        return
    due = promise["amount_due_now_minor"]
    back, rest = -part_of(*paid, clock.now), part_of(PRICES[story.to], starts, ends, clock.now)
    asked_of_card = back + rest if back + rest >= LEAST else 0  # the rest waits on the balance
    assert due == asked_of_card, (promise, back, rest)
    assert [line["amount_minor"] for line in promise["lines"]] == [back, rest]

    before = {one["id"] for one in stripe_invoices(shop, workspace)}
    meddle(shop, workspace, story)
    meant = {one["id"] for one in stripe_invoices(shop, workspace)} - before
    clock.to(clock.now + timedelta(seconds=story.delay))
    answer = confirm(shop, workspace, promise["preview_id"])
    new = [one for one in stripe_invoices(shop, workspace) if one["id"] not in before]
    if answer.is_success and story.meddling == "the same at Stripe":
        meant = set()  # in the very same second: whoever did it, it was done once
    new = [one for one in new if one["id"] not in meant]
    judge(shop, workspace, story, promise, answer, new)
    settle(shop)


def paid_price(story: Story) -> int:
    """What a whole period costs before the change, in cents."""
    return PRICES[story.first[0] if story.first else story.plan]


def quoted(shop: Sandboxed, workspace: str, plan: str) -> Any:
    """A preview, or the problem that says why there is none."""
    answer = preview(shop, workspace, plan)
    assert answer.status_code in (200, 409), answer.text
    return answer.json()


def judge(
    shop: Sandboxed,
    workspace: str,
    story: Story,
    promise: Json,
    answer: httpx.Response,
    new: list[Json],
) -> None:
    """The promise was kept to the cent, or it was refused and nothing was asked for."""
    due = promise["amount_due_now_minor"]
    updates = [one for one in new if one["billing_reason"] == "subscription_update"]
    if answer.status_code == 200:
        result = answer.json()
        event(f"{result['status']} after: {story.meddling}")
        assert [one["amount_due"] for one in updates] == [due]
        shown = [line["amount_minor"] for line in promise["lines"]]
        if not story.meddling.endswith("at Stripe"):  # which may leave a credit that pays a part
            assert [one["total"] for one in updates] == [sum(shown)]
        assert result["charged_minor"] == (due if result["status"] == "applied" else 0)
        assert subscription(shop, workspace)["plan"] == (
            story.to if result["status"] == "applied" else before_of(story)
        )
        return
    problem = refused(answer, 409, answer.json()["code"])
    event(f"{problem['code']} after: {story.meddling}")
    assert problem["code"] in ("preview_stale", "subscription_past_due")
    assert updates == []
    if story.meddling == "another at Stripe" and story.delay < STANDS_S and is_within(story):
        assert problem["amount_due_now_minor"] != due


def before_of(story: Story) -> str:
    """The plan before the change."""
    return story.first[0] if story.first else story.plan


def is_within(story: Story) -> bool:
    """Whether the delay certainly ends within the period."""
    return story.instant < 900_000


def meddle(shop: Sandboxed, workspace: str, story: Story) -> None:
    """What happens between the preview and its confirmation."""
    post = shop.app.post
    if story.meddling == "cancelled and resumed":
        done(post("/v1/billing/subscription/cancel", {}, workspace), 200)
        done(post("/v1/billing/subscription/resume", {}, workspace), 200)
    elif story.meddling == "another confirmed":
        other = next(plan for plan in ORDER[::-1] if plan not in (story.to, before_of(story)))
        asked = quoted(shop, workspace, other)
        if "code" not in asked:
            confirm(shop, workspace, asked["preview_id"])
    elif story.meddling == "overage switched":
        done(shop.app.call("PUT", "/v1/billing/overage", {"enabled": True}, workspace=workspace),
             200)  # fmt: skip
    elif story.meddling.endswith("at Stripe"):
        same = story.meddling.startswith("the same")
        other = next(plan for plan in ORDER[::-1] if plan not in (story.to, before_of(story)))
        change_at_stripe(shop, workspace, story.to if same else other)


def change_at_stripe(shop: Sandboxed, workspace: str, plan: str) -> None:
    """Somebody changes the subscription in Stripe's dashboard, and no webhook comes."""
    assert shop.sandbox.books is not None
    stripe_id = subscription(shop, workspace)["stripe_subscription_id"]
    url = f"{shop.sandbox.url}/v1"
    found = httpx.get(f"{url}/subscriptions/{stripe_id}", auth=(KEY, "")).json()
    known = shop.sandbox.books.find("price", metadata__plan_id=plan)
    price = (
        known[0]
        if known
        else httpx.post(
            f"{url}/prices",
            data={
                "currency": "usd",
                "unit_amount": str(PRICES[plan]),
                "recurring[interval]": "month",
                "product_data[name]": plan,
                "metadata[plan_id]": plan,
                "metadata[plan_version]": "1",
            },
            auth=(KEY, ""),
        ).json()
    )
    httpx.post(
        f"{url}/subscriptions/{stripe_id}",
        data={
            "items[0][id]": found["items"]["data"][0]["id"],
            "items[0][price]": price["id"],
            "proration_behavior": "always_invoice",
            "payment_behavior": "allow_incomplete",
        },
        auth=(KEY, ""),
    ).raise_for_status()


def test_the_recomputation_of_a_proration_is_stripes_own_example() -> None:
    starts, ends = datetime(2026, 6, 1, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC)
    half = datetime(2026, 6, 16, tzinfo=UTC)
    assert (part_of(1_000, starts, ends, half), part_of(4_000, starts, ends, half)) == (500, 2_000)
    assert [half_away(Fraction(x, 2)) for x in (1, 3, -1, -3)] == [1, 2, -1, -2]
