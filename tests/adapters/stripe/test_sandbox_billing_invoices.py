"""Invoices of their own, their items and lines, in the sandbox."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import stripe

from tests.adapters.stripe.shop import Shop, amounts, at, plain, shop


@pytest.fixture
def june() -> Iterator[Shop]:
    with shop("2026-06-01") as opened:
        yield opened


def draft(june: Shop, customer: str, *values: int, **more: object) -> str:
    """A stand-alone draft of these amounts."""
    invoice = june.v1.invoices.create({"customer": customer, **more})  # type: ignore[arg-type]
    for value in values:
        june.v1.invoice_items.create(
            {"customer": customer, "invoice": invoice.id, "amount": value, "currency": "usd"}
        )
    return invoice.id


def test_a_stand_alone_invoice_is_finalised_and_paid_by_itself(june: Shop) -> None:
    invoice_id = draft(june, june.customer(), 300, 200, auto_advance=True)
    opened = plain(june.v1.invoices.finalize_invoice(invoice_id, {"auto_advance": True}))
    assert (opened["status"], opened["amount_due"]) == ("open", 500)

    paid = june.invoice(invoice_id)  # Whoever looks at the clock does what is due.
    assert (paid["status"], paid["amount_paid"]) == ("paid", 500)
    assert amounts(paid) == [300, 200]
    assert paid["parent"] is None


def test_it_may_belong_to_a_subscription_even_to_one_that_ended(june: Shop) -> None:
    subscription = june.subscribe(june.starter)
    june.v1.subscriptions.cancel(subscription["id"])
    invoice = june.v1.invoices.create({"subscription": subscription["id"], "auto_advance": True})

    assert invoice.parent is not None
    assert invoice.parent.subscription_details is not None
    assert invoice.parent.subscription_details.subscription == subscription["id"]
    assert june.subscription(subscription)["status"] == "canceled"


def test_a_draft_that_advances_is_finalised_after_an_hour(june: Shop) -> None:
    invoice_id = draft(june, june.customer(), 500, auto_advance=True)
    june.move("2026-06-01T00:59:59")
    assert june.invoice(invoice_id)["status"] == "draft"
    june.move("2026-06-01T01:00:00")

    assert june.invoice(invoice_id)["status"] == "paid"


def test_a_draft_that_does_not_advance_waits_for_ever(june: Shop) -> None:
    invoice_id = draft(june, june.customer(), 500)
    june.move("2027-06-01")

    assert june.invoice(invoice_id)["status"] == "draft"


def test_less_than_a_card_can_be_charged_stays_on_the_balance(june: Shop) -> None:
    # Stripe's minimum is 50 cents: 20 are not charged but carried to the next invoice.
    customer = june.customer()
    small = plain(june.v1.invoices.finalize_invoice(draft(june, customer, 20)))

    assert (small["status"], small["total"], small["amount_due"]) == ("paid", 20, 0)
    assert june.v1.customers.retrieve(customer).balance == 20
    next_one = plain(june.v1.invoices.pay(draft(june, customer, 100)))
    assert (next_one["total"], next_one["amount_due"], next_one["amount_paid"]) == (100, 120, 120)
    assert june.v1.customers.retrieve(customer).balance == 0


def test_only_a_draft_can_be_added_to(june: Shop) -> None:
    customer = june.customer()
    invoice_id = draft(june, customer, 500)
    june.v1.invoices.finalize_invoice(invoice_id)

    with pytest.raises(stripe.InvalidRequestError) as refused:
        june.v1.invoice_items.create(
            {"customer": customer, "invoice": invoice_id, "amount": 1, "currency": "usd"}
        )
    assert refused.value.code == "invoice_not_editable"
    with pytest.raises(stripe.InvalidRequestError, match="already finalized"):
        june.v1.invoices.finalize_invoice(invoice_id)


def test_an_invoice_holds_250_lines_and_shows_the_first_ten(june: Shop) -> None:
    customer = june.customer()
    invoice_id = draft(june, customer, *range(1, 251))
    invoice = june.invoice(invoice_id)

    assert invoice["total"] == 250 * 251 // 2
    assert amounts(invoice) == list(range(1, 11))
    assert invoice["lines"]["has_more"] is True
    every = june.v1.invoices.line_items.list(invoice_id, {"limit": 100}).auto_paging_iter()
    assert [line.amount for line in every] == list(range(1, 251))
    with pytest.raises(stripe.InvalidRequestError, match="250"):
        june.v1.invoice_items.create(
            {"customer": customer, "invoice": invoice_id, "amount": 1, "currency": "usd"}
        )


def test_a_deleted_item_leaves_its_draft(june: Shop) -> None:
    customer = june.customer()
    invoice_id = draft(june, customer, 500, 700)
    item = june.v1.invoice_items.list({"invoice": invoice_id}).data[0]
    june.v1.invoice_items.delete(item.id)

    invoice = june.invoice(invoice_id)
    assert (amounts(invoice), invoice["amount_due"]) == ([500], 500)


def test_a_pending_item_is_billed_with_the_renewal_of_its_subscription(june: Shop) -> None:
    subscription = june.subscribe(june.starter)
    june.v1.invoice_items.create(
        {
            "customer": subscription["customer"],
            "subscription": subscription["id"],
            "amount": 250,
            "currency": "usd",
        }
    )
    june.move("2026-07-01T01:00:00")

    assert amounts(june.latest(subscription)) == [250, 1000]


def test_numbers_count_up_for_each_customer(june: Shop) -> None:
    one, two = june.customer(), june.customer()
    numbers = [
        june.v1.invoices.finalize_invoice(draft(june, customer, 500)).number or ""
        for customer in (one, one, two)
    ]

    assert [number.rpartition("-")[2] for number in numbers] == ["0001", "0002", "0001"]
    assert len({number.rpartition("-")[0] for number in numbers}) == 2


def test_paid_elsewhere_is_paid_without_a_charge(june: Shop) -> None:
    customer = june.customer()
    invoice_id = draft(june, customer, 500)
    june.v1.invoices.finalize_invoice(invoice_id)
    paid = plain(june.v1.invoices.pay(invoice_id, {"paid_out_of_band": True}))

    assert (paid["status"], paid["amount_paid"], paid["amount_remaining"]) == ("paid", 0, 0)
    assert june.v1.charges.list({"customer": customer}).data == []


def test_a_void_invoice_is_never_collected(june: Shop) -> None:
    invoice_id = draft(june, june.customer("pm_card_chargeCustomerFail"), 500)
    june.v1.invoices.finalize_invoice(invoice_id)
    june.v1.invoices.void_invoice(invoice_id)

    with pytest.raises(stripe.InvalidRequestError, match="void"):
        june.v1.invoices.pay(invoice_id)
    payment = june.v1.invoice_payments.list({"invoice": invoice_id}).data[0]
    assert payment.status == "canceled"


def test_a_draft_can_be_deleted_and_a_final_invoice_cannot(june: Shop) -> None:
    customer = june.customer()
    gone = draft(june, customer, 500)
    june.v1.invoices.delete(gone)
    with pytest.raises(stripe.InvalidRequestError):
        june.v1.invoices.retrieve(gone)

    kept = draft(june, customer, 500)
    june.v1.invoices.finalize_invoice(kept)
    with pytest.raises(stripe.InvalidRequestError):
        june.v1.invoices.delete(kept)


def test_payments_of_an_invoice_are_in_the_answer_when_expanded(june: Shop) -> None:
    subscription = june.subscribe(june.starter)
    invoice = june.v1.invoices.retrieve(
        subscription["latest_invoice"], {"expand": ["payments", "customer"]}
    )

    assert invoice.payments is not None
    (payment,) = invoice.payments.data
    assert (payment.status, payment.amount_paid) == ("paid", 1000)
    assert not isinstance(invoice.customer, str)


def test_invoices_are_listed_and_found_by_metadata(june: Shop) -> None:
    customer = june.customer()
    kept = draft(june, customer, 500, metadata={"cycle": "c1"})
    draft(june, customer, 500)

    found = june.v1.invoices.search({"query": "metadata['cycle']:'c1'"})
    assert [invoice.id for invoice in found.data] == [kept]
    assert len(june.v1.invoices.list({"customer": customer, "status": "draft"}).data) == 2
    assert june.v1.invoices.list({"customer": customer, "status": "paid"}).data == []


def test_the_instant_of_a_stand_alone_invoice_is_the_sandboxs(june: Shop) -> None:
    june.move("2026-06-09T12:00:00")
    invoice = june.invoice(draft(june, june.customer(), 500))

    assert invoice["created"] == at("2026-06-09T12:00:00")
    assert (invoice["period_start"], invoice["period_end"]) == (invoice["created"],) * 2


def test_an_invoice_whose_customer_is_gone_cannot_be_finalised_and_stops_nobody(june: Shop) -> None:
    customer = june.customer()
    invoice_id = draft(june, customer, 500, auto_advance=True)
    june.v1.customers.delete(customer)
    june.move("2026-06-01T02:00:00")

    left = june.invoice(invoice_id)
    assert (left["status"], left["auto_advance"]) == ("draft", False)
    assert june.types("invoice.finalization_failed") == ["invoice.finalization_failed"]
    assert june.subscribe(june.starter)["status"] == "active"
