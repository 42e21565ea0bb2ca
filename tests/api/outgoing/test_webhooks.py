"""Our own webhooks: made once for each fact, signed, sent in order, tried again, logged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from tests.api.conftest import Served
from tests.api.outgoing.receiver import Receiver, receiving

ENDPOINTS = "/v1/billing/webhook-endpoints"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as one:
        yield one


def register(app: Served, workspace: str, url: str, **more: Any) -> dict[str, Any]:
    """A new endpoint, with its secret."""
    response = app.call("POST", ENDPOINTS, {"url": url} | more, workspace=workspace)
    assert response.status_code == 201, response.text
    made: dict[str, Any] = response.json()
    return made


def tick(app: Served, after: timedelta | None = None) -> None:
    """Do what is due, some time later."""
    if after is not None:
        with psycopg.connect(app.database.conninfo()) as connection:
            row = connection.execute("SELECT now FROM test_clock").fetchone()
        assert row is not None
        moved = app.post("/v1/test/clock", {"now": (row[0] + after).isoformat()})
        assert moved.status_code == 200, moved.text
    response = app.post("/v1/test/tick")
    assert response.status_code == 200, response.text


def log(app: Served, workspace: str, endpoint: dict[str, Any], **query: Any) -> list[Any]:
    """What was sent to it, the newest first."""
    found: list[Any] = app.get(f"{ENDPOINTS}/{endpoint['id']}/deliveries", workspace, **query)[
        "data"
    ]
    return found


def freeze(app: Served, workspace: str, ref: str) -> None:
    """A fact to tell of."""
    body = {"reason": "admin", "ticket_ref": ref}
    assert app.post(f"/v1/admin/workspaces/{workspace}/freeze", body).status_code == 200


def test_a_balance_that_falls_is_told_of_once_at_each_line(app: Served, receiver: Receiver) -> None:
    workspace = app.workspace("0.100000")
    endpoint = register(app, workspace, receiver.url, balance_low_usd="0.05")

    for _ in range(4):  # 37,035 µ and the markup, each
        app.charge(workspace)
    tick(app)
    tick(app)

    assert receiver.types == ["balance.low", "balance.exhausted"]
    low, exhausted = receiver.taken
    assert low.data["threshold_micros"] == 50_000
    assert low.data["balance_micros"] == 100_000 - 2 * 38_887
    assert (low.data["workspace_id"], low.data["balance_usd"]) == (workspace, 0.022226)
    assert exhausted.data["balance_micros"] == app.balance(workspace)
    for one in receiver.taken:
        assert Webhook(endpoint["secret"]).verify(one.body, one.headers)["type"] == one.type


def test_exactly_the_line_is_not_low(app: Served, receiver: Receiver) -> None:
    workspace = app.workspace("1")
    register(app, workspace, receiver.url, balance_low_usd="0.5", types=["balance.low"])
    path = f"/v1/admin/workspaces/{workspace}/adjustments"

    for amount in ("-0.5", "-0.000001", "-0.1", "0.2", "-0.2"):
        app.post(path, {"amount_usd": amount, "reason": "test"})
    tick(app)

    assert [one.data["balance_micros"] for one in receiver.taken] == [499_999, 399_999]


def test_only_what_is_asked_for_and_only_from_now_on(app: Served, receiver: Receiver) -> None:
    workspace, other = app.workspace("5"), app.workspace("5")
    freeze(app, workspace, "before")
    register(app, workspace, receiver.url, types=["account.unfrozen"])

    freeze(app, workspace, "after")
    freeze(app, other, "other")
    app.post(f"/v1/admin/workspaces/{workspace}/unfreeze", {"ticket_ref": "T"})
    tick(app)

    assert receiver.types == ["account.unfrozen"] * len(receiver.taken)
    assert {one.data["workspace_id"] for one in receiver.taken} == {workspace}
    assert receiver.taken[-1].data["still_frozen"] is False


def test_what_fails_is_tried_again_on_the_schedule_and_nothing_overtakes_it(
    app: Served, receiver: Receiver
) -> None:
    workspace = app.workspace("5")
    endpoint = register(app, workspace, receiver.url)
    receiver.answers = [500, 302, 429]
    receiver.location = receiver.url
    freeze(app, workspace, "first")
    freeze(app, workspace, "second")

    tick(app)
    assert len(receiver.received) == 1
    tick(app, timedelta(seconds=4))
    assert len(receiver.received) == 1
    tick(app, timedelta(seconds=1))
    assert len(receiver.received) == 2, "after 5 s; a redirect is a failure and is not followed"
    tick(app, timedelta(minutes=5))
    assert len(receiver.received) == 3
    waiting = log(app, workspace, endpoint, status="pending")
    assert [(one["attempts"], one["type"]) for one in waiting] == [
        (0, "account.frozen"),
        (3, "account.frozen"),
    ]
    tick(app, timedelta(minutes=30))

    assert [one.data["ref"] for one in receiver.taken] == ["first", "second"]
    first = [one for one in receiver.received if one.data["ref"] == "first"]
    assert len({(one.id, one.body) for one in first}) == 1, "the same message each time"
    detail = app.get(f"{ENDPOINTS}/{endpoint['id']}/deliveries/{first[0].id}", workspace)
    assert [one["status_code"] for one in detail["tries"]] == [500, 302, 429, 200]
    assert detail["message"]["status"] == "delivered"
    assert detail["body"]["type"] == "account.frozen"


def test_after_the_whole_schedule_the_endpoint_is_disabled_and_keeps_what_waits(
    app: Served, receiver: Receiver
) -> None:
    workspace = app.workspace("5")
    endpoint = register(app, workspace, receiver.url)
    path = f"{ENDPOINTS}/{endpoint['id']}"
    receiver.answers = [503] * 10
    freeze(app, workspace, "lost")
    freeze(app, workspace, "kept")

    tick(app)
    for _ in range(12):
        tick(app, timedelta(hours=24))

    assert len(receiver.received) == 10
    shown = app.get(path, workspace)
    assert (shown["status"], shown["disabled_reason"]) == ("disabled", "failing")
    assert [one["status"] for one in log(app, workspace, endpoint)] == ["pending", "failed"]

    changed = app.call("PATCH", path, {"status": "enabled"}, workspace=workspace)
    assert changed.json()["status"] == "enabled"
    tick(app)
    assert [one.data["ref"] for one in receiver.taken] == ["kept"]


def test_410_disables_at_once(app: Served, receiver: Receiver) -> None:
    workspace = app.workspace("5")
    endpoint = register(app, workspace, receiver.url)
    receiver.answers = [410]
    freeze(app, workspace, "one")
    freeze(app, workspace, "two")

    tick(app)
    tick(app, timedelta(hours=24))

    assert len(receiver.received) == 1
    shown = app.get(f"{ENDPOINTS}/{endpoint['id']}", workspace)
    assert (shown["status"], shown["disabled_reason"]) == ("disabled", "gone")


def test_a_message_can_be_sent_again_by_hand(app: Served, receiver: Receiver) -> None:
    workspace = app.workspace("5")
    endpoint = register(app, workspace, receiver.url)
    receiver.answers = [500]
    freeze(app, workspace, "one")
    tick(app)
    [message] = log(app, workspace, endpoint)
    path = f"{ENDPOINTS}/{endpoint['id']}/deliveries/{message['message_id']}/redeliver"

    for _ in range(2):
        response = app.call("POST", path, workspace=workspace)
        assert response.status_code == 200, response.text
        assert (response.json()["delivered"], response.json()["status_code"]) == (True, 200)

    assert [one.id for one in receiver.received] == [message["message_id"]] * 3
    tick(app, timedelta(hours=1))
    assert len(receiver.received) == 3, "what was delivered by hand is not sent again by itself"


def test_a_test_message_goes_out_at_once(app: Served, receiver: Receiver) -> None:
    workspace = app.workspace()
    endpoint = register(app, workspace, receiver.url, types=["bot.paused"])
    path = f"{ENDPOINTS}/{endpoint['id']}/test"

    assert app.call("POST", path, workspace=workspace).json()["delivered"] is True
    receiver.answers = [404]
    answer = app.call("POST", path, workspace=workspace).json()
    assert (answer["delivered"], answer["status_code"]) == (False, 404)

    assert receiver.types == ["webhook.test"]
    assert Webhook(endpoint["secret"]).verify(receiver.taken[0].body, receiver.taken[0].headers)
    tick(app, timedelta(hours=1))
    assert len(receiver.received) == 2


def test_a_new_secret_signs_beside_the_old_one_for_a_day(app: Served, receiver: Receiver) -> None:
    workspace = app.workspace("5")
    endpoint = register(app, workspace, receiver.url)
    rotated = app.call("POST", f"{ENDPOINTS}/{endpoint['id']}/rotate-secret", workspace=workspace)
    new, old = rotated.json()["secret"], endpoint["secret"]
    assert new.startswith("whsec_")
    assert new != old

    freeze(app, workspace, "within")
    tick(app, timedelta(hours=23))
    freeze(app, workspace, "after")
    tick(app, timedelta(hours=2))

    within, after = receiver.taken
    for secret in (new, old):
        Webhook(secret).verify(within.body, within.headers)
    Webhook(new).verify(after.body, after.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(old).verify(after.body, after.headers)


def test_used_up_allowances_bots_and_plans_are_told_of(flarex: Served, receiver: Receiver) -> None:
    workspace = flarex.workspace()
    register(flarex, workspace, receiver.url)
    call = {
        "event_id": "e1",
        "meter": "chat_generation",
        "action": "chat",
        "tokens": {"input": 49_000, "output": 2_000},
    }

    assert flarex.call("POST", "/v1/usage", call, workspace=workspace).status_code == 201
    flarex.post(f"/v1/admin/workspaces/{workspace}/plan", {"plan": "starter"})
    tick(flarex)

    assert receiver.types == ["allowance.exhausted", "plan.changed"]
    assert receiver.taken[0].data["bucket"] == "ai_credits"
    assert json.loads(receiver.taken[1].body)["timestamp"] == "2026-06-01T00:00:00Z"
    assert receiver.taken[1].data["to_plan"] == "starter"
