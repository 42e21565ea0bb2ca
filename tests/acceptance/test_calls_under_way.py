"""Scenarios S13 and S16, and the bound L4: calls that were let run, and what becomes of the money
that was set aside for them, whatever happens in between."""

from __future__ import annotations

from typing import Any

import pytest

from tests.acceptance.spending import authorize, done, funding, put, refused, to, use
from tests.api.conftest import Served

BALANCE = "/v1/billing/balance"
MINI = {"llm_model": "gpt-5.4-mini"}  # 4 input tokens cost 1 µ


def stands(app: Served, workspace: str) -> tuple[int, int, int]:
    """(balance, held, available) in µ."""
    shown = app.get(BALANCE, workspace, consistency="strong")
    return shown["balance_micros"], shown["held_micros"], shown["available_micros"]


def settle(app: Served, workspace: str, hold: Any, input: int, output: int = 0, **more: Any) -> Any:
    """What a call that was let run has used."""
    return use(app, workspace, "chat", input, output, hold_id=hold["hold_id"], **more)


def credit(app: Served, workspace: str, usd: str) -> None:
    """Money from an administrator."""
    path = f"/v1/admin/workspaces/{workspace}/credits"
    done(app.post(path, {"amount_usd": usd, "category": "paid"}))


@pytest.mark.scenario("S13")
def test_one_micro_lets_one_call_run_and_no_second(faces0: Served) -> None:
    workspace = faces0.workspace("0.000001")

    hold = done(authorize(faces0, workspace, 1_000, 2_000))
    assert (hold["route"], hold["held_micros"], hold["available_micros"]) == ("wallet", 1, 0)
    for second in (authorize(faces0, workspace, 1, 0), use(faces0, workspace, "chat", 1)):
        problem = refused(second, 402, "insufficient_credits")
        assert (problem["needs_credits"], problem["available_usd"]) == (True, 0)

    paid = done(settle(faces0, workspace, hold, 1_000, 2_000))
    assert paid["funding"] == [{"source": "wallet", "amount_micros": 33_000, "units": 0}]
    assert (paid["balance_after_micros"], paid["overdrawn"]) == (-32_999, True)
    refused(authorize(faces0, workspace, 1, 0), 402, "insufficient_credits")
    credit(faces0, workspace, "1.00")
    assert stands(faces0, workspace) == (967_001, 0, 967_001)


def test_calls_that_were_let_run_together_are_short_of_one_calls_money_only(
    faces0: Served,
) -> None:
    """Debt is at most what the last of them did not find (L4), whoever ends first."""
    workspace = faces0.workspace("0.05")
    holds = [done(authorize(faces0, workspace, 0, 1_000)) for _ in range(4)]
    assert [hold["held_micros"] for hold in holds] == [15_000, 15_000, 15_000, 5_000]
    refused(authorize(faces0, workspace, 0, 1), 402, "insufficient_credits")

    for hold in reversed(holds):
        done(settle(faces0, workspace, hold, 0, 1_000))
        refused(use(faces0, workspace, "chat", 1), 402, "insufficient_credits")

    assert stands(faces0, workspace) == (-10_000, 0, -10_000)


def test_money_that_becomes_free_goes_to_the_call_that_lacks_it_first(faces0: Served) -> None:
    workspace = faces0.workspace("0.02")
    covered = done(authorize(faces0, workspace, 0, 1_000))
    short = done(authorize(faces0, workspace, 0, 1_000))
    assert (covered["held_micros"], short["held_micros"]) == (15_000, 5_000)

    done(settle(faces0, workspace, covered, 0, 400))  # 6 000: 9 000 come back
    assert stands(faces0, workspace) == (14_000, 14_000, 0)
    refused(authorize(faces0, workspace, 0, 1), 402, "insufficient_credits")
    credit(faces0, workspace, "0.001001")
    assert stands(faces0, workspace) == (15_001, 15_000, 1), "what is beyond its want is free"
    third = done(authorize(faces0, workspace, 0, 1_000))

    for hold in (short, third):
        done(settle(faces0, workspace, hold, 0, 1_000))
    assert faces0.balance(workspace) == -14_999, "the want of the third, and of nobody else"


def test_a_hold_that_was_released_leaves_no_want_behind(faces0: Served) -> None:
    workspace = faces0.workspace("0.01")
    hold = done(authorize(faces0, workspace, 0, 1_000))
    assert stands(faces0, workspace) == (10_000, 10_000, 0)

    path = f"/v1/usage/holds/{hold['hold_id']}"
    done(faces0.call("DELETE", path, {"reason": "upstream_failed"}, workspace=workspace), 200)

    assert stands(faces0, workspace) == (10_000, 0, 10_000)
    assert done(authorize(faces0, workspace, 0, 500))["held_micros"] == 7_500


