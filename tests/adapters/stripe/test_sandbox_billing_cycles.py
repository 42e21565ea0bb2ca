"""Renewals, collection and endings in the sandbox, over days, months and years."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import stripe

from tests.adapters.stripe.shop import Json, Shop, amounts, at, day, shop

DAY_S = 86_400


@pytest.fixture
def june() -> Iterator[Shop]:
    with shop("2026-06-01") as opened:
        yield opened


def failing(june: Shop) -> Json:
    """A Starter whose card is declined from the renewal of July on."""
    subscription = june.subscribe(june.starter)
    june.control.card(subscription["customer"], "pm_card_chargeCustomerFail")
    june.move("2026-07-01T01:00:00")
    return subscription


def test_a_renewal_is_a_draft_for_an_hour_and_then_paid(june: Shop) -> None:
    subscription = june.subscribe(june.starter)
    june.move("2026-07-01")
    renewed = june.subscription(subscription)
    draft = june.invoice(renewed["latest_invoice"])

    assert renewed["items"]["data"][0]["current_period_end"] == at("2026-08-01")
    assert (draft["status"], draft["billing_reason"]) == ("draft", "subscription_cycle")
    assert (draft["period_start"], draft["period_end"]) == (at("2026-06-01"), at("2026-07-01"))
    assert draft["lines"]["data"][0]["period"] == {
        "start": at("2026-07-01"),
        "end": at("2026-08-01"),
    }
    assert draft["automatically_finalizes_at"] == at("2026-07-01T01:00:00")
    june.move("2026-07-01T00:59:59")
    assert june.invoice(draft["id"])["status"] == "draft"
    june.move("2026-07-01T01:00:00")
    paid = june.invoice(draft["id"])
    assert (paid["status"], paid["amount_paid"]) == ("paid", 1000)
    assert paid["status_transitions"]["paid_at"] == at("2026-07-01T01:00:00")


def test_overage_put_on_the_draft_is_collected_with_it(june: Shop) -> None:
    subscription = june.subscribe(june.starter)
    june.move("2026-07-01")
    draft = june.latest(subscription)
    june.v1.invoice_items.create(
        {
            "customer": subscription["customer"],
            "invoice": draft["id"],
            "amount": 184,
            "currency": "usd",
            "description": "123 credits",
            "period": {"start": at("2026-06-01"), "end": at("2026-07-01")},
            "metadata": {"cycle": "c1"},
        }
    )
    june.move("2026-07-01T01:00:00")
    paid = june.latest(subscription)

    assert amounts(paid) == [1000, 184]  # What is added later comes last.
    assert paid["amount_paid"] == 1184
    line = paid["lines"]["data"][1]
    assert line["metadata"] == {"cycle": "c1"}
    assert line["parent"]["type"] == "invoice_item_details"


def test_one_jump_of_a_year_bills_every_month_at_its_own_second(june: Shop) -> None:
    subscription = june.subscribe(june.starter)
    june.move("2027-06-01T01:00:00")
    invoices = june.v1.invoices.list({"subscription": subscription["id"], "limit": 100}).data

    assert len(invoices) == 13
    assert {invoice.status for invoice in invoices} == {"paid"}
    assert [day(invoice.created)[:10] for invoice in reversed(invoices)] == [
        "2026-06-01", "2026-07-01", "2026-08-01", "2026-09-01", "2026-10-01", "2026-11-01",
        "2026-12-01", "2027-01-01", "2027-02-01", "2027-03-01", "2027-04-01", "2027-05-01",
        "2027-06-01",
    ]  # fmt: skip
    starts = [event["created"] for event in june.events()]
    assert starts == sorted(starts)
    paid = [e["created"] for e in june.events("invoice.paid")]
    assert [(instant - at("2026-06-01")) % DAY_S for instant in paid] == [0] + [3600] * 12


def test_month_ends_are_clamped_and_come_back() -> None:
    with shop("2028-01-31T10:00:00") as january:
        subscription = january.subscribe(january.starter)
        january.move("2028-05-31T11:00:00")
        invoices = january.v1.invoices.list({"subscription": subscription["id"]}).data

        assert [day(invoice.created) for invoice in reversed(invoices)] == [
            "2028-01-31T10:00:00",
            "2028-02-29T10:00:00",  # a leap year
            "2028-03-31T10:00:00",
            "2028-04-30T10:00:00",
            "2028-05-31T10:00:00",
        ]


def test_an_upgrade_in_a_short_month_is_prorated_over_its_own_seconds() -> None:
    # The period 2026-02-28T10:00 to 2026-03-31T10:00 has 31 days; 10 of them are left.
    with shop("2026-01-31T10:00:00") as january:
        subscription = january.subscribe(january.starter)
        january.move("2026-03-21T10:00:00")
        january.change(subscription, january.pro, proration_behavior="always_invoice")

        # 1000 * 10 / 31 = 322.58, 4000 * 10 / 31 = 1290.32
        assert amounts(january.latest(subscription)) == [-323, 1290]


def test_a_failed_renewal_is_past_due_and_tried_after_3_5_and_7_days(june: Shop) -> None:
    subscription = failing(june)
    assert june.subscription(subscription)["status"] == "past_due"
    invoice = june.latest(subscription)
    assert invoice["next_payment_attempt"] == at("2026-07-04T01:00:00")

    june.move("2026-07-31")

    failures = june.events("invoice.payment_failed")
    assert [day(event["created"]) for event in failures] == [
        "2026-07-01T01:00:00",
        "2026-07-04T01:00:00",
        "2026-07-09T01:00:00",
        "2026-07-16T01:00:00",
    ]
    assert [event["data"]["object"]["attempt_count"] for event in failures] == [1, 2, 3, 4]
    assert failures[-1]["data"]["object"]["next_payment_attempt"] is None
    assert june.latest(subscription)["status"] == "open"
    assert june.subscription(subscription)["status"] == "past_due"


def test_a_retry_with_a_new_card_recovers(june: Shop) -> None:
    subscription = failing(june)
    june.control.card(subscription["customer"], "pm_card_visa")
    june.move("2026-07-04T01:00:00")

    invoice = june.latest(subscription)
    assert (invoice["status"], invoice["attempt_count"]) == ("paid", 2)
    assert june.subscription(subscription)["status"] == "active"


def test_paying_by_hand_recovers_and_failing_by_hand_counts_no_attempt(june: Shop) -> None:
    subscription = failing(june)
    invoice = june.latest(subscription)
    june.move("2026-07-02")
    with pytest.raises(stripe.CardError) as declined:
        june.v1.invoices.pay(invoice["id"])

    assert declined.value.code == "card_declined"
    after = june.invoice(invoice["id"])
    assert (after["attempt_count"], after["next_payment_attempt"]) == (
        1,
        at("2026-07-04T01:00:00"),
    )
    assert len(june.events("invoice.payment_failed")) == 2
    card = june.v1.payment_methods.attach("pm_card_visa", {"customer": subscription["customer"]}).id
    june.v1.invoices.pay(invoice["id"], {"payment_method": card})
    assert june.subscription(subscription)["status"] == "active"


def test_two_unpaid_invoices_the_latest_decides(june: Shop) -> None:
    subscription = failing(june)
    first = june.latest(subscription)["id"]
    june.move("2026-08-01T01:00:00")
    second = june.latest(subscription)["id"]
    june.control.card(subscription["customer"], "pm_card_visa")

    june.v1.invoices.pay(first)
    assert june.subscription(subscription)["status"] == "past_due"
    june.v1.invoices.pay(second)
    assert june.subscription(subscription)["status"] == "active"


def test_voiding_the_unpaid_renewal_makes_it_active_again(june: Shop) -> None:
    subscription = failing(june)
    june.v1.invoices.void_invoice(june.latest(subscription)["id"])

    assert june.subscription(subscription)["status"] == "active"
    assert june.types("invoice.voided") == ["invoice.voided"]


def test_an_uncollectible_invoice_stays_owed_and_can_still_be_paid(june: Shop) -> None:
    subscription = failing(june)
    invoice = june.v1.invoices.mark_uncollectible(june.latest(subscription)["id"])
    assert invoice.status == "uncollectible"
    june.control.card(subscription["customer"], "pm_card_visa")
    june.move("2026-07-31")
    assert june.invoice(invoice.id)["status"] == "uncollectible"  # Nothing is tried by itself.

    assert june.v1.invoices.pay(invoice.id).status == "paid"
    assert june.subscription(subscription)["status"] == "active"


def test_the_account_may_cancel_after_the_last_attempt(june: Shop) -> None:
    june.control.post("/billing", after_last="cancel", retry_days=[1])
    subscription = failing(june)
    june.move("2026-07-02T01:00:00")

    ended = june.subscription(subscription)
    assert ended["status"] == "canceled"
    assert ended["cancellation_details"]["reason"] == "payment_failed"
    assert june.types("customer.subscription.deleted") == ["customer.subscription.deleted"]
    june.move("2026-12-01")
    assert len(june.v1.invoices.list({"subscription": subscription["id"]}).data) == 2


def test_the_account_may_leave_it_unpaid_and_then_collects_no_more(june: Shop) -> None:
    june.control.post("/billing", after_last="unpaid", retry_days=[])
    subscription = failing(june)

    assert june.subscription(subscription)["status"] == "unpaid"
    june.move("2026-08-02")
    assert june.latest(subscription)["status"] == "draft"


def test_cancel_at_period_end_ends_it_there_without_an_invoice(june: Shop) -> None:
    subscription = june.subscribe(june.starter)
    june.move("2026-06-10")
    marked = june.v1.subscriptions.update(subscription["id"], {"cancel_at_period_end": True})
    assert marked.status == "active"
    assert (marked.cancel_at, marked.canceled_at) == (at("2026-07-01"), at("2026-06-10"))
    june.move("2026-08-01")

    ended = june.subscription(subscription)
    assert (ended["status"], ended["ended_at"]) == ("canceled", at("2026-07-01"))
    assert ended["canceled_at"] == at("2026-06-10")
    assert ended["cancellation_details"]["reason"] == "cancellation_requested"
    deleted = june.events("customer.subscription.deleted")
    assert [event["created"] for event in deleted] == [at("2026-07-01")]
    assert len(june.v1.invoices.list({"subscription": subscription["id"]}).data) == 1


def test_a_resumed_subscription_renews(june: Shop) -> None:
    subscription = june.subscribe(june.starter)
    june.v1.subscriptions.update(subscription["id"], {"cancel_at_period_end": True})
    resumed = june.v1.subscriptions.update(subscription["id"], {"cancel_at_period_end": False})
    assert (resumed.cancel_at, resumed.canceled_at) == (None, None)
    june.move("2026-07-01T01:00:00")

    assert june.latest(subscription)["amount_paid"] == 1000


def test_cancelling_at_once_ends_it_and_collects_nothing_more(june: Shop) -> None:
    subscription = failing(june)
    cancelled = june.v1.subscriptions.cancel(subscription["id"])

    assert cancelled.status == "canceled"
    june.control.card(subscription["customer"], "pm_card_visa")
    june.move("2026-09-01")
    invoice = june.invoice(cancelled.latest_invoice)  # type: ignore[arg-type]
    assert invoice["status"] == "open"
    with pytest.raises(stripe.InvalidRequestError):
        june.v1.subscriptions.cancel(subscription["id"])
    with pytest.raises(stripe.InvalidRequestError, match="canceled subscription"):
        june.change(subscription, june.pro)
    assert june.v1.subscriptions.update(subscription["id"], {"metadata": {"a": "b"}}).id


def test_upcoming_is_what_the_renewal_then_is(june: Shop) -> None:
    subscription = june.subscribe(june.starter)
    upcoming = june.v1.invoices.create_preview({"subscription": subscription["id"]})
    june.move("2026-07-01T01:00:00")

    assert upcoming.total == june.latest(subscription)["total"] == 1000
    june.v1.subscriptions.update(subscription["id"], {"cancel_at_period_end": True})
    with pytest.raises(stripe.InvalidRequestError) as refused:
        june.v1.invoices.create_preview({"subscription": subscription["id"]})
    assert refused.value.code == "invoice_upcoming_none"


def test_yearly_prices_renew_yearly(june: Shop) -> None:
    subscription = june.subscribe(june.price("Yearly", 12_000, "year"))
    june.move("2027-05-31")
    assert len(june.v1.invoices.list({"subscription": subscription["id"]}).data) == 1
    june.move("2027-06-01T01:00:00")

    assert june.latest(subscription)["created"] == at("2027-06-01")
