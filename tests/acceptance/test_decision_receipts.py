"""Decision receipts: every admission and every refusal can be explained, on each route, by
`GET /v1/usage/decisions/{id}`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from adapters.postgres.database import Database
from tests.acceptance.spending import (
    authorize,
    done,
    generate,
    link,
    on_plan,
    put,
    refused,
    to,
    use,
)
from tests.api.conftest import Served, serve, settings_of
from tests.api.gateway.provider import gateway, script

MINI = {"llm_model": "gpt-5.4-mini"}
CHAT = "/v1/chat/completions"


@pytest.fixture
def app(database: Database) -> Iterator[Served]:
    """`faces` with 5 % markup, in front of a scripted provider."""
    with gateway(database) as served:
        yield served


@pytest.fixture
def flarex(database: Database) -> Iterator[Served]:
    """Appendix A."""
    with serve(settings_of(database, "flarex")) as served:
        yield served


def why(app: Served, workspace: str, id: str) -> Any:
    """The receipt of a decision."""
    return app.get(f"/v1/usage/decisions/{id}", workspace)


def had(receipt: Any) -> dict[str, int]:
    """What each source that was looked at had."""
    return {one["source"]: one["had"] for one in receipt["sources"]}


def paid(receipt: Any) -> list[tuple[str, int, int]]:
    """Who paid, or set aside: (source, µ, units)."""
    return [(p["source"], p["amount_micros"], p["units"]) for p in receipt["funding"]]


def test_every_route_of_an_admission_is_explained(app: Served) -> None:
    workspace = on_plan(app, "connect", "5")
    link(app, workspace)
    routes = {
        "oauth": authorize(app, workspace, 10, 0, meter="interview"),
        "allowance": authorize(
            app, workspace, 10, 0, meter="interview", llm_model="claude-sonnet-4-6"
        ),
        "wallet": authorize(app, workspace, 4_000, 0, meter="chat", llm_model="claude-sonnet-4-6"),
    }

    for route, answer in routes.items():
        receipt = why(app, workspace, done(answer)["hold_id"])
        assert (receipt["outcome"], receipt["code"]) == ("admitted", None)
        assert [source for source, _, _ in paid(receipt)] == [route]
        assert receipt["rule"] == "positive"
        assert receipt["plan"] == "connect" and receipt["policy_version"] > 0
    forced = authorize(app, workspace, 10, 0, meter="interview", billing_source="compile")
    receipt = why(app, workspace, done(forced)["hold_id"])
    assert (receipt["rule"], had(receipt)) == ("billing_source", {"allowance": 99_990})
    settled = use(app, workspace, "interview", 10, hold_id=receipt["decision_id"])
    receipt = why(app, workspace, done(settled)["usage_id"])
    assert (receipt["rule"], paid(receipt)) == ("hold", [("allowance", 0, 10)])
    assert had(receipt).keys() == {"allowance"}


def test_a_direct_act_and_a_fact_say_which_rule_let_them_in(app: Served) -> None:
    workspace = on_plan(app, "connect", "0.01")
    direct = done(use(app, workspace, "compile", 10, **MINI))["usage_id"]
    fact = done(use(app, workspace, "chat", 4_000, mode="record", **MINI))["usage_id"]

    receipt = why(app, workspace, direct)
    assert (receipt["rule"], paid(receipt)) == ("covers_estimate", [("allowance", 0, 10)])
    assert had(receipt) == {"oauth": 0, "allowance": 100_000, "wallet_if_overflow": 0}
    receipt = why(app, workspace, fact)
    assert (receipt["rule"], paid(receipt)) == ("record", [("wallet", 1_050, 0)])
    assert receipt["stream_version"] > why(app, workspace, direct)["stream_version"]


def test_every_refusal_is_explained_whoever_asked(app: Served) -> None:
    workspace = on_plan(app, "connect")
    script(app, "ok", 10, 10)
    done(use(app, workspace, "compile", 100_000, **MINI))
    hello = {"model": "gpt-5.4", "messages": [{"role": "user", "content": "Hi"}]}
    asked = {
        "usage": (use(app, workspace, "chat", 10), "insufficient_credits", "positive"),
        "authorize": (authorize(app, workspace, 10, 10), "insufficient_credits", "positive"),
        "quota": (use(app, workspace, "compile", 1), "compile_quota_exceeded", "covers_estimate"),
        "interview": (
            authorize(app, workspace, 10, 10, meter="interview"), "no_payment_source", "positive",
        ),
        "source": (
            authorize(app, workspace, 10, 10, billing_source="oauth"),
            "no_payment_source", "billing_source",
        ),
        "gateway": (
            app.call("POST", CHAT, hello, workspace=workspace), "insufficient_credits", "positive",
        ),
        "thread": (
            app.post("/v1/compile/threads", {"message": "Hi"}, workspace),
            "no_payment_source", "positive",
        ),
    }  # fmt: skip
    for who, (answer, code, rule) in asked.items():
        receipt = why(app, workspace, refused(answer, 402, code)["decision_id"])
        assert (receipt["outcome"], receipt["code"], receipt["rule"]) == ("refused", code, rule), (
            who
        )
        assert receipt["funding"] == [] and receipt["position"] is None
        assert all(amount == 0 for amount in had(receipt).values()), who

    app.post(f"/v1/admin/workspaces/{workspace}/freeze", {"reason": "fraud"})
    frozen = refused(use(app, workspace, "chat", 10), 402, "account_frozen")
    assert why(app, workspace, frozen["decision_id"])["rule"] == "frozen"


def test_a_hard_budget_explains_itself(app: Served) -> None:
    workspace = app.workspace("1")
    put(app, "/v1/billing/budgets/cap", {"limit_usd": 0, "hard": True}, workspace)

    problem = refused(use(app, workspace, "chat", 10), 402, "budget_exhausted")

    receipt = why(app, workspace, problem["decision_id"])
    assert (receipt["rule"], had(receipt)) == ("hard_budget", {"wallet": 1_000_000})
    assert "cap" in receipt["detail"]


def test_overage_and_what_is_absorbed_are_explained(flarex: Served) -> None:
    workspace = on_plan(flarex, "starter")
    done(generate(flarex, workspace, 995_000))
    absorbed = done(generate(flarex, workspace, 14_000))["usage_id"]
    receipt = why(flarex, workspace, absorbed)
    assert paid(receipt) == [("allowance", 0, 5), ("absorbed", 0, 9)]
    assert had(receipt) == {"allowance": 5, "overage": 0}
    problem = refused(generate(flarex, workspace, 1), 402, "ai_credits_exhausted")
    assert had(why(flarex, workspace, problem["decision_id"])) == {"allowance": 0, "overage": 0}

    put(flarex, "/v1/billing/overage", {"enabled": True}, workspace)
    ask = {"meter": "chat_generation", "llm_model": None}
    hold = done(authorize(flarex, workspace, 10_000, 0, **ask))["hold_id"]
    receipt = why(flarex, workspace, hold)
    assert had(receipt) == {"allowance": 0, "overage": 20_000}
    assert [source for source, _, _ in paid(receipt)] == ["overage"]


def test_an_admission_is_explained_as_it_was_whatever_came_after(app: Served) -> None:
    workspace = on_plan(app, "connect", "0.01")
    act = done(use(app, workspace, "chat", 4_000, **MINI))["usage_id"]
    first = why(app, workspace, act)

    to(app, "2026-07-20T00:00:00Z")
    done(use(app, workspace, "chat", 4_000, **MINI))
    app.post(f"/v1/usage/{act}/void", {"reason": "a bug"}, workspace)

    assert why(app, workspace, act) == first
    assert had(first)["wallet"] == 10_000
