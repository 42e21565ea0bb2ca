"""Labels that reach the gateway as free text are bounded before they become facts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from adapters.postgres.database import Database
from tests.acceptance.spending import refused
from tests.api.conftest import Served
from tests.api.gateway.provider import gateway
from tests.api.gateway.test_gateway import chat

LONG, LONGEST = "x" * 256, "é" * 255


@pytest.fixture
def app(database: Database) -> Iterator[Served]:
    """`faces`, in front of a scripted provider."""
    with gateway(database) as served:
        yield served


@pytest.mark.parametrize("name", ["face_id", "bot_id", "thread_id"])
@pytest.mark.parametrize("text", ["", LONG])
def test_a_label_in_metadata_that_no_fact_can_hold_is_refused(
    app: Served, name: str, text: str
) -> None:
    workspace = app.workspace("5")
    before = app.position()

    response = chat(app, workspace, metadata={name: text})

    problem = refused(response, 422, "validation_error")
    assert problem["errors"][0]["loc"] == ["body", "metadata", name]
    assert app.position() == before


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (f"/v1/compile/threads/{LONG}/messages", "thread_id"),
        (f"/v1/compile/documents/{LONG}/make", "document_id"),
    ],
)
def test_a_name_in_the_path_that_no_fact_can_hold_is_refused(
    app: Served, path: str, name: str
) -> None:
    workspace = app.workspace("5")
    before = app.position()

    response = app.call("POST", path, {"message": "Hello"}, workspace=workspace)

    problem = refused(response, 422, "validation_error")
    assert problem["errors"][0]["loc"] == ["path", name]
    assert app.position() == before


def test_the_longest_label_is_kept_and_read_again(app: Served) -> None:
    workspace = app.workspace("5")

    assert chat(app, workspace, metadata={"face_id": LONGEST}).status_code == 200
    path = f"/v1/compile/threads/{LONGEST}/messages"
    assert app.call("POST", path, {"message": "Hello"}, workspace=workspace).status_code == 201

    acts = [
        event["data"]["usage"]
        for event in app.get("/v1/audit/events", stream=f"credit_account/{workspace}")["data"]
        if "usage" in event["data"]
    ]
    assert [act.get("face_id") or act["thread_id"] for act in acts] == [LONGEST, LONGEST]
