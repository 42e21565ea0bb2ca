"""Holds over HTTP: exactly once, expiring by themselves, and never beyond what there is."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from tests.acceptance.spending import authorize, done, funding, link, on_plan, refused, to, use
from tests.api.conftest import Served


def release(app: Served, workspace: str, hold_id: str, **body: Any) -> Any:
    """End a hold without a charge."""
    return app.call("DELETE", f"/v1/usage/holds/{hold_id}", body or None, workspace=workspace)


def test_the_same_hold_id_places_one_hold(app: Served) -> None:
    workspace = app.workspace("1")

    first = authorize(app, workspace, 100, 100, hold_id="mine")
    again = authorize(app, workspace, 100, 100, hold_id="mine")
    other = authorize(app, workspace, 100, 101, hold_id="mine")

    assert done(first) == done(again, 200)
    refused(other, 409, "conflict")
    assert app.facts(workspace).count("HoldPlaced") == 1


def test_the_same_idempotency_key_places_one_hold(app: Served) -> None:
    workspace = app.workspace("1")
    body = {"meter": "chat", "llm_model": "gpt-5.4", "estimate": {"input_tokens": 10}}

    answers = [
        app.call(
            "POST",
            "/v1/usage/authorize",
            body,
            workspace=workspace,
            headers={"Idempotency-Key": "k"},
        )
        for _ in range(2)
    ]

    assert answers[0].json() == answers[1].json()
    assert app.facts(workspace).count("HoldPlaced") == 1


def test_a_hold_ends_once(app: Served) -> None:
    workspace = app.workspace("1")
    hold_id = done(authorize(app, workspace, 1_000, 1_000))["hold_id"]

    released = done(release(app, workspace, hold_id, reason="upstream_failed"), 200)

    assert released["available_micros"] == 1_000_000
    refused(release(app, workspace, hold_id), 409, "hold_closed")
    refused(use(app, workspace, "chat", 10, hold_id=hold_id), 409, "hold_closed")
    refused(release(app, workspace, "hold_never"), 404, "not_found")
    assert app.facts(workspace)[-2:] == ["HoldPlaced", "HoldReleased"]


def test_the_hold_of_another_workspace_is_unknown_and_not_closed(app: Served) -> None:
    other, workspace = app.workspace("1"), app.workspace("1")
    hold_id = done(authorize(app, other, 10, 10))["hold_id"]
    act = {"meter": "chat", "llm_model": "gpt-5.4", "tokens": {"input": 10}, "hold_id": hold_id}
    before = app.position()

    refused(use(app, workspace, "chat", 10, hold_id=hold_id), 404, "not_found")
    batch = [act | {"event_id": "e1"}]
    [item] = done(app.post("/v1/usage/batch", batch, workspace), 200)["results"]

    assert (item["status"], item["problem"]["code"]) == (404, "not_found")
    assert app.position() == before
    done(use(app, other, "chat", 10, hold_id=hold_id))


def test_time_ends_a_hold_even_if_nobody_tidies(app: Served) -> None:
    workspace = app.workspace("0.1")
    hold = done(authorize(app, workspace, 0, 6_000, ttl_seconds=60))
    assert (hold["held_micros"], hold["available_micros"]) == (94_500, 5_500)

    to(app, "2026-06-01T00:01:00Z")

    refused(release(app, workspace, hold["hold_id"]), 409, "hold_closed")
    extend = f"/v1/usage/holds/{hold['hold_id']}/extend"
    refused(app.post(extend, {"ttl_seconds": 60}, workspace), 409, "hold_closed")
    assert done(authorize(app, workspace, 0, 6_000))["held_micros"] == 94_500
    assert app.facts(workspace)[-2:] == ["HoldExpired", "HoldPlaced"]


def test_an_extended_hold_stands_longer(app: Served) -> None:
    workspace = app.workspace("1")
    hold_id = done(authorize(app, workspace, 10, 10, ttl_seconds=60))["hold_id"]
    to(app, "2026-06-01T00:00:59Z")

    longer = app.post(f"/v1/usage/holds/{hold_id}/extend", {"ttl_seconds": 120}, workspace)

    assert done(longer, 200)["expires_at"] == "2026-06-01T00:02:59Z"
    to(app, "2026-06-01T00:02:58Z")
    done(use(app, workspace, "chat", 10, hold_id=hold_id))


@pytest.mark.parametrize(
    "change",
    [
        {"ttl_seconds": 0},
        {"ttl_seconds": 86_401},
        {"billing_source": "magic"},
        {"billing_source": "oauth", "interviewer_billing_source": "credits"},
        {"estimate": {"input_tokens": -1}},
        {"meter": "video"},
        {"colour": "red"},
    ],
)
def test_what_makes_no_sense_places_no_hold(app: Served, change: dict[str, Any]) -> None:
    workspace = app.workspace("1")
    before = app.position()

    refused(authorize(app, workspace, **change), 422, "validation_error")

    assert app.position() == before


def test_one_source_can_be_asked_for(app: Served) -> None:
    workspace = on_plan(app, "connect", "1")
    link(app, workspace)
    ask = {"meter": "interview"}

    routes = {
        source: done(authorize(app, workspace, 10, 10, **ask, interviewer_billing_source=source))
        for source in ("oauth", "compile", "credits")
    }

    assert {source: hold["route"] for source, hold in routes.items()} == {
        "oauth": "oauth", "compile": "allowance", "credits": "wallet",
    }  # fmt: skip
    assert routes["compile"]["held_units"] == 20
    settled = use(app, workspace, "interview", 10, 5, hold_id=routes["credits"]["hold_id"])
    assert funding(settled).keys() == {"wallet"}


def test_a_refusal_and_an_admission_can_be_explained(app: Served) -> None:
    workspace = app.workspace("0.001")
    hold = done(authorize(app, workspace, 10, 10))
    act = done(use(app, workspace, "chat", 1_000, hold_id=hold["hold_id"]))
    problem = refused(use(app, workspace, "chat", 10), 402, "insufficient_credits")

    def why(id: str) -> Any:
        return app.get(f"/v1/usage/decisions/{id}", workspace)

    placed, settled, declined = (
        why(id) for id in (hold["hold_id"], act["usage_id"], problem["decision_id"])
    )
    # The free plan has no `oauth` route.
    assert placed["sources"] == [{"source": "wallet", "had": 1_000, "unit": "micros"}]
    assert (placed["outcome"], placed["rule"]) == ("admitted", "positive")
    assert (settled["rule"], settled["funding"][0]["amount_micros"]) == ("hold", 3_150)
    assert (declined["outcome"], declined["code"]) == ("refused", "insufficient_credits")
    assert declined["sources"][-1] == {"source": "wallet", "had": -2_150, "unit": "micros"}
    assert declined["stream_version"] == settled["stream_version"] + 1
    assert declined["at"] == "2026-06-01T00:00:00Z"
    other = app.workspace()
    for id in (hold["hold_id"], act["usage_id"], problem["decision_id"], "dec_x", "use_x"):
        path = f"/v1/usage/decisions/{id}"
        refused(app.call("GET", path, workspace=other), 404, "not_found")


@pytest.mark.parametrize("hold_id", ["a/b", "/", "a/extend", "%2F", "é?#&=+ ;", "x" * 255])
def test_a_hold_of_any_name_is_extended_settled_and_released_by_its_path(
    app: Served, hold_id: str
) -> None:
    workspace = app.workspace("1")
    other = f"{hold_id[:254]}2"
    path = quote(hold_id, safe="")
    for one in (hold_id, other):
        assert done(authorize(app, workspace, 100, 100, hold_id=one))["hold_id"] == one

    extended = app.call("POST", f"/v1/usage/holds/{path}/extend", {}, workspace=workspace)
    assert done(extended, 200)["hold_id"] == hold_id
    assert done(release(app, workspace, path), 200)["hold_id"] == hold_id
    done(use(app, workspace, "chat", 10, hold_id=other))
    refused(release(app, workspace, quote(other, safe="")), 409, "hold_closed")


@pytest.mark.parametrize("hold_id", [".", "..", " "])
def test_a_hold_id_that_no_path_can_hold_is_refused(app: Served, hold_id: str) -> None:
    workspace = app.workspace("1")

    problem = refused(authorize(app, workspace, 100, 100, hold_id=hold_id), 422, "validation_error")

    assert problem["errors"][0]["loc"] == ["body", "hold_id"]
    assert "HoldPlaced" not in app.facts(workspace)
