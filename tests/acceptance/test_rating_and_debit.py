"""Spec 8.1: what a call costs, and what is left. Amounts in µ."""

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import httpx
import pytest

from tests.api.conftest import Served, decimals


def charged(response: httpx.Response) -> Any:
    assert response.status_code == 201, response.text
    return decimals(response)


def debit(answer: Any) -> int:
    return sum(part["amount_micros"] for part in answer["funding"] if part["source"] == "wallet")


@pytest.mark.scenario("S01")
def test_input_tokens_are_debited_exactly(faces0: Served) -> None:
    workspace = faces0.workspace("20.00")
    before = faces0.facts(workspace)

    answer = charged(faces0.charge(workspace))

    assert debit(answer) == 37_035
    assert answer["balance_after_micros"] == 19_962_965
    assert answer["balance_usd"] == Decimal("19.962965")
    assert faces0.facts(workspace) == [*before, "Debited"]


@pytest.mark.scenario("S02")
def test_output_tokens_have_their_own_price(faces0: Served) -> None:
    workspace = faces0.workspace("20.00")

    answer = charged(faces0.charge(workspace, tokens={"input": 12_345, "output": 678}))

    assert (debit(answer), answer["balance_after_micros"]) == (47_205, 19_952_795)


@pytest.mark.scenario("S03")
def test_the_markup_adds_up_to_the_total(faces: Served) -> None:
    workspace = faces.workspace("20.00")

    answer = charged(faces.charge(workspace, tokens={"input": 12_345, "output": 678}))

    assert answer["provider_cost_usd"] == Decimal("0.047205")
    assert answer["markup_usd"] == Decimal("0.00236")
    assert answer["total_cost_usd"] == Decimal("0.049565")
    assert answer["price_book_version"] == 1
    assert (debit(answer), answer["balance_after_micros"]) == (49_565, 19_950_435)
    assert answer["overdrawn"] is False


@pytest.mark.scenario("S04")
def test_ties_go_to_the_even_micro(faces0: Served) -> None:
    workspace = faces0.workspace("20.00")
    mini = {"llm_model": "gpt-4o-mini"}

    assert debit(charged(faces0.charge(workspace, **mini, tokens={"input": 30}))) == 4
    assert debit(charged(faces0.charge(workspace, **mini, tokens={"input": 50}))) == 8


@pytest.mark.scenario("S04")
def test_ties_with_markup_go_to_the_even_micro_too(faces: Served) -> None:
    workspace = faces.workspace("20.00")

    answer = faces.charge(workspace, llm_model="gpt-5.4-mini", tokens={"input": 1_000})

    assert debit(charged(answer)) == 262


@pytest.mark.scenario("S05")
def test_an_act_that_costs_nothing_is_counted_and_not_debited(faces0: Served) -> None:
    workspace = faces0.workspace("20.00")

    response = faces0.charge(workspace, llm_model="gpt-4o-mini", tokens={"input": 1})

    answer = charged(response)
    assert answer["total_cost_usd"] == 0
    assert answer["balance_after_micros"] == 20_000_000
    assert faces0.facts(workspace)[-1] == "UsageRecorded"
    position = response.headers["X-Ledger-Position"]
    usage = faces0.get("/v1/billing/usage", workspace, min_position=position)
    assert usage["totals"]["request_count"] == 1


@pytest.mark.scenario("S06")
def test_cached_input_has_its_own_price(faces: Served) -> None:
    workspace = faces.workspace("20.00")
    tokens = {"input": 12_000, "cached_input": 8_000, "output": 500}

    answer = charged(faces.charge(workspace, tokens=tokens))

    assert answer["provider_cost_usd"] == Decimal("0.0219")
    assert debit(answer) == 22_995


