"""A batch: every act for itself, in order, and safe to send again."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.conftest import Served
from tests.api.test_bad_input import ACT, expect


def test_a_batch_charges_in_order_and_again_charges_nothing(app: Served) -> None:
    workspace = app.workspace("20")
    items = [ACT | {"event_id": f"e{n}"} for n in range(1000)]

    first = app.call("POST", "/v1/usage/batch", items, workspace=workspace)
    again = app.call("POST", "/v1/usage/batch", {"items": items}, workspace=workspace)

    assert (first.status_code, first.json()["charged"]) == (200, 1000)
    results = first.json()["results"]
    balances = [result["result"]["balance_after_micros"] for result in results]
    assert balances == sorted(balances, reverse=True)
    assert {result["status"] for result in again.json()["results"]} == {200}
    assert [result["result"] for result in again.json()["results"]] == [
        result["result"] for result in results
    ]
    assert int(first.headers["x-ledger-position"]) == app.position()
    assert app.balance(workspace) == balances[-1]


def test_a_bad_item_of_a_batch_gets_its_own_problem_and_the_others_are_charged(
    app: Served,
) -> None:
    workspace = app.workspace("20")
    items = [
        ACT,
        {"event_id": "e2", "meter": "chat", "tokens": {"input": -1}},
        7,
        ACT | {"event_id": "e\0"},
    ]

    response = app.call("POST", "/v1/usage/batch", {"items": items}, workspace=workspace)

    assert response.status_code == 200, response.text
    results = response.json()["results"]
    assert [result["status"] for result in results] == [201, 422, 422, 422]
    assert [result["index"] for result in results] == [0, 1, 2, 3]
    assert [result["event_id"] for result in results][:3] == ["e1", "e2", None]
    assert results[1]["problem"]["errors"][0]["loc"] == ["body", "tokens", "input"]


@pytest.mark.parametrize("items", [[], [ACT] * 1001, {"items": []}, {"itmes": [ACT]}, "x"])
def test_a_batch_of_the_wrong_size_or_form_is_refused(app: Served, items: Any) -> None:
    workspace = app.workspace("20")
    before = app.position()

    response = app.call("POST", "/v1/usage/batch", items, workspace=workspace)

    expect(response, 422, "validation_error")
    assert app.position() == before
