"""Scenarios S11, S12, S17, S45–S47, S50–S56: holds, links, quota and overflow on `faces`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adapters.postgres.database import Database
from tests.acceptance.conftest import catalogue
from tests.acceptance.spending import (
    authorize,
    done,
    funding,
    link,
    on_plan,
    put,
    refused,
    revoke,
    to,
    use,
)
from tests.api.conftest import Served, serve, settings_of

QUOTA = "/v1/billing/compile-quota"
MINI = {"llm_model": "gpt-5.4-mini"}


@pytest.fixture
def whole(database: Database, tmp_path: Path) -> Iterator[Served]:
    """As `faces0`, but chat must be covered by what is available."""
    path = catalogue(
        tmp_path,
        "faces",
        ("markup_bps: 500", "markup_bps: 0"),
        ("waterfall: [oauth, wallet], entry_rule: positive",
         "waterfall: [oauth, wallet], entry_rule: covers_estimate"),
    )  # fmt: skip
    with serve(settings_of(database, path)) as served:
        yield served


@pytest.mark.scenario("S11")
def test_an_estimate_must_be_covered_where_the_meter_says_so(whole: Served) -> None:
    workspace = whole.workspace("0.01")

    # gpt-5.4-mini, 2 µ an output token and 0.25 an input token
    beyond = authorize(whole, workspace, 4, 5_000, **MINI)
    covered = authorize(whole, workspace, 0, 5_000, **MINI)

    assert refused(beyond, 402, "insufficient_credits")["needs_credits"] is False
    assert done(covered)["held_micros"] == 10_000
    assert whole.facts(workspace).count("HoldPlaced") == 1


@pytest.mark.scenario("S12")
def test_a_hold_is_set_aside_and_settled_with_the_actual_tokens(faces0: Served) -> None:
    workspace = faces0.workspace("0.05")

    hold = done(authorize(faces0, workspace, 1_000, 2_000))
    assert (hold["route"], hold["held_micros"], hold["available_micros"]) == (
        "wallet", 33_000, 17_000,
    )  # fmt: skip
    assert hold["expires_at"] == "2026-06-01T00:15:00Z"
    assert faces0.balance(workspace) == 50_000

    settled = use(faces0, workspace, "chat", 1_000, 800, hold_id=hold["hold_id"])

    assert funding(settled) == {"wallet": (15_000, 0)}
    assert faces0.balance(workspace) == 35_000
    assert done(authorize(faces0, workspace))["available_micros"] == 35_000
    assert faces0.facts(workspace)[-3:] == ["HoldPlaced", "Debited", "HoldPlaced"]
    again = use(faces0, workspace, "chat", 1, hold_id=hold["hold_id"])
    refused(again, 409, "hold_closed")


@pytest.mark.scenario("S17")
def test_a_frozen_account_pays_for_nothing_and_can_still_pay(faces0: Served) -> None:
    workspace = on_plan(faces0, "connect", "100")
    link(faces0, workspace)
    hold = done(authorize(faces0, workspace, 10, 10, llm_model="claude-sonnet-4-6"))
    frozen = faces0.post(f"/v1/admin/workspaces/{workspace}/freeze", {"reason": "fraud"})
    assert frozen.status_code == 200

    for ask in (
        use(faces0, workspace, "chat", 10, route="oauth"),
        use(faces0, workspace, "chat", 10),
        authorize(faces0, workspace, 10, 10),
        use(faces0, workspace, "compile", 10),
        use(faces0, workspace, "interview", 10),
        authorize(faces0, workspace, 10, 10, meter="interview"),
    ):
        problem = refused(ask, 402, "account_frozen")
        assert (problem["needs_credits"], problem["needs_oauth"]) == (False, False)
    # What was let run before is settled: its tokens are consumed.
    done(use(faces0, workspace, "chat", 10, hold_id=hold["hold_id"], llm_model="claude-sonnet-4-6"))
    assert faces0.balance(workspace) == 100_000_000 - 30

    assert faces0.get("/v1/billing/balance", workspace, consistency="strong")["is_frozen"] is True
    paid = faces0.post("/v1/billing/topup", {"amount_usd": 5, "payment_ref": "w1"}, workspace)
    assert (paid.status_code, paid.json()["frozen"]) == (200, True)
    assert faces0.balance(workspace) == 105_000_000 - 30
    assert faces0.post(f"/v1/admin/workspaces/{workspace}/unfreeze", {}).status_code == 200
    done(use(faces0, workspace, "chat", 10))


@pytest.mark.scenario("S45")
def test_a_model_of_another_provider_is_paid_from_the_wallet(faces: Served) -> None:
    workspace = on_plan(faces, "connect", "5")
    link(faces, workspace)

    claude = {"llm_model": "claude-sonnet-4-6"}
    hold = done(authorize(faces, workspace, 2_000, 1_000, **claude))
    paid = use(faces, workspace, "chat", 2_000, 1_000, hold_id=hold["hold_id"], **claude)

    assert hold["route"] == "wallet"
    assert funding(paid) == {"wallet": (22_050, 0)}


@pytest.mark.scenario("S46")
def test_a_revoked_link_falls_back_only_if_that_is_wanted(faces: Served) -> None:
    workspace = on_plan(faces, "connect", "5")
    revoke(faces, workspace)
    assert faces.get("/v1/oauth", workspace)[0]["status"] == "revoked"

    hold = done(authorize(faces, workspace, 100, 100))
    assert hold["route"] == "wallet"
    assert funding(use(faces, workspace, "chat", 100, hold_id=hold["hold_id"])).keys() == {"wallet"}

    put(faces, "/v1/billing/preferences", {"api_fallback": False}, workspace)
    before = faces.position()
    problem = refused(authorize(faces, workspace, 100, 100), 422, "oauth_rejected")
    assert problem["fallback_available"] is True
    assert faces.position() == before


@pytest.mark.scenario("S46")
def test_a_link_that_the_user_ended_is_no_consent_to_pay_with_credits(faces: Served) -> None:
    workspace = on_plan(faces, "connect", "5")
    put(faces, "/v1/billing/preferences", {"api_fallback": False}, workspace)
    done(authorize(faces, workspace, 100, 100))  # there was no link, so nothing fell back
    link(faces, workspace)
    done(faces.call("DELETE", "/v1/oauth/openai", workspace=workspace), 200)
    assert faces.get("/v1/oauth", workspace)[0]["status"] == "none"
    before = faces.position()

    problem = refused(authorize(faces, workspace, 100, 100), 422, "oauth_rejected")
    assert problem["fallback_available"] is True
    refused(use(faces, workspace, "chat", 100), 422, "oauth_rejected")
    assert faces.position() == before

    put(faces, "/v1/billing/preferences", {"api_fallback": True}, workspace)
    assert done(authorize(faces, workspace, 100, 100))["route"] == "wallet"


@pytest.mark.scenario("S47")
def test_the_free_plan_links_no_account(faces: Served) -> None:
    workspace = faces.workspace()
    before = faces.position()

    refused(faces.post("/v1/oauth/openai", workspace=workspace), 403, "oauth_not_available_on_plan")

    assert faces.position() == before


@pytest.mark.scenario("S48")
@pytest.mark.parametrize("start", ["authorize", "usage"])
def test_an_interview_needs_a_source_and_says_which(faces: Served, start: str) -> None:
    """(plan, link, balance, forced source) -> (status or route, needs_oauth, needs_credits)"""
    matrix: list[tuple[tuple[Any, ...], tuple[Any, ...]]] = [
        (("free", None, None, None), (402, False, True)),
        (("free", None, "0.000001", None), ("wallet",)),
        (("connect", None, None, None), (402, True, True)),
        (("connect", None, "5", None), ("wallet",)),
        (("connect", "active", None, None), ("oauth",)),
        (("connect", "revoked", None, None), (402, True, True)),
        (("connect", None, "5", "oauth"), (402, True, False)),
    ]
    for (plan, state, balance, source), expected in matrix:
        if source and start == "usage":
            continue
        workspace = on_plan(faces, plan, balance)
        spent = 5_000 if plan == "free" else 100_000
        assert funding(use(faces, workspace, "compile", spent)) == {"allowance": (0, spent)}
        if state == "active":
            link(faces, workspace)
        elif state == "revoked":
            revoke(faces, workspace)
        if start == "authorize":
            ask = authorize(faces, workspace, 10, 0, meter="interview", billing_source=source)
        else:
            route = {"route": "oauth"} if expected == ("oauth",) else {}
            ask = use(faces, workspace, "interview", 10, **route)
        if expected[0] == 402:
            problem = decoded = refused(ask, 402, "no_payment_source")
            assert (402, problem["needs_oauth"], problem["needs_credits"]) == expected, decoded
            assert problem["plan"] == plan
        elif start == "authorize":
            assert done(ask)["route"] == expected[0]
        else:
            assert funding(ask).keys() == {expected[0]}


@pytest.mark.scenario("S48")
def test_a_frozen_interview_needs_neither_credits_nor_a_link(faces: Served) -> None:
    workspace = on_plan(faces, "connect", "0.000009")
    link(faces, workspace)
    faces.post(f"/v1/admin/workspaces/{workspace}/freeze", {"reason": "fraud"})

    problem = refused(authorize(faces, workspace, 10, 0, meter="interview"), 402, "account_frozen")

    assert (problem["needs_oauth"], problem["needs_credits"]) == (False, False)
    assert problem["plan"] == "connect"


@pytest.mark.scenario("S50")
def test_the_quota_is_one_for_all_faces(faces0: Served) -> None:
    workspace = on_plan(faces0, "connect")

    done(use(faces0, workspace, "compile", 50_000, 10_000, face_id="alice"))
    last = use(faces0, workspace, "compile", 30_000, face_id="bob")

    position = last.headers["X-Ledger-Position"]
    quota = faces0.get(QUOTA, workspace, min_position=position)
    assert (quota["tokens_limit"], quota["tokens_used"], quota["tokens_remaining"]) == (
        100_000, 90_000, 10_000,
    )  # fmt: skip
    assert quota["faces"] == [
        {"face_id": "alice", "tokens_charged_period": 60_000, "tokens_charged_alltime": 60_000},
        {"face_id": "bob", "tokens_charged_period": 30_000, "tokens_charged_alltime": 30_000},
    ]
    assert quota["quota_reset_at"] == "2026-07-01T00:00:00Z"
    assert quota["allow_compile_overflow"] is False


@pytest.mark.scenario("S51")
def test_a_compilation_that_does_not_fit_is_refused_whole(faces0: Served) -> None:
    workspace = on_plan(faces0, "connect", "5")
    done(use(faces0, workspace, "compile", 90_000))
    before = faces0.position()

    problem = refused(use(faces0, workspace, "compile", 15_000), 402, "compile_quota_exceeded")

    assert (problem["tokens_remaining"], problem["tokens_requested"]) == (10_000, 15_000)
    assert faces0.position() == before
    assert funding(use(faces0, workspace, "compile", 10_000)) == {"allowance": (0, 10_000)}
    assert faces0.get(QUOTA, workspace)["tokens_remaining"] == 0


@pytest.mark.scenario("S52")
def test_with_overflow_only_the_excess_is_paid(faces: Served) -> None:
    workspace = on_plan(faces, "connect", "5")
    done(use(faces, workspace, "compile", 90_000, **MINI))
    changed = faces.call("PATCH", QUOTA, {"allow_compile_overflow": True}, workspace=workspace)
    assert done(changed, 200)["allow_compile_overflow"] is True

    paid = use(faces, workspace, "compile", 12_000, 3_000, **MINI)

    assert funding(paid) == {"allowance": (0, 10_000), "wallet": (3_150, 0)}
    assert faces.balance(workspace) == 4_996_850
    assert "CompileOverflowEnabled" in faces.facts(workspace)


@pytest.mark.scenario("S53")
def test_overflow_without_quota_or_money_asks_for_credits(faces0: Served) -> None:
    workspace = on_plan(faces0, "connect")
    done(use(faces0, workspace, "compile", 100_000))
    faces0.call("PATCH", QUOTA, {"allow_compile_overflow": True}, workspace=workspace)

    problem = use(faces0, workspace, "compile", 10)

    assert problem.status_code == 402, problem.text
    assert problem.json()["needs_credits"] is True


@pytest.mark.scenario("S54")
def test_a_monthly_quota_starts_anew_at_the_anchor(faces0: Served) -> None:
    to(faces0, "2026-01-31T10:00:00Z")
    workspace = on_plan(faces0, "connect")
    done(use(faces0, workspace, "compile", 100_000))

    to(faces0, "2026-02-28T09:59:59Z")
    refused(use(faces0, workspace, "compile", 10), 402, "compile_quota_exceeded")
    to(faces0, "2026-02-28T10:00:00Z")
    assert faces0.get(QUOTA, workspace)["tokens_remaining"] == 100_000
    done(use(faces0, workspace, "compile", 10))

    resets = [faces0.get(QUOTA, workspace)["quota_reset_at"]]
    assert faces0.get(QUOTA, workspace)["tokens_remaining"] == 99_990
    for now in ("2026-03-31T10:00:00Z", "2026-04-30T10:00:00Z"):
        to(faces0, now)
        resets.append(faces0.get(QUOTA, workspace)["quota_reset_at"])
    assert resets == ["2026-03-31T10:00:00Z", "2026-04-30T10:00:00Z", "2026-05-31T10:00:00Z"]


@pytest.mark.scenario("S55")
def test_a_quota_that_never_resets_stays_used(faces0: Served) -> None:
    workspace = faces0.workspace()
    done(use(faces0, workspace, "compile", 5_000))

    to(faces0, "2026-08-30T00:00:00Z")

    refused(use(faces0, workspace, "compile", 10), 402, "compile_quota_exceeded")
    quota = faces0.get(QUOTA, workspace)
    assert (quota["quota_reset_at"], quota["tokens_used"]) == (None, 5_000)


@pytest.mark.scenario("S56")
def test_chat_and_compilation_do_not_touch_each_other(faces0: Served) -> None:
    workspace = on_plan(faces0, "connect", "20")

    assert funding(use(faces0, workspace, "chat", 1_000_000)) == {"wallet": (3_000_000, 0)}
    assert faces0.get(QUOTA, workspace)["tokens_used"] == 0
    assert funding(use(faces0, workspace, "compile", 1_000)) == {"allowance": (0, 1_000)}
    assert faces0.balance(workspace) == 17_000_000


@pytest.mark.scenario("G05")
def test_a_void_gives_back_two_grants_and_the_allowance(faces0: Served) -> None:
    workspace = on_plan(faces0, "connect", "0.001")
    faces0.post(
        f"/v1/admin/workspaces/{workspace}/credits", {"amount_usd": "0.002", "priority": 10}
    )
    done(use(faces0, workspace, "compile", 99_000))
    faces0.call("PATCH", QUOTA, {"allow_compile_overflow": True}, workspace=workspace)
    before = faces0.balance(workspace)
    act = use(faces0, workspace, "compile", 2_000, **{**MINI, "llm_model": "claude-sonnet-4-6"})
    paid = funding(act)
    assert paid == {"allowance": (0, 1_000), "wallet": (3_000, 0)}

    void = faces0.post(f"/v1/usage/{act.json()['usage_id']}/void", {"reason": "bug"}, workspace)

    given = done(void, 200)
    assert len(given["returned"]) == 2 and given["amount_micros"] == 3_000
    assert faces0.balance(workspace) == before
    quota = faces0.get(QUOTA, workspace, min_position=void.headers["X-Ledger-Position"])
    assert quota["tokens_remaining"] == 1_000
    assert quota["faces"] == [
        {"face_id": None, "tokens_charged_period": 99_000, "tokens_charged_alltime": 99_000}
    ]
    again = faces0.post(f"/v1/usage/{act.json()['usage_id']}/void", {"reason": "bug"}, workspace)
    refused(again, 409, "already_voided")
