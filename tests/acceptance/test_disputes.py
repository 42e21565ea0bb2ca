"""S41, as a stranger reads it: a lost dispute, two at once, and one whose payment nobody knows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from adapters.postgres.database import Database
from tests.acceptance.paying import balance, deliver, events_of, paid, settle, topup, with_card
from tests.acceptance.spending import done, refused
from tests.api.sandboxed import Sandboxed, sandboxed

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
