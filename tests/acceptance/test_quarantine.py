"""Money that waited for an administrator goes back like any other once it is credited."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from adapters.postgres.database import Database
from tests.acceptance.paying import balance, paid, settle, topup, with_card
from tests.acceptance.spending import done, refused
from tests.acceptance.test_money_out import at_stripe, pay_at_stripe
from tests.api.sandboxed import Sandboxed, sandboxed

FIVE, TEN, FIFTEEN = 5_000_000, 10_000_000, 15_000_000


@pytest.fixture
def shop(database: Database) -> Iterator[Sandboxed]:
    """`faces` with its sandbox, whose webhooks wait to be delivered."""
    with sandboxed(database, mode="held", strict=False) as both:
        yield both


def in_doubt(shop: Sandboxed) -> tuple[str, str, str]:
    """A workspace, its attempt at 20 USD that was paid with 15, and the charge at Stripe."""
    workspace = with_card(shop)
    shop.sandbox.control.script(
        *[{"path": "/v1/payment_intents", "method": "POST", "fault": "drop"}] * 2
    )
    attempt = done(topup(shop, workspace, 20), 202)["payment_attempt_id"]
    intent = pay_at_stripe(shop, workspace, attempt, workspace, amount=1500)
    settle(shop)
    assert balance(shop, workspace)["balance_micros"] == 0
    return workspace, attempt, str(intent["latest_charge"])


def resolve(shop: Sandboxed, attempt: str, remedy: str) -> Any:
    """The administrator's word."""
    told = {"remedy": remedy, "ticket_ref": "T-12"}
    return done(shop.app.post(f"/v1/admin/payments/{attempt}/resolve", told), 200)


def deferred(shop: Sandboxed) -> list[str]:
    """Events of Stripe's that wait."""
    waiting = shop.app.get("/v1/admin/webhooks", disposition="deferred")["data"]
    return [one["type"] for one in waiting]


def ends_well(shop: Sandboxed, workspace: str, micros: int, reversals: int) -> None:
    """So much is left, after so many reversals, and both books say the same."""
    assert balance(shop, workspace)["balance_micros"] == micros
    assert shop.app.facts(workspace).count("CreditsReversed") == reversals
    assert deferred(shop) == []
    assert shop.app.get("/v1/audit/compare")["differences"] == []
    assert done(shop.app.post("/v1/admin/reconcile", {}), 200)["mismatches"] == []


def test_a_refund_of_money_that_was_credited_by_an_administrator_is_reversed(
    shop: Sandboxed,
) -> None:
    workspace, attempt, charge = in_doubt(shop)
    resolve(shop, attempt, "credited")

    at_stripe(shop, "refunds", charge=charge, amount=500)
    settle(shop)

    ends_well(shop, workspace, TEN, 1)


def test_a_refund_of_money_in_quarantine_waits_for_the_administrators_word(
    shop: Sandboxed,
) -> None:
    workspace, attempt, charge = in_doubt(shop)
    at_stripe(shop, "refunds", charge=charge, amount=500)
    settle(shop)
    assert "charge.refunded" in deferred(shop)

    resolve(shop, attempt, "credited")
    settle(shop)

    ends_well(shop, workspace, TEN, 1)


@pytest.mark.parametrize("remedy", ["refunded", "dismissed"])
def test_a_refund_of_money_that_was_never_credited_reverses_nothing(
    shop: Sandboxed, remedy: str
) -> None:
    workspace, attempt, charge = in_doubt(shop)
    at_stripe(shop, "refunds", charge=charge)
    settle(shop)

    resolve(shop, attempt, remedy)
    settle(shop)

    ends_well(shop, workspace, 0, 0)


@pytest.mark.parametrize("contested_first", [True, False])
def test_a_dispute_freezes_at_once_and_takes_what_the_money_was_credited_for(
    shop: Sandboxed, contested_first: bool
) -> None:
    workspace, attempt, charge = in_doubt(shop)
    if not contested_first:
        resolve(shop, attempt, "credited")
    contested = shop.sandbox.control.dispute(charge)["id"]
    shop.sandbox.control.step(contested, "funds_withdrawn")
    settle(shop)
    assert balance(shop, workspace)["is_frozen"] is True
    if contested_first:
        resolve(shop, attempt, "credited")
        settle(shop)
    ends_well(shop, workspace, 0, 1)

    for step in ("funds_reinstated", "won"):
        shop.sandbox.control.step(contested, step)
    settle(shop)

    assert balance(shop, workspace)["is_frozen"] is False
    ends_well(shop, workspace, FIFTEEN, 1)


def test_an_administrator_refunds_credited_money_that_nobody_had_asked_for(
    shop: Sandboxed,
) -> None:
    workspace = with_card(shop)
    paid(shop, workspace)
    settle(shop)
    pay_at_stripe(shop, workspace, "pay_of_nobody", workspace, amount=1500)
    settle(shop)
    [waiting] = shop.app.get("/v1/admin/payments", status="quarantined")["data"]
    attempt = waiting["payment_attempt_id"]
    path = f"/v1/admin/workspaces/{workspace}/refunds"
    body = {"payment_attempt_id": attempt, "amount_usd": 5, "ticket_ref": "T-9"}
    refused(shop.app.post(path, body), 404, "not_found")
    resolve(shop, attempt, "credited")

    told = done(shop.app.post(path, body), 201)
    assert told["refund_id"].startswith("re_")
    settle(shop)

    ends_well(shop, workspace, 20_000_000 + TEN, 1)


def test_money_that_another_workspace_paid_goes_back_from_where_it_was_credited(
    shop: Sandboxed,
) -> None:
    workspace, payer = with_card(shop), with_card(shop)
    shop.sandbox.control.script(
        *[{"path": "/v1/payment_intents", "method": "POST", "fault": "drop"}] * 2
    )
    attempt = done(topup(shop, workspace, 20), 202)["payment_attempt_id"]
    intent = pay_at_stripe(shop, payer, attempt, payer, amount=2000)
    settle(shop)
    assert resolve(shop, attempt, "credited")["workspace_id"] == workspace

    at_stripe(shop, "refunds", charge=intent["latest_charge"], amount=500)
    settle(shop)
    assert balance(shop, workspace)["balance_micros"] == FIFTEEN
    contested = shop.sandbox.control.dispute(intent["latest_charge"], amount=500)["id"]
    shop.sandbox.control.step(contested, "funds_withdrawn")
    settle(shop)

    ends_well(shop, workspace, TEN, 2)
    assert balance(shop, workspace)["is_frozen"] is True
    assert balance(shop, payer)["balance_micros"] == 0