@pytest.mark.scenario("S07")
def test_the_price_is_that_of_the_moment_of_use(faces0: Served) -> None:
    workspace = faces0.workspace("20.00")
    cheaper = {
        "effective_from": "2026-06-10T00:00:00Z",
        "markup_bps": 0,
        "entries": [
            {
                "provider": "openai",
                "model": "gpt-5.4",
                "input_usd_per_m": "2.00",
                "cached_input_usd_per_m": "0.20",
                "output_usd_per_m": "15.00",
            }
        ],
    }
    assert faces0.post("/v1/admin/price-books", cheaper).status_code == 201
    faces0.post("/v1/test/clock", {"now": "2026-06-10T00:00:05Z"})
    million = {"input": 1_000_000}

    old = charged(faces0.charge(workspace, tokens=million, occurred_at="2026-06-09T23:59:59Z"))
    new = charged(faces0.charge(workspace, tokens=million, occurred_at="2026-06-10T00:00:00Z"))

    assert (debit(old), old["price_book_version"]) == (3_000_000, 1)
    assert (debit(new), new["price_book_version"]) == (2_000_000, 2)
    backdated = faces0.post(
        "/v1/admin/price-books", cheaper | {"effective_from": "2026-06-05T00:00:00Z"}
    )
    assert backdated.status_code == 422


@pytest.mark.scenario("S07")
def test_a_price_book_is_published_as_its_event_shows_it(faces0: Served) -> None:
    workspace = faces0.workspace("20.00")
    [shown] = faces0.get("/v1/audit/events", type="PriceBookVersionPublished")["data"]
    entries = shown["data"]["entries"]
    book = {"effective_from": "2026-06-01T00:00:00Z", "markup_bps": 0, "currency": "usd"}
    cheaper = [one | {"input": one["input"] // 2} for one in entries]
    assert faces0.post("/v1/admin/price-books", book | {"entries": cheaper}).status_code == 201

    paid = charged(faces0.charge(workspace, tokens={"input": 1_000_000}))

    assert (debit(paid), paid["price_book_version"]) == (1_500_000, 2)
    both = {"input": 1, "output": 1, "input_usd_per_m": 1}
    later = book | {"effective_from": "2026-06-02T00:00:00Z"}
    for wrong, field in ((both, "input"), ({"input": 1}, "output_usd_per_m")):
        answer = faces0.post("/v1/admin/price-books", later | {"entries": [{"model": "m"} | wrong]})
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["loc"] == ["body", "entries", 0, field]
    euros = faces0.post("/v1/admin/price-books", later | {"entries": cheaper, "currency": "eur"})
    assert euros.json()["errors"][0]["loc"] == ["body", "currency"]


@pytest.mark.scenario("S08")
def test_at_zero_the_next_chat_is_refused_and_leaves_no_event(faces0: Served) -> None:
    workspace = faces0.workspace("0.037035")
    assert charged(faces0.charge(workspace))["balance_after_micros"] == 0
    before = faces0.position()

    refused = faces0.charge(workspace)

    assert refused.status_code == 402
    problem = refused.json()
    assert problem["code"] == "insufficient_credits"
    assert (problem["needs_credits"], problem["needs_oauth"]) == (True, False)
    assert problem["plan"] == "free"
    assert faces0.position() == before


@pytest.mark.scenario("S09")
def test_a_cost_above_the_balance_becomes_debt_that_a_top_up_repays(faces0: Served) -> None:
    workspace = faces0.workspace("0.01")

    answer = charged(faces0.charge(workspace))

    assert (answer["overdrawn"], answer["balance_after_micros"]) == (True, -27_035)
    assert faces0.charge(workspace).status_code == 402
    body = {"amount_usd": 1.00, "payment_ref": "wire-s09"}
    topped = faces0.post("/v1/billing/topup", body, workspace)
    assert topped.status_code == 200
    assert topped.json()["new_balance_micros"] == 972_965
    assert faces0.charge(workspace).status_code == 201


@pytest.mark.scenario("S09")
def test_or_it_is_written_off(write_off: Served) -> None:
    workspace = write_off.workspace("0.01")

    answer = charged(write_off.charge(workspace))

    parts = {part["source"]: part["amount_micros"] for part in answer["funding"]}
    assert parts == {"wallet": 10_000, "absorbed": 27_035}
    assert answer["balance_after_micros"] == 0


@pytest.mark.scenario("S10")
def test_the_last_cent_is_spent_once(faces0: Served) -> None:
    call = {"llm_model": "gpt-5.4-mini", "tokens": {"input": 40_000}}
    with ThreadPoolExecutor(8) as workers:
        for _ in range(20):
            workspace = faces0.workspace("0.01")
            charge = [workers.submit(faces0.charge, workspace, **call) for _ in range(8)]
            statuses = sorted(future.result().status_code for future in charge)

            assert statuses == [201, *[402] * 7]
            assert faces0.balance(workspace) == 0
            assert faces0.facts(workspace).count("Debited") == 1
