"""Whatever the document allows, and much that it does not, never breaks the server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import psycopg
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from hypothesis.strategies import SearchStrategy
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok

from adapters.postgres.database import Database
from domain.codec import decode_fact, encode_fact, prepare
from tests.api.conftest import Served
from tests.api.sandboxed import sandboxed

EXAMPLES = 24
NOT_ASKED = {"/v1/audit/compare"}
"""A full fold; it takes no input."""


@pytest.fixture
def app(database: Database) -> Iterator[Served]:
    """The `faces` deployment with a sandbox of Stripe."""
    with sandboxed(database) as both:
        yield both.app


def test_generated_requests_never_end_in_a_server_error(app: Served) -> None:
    workspace = app.workspace("20")
    usage_id = app.charge(workspace).json()["usage_id"]
    schema = schemathesis.openapi.from_dict(app.http.get("/openapi.json").json())
    headers = {"Authorization": f"Bearer {app.admin_key}", "X-Workspace-Id": workspace}
    statuses: dict[int, int] = {}

    for found in schema.get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()
        if operation.path in NOT_ASKED:
            continue

        def ask(case: schemathesis.Case[Any]) -> None:
            if "workspace_id" in case.path_parameters:
                case.path_parameters["workspace_id"] = workspace
            if "usage_id" in case.path_parameters:
                case.path_parameters["usage_id"] = usage_id
            if str((case.query or {}).get("min_position")).isdigit():
                case.query["min_position"] = 1  # A far one is waited for in vain, 2 s each time.
            response = case.call(base_url=app.url, headers=headers)
            case.validate_response(response, checks=[not_a_server_error])
            statuses[response.status_code] = statuses.get(response.status_code, 0) + 1

        for mode in schemathesis.GenerationMode:
            run = settings(
                max_examples=EXAMPLES // 2,
                deadline=None,
                database=None,
                derandomize=True,
                phases=[Phase.explicit, Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            strategy = operation.as_strategy(generation_mode=mode)
            _every(strategy, run, ask)

    assert {200, 201, 422} <= statuses.keys(), statuses
    assert all(status < 500 for status in statuses), statuses
    _read_again(app)


def _read_again(app: Served) -> None:
    """Whatever was stored can be read: one fact that cannot would stop every read model."""
    prepare()
    with psycopg.connect(app.database.conninfo()) as connection:
        stored = connection.execute("SELECT topic, state FROM events").fetchall()
    for topic, state in stored:
        assert encode_fact(decode_fact(topic, state)) == bytes(state), state


def _every(
    strategy: SearchStrategy[Any], run: settings, ask: Callable[[schemathesis.Case[Any]], None]
) -> None:
    def test(case: schemathesis.Case[Any]) -> None:
        ask(case)

    # Nothing can be wrong about an operation that takes nothing.
    with suppress(Unsatisfiable):
        run(given(case=strategy)(test))()
