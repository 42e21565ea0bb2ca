"""What could not be taken in, or not yet, is tried again until it is."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations
from typing import Any

import pytest
from structlog.testing import CapturingLogger

from adapters.postgres.database import Database
from api.stripe.till import Disposition, StripeEvent, Till
from domain.facts import Context
from tests.api.conftest import Served, serve, settings_of
from tests.api.gifts import FIVE, broken, busy, given, inbox, serving_gifts
from tests.api.sandboxed import event, send, with_stripe


@pytest.fixture
def app(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """A deployment that takes in gifts."""
    with serving_gifts(database, monkeypatch) as served:
        yield served


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> CapturingLogger:
    """What the border logs."""
    logger = CapturingLogger()
    for module in ("api.stripe.inbox", "api.problems", "api.edge"):
        monkeypatch.setattr(f"{module}.log", logger)
    return logger


def test_a_handler_that_breaks_is_500_and_the_event_waits_to_be_tried_again(
    app: Served, said: CapturingLogger
) -> None:
    workspace = app.workspace()
    body = event("gift.given", given(workspace, email="ann@example.org"), id="evtbroken")
    broken.set()

    response = send(app, body)

    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    assert inbox(app) == [("evtbroken", "failed")]
    (receipt,) = app.get("/v1/admin/webhooks", disposition="failed")["data"]
    assert (receipt["reason"], receipt["attempts"]) == ("KeyError", 1)
    assert "webhook_failed" in str(said.calls)
    assert "ann@example.org" not in str(said.calls) + response.text

    broken.clear()
    assert send(app, body).json()["disposition"] == "applied"
    assert send(app, body).json()["disposition"] == "duplicate"
    assert app.balance(workspace) == FIVE


def test_a_failed_event_is_tried_again_without_stripe_too(app: Served) -> None:
    workspace = app.workspace()
    broken.set()
    assert send(app, event("gift.given", given(workspace, email="a"))).status_code == 500
    broken.clear()

    assert app.post("/v1/test/tick").is_success

    assert [disposition for _, disposition in inbox(app)] == ["applied"]
    assert app.balance(workspace) == FIVE


def test_a_handler_that_cannot_ask_stripe_now_is_503_with_retry_after(app: Served) -> None:
    workspace = app.workspace()
    busy.set()

    response = send(app, event("gift.given", given(workspace)))

    assert (response.status_code, response.json()["code"]) == (503, "stripe_unavailable")
    assert int(response.headers["retry-after"]) >= 1
    assert [disposition for _, disposition in inbox(app)] == ["failed"]


def test_what_is_not_known_yet_is_deferred_and_tried_after_1_5_and_30_minutes(
    app: Served,
) -> None:
    send(app, event("gift.given", given("ws_none"), id="evt_early"))
    times = []
    for _ in range(5):
        (receipt,) = app.get("/v1/admin/webhooks", disposition="deferred")["data"]
        times.append(receipt["next_attempt_at"])
        app.post("/v1/test/clock", {"now": receipt["next_attempt_at"]})
        app.post("/v1/test/tick")

    assert times == [
        "2026-06-01T00:01:00Z",
        "2026-06-01T00:05:00Z",
        "2026-06-01T00:30:00Z",
        "2026-06-01T01:30:00Z",
        "2026-06-01T02:30:00Z",
    ]


def test_what_is_deferred_for_72_hours_raises_an_alarm_and_is_shown(
    app: Served, said: CapturingLogger
) -> None:
    send(app, event("gift.given", given("ws_none"), id="evt_stuck"))
    assert 'open{age="72h",disposition="deferred"} 0.0' in app.http.get("/metrics").text
    app.post("/v1/test/clock", {"now": "2026-06-04T00:00:00Z"})
    assert "webhook_overdue" not in str(said.calls)

    app.post("/v1/test/tick")

    assert ("webhook_overdue", "evt_stuck") in [
        (call.args[0], call.kwargs["id"]) for call in said.calls if call.method_name == "error"
    ]
    assert 'open{age="72h",disposition="deferred"} 1.0' in app.http.get("/metrics").text
    (receipt,) = app.get("/v1/admin/webhooks", disposition="deferred")["data"]
    assert receipt["next_attempt_at"] == "2026-06-05T00:00:00Z"


def test_an_event_that_applies_lets_in_what_waited_for_its_object(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S107 in small: whichever of three events comes first, all are applied in the end."""
    seen: set[str] = set()

    def after(name: str, *needed: str) -> Any:
        async def handler(told: StripeEvent, till: Till, context: Context) -> Disposition:
            key = told.object["customer"]
            if not {f"{key}/{one}" for one in needed} <= seen:
                return "deferred"
            seen.add(f"{key}/{name}")
            return "applied"

        return (handler,)

    handlers = {"a": after("a"), "b": after("b", "a"), "c": after("c", "a", "b")}
    monkeypatch.setattr("api.house.all_handlers", lambda: handlers)
    with serve(with_stripe(settings_of(database))) as app:
        for number, order in enumerate(permutations("abc")):
            customer = f"cus_customer{number}"
            for type in order:
                told = {"id": f"{type}_{number}", "customer": customer}
                assert send(app, event(type, told)).is_success

        found = app.get("/v1/admin/webhooks", limit=100)["data"]

    assert [one["disposition"] for one in found] == ["applied"] * 18


def test_an_administrator_may_try_an_event_again(app: Served) -> None:
    workspace = app.workspace()
    broken.set()
    send(app, event("gift.given", given(workspace, email="a"), id="evt_again"))
    broken.clear()

    tried = app.post("/v1/admin/webhooks/evt_again/retry")

    assert (tried.status_code, tried.json()["settled"]) == (200, 1)
    assert tried.json()["receipt"]["disposition"] == "applied"
    assert app.post("/v1/admin/webhooks/evt_none/retry").status_code == 404