@pytest.mark.scenario("S16")
@pytest.mark.parametrize("swept", [True, False])
def test_a_call_that_nobody_ends_costs_nothing_and_frees_what_it_held(
    faces0: Served, swept: bool
) -> None:
    """Its process died between authorise and settle."""
    workspace = faces0.workspace("0.05")
    hold = done(authorize(faces0, workspace, 1_000, 2_000, ttl_seconds=60))
    assert stands(faces0, workspace) == (50_000, 33_000, 17_000)

    to(faces0, "2026-06-01T00:00:59Z")
    assert stands(faces0, workspace) == (50_000, 33_000, 17_000)
    to(faces0, "2026-06-01T00:01:00Z")
    assert stands(faces0, workspace) == (50_000, 0, 50_000), "although nobody noticed it"
    if swept:
        done(faces0.post("/v1/test/tick"), 200)
        assert faces0.facts(workspace)[-1] == "HoldExpired"
    else:
        assert "HoldExpired" not in faces0.facts(workspace)
    assert done(authorize(faces0, workspace, 0, 3_333))["held_micros"] == 49_995

    assert faces0.facts(workspace).count("HoldExpired") == 1
    assert "Debited" not in faces0.facts(workspace)
    ended = faces0.get("/v1/audit/events", type="HoldExpired")["data"]
    assert [one["data"]["hold_id"] for one in ended] == [hold["hold_id"]]
    assert ended[0]["data"]["expired_at"] == "2026-06-01T00:01:00Z"


@pytest.mark.scenario("S16")
def test_tokens_of_a_hold_that_is_over_are_refused_once_and_recorded_as_a_fact(
    faces0: Served,
) -> None:
    workspace = faces0.workspace("0.05")
    hold = done(authorize(faces0, workspace, 1_000, 2_000, ttl_seconds=60))
    to(faces0, "2026-06-01T00:05:00Z")
    before = faces0.position()

    refused(settle(faces0, workspace, hold, 1_000, 800, event_id="late"), 409, "hold_closed")
    assert faces0.position() == before

    fact = {"event_id": "late", "mode": "record"}
    recorded = settle(faces0, workspace, hold, 1_000, 800, **fact)
    assert funding(recorded) == {"wallet": (15_000, 0)}
    again = settle(faces0, workspace, hold, 1_000, 800, **fact)
    assert done(again, 200) == done(recorded)
    assert stands(faces0, workspace) == (35_000, 0, 35_000)


def test_a_fact_is_recorded_whatever_the_balance_and_becomes_debt(faces0: Served) -> None:
    """`mode: record` skips the entry test and the freeze: the tokens are consumed."""
    workspace = faces0.workspace()
    faces0.post(f"/v1/admin/workspaces/{workspace}/freeze", {"reason": "fraud"})

    fact = use(faces0, workspace, "chat", 4_000, mode="record", **MINI)

    assert funding(fact) == {"wallet": (1_000, 0)}
    assert done(fact)["overdrawn"] is True
    assert faces0.balance(workspace) == -1_000
    refused(use(faces0, workspace, "chat", 4), 402, "account_frozen")


def test_a_call_that_was_let_run_is_settled_whatever_was_switched_meanwhile(
    faces0: Served,
) -> None:
    """Frozen, and every budget of it spent: its tokens are consumed all the same."""
    workspace = faces0.workspace("0.05")
    hold = done(authorize(faces0, workspace, 1_000, 500))
    put(faces0, "/v1/billing/budgets/all", {"limit_usd": 0, "hard": True}, workspace)
    faces0.post(f"/v1/admin/workspaces/{workspace}/freeze", {"reason": "fraud"})

    assert funding(settle(faces0, workspace, hold, 1_000, 500)) == {"wallet": (10_500, 0)}


def test_what_the_wallet_lacks_is_written_off_where_the_house_says_so(write_off: Served) -> None:
    workspace = write_off.workspace("0.01")
    hold = done(authorize(write_off, workspace, 1_000, 2_000))
    assert hold["held_micros"] == 10_000

    paid = settle(write_off, workspace, hold, 1_000, 2_000)

    assert funding(paid) == {"absorbed": (23_000, 0), "wallet": (10_000, 0)}
    assert done(paid)["overdrawn"] is False
    assert stands(write_off, workspace) == (0, 0, 0)
    refused(authorize(write_off, workspace, 1, 0), 402, "insufficient_credits")
    fact = use(write_off, workspace, "chat", 4_000, mode="record", **MINI)
    assert funding(fact) == {"absorbed": (1_000, 0)}, "an empty wallet owes nothing"


def test_credits_that_expire_while_a_call_runs_are_gone_and_it_costs_what_it_costs(
    faces0: Served,
) -> None:
    """Held money is not yet taken from grants (spec 2.1)."""
    workspace = faces0.workspace()
    path = f"/v1/admin/workspaces/{workspace}/credits"
    ends = "2026-06-01T00:10:00Z"
    done(faces0.post(path, {"amount_usd": "0.01", "expires_at": ends}))
    hold = done(authorize(faces0, workspace, 0, 600))
    to(faces0, ends)

    assert stands(faces0, workspace)[2] <= 0
    refused(authorize(faces0, workspace, 0, 1), 402, "insufficient_credits")
    done(settle(faces0, workspace, hold, 0, 600))

    assert faces0.facts(workspace)[-2:] == ["CreditsExpired", "Debited"]
    assert faces0.balance(workspace) == -9_000
