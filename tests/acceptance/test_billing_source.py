"""`billing_source`: a call that asks for one source is paid by it from the authorisation to the
settlement, or by nobody (spec 5.2, S48); and what covers a compilation that overflows (S11,
S53)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from adapters.postgres.database import Database
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
from tests.api.conftest import Served
from tests.api.gateway.provider import gateway, script

QUOTA = "/v1/billing/compile-quota"
MINI = {"llm_model": "gpt-5.4-mini"}  # with 5 % markup, 4,000 input tokens cost 1,050 µ
UNITS = 100_000  # of Connect


@pytest.fixture
def app(database: Database) -> Iterator[Served]:
    """`faces` with 5 % markup, in front of a scripted provider."""
    with gateway(database) as served:
        yield served


def tenant(app: Served, state: str | None, balance: str | None, left: int) -> str:
    """A workspace on Connect with a link in a state, money, and tokens left of its quota."""
    workspace = on_plan(app, "connect", balance)
    if left < UNITS:
        assert funding(use(app, workspace, "compile", UNITS - left)).keys() == {"allowance"}
    if state == "active":
        link(app, workspace)
    elif state == "revoked":
        revoke(app, workspace)
    return workspace


MATRIX: list[tuple[str, str | None, str | None, int, Any]] = [
    # asked for, link, balance, quota left -> route, or (needs_oauth, needs_credits)
    ("oauth", "active", None, 0, "oauth"),
    ("oauth", None, "5", UNITS, (True, False)),
    ("oauth", "revoked", "5", UNITS, (True, False)),
    ("compile", "active", "5", 100, "allowance"),
    ("compile", "active", "5", 0, (False, False)),
    ("compile", None, None, 0, (False, False)),
    ("credits", "active", "0.000001", UNITS, "wallet"),
    ("credits", "active", None, UNITS, (False, True)),
    ("credits", None, None, 0, (False, True)),
]


@pytest.mark.scenario("S48")
@pytest.mark.parametrize("name", ["billing_source", "interviewer_billing_source"])
def test_the_source_that_is_asked_for_pays_or_nobody_does(app: Served, name: str) -> None:
    for source, state, balance, left, expected in MATRIX:
        workspace = tenant(app, state, balance, left)
        before = app.position()
        ask = authorize(app, workspace, 10, 10, meter="interview", **{name: source})
        if isinstance(expected, str):
            assert done(ask)["route"] == expected, (source, state, balance, left)
            continue
        problem = refused(ask, 402, "no_payment_source")
        said = (problem["needs_oauth"], problem["needs_credits"])
        assert said == expected, (source, state, balance, left)
        assert app.position() == before


@pytest.mark.scenario("S48")
def test_asking_for_the_users_account_is_402_where_falling_back_is_off(app: Served) -> None:
    """There is nothing to fall back to: `oauth_rejected` is for who would have had something."""
    workspace = tenant(app, "revoked", "5", UNITS)
    put(app, "/v1/billing/preferences", {"api_fallback": False}, workspace)

    asked = authorize(app, workspace, 10, 10, billing_source="oauth")

    assert refused(asked, 402, "no_payment_source")["needs_oauth"] is True
    assert done(authorize(app, workspace, 10, 10, billing_source="credits"))["route"] == "wallet"


@pytest.mark.parametrize("over", [False, True])
def test_a_settlement_takes_nothing_from_a_source_that_was_not_asked(
    app: Served, over: bool
) -> None:
    """Also the fact of a call whose hold is over by then."""
    workspace = tenant(app, "active", "5", 100)
    asked = {"meter": "interview", "billing_source": "compile", **MINI}
    hold = done(authorize(app, workspace, 500, 0, **asked))
    assert (hold["held_units"], hold["held_micros"]) == (100, 0)
    settled: dict[str, Any] = {"hold_id": hold["hold_id"], **MINI}
    if over:
        to(app, "2026-06-01T01:00:00Z")
        settled["mode"] = "record"

    act = use(app, workspace, "interview", 500, **settled)

    assert funding(act) == {"allowance": (0, 100), "absorbed": (0, 400)}
    assert app.balance(workspace) == 5_000_000


def test_the_balance_that_was_asked_for_pays_all_of_it(app: Served) -> None:
    workspace = tenant(app, "active", "0.0005", UNITS)
    asked = {"meter": "interview", "billing_source": "credits", **MINI}
    hold = done(authorize(app, workspace, 4_000, 0, **asked))
    assert (hold["held_micros"], hold["available_micros"]) == (500, 0)

    act = use(app, workspace, "interview", 4_000, hold_id=hold["hold_id"], **MINI)

    assert funding(act) == {"wallet": (1_050, 0)}
    assert app.balance(workspace) == -550
    assert app.get(QUOTA, workspace)["tokens_remaining"] == UNITS


def test_the_same_hold_id_for_another_source_is_another_call(app: Served) -> None:
    workspace = tenant(app, None, "5", UNITS)
    asked = {"meter": "interview", "hold_id": "mine"}
    first = authorize(app, workspace, 10, 0, **asked, billing_source="compile")

    again = authorize(app, workspace, 10, 0, **asked, billing_source="compile")
    other = authorize(app, workspace, 10, 0, **asked, billing_source="credits")

    assert done(first) == done(again, 200)
    refused(other, 409, "conflict")


def test_an_interview_through_the_gateway_is_paid_by_what_it_asked_for(app: Served) -> None:
    workspace = tenant(app, "active", "5", 3_000)
    script(app, "ok", 4_000, 0)
    body = {"message": "Hello", "model": "alice@gpt-5.4-mini", "max_output_tokens": 10}
    threads, paid = "/v1/compile/threads", {}

    for source in ("oauth", "compile", "credits"):
        answer = app.post(threads, body | {"interviewer_billing_source": source}, workspace)
        paid[source] = done(answer)["billing"]["funding"]

    assert {source: [part["source"] for part in parts] for source, parts in paid.items()} == {
        "oauth": ["oauth"], "compile": ["allowance", "absorbed"], "credits": ["wallet"],
    }  # fmt: skip
    assert app.balance(workspace) == 5_000_000 - 1_050
    empty = app.post(threads, body | {"billing_source": "compile"}, workspace)
    refused(empty, 402, "no_payment_source")


# What must be covered before a compilation starts.


def overflowing(app: Served, balance: str | None, left: int) -> str:
    """A workspace on Connect with overflow on."""
    workspace = tenant(app, None, balance, left)
    done(app.call("PATCH", QUOTA, {"allow_compile_overflow": True}, workspace=workspace), 200)
    return workspace


@pytest.mark.scenario("S11")
@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize(("balance", "fits"), [("0.003149", False), ("0.003150", True)])
def test_the_wallet_must_cover_what_the_quota_leaves_over(
    app: Served, direct: bool, balance: str, fits: bool
) -> None:
    """S52's call: 15,000 tokens of which 10,000 fit; the rest comes to 3,150 µ."""
    workspace = overflowing(app, balance, 10_000)
    before = app.position()

    if direct:
        ask = use(app, workspace, "compile", 12_000, 3_000, **MINI)
    else:
        ask = authorize(app, workspace, 12_000, 3_000, meter="compile", **MINI)

    if fits and direct:
        assert funding(ask) == {"allowance": (0, 10_000), "wallet": (3_150, 0)}
        assert app.balance(workspace) == 0
    elif fits:
        hold = done(ask)
        assert (hold["held_units"], hold["held_micros"], hold["available_micros"]) == (
            10_000, 3_150, 0,
        )  # fmt: skip
    else:
        problem = refused(ask, 402, "insufficient_credits")
        assert (problem["needed_micros"], problem["needs_credits"]) == (3_150, False)
        assert (problem["tokens_remaining"], problem["tokens_requested"]) == (10_000, 15_000)
        assert "3150 µ" in problem["detail"] and "3149 µ" in problem["detail"]
        assert app.position() == before
        fitting = authorize(app, workspace, 10_000, 0, meter="compile", **MINI)
        assert done(fitting)["held_micros"] == 0


