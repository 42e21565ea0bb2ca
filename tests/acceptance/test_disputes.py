"""S41, as a stranger reads it: a lost dispute, two at once, and one whose payment nobody knows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from adapters.postgres.database import Database
from tests.acceptance.paying import balance, deliver, events_of, paid, settle, topup, with_card
from tests.acceptance.spending import done, refused
from tests.acceptance.test_money_out import at_stripe
from tests.api.sandboxed import Sandboxed, event, sandboxed, send

TWENTY = 20_000_000
STEPS = (
    "charge.dispute.created",
    "charge.dispute.updated",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.closed",
)


@pytest.fixture
def shop(database: Database) -> Iterator[Sandboxed]:
    """`faces` with its sandbox, whose webhooks wait to be delivered."""
    with sandboxed(database, mode="held", strict=False) as both:
        yield both


@pytest.mark.scenario("S41")
def test_s41_only_a_ticket_lifts_what_a_lost_dispute_froze(shop: Sandboxed) -> None:
    workspace = with_card(shop)
    _, charge = paid(shop, workspace)
    contested = shop.sandbox.control.dispute(charge)
    for step in ("funds_withdrawn", "lost"):
        shop.sandbox.control.step(contested["id"], step)
    settle(shop)
    path = f"/v1/admin/workspaces/{workspace}/unfreeze"

    for nothing in ({}, {"reason": "chargeback"}, {"reason": "the customer called"}):
        problem = refused(shop.app.post(path, nothing), 422, "validation_error")
        assert problem["errors"][0]["loc"] == ["body", "ticket_ref"]
    assert balance(shop, workspace)["is_frozen"] is True
    # What an administrator froze may be lifted without; the chargeback stays.
    done(shop.app.post(path.replace("unfreeze", "freeze"), {"reason": "admin"}), 200)
    lifted = done(shop.app.post(path, {"reason": "admin"}), 200)
    assert lifted["freeze_reasons"] == ["chargeback"]

    done(shop.app.post(path, {"reason": "chargeback", "ticket_ref": "T-1"}), 200)

    assert balance(shop, workspace)["is_frozen"] is False
    assert balance(shop, workspace)["balance_micros"] == 0


@pytest.mark.scenario("S41")
def test_s41_each_of_two_disputes_freezes_until_its_own_end(shop: Sandboxed) -> None:
    workspace = with_card(shop)
    contested = [shop.sandbox.control.dispute(paid(shop, workspace)[1])["id"] for _ in range(2)]
    for one in contested:
        shop.sandbox.control.step(one, "funds_withdrawn")
    settle(shop)
    assert balance(shop, workspace)["balance_micros"] == 0

    for step in ("funds_reinstated", "won"):
        shop.sandbox.control.step(contested[0], step)
    settle(shop)
    assert balance(shop, workspace)["balance_micros"] == TWENTY
    assert balance(shop, workspace)["is_frozen"] is True
    for step in ("funds_reinstated", "won"):
        shop.sandbox.control.step(contested[1], step)
    settle(shop)

    assert balance(shop, workspace)["balance_micros"] == 2 * TWENTY
    assert balance(shop, workspace)["is_frozen"] is False


@pytest.mark.scenario("S41")
def test_s41_a_dispute_of_a_payment_that_is_not_known_yet_freezes_and_takes_once(
    shop: Sandboxed,
) -> None:
    workspace = with_card(shop)
    shop.sandbox.control.script(
        *[{"path": "/v1/payment_intents", "method": "POST", "fault": "drop_after"}] * 2
    )
    done(topup(shop, workspace, 20), 202)
    assert shop.sandbox.books is not None
    [charge] = shop.sandbox.books.find("charge")
    contested = shop.sandbox.control.dispute(charge["id"])
    shop.sandbox.control.step(contested["id"], "funds_withdrawn")

    deliver(shop, *STEPS)
    assert balance(shop, workspace)["is_frozen"] is True
    shop.sandbox.control.deliver(events_of(shop)[::-1], 2)
    settle(shop)

    assert balance(shop, workspace)["balance_micros"] == 0
    facts = shop.app.facts(workspace)
    assert (facts.count("Credited"), facts.count("CreditsReversed")) == (1, 1)


def tell(shop: Sandboxed, step: str, charge: str, id: str = "du_told01", **more: Any) -> str:
    """An event of a dispute that the sandbox does not know; what was said of it."""
    assert shop.sandbox.books is not None
    contested: dict[str, Any] = {"id": id, "object": "dispute", "amount": 2000, "currency": "usd"}
    contested |= {"charge": charge, "status": "needs_response", "balance_transactions": []}
    contested["payment_intent"] = shop.sandbox.books.get("charge", charge)["payment_intent"]
    told = send(shop.app, event(f"charge.dispute.{step}", contested | more))
    return str(done(told, 200)["disposition"])


def test_s41_a_lost_dispute_that_is_won_after_all_releases_the_account(shop: Sandboxed) -> None:
    workspace = with_card(shop)
    _, charge = paid(shop, workspace)
    for step in ("created", "funds_withdrawn"):
        tell(shop, step, charge)
    tell(shop, "closed", charge, status="lost")
    assert balance(shop, workspace)["balance_micros"] == 0
    assert balance(shop, workspace)["is_frozen"] is True

    tell(shop, "funds_reinstated", charge, status="won")
    tell(shop, "closed", charge, status="won")

    assert balance(shop, workspace)["balance_micros"] == TWENTY
    assert balance(shop, workspace)["is_frozen"] is False
    assert tell(shop, "closed", charge, status="lost") == "applied"
    assert balance(shop, workspace)["is_frozen"] is False


def test_s41_a_dispute_that_names_only_its_charge_takes_the_credits_too(shop: Sandboxed) -> None:
    workspace = with_card(shop)
    _, charge = paid(shop, workspace)

    for step in ("created", "funds_withdrawn"):
        tell(shop, step, charge, payment_intent=None)

    assert balance(shop, workspace)["balance_micros"] == 0
    assert shop.app.facts(workspace)[-2:] == ["AccountFrozen", "CreditsReversed"]


def test_s41_what_one_dispute_gave_back_does_not_pay_for_another(shop: Sandboxed) -> None:
    """More came back than had been taken: exchange rates, say."""
    workspace = with_card(shop)
    _, charge = paid(shop, workspace)
    moves = [{"amount": -500, "currency": "usd"}, {"amount": 900, "currency": "usd"}]
    tell(shop, "funds_withdrawn", charge, amount=500, balance_transactions=moves[:1])
    tell(shop, "funds_withdrawn", charge, id="du_told02", amount=1000)
    assert balance(shop, workspace)["balance_micros"] == 5_000_000

    tell(shop, "funds_reinstated", charge, amount=500, balance_transactions=moves)

    assert balance(shop, workspace)["balance_micros"] == 10_000_000


def test_s41_a_move_in_the_accounts_own_currency_is_of_all_that_is_disputed(
    shop: Sandboxed,
) -> None:
    workspace = with_card(shop)
    _, charge = paid(shop, workspace)
    moves = [{"amount": -1380, "currency": "eur"}, {"amount": 1402, "currency": "eur"}]

    tell(shop, "funds_withdrawn", charge, amount=1500, balance_transactions=moves[:1])
    assert balance(shop, workspace)["balance_micros"] == 5_000_000
    tell(shop, "funds_reinstated", charge, amount=1500, balance_transactions=moves)

    assert balance(shop, workspace)["balance_micros"] == TWENTY


def test_what_a_charge_and_its_refund_tell_is_the_same_money(shop: Sandboxed) -> None:
    """Of a charge that Stripe does not show (any more)."""
    workspace = with_card(shop)
    _, charge = paid(shop, workspace)
    assert shop.sandbox.books is not None
    known = shop.sandbox.books.get("charge", charge)
    gone = known | {"id": "ch_gone0001", "amount_refunded": 500, "refunds": None}
    back = {"id": "re_gone0001", "object": "refund", "amount": 500, "currency": "usd"}
    back |= {"charge": "ch_gone0001", "status": "succeeded"}
    back["payment_intent"] = known["payment_intent"]

    for type, what in (("charge.refunded", gone), ("refund.updated", back)) * 2:
        done(send(shop.app, event(type, what)), 200)

    assert balance(shop, workspace)["balance_micros"] == 15_000_000
    done(send(shop.app, event("charge.refunded", gone | {"amount_refunded": 800})), 200)
    assert balance(shop, workspace)["balance_micros"] == 12_000_000


@pytest.mark.scenario("S39")
def test_s39_a_refund_is_believed_before_stripes_books_show_it(shop: Sandboxed) -> None:
    """As a dispute is: a signed event says what happened, and a read may be behind it."""
    workspace = with_card(shop)
    _, charge = paid(shop, workspace)
    assert shop.sandbox.books is not None
    known = shop.sandbox.books.get("charge", charge)

    for cumulative, left in ((500, 15_000_000), (500, 15_000_000), (1_200, 8_000_000)):
        told = known | {"amount_refunded": cumulative, "refunds": None}
        done(send(shop.app, event("charge.refunded", told)), 200)
        assert balance(shop, workspace)["balance_micros"] == left

    one = {"object": "refund", "amount": 1_500, "currency": "usd", "charge": charge}
    one |= {"payment_intent": known["payment_intent"], "id": "re_told0001"}
    done(send(shop.app, event("refund.updated", one | {"status": "succeeded"})), 200)
    assert balance(shop, workspace)["balance_micros"] == 5_000_000


@pytest.mark.scenario("S39")
def test_s39_a_refund_that_failed_is_not_taken_again_by_older_news(shop: Sandboxed) -> None:
    workspace = with_card(shop)
    _, charge = paid(shop, workspace)
    made = at_stripe(shop, "refunds", charge=charge, amount=500)
    [older] = events_of(shop, "charge.refunded")
    deliver(shop, "refund.created")
    assert balance(shop, workspace)["balance_micros"] == 15_000_000
    done(send(shop.app, event("refund.failed", made | {"status": "failed"})), 200)
    assert balance(shop, workspace)["balance_micros"] == TWENTY

    shop.sandbox.control.deliver([older])
    settle(shop)

    assert balance(shop, workspace)["balance_micros"] == TWENTY
