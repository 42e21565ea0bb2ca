"""What people write about a decision has to say something."""

from __future__ import annotations

from typing import Any

import pytest

from tests.acceptance.spending import refused
from tests.api.conftest import Served

ADMIN = "/v1/admin/workspaces/{id}"
CASES: list[tuple[str, dict[str, Any], str]] = [
    ("/v1/workspaces", {"name": "\t"}, "name"),
    ("/v1/workspaces/{id}/bots", {"bot_id": " ", "name": "Desk"}, "bot_id"),
    ("/v1/workspaces/{id}/bots", {"bot_id": "b1", "name": "  "}, "name"),
    ("/v1/workspaces/{id}/members", {"member_id": " "}, "member_id"),
    (f"{ADMIN}/freeze", {"reason": " "}, "reason"),
    (f"{ADMIN}/unfreeze", {"reason": "chargeback", "ticket_ref": " "}, "ticket_ref"),
    (f"{ADMIN}/credits", {"amount_usd": 1, "reason": "\n"}, "reason"),
    (f"{ADMIN}/adjustments", {"amount_usd": 1, "reason": "x", "ticket_ref": " "}, "ticket_ref"),
    ("/v1/usage/use_1/void", {"ticket_ref": "\u00a0"}, "ticket_ref"),
]


@pytest.mark.parametrize(("path", "body", "field"), CASES, ids=[f"{c[0]} {c[2]}" for c in CASES])
def test_what_is_blank_says_nothing(
    app: Served, path: str, body: dict[str, Any], field: str
) -> None:
    workspace = app.workspace()
    before = app.position()

    answer = app.post(path.replace("{id}", workspace), body, workspace)

    problem = refused(answer, 422, "validation_error")
    assert problem["errors"][0]["loc"] == ["body", field]
    assert "must not be blank" in str(problem["errors"][0])
    assert app.position() == before
