"""The reconciler takes in what webhooks lost, and reports what that does not explain."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from adapters.postgres.database import Database
from tests.api.conftest import serve, settings_of, until
from tests.api.sandboxed import KEY, Sandboxed, keeping, sandboxed

TWENTY = 20_000_000


@pytest.fixture
def both(database: Database) -> Iterator[Sandboxed]:
    """A deployment whose webhooks never arrive."""
    with sandboxed(database, mode="held") as pair:
        yield pair


def reconcile(both: Sandboxed) -> Any:
    response = both.app.post("/v1/admin/reconcile", {"days": 3})
    assert response.status_code == 200, response.text
    return response.json()


def at_stripe(both: Sandboxed, path: str, **data: Any) -> Any:
    """What somebody does at Stripe, past us."""
    response = httpx.post(f"{both.sandbox.url}/v1/{path}", auth=(KEY, ""), data=data)
    assert response.status_code == 200, response.text
    return response.json()


def customer(both: Sandboxed) -> tuple[str, str]:
    """A new workspace, and its customer at Stripe."""
    workspace = both.app.workspace()
    assert both.app.post("/v1/billing/card-setup", {}, workspace).status_code == 200
    assert both.sandbox.books is not None
    (found,) = both.sandbox.books.find("customer", metadata__workspace_id=workspace)
    return workspace, found["id"]


def with_card(both: Sandboxed) -> str:
    """A workspace with a card that works."""
    workspace, id = customer(both)
    both.sandbox.control.card(id)
    reconcile(both)
    return workspace


def top_up(both: Sandboxed, workspace: str) -> Any:
    response = both.app.post("/v1/billing/topup", {"amount_usd": 20}, workspace)
    assert response.is_success, response.text
    return response.json()


def lose_events(both: Sandboxed) -> None:
    """Stripe forgets its events, as it does after a month: only the objects tell."""
    books = both.sandbox.books
    assert books is not None
    for event in books.find("event"):
        books.remove(event["id"])
    for delivery in books.find("sandbox.delivery"):
        books.remove(delivery["id"])


def intents(both: Sandboxed) -> list[Any]:
    assert both.sandbox.books is not None
    return both.sandbox.books.find("payment_intent")


def test_a_card_whose_webhooks_were_lost_is_found(both: Sandboxed) -> None:
    workspace, id = customer(both)
    both.sandbox.control.card(id)
    assert not both.app.get("/v1/billing/balance", workspace)["has_payment_method"]

    report = reconcile(both)

    assert {one["object"] for one in report["applied"]} >= {"payment_method"}
    assert report["mismatches"] == []
    balance = both.app.get("/v1/billing/balance", workspace, consistency="strong")
    assert balance["has_payment_method"]


@pytest.mark.parametrize("events", ["are kept", "are lost"])
@pytest.mark.parametrize("fault", ["timeout_after", "drop_after"])
def test_a_payment_whose_answer_and_webhooks_were_lost_is_credited_once(
    both: Sandboxed, fault: str, events: str
) -> None:
    workspace = with_card(both)
    path = "/v1/payment_intents"
    both.sandbox.control.script({"path": path, "fault": fault, "times": 2})
    assert top_up(both, workspace)["status"] == "pending"
    assert both.app.balance(workspace) == 0
    if events == "are lost":
        lose_events(both)

    first, second = reconcile(both), reconcile(both)

    applied = {(one["object"], one["event_type"]) for one in first["applied"]}
    assert ("payment_intent", "payment_intent.succeeded") in applied
    assert (first["mismatches"], second["mismatches"], second["applied"]) == ([], [], [])
    assert both.app.balance(workspace) == TWENTY
    assert both.app.facts(workspace).count("Credited") == 1
    both.sandbox.control.deliver()
    assert both.app.balance(workspace) == TWENTY
    assert len(intents(both)) == 1


@pytest.mark.parametrize("events", ["are kept", "are lost"])
def test_a_refund_that_somebody_made_at_stripe_is_taken_in(both: Sandboxed, events: str) -> None:
    workspace = with_card(both)
    top_up(both, workspace)
    (intent,) = intents(both)
    at_stripe(both, "refunds", payment_intent=intent["id"], amount=500)
    if events == "are lost":
        lose_events(both)

    report = reconcile(both)

    assert report["mismatches"] == []
    assert both.app.balance(workspace) == 15_000_000


def test_a_dispute_whose_webhooks_were_lost_freezes_the_account(both: Sandboxed) -> None:
    workspace = with_card(both)
    top_up(both, workspace)
    (intent,) = intents(both)
    dispute = both.sandbox.control.dispute(intent["latest_charge"])
    both.sandbox.control.step(dispute["id"], "funds_withdrawn")
    lose_events(both)

    report = reconcile(both)

    assert report["mismatches"] == []
    balance = both.app.get("/v1/billing/balance", workspace, consistency="strong")
    assert (balance["is_frozen"], balance["balance_micros"]) == (True, 0)


def test_it_is_done_every_day_by_itself(database: Database) -> None:
    with sandboxed(database, mode="held", clock=False) as both:
        workspace, id = customer(both)
        both.sandbox.control.card(id)

        with keeping(both.app.settings):
            until(lambda: both.app.call("GET", "/v1/admin/reconcile").is_success)

        first = both.app.get("/v1/admin/reconcile")
        balance = both.app.get("/v1/billing/balance", workspace, consistency="strong")
        assert balance["has_payment_method"]
        with keeping(both.app.settings):
            both.app.workspace()
            until(lambda: both.app.get("/v1/admin/reactions")["behind"] == 0)
        assert both.app.get("/v1/admin/reconcile") == first


def test_money_that_nobody_here_asked_for_is_reported_and_left_alone(both: Sandboxed) -> None:
    workspace, id = customer(both)
    card = both.sandbox.control.card(id)
    reconcile(both)
    stray = at_stripe(
        both,
        "payment_intents",
        amount=700,
        currency="usd",
        customer=id,
        payment_method=card["id"],
        confirm="true",
        off_session="true",
    )
    before = both.app.position()

    first, second = reconcile(both), reconcile(both)

    for report in (first, second):
        (found,) = report["mismatches"]
        assert (found["object"], found["id"]) == ("payment_intent", stray["id"])
        assert "nobody here asked" in found["what"]
    assert both.app.position() == before
    assert both.app.balance(workspace) == 0


def test_a_credit_whose_payment_stripe_does_not_know_is_reported(both: Sandboxed) -> None:
    workspace = with_card(both)
    made = top_up(both, workspace)
    (intent,) = intents(both)
    assert both.sandbox.books is not None
    both.sandbox.books.remove(intent["id"])
    lose_events(both)
    both.tick()
    both.to("2026-06-01T01:00:00Z")

    report = reconcile(both)

    found = {(one["object"], one["id"]): one["what"] for one in report["mismatches"]}
    assert "knows nothing" in found["payment_attempt", made["payment_attempt_id"]]
    assert both.app.balance(workspace) == TWENTY


def test_an_attempt_that_never_reached_stripe_is_reported(both: Sandboxed) -> None:
    workspace = with_card(both)
    both.sandbox.control.script({"path": "/v1/payment_intents", "fault": "drop", "times": 2})
    made = top_up(both, workspace)
    assert made["status"] == "pending"
    both.tick()
    assert reconcile(both)["mismatches"] == []  # it may just be under way
    both.to("2026-06-01T01:00:00Z")

    (found,) = reconcile(both)["mismatches"]

    assert (found["object"], found["id"]) == ("payment_attempt", made["payment_attempt_id"])
    assert intents(both) == []


def test_a_payment_in_quarantine_is_reported_until_somebody_decides(both: Sandboxed) -> None:
    workspace = with_card(both)
    both.sandbox.control.script({"path": "/v1/payment_intents", "fault": "drop_after", "times": 2})
    top_up(both, workspace)
    (intent,) = intents(both)
    assert both.sandbox.books is not None
    both.sandbox.books.put(intent | {"amount": 1_900, "amount_received": 1_900})

    (found,) = reconcile(both)["mismatches"]

    assert "administrator" in found["what"]
    assert both.app.balance(workspace) == 0


def test_the_last_report_is_kept_and_is_for_administrators_of_the_deployment(
    both: Sandboxed,
) -> None:
    assert both.app.call("GET", "/v1/admin/reconcile").status_code == 404
    report = reconcile(both)

    assert both.app.get("/v1/admin/reconcile") == report
    tenant = both.app.key("admin", workspace_id=both.app.workspace())
    for method in ("GET", "POST"):
        assert both.app.call(method, "/v1/admin/reconcile", key=tenant).status_code == 403
    for body in ({"days": 0}, {"days": 31}, {"day": 1}):
        assert both.app.post("/v1/admin/reconcile", body).status_code == 422


def test_while_stripe_is_away_it_is_503_and_nothing_is_kept(both: Sandboxed) -> None:
    both.sandbox.control.script(
        {"path": "/v1/events", "method": "GET", "fault": "error", "times": 2}
    )

    response = both.app.post("/v1/admin/reconcile")

    assert (response.status_code, response.json()["code"]) == (503, "stripe_unavailable")
    assert both.app.call("GET", "/v1/admin/reconcile").status_code == 404


def test_without_stripe_it_says_so(database: Database) -> None:
    with serve(settings_of(database)) as app:
        response = app.post("/v1/admin/reconcile")

    assert (response.status_code, response.json()["code"]) == (503, "stripe_unavailable")
    assert "STRIPE_SECRET_KEY" in response.json()["detail"]
