"""Downgrades by schedule in the sandbox."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import stripe

from tests.adapters.stripe.shop import Json, Shop, amounts, at, plain, shop


@pytest.fixture
def june() -> Iterator[Shop]:
    with shop("2026-06-01") as opened:
        yield opened


def downgrade(june: Shop, subscription: Json) -> Json:
    """A schedule by which Pro becomes Starter when the period is over."""
    schedule = june.v1.subscription_schedules.create({"from_subscription": subscription["id"]})
    phase = schedule.phases[0]
    updated = june.v1.subscription_schedules.update(
        schedule.id,
        {
            "end_behavior": "release",
            "proration_behavior": "none",
            "phases": [
                {
                    "items": [{"price": june.pro, "quantity": 1}],
                    "start_date": phase.start_date,
                    "end_date": phase.end_date,
                },
                {
                    "items": [{"price": june.starter, "quantity": 1}],
                    "duration": {"interval": "month", "interval_count": 1},
                    "proration_behavior": "none",
                },
            ],
        },
    )
    return plain(updated)


def price_of(subscription: Json) -> str:
    found: str = subscription["items"]["data"][0]["price"]["id"]
    return found


def test_a_schedule_takes_over_the_current_period(june: Shop) -> None:
    subscription = june.subscribe(june.pro)
    june.move("2026-06-10")
    schedule = plain(
        june.v1.subscription_schedules.create({"from_subscription": subscription["id"]})
    )

    assert schedule["status"] == "active"
    assert schedule["current_phase"] == {
        "start_date": at("2026-06-01"),
        "end_date": at("2026-07-01"),
    }
    assert [item["price"] for item in schedule["phases"][0]["items"]] == [june.pro]
    assert june.subscription(subscription)["schedule"] == schedule["id"]
    with pytest.raises(stripe.InvalidRequestError, match="already attached"):
        june.v1.subscription_schedules.create({"from_subscription": subscription["id"]})


def test_the_downgrade_comes_with_the_new_period_and_prorates_nothing(june: Shop) -> None:
    subscription = june.subscribe(june.pro)
    june.move("2026-06-16")
    downgrade(june, subscription)
    june.move("2026-06-30T23:59:59")
    assert price_of(june.subscription(subscription)) == june.pro
    june.move("2026-07-01T01:00:00")

    renewed = june.subscription(subscription)
    assert price_of(renewed) == june.starter
    invoice = june.latest(renewed)
    assert (amounts(invoice), invoice["billing_reason"]) == ([1000], "subscription_cycle")
    assert june.v1.invoice_items.list({"customer": subscription["customer"]}).data == []
    assert renewed["items"]["data"][0]["current_period_end"] == at("2026-08-01")
    assert renewed["billing_cycle_anchor"] == at("2026-06-01")


def test_after_its_last_phase_the_subscription_is_released(june: Shop) -> None:
    subscription = june.subscribe(june.pro)
    schedule = downgrade(june, subscription)
    june.move("2026-08-01T01:00:00")

    released = plain(june.v1.subscription_schedules.retrieve(schedule["id"]))
    assert (released["status"], released["released_at"]) == ("released", at("2026-08-01"))
    assert released["released_subscription"] == subscription["id"]
    after = june.subscription(subscription)
    assert (after["schedule"], price_of(after)) == (None, june.starter)
    assert amounts(june.latest(after)) == [1000]
    assert june.types("subscription_schedule") == [
        "subscription_schedule.created",
        "subscription_schedule.updated",
        "subscription_schedule.updated",
        "subscription_schedule.released",
    ]


def test_a_released_downgrade_does_not_happen(june: Shop) -> None:
    subscription = june.subscribe(june.pro)
    schedule = downgrade(june, subscription)
    june.move("2026-06-20")
    june.v1.subscription_schedules.release(schedule["id"])

    assert june.subscription(subscription)["schedule"] is None
    june.move("2026-07-01T01:00:00")
    assert amounts(june.latest(subscription)) == [4000]
    with pytest.raises(stripe.InvalidRequestError, match="`released` status"):
        june.v1.subscription_schedules.release(schedule["id"])


def test_a_preview_knows_the_coming_phase(june: Shop) -> None:
    subscription = june.subscribe(june.pro)
    downgrade(june, subscription)
    upcoming = june.v1.invoices.create_preview({"subscription": subscription["id"]})

    assert upcoming.total == 1000


def test_under_a_schedule_neither_end_nor_items_change_directly(june: Shop) -> None:
    subscription = june.subscribe(june.pro)
    downgrade(june, subscription)

    with pytest.raises(stripe.InvalidRequestError, match="managed by the subscription schedule"):
        june.v1.subscriptions.update(subscription["id"], {"cancel_at_period_end": True})
    with pytest.raises(stripe.InvalidRequestError, match="schedule"):
        june.change(subscription, june.enterprise)


def test_cancelling_a_subscription_cancels_its_schedule(june: Shop) -> None:
    subscription = june.subscribe(june.pro)
    schedule = downgrade(june, subscription)
    june.v1.subscriptions.cancel(subscription["id"])

    assert june.v1.subscription_schedules.retrieve(schedule["id"]).status == "canceled"
    june.move("2026-09-01")
    assert june.subscription(subscription)["status"] == "canceled"


def test_phases_must_begin_with_the_current_one(june: Shop) -> None:
    subscription = june.subscribe(june.pro)
    schedule = june.v1.subscription_schedules.create({"from_subscription": subscription["id"]})
    with pytest.raises(stripe.InvalidRequestError):
        june.v1.subscription_schedules.update(
            schedule.id,
            {"phases": [{"items": [{"price": june.starter}], "start_date": at("2026-07-01")}]},
        )


def test_a_failing_card_at_the_downgrade_is_past_due_at_the_new_price(june: Shop) -> None:
    subscription = june.subscribe(june.pro)
    downgrade(june, subscription)
    june.control.card(subscription["customer"], "pm_card_chargeCustomerFail")
    june.move("2026-07-01T01:00:00")

    assert june.latest(subscription)["amount_due"] == 1000
    assert june.subscription(subscription)["status"] == "past_due"


def test_a_subscription_given_up_by_the_account_ends_its_schedule_too(june: Shop) -> None:
    june.control.post("/billing", after_last="cancel", retry_days=[])
    subscription = june.subscribe(june.pro)
    schedule = downgrade(june, subscription)
    june.control.card(subscription["customer"], "pm_card_chargeCustomerFail")
    june.move("2026-09-01")

    assert june.subscription(subscription)["status"] == "canceled"
    assert june.v1.subscription_schedules.retrieve(schedule["id"]).status == "canceled"
    assert len(june.v1.invoices.list({"subscription": subscription["id"]}).data) == 2
