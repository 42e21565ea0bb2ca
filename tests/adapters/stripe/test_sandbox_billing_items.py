"""Quantities, several items, odd months, and the sum of many changes, in the sandbox."""

from __future__ import annotations

import random
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise

import pytest
import stripe

from tests.adapters.stripe.shop import Shop, amounts, at, shop

MIDDLE = at("2026-06-16")
"""Half of June is left."""


@pytest.fixture
def june() -> Iterator[Shop]:
    with shop("2026-06-01") as opened:
        yield opened


def test_more_seats_credit_the_old_number_and_charge_the_new(june: Shop) -> None:
    subscription = june.subscribe(june.starter)
    june.move(MIDDLE)
    item = subscription["items"]["data"][0]["id"]
    june.v1.subscriptions.update(
        subscription["id"],
        {"items": [{"id": item, "quantity": 3}], "proration_behavior": "always_invoice"},
    )

    invoice = june.latest(subscription)
    assert amounts(invoice) == [-500, 1500]
    assert invoice["lines"]["data"][1]["description"] == (
        "Remaining time on 3 × Starter after 16 Jun 2026"
    )


def test_an_item_added_is_charged_and_an_item_removed_is_credited(june: Shop) -> None:
    subscription = june.subscribe(june.starter)
    june.move(MIDDLE)
    june.v1.subscriptions.update(
        subscription["id"],
        {"items": [{"price": june.pro}], "proration_behavior": "always_invoice"},
    )
    assert amounts(june.latest(subscription)) == [2000]
    added = june.subscription(subscription)["items"]["data"][1]["id"]
    june.v1.subscriptions.update(
        subscription["id"],
        {"items": [{"id": added, "deleted": True}], "proration_behavior": "always_invoice"},
    )
    assert amounts(june.latest(subscription)) == [-2000]
    with pytest.raises(stripe.InvalidRequestError, match="at least one"):
        first = subscription["items"]["data"][0]["id"]
        june.v1.subscriptions.update(
            subscription["id"], {"items": [{"id": first, "deleted": True}]}
        )


def test_a_leap_february_has_29_days_of_seconds() -> None:
    # 2028-02-01 to 2028-03-01: 7 of 29 days are left. 1000 * 7 / 29 = 241.38, 4000: 965.52.
    with shop("2028-02-01") as february:
        subscription = february.subscribe(february.starter)
        february.move("2028-02-23")
        february.change(subscription, february.pro, proration_behavior="always_invoice")

        assert amounts(february.latest(subscription)) == [-241, 966]


@pytest.mark.parametrize(("mode", "credit"), [("flexible", -500), ("classic", -2000)])
def test_a_credit_is_of_what_was_debited_or_in_classic_mode_of_the_price(
    june: Shop, mode: str, credit: int
) -> None:
    """Starter was billed for June, then Pro came without proration, then Enterprise with it."""
    subscription = june.subscribe(june.starter, billing_mode={"type": mode})
    june.move("2026-06-10")
    june.change(subscription, june.pro, proration_behavior="none")
    june.move(MIDDLE)
    june.change(subscription, june.enterprise, proration_behavior="always_invoice")

    assert amounts(june.latest(subscription)) == [credit, 20000]


@pytest.mark.parametrize("seed", range(4))
def test_whatever_changes_all_bills_together_are_the_price_of_the_time(
    june: Shop, seed: int
) -> None:
    """Every second costs its price's share of its month, to half a cent for each line."""
    chance = random.Random(seed)
    prices = {june.price(f"Plan {n}", amount): amount for n, amount in enumerate((700, 1999, 5000))}
    months = [at("2026-06-01"), at("2026-07-01"), at("2026-08-01"), at("2026-09-01")]
    price = chance.choice(list(prices))
    subscription = june.subscribe(price)
    now, worth = months[0], Fraction(0)
    for start, end in pairwise(months):
        instants = sorted(
            chance.randint(start + 7200, end - 1) for _ in range(chance.randint(0, 4))
        )
        for instant in instants:
            worth += Fraction(prices[price] * (instant - now), end - start)
            june.move(instant)
            price, now = chance.choice(list(prices)), instant
            june.change(subscription, price, proration_behavior="always_invoice")
        worth += Fraction(prices[price] * (end - now), end - start)
        now = end
    june.move(months[-1] - 1)
    invoices = june.v1.invoices.list({"subscription": subscription["id"], "limit": 100}).data
    lines = sum(len(invoice.lines.data) for invoice in invoices)

    assert abs(sum(invoice.total for invoice in invoices) - worth) <= Fraction(lines, 2)
    balance = june.v1.customers.retrieve(subscription["customer"]).balance or 0
    paid = sum(invoice.amount_paid for invoice in invoices)
    assert paid == sum(invoice.total for invoice in invoices) - balance
