"""Plan changes in the sandbox; the amounts are worked out by hand from Stripe's proration pages."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
import stripe

from tests.adapters.stripe.shop import Json, Shop, amounts, at, shop

MIDDLE = at("2026-06-16")
"""Half of June is left."""
UPGRADE = {
    "proration_behavior": "always_invoice",
    "proration_date": MIDDLE,
    "payment_behavior": "pending_if_incomplete",
}


@pytest.fixture
def june() -> Iterator[Shop]:
    with shop("2026-06-01") as opened:
        yield opened


def price_of(subscription: Json) -> str:
    found: str = subscription["items"]["data"][0]["price"]["id"]
    return found


def test_the_preview_of_an_upgrade_is_credit_and_charge(june: Shop) -> None:
    subscription = june.subscribe(june.starter)
    june.move(MIDDLE)
    invoice = june.preview(
        subscription, june.pro, proration_behavior="always_invoice", proration_date=MIDDLE
    )

    assert amounts(invoice) == [-500, 2000]
    assert invoice["amount_due"] == 1500
    unused, remaining = invoice["lines"]["data"]
    assert unused["description"] == "Unused time on Starter after 16 Jun 2026"
    assert remaining["description"] == "Remaining time on Pro after 16 Jun 2026"
    assert unused["period"] == remaining["period"] == {"start": MIDDLE, "end": at("2026-07-01")}
    for line in (unused, remaining):
        details = line["parent"]["subscription_item_details"]
        assert details["proration"] is True
        assert details["subscription"] == subscription["id"]
    first = june.latest(subscription)
    credited = unused["parent"]["subscription_item_details"]["proration_details"]["credited_items"]
    assert credited == {
        "invoice": first["id"],
        "invoice_line_items": [first["lines"]["data"][0]["id"]],
    }


def test_a_preview_changes_nothing(june: Shop) -> None:
    subscription = june.subscribe(june.starter)
    june.move(MIDDLE)
    before, events = june.subscription(subscription), len(june.events())
    june.preview(subscription, june.pro, proration_behavior="always_invoice")

    assert june.subscription(subscription) == before
    assert len(june.events()) == events
    assert june.v1.invoice_items.list({"customer": subscription["customer"]}).data == []


def test_a_paid_upgrade_holds_at_once_and_keeps_the_cycle(june: Shop) -> None:
    subscription = june.subscribe(june.starter)
    june.move(MIDDLE)
    upgraded = june.change(subscription, june.pro, **UPGRADE)

    assert price_of(upgraded) == june.pro
    assert upgraded["pending_update"] is None
    item = upgraded["items"]["data"][0]
    assert item["current_period_end"] == at("2026-07-01")
    assert item["id"] == subscription["items"]["data"][0]["id"]
    invoice = june.latest(upgraded)
    assert (invoice["status"], invoice["billing_reason"]) == ("paid", "subscription_update")
    assert amounts(invoice) == [-500, 2000]
    assert invoice["amount_paid"] == 1500
    assert invoice["parent"]["subscription_details"]["subscription_proration_date"] == MIDDLE


def test_the_update_event_names_the_former_price(june: Shop) -> None:
    subscription = june.subscribe(june.starter)
    june.move(MIDDLE)
    june.change(subscription, june.pro, **UPGRADE)
    data = june.events("customer.subscription.updated")[-1]["data"]

    assert data["object"]["items"]["data"][0]["price"]["id"] == june.pro
    former = data["previous_attributes"]["items"]["data"][0]
    assert former["price"]["id"] == june.starter
    assert data["previous_attributes"]["latest_invoice"] == subscription["latest_invoice"]


def test_the_next_cycle_is_billed_at_the_new_price(june: Shop) -> None:
    subscription = june.subscribe(june.starter)
    june.move(MIDDLE)
    june.change(subscription, june.pro, **UPGRADE)
    june.move("2026-07-01T01:00:00")

    assert amounts(june.latest(subscription)) == [4000]


def test_a_second_upgrade_credits_what_the_first_one_charged(june: Shop) -> None:
    # Pro was charged 2000 for 15 days. After 5 of them, 2000 * 10 / 15 = 1333.33 is unused, and
    # Enterprise costs 40000 * 10 / 30 = 13333.33 for the rest.
    subscription = june.subscribe(june.starter)
    june.move(MIDDLE)
    june.change(subscription, june.pro, **UPGRADE)
    june.move("2026-06-21")
    upgraded = june.change(
        subscription, june.enterprise, **(UPGRADE | {"proration_date": at("2026-06-21")})
    )

    assert amounts(june.latest(upgraded)) == [-1333, 13333]


def test_metadata_alone_makes_no_lines_whatever_the_proration_behaviour(june: Shop) -> None:
    subscription = june.subscribe(june.starter)
    june.move(MIDDLE)
    for switch in ("on", "off"):
        june.v1.subscriptions.update(
            subscription["id"],
            {"metadata": {"overage": switch}, "proration_behavior": "create_prorations"},
        )

    assert june.v1.invoice_items.list({"customer": subscription["customer"]}).data == []
    upcoming = june.v1.invoices.create_preview({"subscription": subscription["id"]})
    assert [line.amount for line in upcoming.lines.data] == [1000]
    changes = june.events("customer.subscription.updated")[-2:]
    assert changes[0]["data"]["previous_attributes"] == {"metadata": {"overage": None}}
    assert changes[1]["data"]["previous_attributes"] == {"metadata": {"overage": "on"}}


def test_create_prorations_waits_for_the_renewal(june: Shop) -> None:
    subscription = june.subscribe(june.starter)
    june.move(MIDDLE)
    june.change(subscription, june.pro, proration_behavior="create_prorations")

    waiting = june.v1.invoice_items.list(
        {"customer": subscription["customer"], "pending": True}
    ).data
    assert sorted(item.amount for item in waiting) == [-500, 2000]
    assert all(item.proration for item in waiting)
    june.move("2026-07-01T01:00:00")
    invoice = june.latest(subscription)
    assert sorted(amounts(invoice)) == [-500, 2000, 4000]
    assert invoice["amount_paid"] == 5500


def test_the_preview_of_create_prorations_shows_the_renewal_with_them(june: Shop) -> None:
    subscription = june.subscribe(june.starter)
    june.move(MIDDLE)
    preview = june.preview(subscription, june.pro, proration_behavior="create_prorations")
    june.change(subscription, june.pro, proration_behavior="create_prorations")
    june.move("2026-07-01T01:00:00")

    assert preview["total"] == june.latest(subscription)["total"] == 5500


def test_no_proration_changes_the_price_for_the_next_period_only(june: Shop) -> None:
    subscription = june.subscribe(june.starter)
    june.move(MIDDLE)
    changed = june.change(subscription, june.pro, proration_behavior="none")

    assert price_of(changed) == june.pro
    assert changed["latest_invoice"] == subscription["latest_invoice"]
    june.move("2026-07-01T01:00:00")
    assert amounts(june.latest(subscription)) == [4000]


def test_a_downgrade_at_once_leaves_a_credit_that_the_renewal_uses(june: Shop) -> None:
    # Half of 4000 comes back, half of 1000 is charged: 1500 in credit, then 1000 is due.
    subscription = june.subscribe(june.pro)
    june.move(MIDDLE)
    june.change(subscription, june.starter, proration_behavior="always_invoice")

    invoice = june.latest(subscription)
    assert (invoice["status"], invoice["total"], invoice["amount_due"]) == ("paid", -1500, 0)
    assert june.v1.customers.retrieve(subscription["customer"]).balance == -1500
    june.move("2026-07-01T01:00:00")
    renewal = june.latest(subscription)
    assert (renewal["total"], renewal["amount_due"], renewal["status"]) == (1000, 0, "paid")
    assert (renewal["starting_balance"], renewal["ending_balance"]) == (-1500, -500)


def test_error_if_incomplete_undoes_a_declined_change(june: Shop) -> None:
    subscription = june.subscribe(june.starter)
    june.control.card(subscription["customer"], "pm_card_chargeCustomerFail")
    june.move(MIDDLE)
    before = june.subscription(subscription)
    with pytest.raises(stripe.CardError):
        june.change(
            subscription,
            june.pro,
            proration_behavior="always_invoice",
            payment_behavior="error_if_incomplete",
        )

    assert june.subscription(subscription) == before
    assert len(june.v1.invoices.list({"customer": subscription["customer"]}).data) == 1


def test_allow_incomplete_changes_and_is_past_due_when_declined(june: Shop) -> None:
    subscription = june.subscribe(june.starter)
    june.control.card(subscription["customer"], "pm_card_chargeCustomerFail")
    june.move(MIDDLE)
    changed = june.change(subscription, june.pro, proration_behavior="always_invoice")

    assert (price_of(changed), changed["status"]) == (june.pro, "past_due")


@pytest.mark.parametrize("date", ["2026-05-31T23:59:59", "2026-07-01T00:00:01"])
def test_a_proration_date_outside_the_period_is_refused(june: Shop, date: str) -> None:
    subscription = june.subscribe(june.starter)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        june.preview(
            subscription, june.pro, proration_behavior="always_invoice", proration_date=at(date)
        )

    assert refused.value.param is not None
    assert "proration_date" in refused.value.param


def test_a_proration_date_with_no_proration_is_refused(june: Shop) -> None:
    subscription = june.subscribe(june.starter)
    with pytest.raises(stripe.InvalidRequestError):
        june.change(subscription, june.pro, proration_behavior="none", proration_date=MIDDLE)


def test_an_earlier_proration_date_charges_as_of_then(june: Shop) -> None:
    subscription = june.subscribe(june.starter)
    june.move("2026-06-20")
    upgraded = june.change(subscription, june.pro, **UPGRADE)

    assert amounts(june.latest(upgraded)) == [-500, 2000]


@pytest.mark.parametrize("seed", range(3))
def test_what_is_charged_is_what_was_previewed_to_the_cent(june: Shop, seed: int) -> None:
    chance = random.Random(seed)
    prices = [june.price(f"Plan {n}", chance.randint(51, 90_000)) for n in range(4)]
    subscription = june.subscribe(june.price("Cheap", 50))
    now = at("2026-06-01")
    for price in prices:
        now = chance.randint(now, now + 6 * 86_400)
        june.move(now)
        pinned = {"proration_behavior": "always_invoice", "proration_date": now}
        preview = june.preview(subscription, price, **pinned)
        june.move(now + chance.randint(0, 3600))
        now += 3600
        changed = june.change(subscription, price, **pinned)
        invoice = june.latest(changed)

        assert amounts(invoice) == amounts(preview)
        assert (invoice["total"], invoice["amount_due"]) == (
            preview["total"],
            preview["amount_due"],
        )
        june.move(now)
