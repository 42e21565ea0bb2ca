"""Budgets: caps that a customer sets on its own spending, soft ones that warn in the answer and
in an event, hard ones that refuse with 402 `budget_exhausted`."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from adapters.postgres.database import Database
from tests.acceptance.spending import authorize, done, funding, on_plan, put, refused, to, use
from tests.api.conftest import Served
from tests.api.gateway.provider import gateway, script

MINI = {"llm_model": "gpt-5.4-mini"}  # with 5 % markup, 4,000 input tokens cost 1,050 µ
COST = 1_050


@pytest.fixture
def app(database: Database) -> Iterator[Served]:
    """`faces` with 5 % markup, in front of a scripted provider."""
    with gateway(database) as served:
        yield served


def cap(app: Served, workspace: str, calls: int, id: str = "cap", **terms: Any) -> None:
    """A cap of so many calls' cost."""
    body = {"limit_usd": f"{calls * COST / 1_000_000:.6f}", "hard": True} | terms
    put(app, f"/v1/billing/budgets/{id}", body, workspace)


def chat(app: Served, workspace: str, **labels: Any) -> Any:
    """A call of 1,050 µ."""
    return use(app, workspace, "chat", 4_000, **MINI, **labels)


def test_a_soft_budget_warns_in_every_answer_and_once_in_an_event(app: Served) -> None:
    workspace = app.workspace("1")
    cap(app, workspace, 2, hard=False, per="day")

    assert "budget_warnings" not in done(chat(app, workspace))
    reached = chat(app, workspace, event_id="reached")
    warning = {"budget_id": "cap", "limit_micros": 2_100, "spent_micros": 2_100, "hard": False}
    assert done(reached)["budget_warnings"] == [warning]
    beyond = done(chat(app, workspace))
    assert beyond["budget_warnings"] == [warning | {"spent_micros": 3_150}]
    # The same answer again, whatever was spent since.
    assert done(chat(app, workspace, event_id="reached"), 200) == done(reached)
    asked = done(authorize(app, workspace, 4_000, 0, **MINI))
    assert asked["budget_warnings"] == [warning | {"spent_micros": 3_150}]

    events = app.get("/v1/audit/events", type="BudgetWarned")["data"]
    assert [(e["data"]["budget_id"], e["data"]["spent"]) for e in events] == [("cap", 2_100)]
    to(app, "2026-06-02T00:00:00Z")
    assert "budget_warnings" not in done(chat(app, workspace)), "another day"


def test_the_gateway_warns_in_a_header_and_refuses_in_both_shapes(app: Served) -> None:
    workspace = app.workspace("1")
    script(app, "ok", 4_000, 0)
    cap(app, workspace, 1, hard=False)
    body = {
        "model": "gpt-5.4-mini",
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": 10,
    }

    answer = app.call("POST", "/v1/chat/completions", body, workspace=workspace)

    assert answer.status_code == 200, answer.text
    assert answer.headers["X-Daybook-Budget-Warning"] == "cap"
    cap(app, workspace, 1, hard=True)
    problem = refused(
        app.call("POST", "/v1/chat/completions", body, workspace=workspace), 402, "budget_exhausted"
    )
    assert problem["error"]["code"] == "budget_exhausted"
    interview = app.post("/v1/compile/threads", {"message": "Hi"}, workspace)
    assert interview.status_code == 201, "its quota costs nothing"


def test_a_hard_budget_is_reached_exactly_and_says_what_is_left(app: Served) -> None:
    workspace = app.workspace("1")
    cap(app, workspace, 2)
    done(chat(app, workspace))
    before = app.position()

    problem = refused(use(app, workspace, "chat", 4_004, **MINI), 402, "budget_exhausted")
    assert (problem["budget_id"], problem["limit_micros"], problem["left_micros"]) == (
        "cap",
        2_100,
        1_050,
    )
    assert (problem["needs_credits"], problem["needs_oauth"]) == (False, False)
    assert app.position() == before
    done(chat(app, workspace))
    for ask in (use(app, workspace, "chat", 4, **MINI), authorize(app, workspace, 4, 0, **MINI)):
        assert refused(ask, 402, "budget_exhausted")["left_micros"] == 0
    assert app.get("/v1/billing/budgets/cap", workspace)["spent_micros"] == 2_100


@pytest.mark.parametrize("by", ["usage", "authorize"])
def test_calls_at_once_do_not_slip_past_a_budget(app: Served, by: str) -> None:
    workspace = app.workspace("1")
    cap(app, workspace, 5)

    def ask(_: int) -> int:
        if by == "usage":
            return int(chat(app, workspace).status_code)
        return authorize(app, workspace, 4_000, 0, **MINI).status_code

    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(ask, range(16)))

    assert sorted(answers) == [201] * 5 + [402] * 11
    assert app.get("/v1/billing/budgets/cap", workspace)["left_micros"] == 0


@pytest.mark.parametrize(
    ("on", "label"),
    [("api_key", "api_key_id"), ("face", "face_id"), ("bot", "bot_id"), ("thread", "thread_id")],
)
@pytest.mark.parametrize("per", ["day", "cycle"])
def test_a_budget_is_about_whose_call_it_is_and_ends_with_its_window(
    app: Served, on: str, label: str, per: str
) -> None:
    workspace = app.workspace("1")
    cap(app, workspace, 1, on=on, value="mine", per=per)

    done(chat(app, workspace, **{label: "mine"}))
    refused(chat(app, workspace, **{label: "mine"}), 402, "budget_exhausted")
    done(chat(app, workspace, **{label: "another"}))
    done(chat(app, workspace))

    ends = "2026-06-02T00:00:00Z" if per == "day" else "2026-07-01T00:00:00Z"
    to(app, ends.replace("02T00:00:00", "01T23:59:59").replace("07-01T00:00:00", "06-30T23:59:59"))
    refused(chat(app, workspace, **{label: "mine"}), 402, "budget_exhausted")
    to(app, ends)
    done(chat(app, workspace, **{label: "mine"}))


def test_what_nobody_pays_for_counts_towards_no_budget(app: Served) -> None:
    """Included tokens, and the rest of an interview that an empty wallet cannot pay."""
    workspace = on_plan(app, "connect")
    done(use(app, workspace, "compile", 99_900, **MINI))
    put(app, "/v1/billing/budgets/cap", {"limit_usd": "0.000001", "hard": True}, workspace)

    act = use(app, workspace, "interview", 500, **MINI)

    assert funding(act) == {"allowance": (0, 100), "absorbed": (0, 400)}
    assert app.get("/v1/billing/budgets/cap", workspace)["spent_micros"] == 0
