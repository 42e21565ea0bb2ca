"""Money that goes back: refunds that take their time, or fail; disputes, step by step."""

from __future__ import annotations

import pytest
import stripe

from adapters.stripe.sandbox.remote import Refused, Remote
from tests.adapters.stripe.conftest import NOW
from tests.adapters.stripe.told import events, held, paid

# -- refunds --------------------------------------------------------------------------------------


def test_each_refund_tells_of_itself_and_of_its_charge(client: stripe.StripeClient) -> None:
    intent = paid(client)
    for amount in (500, 700):
        client.v1.refunds.create({"payment_intent": intent["id"], "amount": amount})

    charges = held(client.v1.events.list({"type": "charge.refunded"}))["data"][::-1]

    assert events(client)[-4:] == ["refund.created", "charge.refunded"] * 2
    assert [event["data"]["object"]["amount_refunded"] for event in charges] == [500, 1_200]
    assert [event["data"]["previous_attributes"] for event in charges] == [
        {"amount_refunded": 0},
        {"amount_refunded": 500},
    ]


def test_a_refund_may_take_its_time(sandbox: Remote, client: stripe.StripeClient) -> None:
    intent = paid(client, "pm_card_pendingRefund")
    refund = client.v1.refunds.create({"payment_intent": intent["id"]})
    assert refund.status == "pending"

    sandbox.control.clock(NOW + 3_600)

    assert client.v1.refunds.retrieve(refund.id).status == "succeeded"
    assert events(client, refund.id) == [
        "refund.created",
        "refund.updated",
        "charge.refund.updated",
    ]


def test_a_refund_may_fail_and_the_money_is_ours_again(
    sandbox: Remote, client: stripe.StripeClient
) -> None:
    intent = paid(client, "pm_card_refundFail")
    refund = client.v1.refunds.create({"payment_intent": intent["id"]})

    sandbox.control.clock(NOW + 3_600)

    after = held(client.v1.refunds.retrieve(refund.id))
    charge = held(client.v1.charges.retrieve(intent["latest_charge"]))
    assert (after["status"], after["failure_reason"]) == ("failed", "expired_or_canceled_card")
    assert (charge["amount_refunded"], charge["refunded"]) == (0, False)
    assert "refund.failed" in events(client, refund.id)


# -- disputes -------------------------------------------------------------------------------------


def test_a_dispute_goes_its_way(sandbox: Remote, client: stripe.StripeClient) -> None:
    charge = paid(client)["latest_charge"]
    dispute = sandbox.control.dispute(charge)
    withdrawn = sandbox.control.step(dispute["id"], "funds_withdrawn")
    won = sandbox.control.step(dispute["id"], "won")
    back = sandbox.control.step(dispute["id"], "funds_reinstated")

    assert (dispute["status"], dispute["amount"]) == ("needs_response", 2_000)
    assert [entry["amount"] for entry in withdrawn["balance_transactions"]] == [-2_000]
    assert won["status"] == "won"
    assert sum(entry["amount"] for entry in back["balance_transactions"]) == 0
    assert held(client.v1.charges.retrieve(charge))["disputed"] is True
    assert events(client, dispute["id"]) == [
        "charge.dispute.created",
        "charge.dispute.funds_withdrawn",
        "charge.dispute.closed",
        "charge.dispute.funds_reinstated",
    ]


@pytest.mark.parametrize("step", ["lost", "warning_closed", "prevented"])
def test_a_dispute_ends_in_many_ways_and_once(
    sandbox: Remote, client: stripe.StripeClient, step: str
) -> None:
    dispute = sandbox.control.dispute(paid(client)["latest_charge"], amount=700)

    closed = sandbox.control.step(dispute["id"], step)

    assert (closed["status"], closed["amount"]) == (step, 700)
    with pytest.raises(Refused, match="closed"):
        sandbox.control.step(dispute["id"], "won")


def test_a_step_that_cannot_be_next_is_refused(
    sandbox: Remote, client: stripe.StripeClient
) -> None:
    dispute = sandbox.control.dispute(paid(client)["latest_charge"])["id"]

    with pytest.raises(Refused, match="no money to reinstate"):
        sandbox.control.step(dispute, "funds_reinstated")
    with pytest.raises(Refused, match="A step is one of"):
        sandbox.control.step(dispute, "forgotten")
    sandbox.control.step(dispute, "funds_withdrawn")
    with pytest.raises(Refused, match="withdrawn already"):
        sandbox.control.step(dispute, "funds_withdrawn")


def test_what_is_disputed_cannot_be_refunded(sandbox: Remote, client: stripe.StripeClient) -> None:
    intent = paid(client)
    sandbox.control.dispute(intent["latest_charge"])

    with pytest.raises(stripe.InvalidRequestError) as caught:
        client.v1.refunds.create({"payment_intent": intent["id"]})

    assert caught.value.code == "charge_disputed"


def test_a_card_can_dispute_by_itself(client: stripe.StripeClient) -> None:
    intent = paid(client, "pm_card_createDispute")

    (dispute,) = held(client.v1.disputes.list({"payment_intent": intent["id"]}))["data"]

    assert dispute["reason"] == "fraudulent"
    assert events(client)[-4:] == [
        "charge.succeeded",
        "payment_intent.succeeded",
        "charge.dispute.created",
        "charge.dispute.funds_withdrawn",
    ]


@pytest.mark.parametrize(
    ("evidence", "outcome"), [("winning_evidence", "won"), ("losing_evidence", "lost")]
)
def test_evidence_decides(client: stripe.StripeClient, evidence: str, outcome: str) -> None:
    intent = paid(client, "pm_card_createDispute")
    (dispute,) = client.v1.disputes.list({"payment_intent": intent["id"]}).data

    answered = held(
        client.v1.disputes.update(dispute.id, {"evidence": {"uncategorized_text": evidence}})
    )

    assert answered["status"] == outcome
    entries = [entry["amount"] for entry in answered["balance_transactions"]]
    assert sum(entries) == (0 if outcome == "won" else -2_000)
