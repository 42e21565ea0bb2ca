"""Money over HTTP: exactly once, to the micro, and what is read afterwards."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import psycopg

from tests.api.conftest import Served, decimals


def test_a_charge_answers_as_the_specification_says(app: Served) -> None:
    workspace = app.workspace("20")

    response = app.charge(workspace, tokens={"input": 12345, "output": 678})

    answer = decimals(response)
    assert response.status_code == 201
    assert answer.pop("usage_id").startswith("use_")
    assert answer == {
        "metered": True,
        "funding": [{"source": "wallet", "amount_micros": 49565, "units": 0}],
        "provider_cost_usd": Decimal("0.047205"),
        "markup_usd": Decimal("0.00236"),
        "total_cost_usd": Decimal("0.049565"),
        "price_book_version": 1,
        "balance_after_micros": 19950435,
        "balance_usd": Decimal("19.950435"),
        "overdrawn": False,
        "late": False,
    }
    assert int(response.headers["x-ledger-position"]) == app.position()
    assert app.balance(workspace) == 19950435
    assert app.facts(workspace)[-1] == "Debited"


def test_the_same_act_again_is_answered_the_same_and_charged_once(app: Served) -> None:
    workspace = app.workspace("20")

    with ThreadPoolExecutor(5) as threads:
        answers = list(threads.map(lambda _: app.charge(workspace, event_id="e"), range(5)))

    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 200, 201]
    assert len({answer.content for answer in answers}) == 1
    other = app.charge(workspace, event_id="e", tokens={"input": 1})
    assert (other.status_code, other.json()["code"]) == (409, "usage_event_conflict")
    assert app.facts(workspace).count("Debited") == 1


def test_reads_wait_for_a_position_and_say_where_they_stand(app: Served) -> None:
    workspace = app.workspace("20")
    position = int(app.charge(workspace).headers["x-ledger-position"])

    balance = app.get("/v1/billing/balance", workspace, min_position=position)
    usage = app.get("/v1/billing/usage", workspace, min_position=position, group_by="llm_model")
    items = app.get("/v1/billing/usage/events", workspace, min_position=position)
    late = app.call(
        "GET", "/v1/billing/balance", workspace=workspace, min_position=position + 1_000
    )

    assert balance["balance_micros"] == 20_000_000 - 38887
    assert usage["rows"][0]["group_key"] == "gpt-5.4"
    assert usage["totals"]["total_cost_micros"] == 38887
    assert items["data"][0]["total_cost_usd"] == Decimal("0.038887")
    assert {balance["as_of_position"], usage["as_of_position"]} == {position}
    assert (late.status_code, late.json()["code"]) == (503, "projection_lagging")
    assert late.headers["retry-after"] == "1"


def test_an_idempotency_key_is_carried_out_once(app: Served) -> None:
    workspace = app.workspace()
    path = f"/v1/admin/workspaces/{workspace}/credits"

    def give(amount: int, key: str | None) -> tuple[int, str, str | None]:
        headers = {"Authorization": f"Bearer {app.admin_key}"}
        if key is not None:
            headers["Idempotency-Key"] = key
        response = app.http.post(path, json={"amount_usd": amount}, headers=headers)
        return response.status_code, response.text, response.headers.get("idempotent-replayed")

    first, again, other = give(5, "k"), give(5, "k"), give(6, "k")

    assert (first[0], first[2]) == (201, None)
    assert again == (201, first[1], "true")
    assert other[0] == 422 and "idempotency_key_reuse" in other[1]
    assert give(5, None)[0] == 400
    assert give(5, "x" * 256)[0] == 422
    assert give(0, "z")[0] == 422
    with ThreadPoolExecutor(8) as threads:
        statuses = [status for status, *_ in threads.map(lambda _: give(1, "race"), range(8))]
    assert set(statuses) <= {201, 409} and 201 in statuses
    assert app.balance(workspace) == 6_000_000


def test_a_request_that_died_half_way_is_taken_over_and_still_happens_once(app: Served) -> None:
    workspace = app.workspace()
    path, headers = f"/v1/admin/workspaces/{workspace}/credits", {"Idempotency-Key": "k"}
    app.call("POST", path, {"amount_usd": 5}, headers=headers)

    def forget(age: str, who: str | None = None) -> None:  # as if it had died after its commit
        with psycopg.connect(app.database.conninfo(), autocommit=True) as connection:
            connection.execute(
                "UPDATE idempotency_keys SET status = NULL, body = NULL,"
                " created_at = now() - %s::interval, claimed_by = coalesce(%s, claimed_by)"
                " WHERE key = 'k'",
                (age, who),
            )

    forget("1 second")
    young = app.call("POST", path, {"amount_usd": 5}, headers=headers)
    forget("61 seconds")
    old = app.call("POST", path, {"amount_usd": 5}, headers=headers)
    forget("0 seconds", "a process that nobody hears of any more")
    dead = app.call("POST", path, {"amount_usd": 5}, headers=headers)

    assert (dead.status_code, dead.json()["duplicate"]) == (201, True)
    assert (young.status_code, young.json()["code"]) == (409, "idempotency_in_progress")
    assert (old.status_code, old.json()["duplicate"]) == (201, True)
    assert app.balance(workspace) == 5_000_000


def test_a_payment_reference_credits_once_for_ever(app: Served) -> None:
    workspace, other = app.workspace(), app.workspace()

    def pay(where: str, amount: int) -> tuple[int, object]:
        response = app.post(
            "/v1/billing/topup", {"amount_usd": amount, "payment_ref": "wire-77"}, where
        )
        body = response.json()
        return response.status_code, body.get("code", body.get("duplicate"))

    assert pay(workspace, 20) == (200, False)
    assert pay(workspace, 20) == (200, True)
    assert pay(workspace, 25) == (409, "payment_ref_conflict")
    assert pay(other, 20) == (409, "payment_ref_conflict")
    assert (app.balance(workspace), app.balance(other)) == (20_000_000, 0)


def test_a_frozen_account_pays_for_nothing_but_takes_money(app: Served) -> None:
    workspace = app.workspace("100")
    frozen = app.post(f"/v1/admin/workspaces/{workspace}/freeze", {"reason": "fraud"}).json()

    refused = app.charge(workspace)
    topped_up = app.post("/v1/billing/topup", {"amount_usd": 5, "payment_ref": "w"}, workspace)

    assert (frozen["is_frozen"], frozen["freeze_reasons"]) == (True, ["fraud"])
    assert (refused.status_code, refused.json()["code"]) == (402, "account_frozen")
    assert (refused.json()["needs_credits"], refused.json()["is_frozen"]) == (False, True)
    assert topped_up.json()["frozen"] is True
    assert topped_up.json()["new_balance_micros"] == 105_000_000
    path = f"/v1/admin/workspaces/{workspace}/unfreeze"
    assert app.post(path, {"reason": "chargeback"}).json()["is_frozen"] is True
    assert app.post(path, {"reason": "all is well"}).json()["is_frozen"] is False
    assert app.charge(workspace).status_code == 201


def test_a_void_gives_back_what_the_act_drew_and_happens_once(app: Served) -> None:
    workspace = app.workspace("20")
    usage_id = app.charge(workspace).json()["usage_id"]

    first = app.post(f"/v1/usage/{usage_id}/void", {"reason": "a bug"}, workspace)
    second = app.post(f"/v1/usage/{usage_id}/void", {"reason": "a bug"}, workspace)

    assert (first.status_code, first.json()["amount_micros"]) == (200, 38887)
    assert (second.status_code, second.json()["code"]) == (409, "already_voided")
    assert app.balance(workspace) == 20_000_000
    position = int(first.headers["x-ledger-position"])
    totals = app.get("/v1/billing/usage", workspace, min_position=position)["totals"]
    assert totals["total_cost_micros"] == totals["request_count"] == 0
    items = app.get("/v1/billing/usage/events", workspace, min_position=position)
    assert [item["voided"] for item in items["data"]] == [True]


def test_a_refund_takes_back_no_more_than_was_paid(app: Served) -> None:
    workspace = app.workspace()
    body = {"amount_usd": 20, "payment_ref": "w"}
    payment = app.post("/v1/billing/topup", body, workspace).json()["payment_attempt_id"]
    path = f"/v1/admin/workspaces/{workspace}/refunds"

    def refund(amount: int) -> int:
        return app.post(path, {"payment_attempt_id": payment, "amount_usd": amount}).status_code

    assert [refund(15), refund(6), refund(5), refund(1)] == [201, 409, 201, 409]
    assert app.balance(workspace) == 0


def test_an_adjustment_adds_or_takes_away(app: Served) -> None:
    workspace = app.workspace("1")
    path = f"/v1/admin/workspaces/{workspace}/adjustments"

    down = app.post(path, {"amount_usd": "-3.50", "reason": "double", "ticket_ref": "T-1"})

    assert down.json()["balance_micros"] == app.balance(workspace) == -2_500_000
    assert app.post(path, {"amount_usd": 4, "reason": "back"}).json()["balance_usd"] == 1.5
    assert app.post(path, {"amount_usd": 0, "reason": "nothing"}).status_code == 422


def test_an_act_without_a_price_is_recorded_and_charged_once_it_has_one(app: Served) -> None:
    workspace = app.workspace("20")
    recorded = app.charge(workspace, llm_model="new-model", mode="record")
    assert recorded.status_code == 201
    assert (recorded.json()["rated"], recorded.json()["total_cost_usd"]) == (None, None)
    price = {"model": "new-model", "input_usd_per_m": 1, "output_usd_per_m": 2}

    book = {"markup_bps": 0, "effective_from": "2026-06-02T00:00:00Z", "entries": [price]}
    published = app.post("/v1/admin/price-books", book)

    assert (published.status_code, published.json()["rated"]) == (201, 1)
    assert app.facts(workspace)[-2:] == ["UsageRated", "Debited"]
    assert app.balance(workspace) == 20_000_000 - 12345
    book["effective_from"] = "2026-06-03T00:00:00Z"
    assert app.post("/v1/admin/price-books", book).json()["rated"] == 0
    book["effective_from"] = "2026-06-02T12:00:00Z"
    assert app.post("/v1/admin/price-books", book).status_code == 422


def test_a_charge_is_explained_from_its_price_to_the_balance(app: Served) -> None:
    workspace = app.workspace("20")
    usage_id = app.charge(workspace, tokens={"input": 12345, "output": 678}).json()["usage_id"]

    told = app.get(f"/v1/audit/charges/{usage_id}/explain")

    assert told["formula"]["total_exact"] == "198261/4"
    assert "198261/4" in told["formula"]["text"] and "half-even" in told["formula"]["text"]
    assert told["formula"]["provider_cost_micros"] == 47205
    assert told["formula"]["total_micros"] == 49565
    assert told["price"]["price_book_version"] == 1
    assert (told["balance_before_micros"], told["balance_after_micros"]) == (20_000_000, 19950435)


def test_the_facts_add_up_to_the_balance_and_replay_says_the_same(app: Served) -> None:
    workspace = app.workspace("20")
    stream = f"credit_account/{workspace}"
    for _ in range(3):
        position = int(app.charge(workspace).headers["x-ledger-position"])

    facts = app.get("/v1/audit/events", stream=stream)["data"]
    moves = [fact["amount_micros"] for fact in facts if fact["amount_micros"] is not None]
    assert sum(moves) == app.balance(workspace)
    for fact in facts:
        if fact["balance_after_micros"] is not None:
            past = app.get("/v1/audit/replay", stream=stream, position=fact["position"])
            assert past["balance_micros"] == fact["balance_after_micros"]
    app.get("/v1/billing/usage", workspace, min_position=position)
    assert app.post("/v1/test/tick").status_code == 200
    assert app.get("/v1/audit/compare")["differences"] == []


def test_a_listing_goes_on_where_its_cursor_says(app: Served) -> None:
    workspace = app.workspace("20")
    for _ in range(5):
        position = int(app.charge(workspace).headers["x-ledger-position"])

    first = app.get("/v1/billing/usage/events", workspace, limit=3, min_position=position)
    app.charge(workspace)
    second = app.get("/v1/billing/usage/events", workspace, limit=3, cursor=first["next_cursor"])

    places = [item["position"] for item in (*first["data"], *second["data"])]
    assert places == sorted(places, reverse=True) and len(places) == 5
    assert (first["has_more"], second["has_more"], second["next_cursor"]) == (True, False, None)


def test_expired_credits_are_written_off_by_a_tick(app: Served) -> None:
    workspace = app.workspace()
    body = {"amount_usd": 5, "expires_at": "2026-06-10T00:00:00Z"}
    app.post(f"/v1/admin/workspaces/{workspace}/credits", body)
    app.post("/v1/test/clock", {"now": "2026-06-10T00:00:00Z"})

    ticked = app.post("/v1/test/tick")

    assert (ticked.status_code, ticked.json()["expired_accounts"]) == (200, 1)
    assert app.facts(workspace)[-1] == "CreditsExpired"
    assert app.get("/v1/billing/balance", workspace)["balance_micros"] == 0


def test_flarex_meters_generations_and_not_edits(flarex: Served) -> None:
    workspace = flarex.workspace()
    act = {"meter": "chat_generation", "llm_model": None, "tokens": {"input": 12345, "output": 678}}

    charged = flarex.charge(workspace, action="diff", **act)
    position = flarex.position()
    edited = flarex.charge(workspace, action="message_edit", **act)
    unknown = flarex.charge(workspace, action="dance", **act)

    assert charged.json()["funding"] == [{"source": "allowance", "amount_micros": 0, "units": 14}]
    assert (edited.status_code, edited.json()) == (200, {"metered": False})
    assert (unknown.status_code, unknown.json()["code"]) == (422, "unknown_action")
    assert flarex.position() == position
    bucket = flarex.get("/v1/billing/balance", workspace)["buckets"][0]
    assert (bucket["name"], bucket["used"], bucket["remaining"]) == ("ai_credits", 14, 36)
