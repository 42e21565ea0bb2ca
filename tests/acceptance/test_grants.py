"""Spec 8.1b: grants, expiry, debt, refunds and voids. gpt-5.4-mini: 4 000 in are 1 000 µ."""

from typing import Any

import pytest

from tests.api.conftest import Served, decimals


def spend(app: Served, workspace: str, micros: int) -> Any:
    call = {"llm_model": "gpt-5.4-mini", "tokens": {"input": micros * 4}}
    response = app.charge(workspace, **call)
    assert response.status_code == 201, response.text
    return decimals(response)


def give(app: Served, workspace: str, usd: str, **terms: Any) -> str:
    body = {"amount_usd": usd, "category": "promotional"} | terms
    response = app.post(f"/v1/admin/workspaces/{workspace}/credits", body)
    assert response.status_code == 201, response.text
    return str(response.json()["grant_id"])


def last(app: Served, workspace: str, kind: str) -> Any:
    events = app.get("/v1/audit/events", stream=f"credit_account/{workspace}", type=kind, limit=100)
    return events["data"][-1]["data"]


@pytest.mark.scenario("G01")
def test_grants_burn_by_priority_then_expiry(faces0: Served) -> None:
    workspace = faces0.workspace("1.00")
    expiring = give(faces0, workspace, "0.50", expires_at="2026-07-01T00:00:00Z")
    urgent = give(faces0, workspace, "0.30", priority=10)

    answer = spend(faces0, workspace, 600_000)

    assert answer["balance_after_micros"] == 1_200_000
    assert last(faces0, workspace, "Debited")["grants"] == {urgent: 300_000, expiring: 300_000}


@pytest.mark.scenario("G02")
def test_expiry_is_an_event_before_the_next_debit(faces0: Served) -> None:
    workspace = faces0.workspace("1.00")
    promo = give(faces0, workspace, "0.50", expires_at="2026-06-10T00:00:00Z")
    spend(faces0, workspace, 200_000)
    faces0.post("/v1/test/clock", {"now": "2026-06-09T23:59:59Z"})
    assert spend(faces0, workspace, 1_000)["balance_after_micros"] == 1_299_000
    assert last(faces0, workspace, "Debited")["grants"] == {promo: 1_000}
    faces0.post("/v1/test/clock", {"now": "2026-06-10T00:00:00Z"})

    answer = spend(faces0, workspace, 1_000)

    assert answer["balance_after_micros"] == 999_000
    assert faces0.facts(workspace)[-2:] == ["CreditsExpired", "Debited"]
    assert last(faces0, workspace, "CreditsExpired")["amount"] == 299_000
    then = faces0.get(
        "/v1/audit/replay", stream=f"credit_account/{workspace}", at="2026-06-09T23:59:59Z"
    )
    assert promo in str(then["state"])


@pytest.mark.scenario("G03")
def test_a_credit_repays_debt_first(faces0: Served) -> None:
    workspace = faces0.workspace("0.01")
    assert faces0.charge(workspace).json()["balance_after_micros"] == -27_035

    give(faces0, workspace, "1.00")

    assert last(faces0, workspace, "Credited")["amount"] == 1_000_000
    balance = faces0.get("/v1/billing/balance", workspace, consistency="strong", include="grants")
    assert balance["balance_micros"] == 972_965
    assert balance["debt_micros"] == 0
    assert [grant["remaining_micros"] for grant in balance["grants"]] == [972_965]


@pytest.mark.scenario("G04")
def test_a_refund_takes_its_own_grant_first(faces0: Served) -> None:
    workspace = faces0.workspace()
    paid = faces0.post(
        "/v1/billing/topup", {"amount_usd": 20, "payment_ref": "wire-g04"}, workspace
    ).json()
    spend(faces0, workspace, 15_000_000)
    give(faces0, workspace, "10.00")

    response = faces0.post(
        f"/v1/admin/workspaces/{workspace}/refunds",
        {
            "payment_attempt_id": paid["payment_attempt_id"],
            "amount_usd": "20.00",
            "ticket_ref": "T-4",
        },
    )

    assert response.status_code in (200, 201), response.text
    fact = last(faces0, workspace, "CreditsReversed")
    assert sorted(fact["grants"].values()) == [5_000_000, 10_000_000]
    assert faces0.balance(workspace) == -5_000_000


@pytest.mark.scenario("G05")
def test_a_void_gives_back_what_the_act_drew_once(faces0: Served) -> None:
    workspace = faces0.workspace("1.00")
    give(faces0, workspace, "0.30", priority=10)
    act = spend(faces0, workspace, 600_000)

    response = faces0.post(f"/v1/usage/{act['usage_id']}/void", {"reason": "bug"}, workspace)

    assert response.status_code == 200, response.text
    assert faces0.balance(workspace) == 1_300_000
    balance = faces0.get("/v1/billing/balance", workspace, consistency="strong", include="grants")
    assert [g["remaining_micros"] for g in balance["grants"]] == [300_000, 1_000_000]
    again = faces0.post(f"/v1/usage/{act['usage_id']}/void", {"reason": "bug"}, workspace)
    assert again.status_code == 409
    position = response.headers["X-Ledger-Position"]
    totals = faces0.get("/v1/billing/usage", workspace, min_position=position)["totals"]
    assert (totals["total_cost_usd"], totals["request_count"]) == (0, 0)
    [row] = faces0.get("/v1/billing/usage/events", workspace, min_position=position)["data"]
    assert row["usage_id"] == act["usage_id"]
    assert row["voided"]
