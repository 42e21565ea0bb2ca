"""Stripe's webhooks: only signed ones come in, each is stored first and applied once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from adapters.postgres.database import Database
from adapters.stripe.signature import sign
from tests.api.conftest import Served, serve, settings_of
from tests.api.gifts import FIVE, given, inbox, serving_gifts
from tests.api.sandboxed import SECRET, START, event, send, with_stripe


@pytest.fixture
def app(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """A deployment that takes in gifts."""
    with serving_gifts(database, monkeypatch) as served:
        yield served


@pytest.mark.scenario("S106")
@pytest.mark.parametrize(
    ("secret", "at", "header"),
    [
        ("whsec_another", START, None),
        (SECRET, START - 301, None),
        (SECRET, START + 301, None),
        (SECRET, START, ""),
        (SECRET, START, "t=,v1="),
        (SECRET, START, f"t={START},v1="),
        (SECRET, START, f"t={START},v0=00"),
        (SECRET, START, "v1=00"),
        (SECRET, START, f"t={START},v1=é"),
    ],
)
def test_s106_what_stripe_did_not_sign_or_long_ago_is_400_and_not_stored(
    app: Served, secret: str, at: int, header: str | None
) -> None:
    workspace = app.workspace()
    before = app.position()

    response = send(
        app,
        event("gift.given", given(workspace)),
        secret=secret,
        at=at,
        header=header,
    )

    assert response.status_code == 400
    assert response.json()["code"] == "invalid_signature"
    assert inbox(app) == []
    assert app.position() == before


@pytest.mark.scenario("S106")
def test_s106_a_body_that_was_changed_by_one_byte_is_400(app: Served) -> None:
    body = event("gift.given", given(app.workspace()))

    response = send(app, body + b" ", header=sign(body, SECRET, START))

    assert response.status_code == 400
    assert inbox(app) == []


@pytest.mark.parametrize("at", [START - 300, START, START + 300])
def test_a_signature_is_good_for_300_seconds(app: Served, at: int) -> None:
    workspace = app.workspace()

    response = send(app, event("gift.given", given(workspace)), at=at)

    assert (response.status_code, response.json()) == (
        200,
        {"received": True, "disposition": "applied"},
    )
    assert app.balance(workspace) == FIVE


def test_while_a_secret_is_rotated_both_are_good(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.house.all_handlers", dict)
    settings = with_stripe(settings_of(database))
    with serve(replace(settings, stripe_webhook_secret="whsec_old, whsec_new")) as app:
        answers = [
            send(app, event("x", {}), secret=secret).status_code
            for secret in ("whsec_old", "whsec_new", "whsec_third")
        ]

    assert answers == [200, 200, 400]


def test_the_path_without_v1_works_too_and_needs_no_content_type(app: Served) -> None:
    workspace = app.workspace()

    assert send(app, event("gift.given", given(workspace)), path="/webhooks/stripe").is_success

    assert app.balance(workspace) == FIVE


@pytest.mark.scenario("S37")
def test_an_event_that_comes_three_times_is_applied_once(app: Served) -> None:
    workspace = app.workspace()
    body = event("gift.given", given(workspace))

    said = [send(app, body).json()["disposition"] for _ in range(3)]

    assert said == ["applied", "duplicate", "duplicate"]
    assert app.balance(workspace) == FIVE


def test_an_event_that_comes_at_the_same_time_is_applied_once_and_every_answer_is_200(
    app: Served,
) -> None:
    workspace = app.workspace()
    bodies = [event("gift.given", given(workspace)) for _ in range(4)] * 5

    with ThreadPoolExecutor(len(bodies)) as pool:
        answers = list(pool.map(lambda body: send(app, body), bodies))

    assert {answer.status_code for answer in answers} == {200}
    said = sorted(answer.json()["disposition"] for answer in answers)
    assert said == ["applied"] * 4 + ["duplicate"] * 16
    assert app.balance(workspace) == 4 * FIVE
    assert [disposition for _, disposition in inbox(app)] == ["applied"] * 4


@pytest.mark.scenario("S108")
def test_s108_an_unknown_type_is_ignored_and_its_receipt_kept(app: Served) -> None:
    before = app.position()

    response = send(app, event("radar.early_fraud_warning.created", {}, id="evt_new"))

    assert (response.status_code, response.json()["disposition"]) == (200, "ignored")
    assert app.position() == before
    kept = app.get("/v1/admin/webhooks", disposition="ignored")["data"]
    assert [(one["event_id"], one["type"]) for one in kept] == [
        ("evt_new", "radar.early_fraud_warning.created")
    ]


def test_of_two_handlers_the_stronger_word_counts(app: Served) -> None:
    assert send(app, event("gift.idle", {})).json()["disposition"] == "ignored"
    assert send(app, event("gift.given", given("ws_none"))).json()["disposition"] == "deferred"


def test_what_is_signed_and_no_event_is_422_and_not_stored(app: Served) -> None:
    for body in (b"", b"[]", b"{}", b'{"id":"evt_1"}', b"\xff", b"[" * 100_000):
        assert send(app, body).status_code == 422, body[:20]
    assert send(app, b'"' + b"x" * 2_000_001 + b'"').status_code == 413

    assert inbox(app) == []


def test_receipts_are_paged_and_filtered_and_their_bodies_never_shown(app: Served) -> None:
    for number in range(5):
        send(app, event("x.y", {"email": "ann@example.org"}, id=f"evt_{number}"))

    first = app.get("/v1/admin/webhooks", limit=3)
    rest = app.get("/v1/admin/webhooks", limit=3, cursor=first["next_cursor"])

    shown = [one["event_id"] for one in first["data"] + rest["data"]]
    assert shown == ["evt_4", "evt_3", "evt_2", "evt_1", "evt_0"]
    assert (first["has_more"], rest["has_more"]) == (True, False)
    assert "ann@" not in str(first)
    assert app.call("GET", "/v1/admin/webhooks", disposition="odd").status_code == 422
    tenant = app.key("admin", workspace_id=app.workspace())
    assert app.call("GET", "/v1/admin/webhooks", key=tenant).status_code == 403


def test_without_keys_the_route_says_so_plainly(database: Database) -> None:
    with serve(settings_of(database)) as app:
        response = send(app, event("x", {}))

    assert (response.status_code, response.json()["code"]) == (503, "stripe_unavailable")
    assert "STRIPE_SECRET_KEY" in response.json()["detail"]