@pytest.mark.scenario("S11")
def test_what_another_compilation_holds_covers_nothing(app: Served) -> None:
    workspace = overflowing(app, "0.004", 10_000)
    first = done(authorize(app, workspace, 12_000, 3_000, meter="compile", **MINI))
    assert first["available_micros"] == 850

    second = authorize(app, workspace, 4_000, 0, meter="compile", **MINI)
    problem = refused(second, 402, "insufficient_credits")
    assert (problem["needed_micros"], problem["tokens_remaining"]) == (1_050, 0)
    third = authorize(app, workspace, 3_200, 0, meter="compile", **MINI)
    assert (done(third)["route"], done(third)["held_micros"]) == ("wallet", 840)


@pytest.mark.scenario("S53")
def test_without_quota_or_money_it_is_credits_that_are_needed(app: Served) -> None:
    workspace = overflowing(app, None, 0)

    for ask in (
        use(app, workspace, "compile", 10, **MINI),
        authorize(app, workspace, 10, 0, meter="compile", **MINI),
    ):
        problem = refused(ask, 402, "insufficient_credits")
        assert (problem["needs_credits"], problem["needs_oauth"]) == (True, True)
        assert (problem["tokens_remaining"], problem["tokens_requested"]) == (0, 10)


def test_an_interview_uses_what_is_left_and_the_rest_is_absorbed(app: Served) -> None:
    """Spec 2.1: 100 tokens of quota, an empty wallet, and a call that needs 500."""
    for held in (False, True):
        workspace = tenant(app, None, None, 100)
        settled: dict[str, Any] = {**MINI}
        if held:
            ask = authorize(app, workspace, 500, 0, meter="interview", **MINI)
            assert (done(ask)["held_units"], done(ask)["held_micros"]) == (100, 0)
            settled["hold_id"] = done(ask)["hold_id"]
        act = use(app, workspace, "interview", 500, **settled)
        assert funding(act) == {"allowance": (0, 100), "absorbed": (0, 400)}
        problem = refused(use(app, workspace, "interview", 1, **MINI), 402, "no_payment_source")
        assert problem["needs_credits"] is True
