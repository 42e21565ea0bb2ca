"""What holds for every route: retries, bodies, and how new a read is. Found in the document, so
that it holds for the routes of tomorrow too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from adapters.postgres.database import Database
from tests.api.conftest import Served
from tests.api.conventions import WRITES, Route, new_key, routes
from tests.api.sandboxed import sandboxed

OUR_WEBHOOKS = "/v1/billing/webhook-endpoints"
"""Where they go is no fact of the ledger."""
TOLD_ONCE = "POST /v1/billing/webhook-endpoints"
"""Its secret is in the first answer only; what is kept for retries has it not."""
PASSES_ON = "POST /v1/chat/completions"
"""Fields it does not know belong to the provider."""
NOT_OF_THE_LEDGER = (
    "/v1/admin/catalogue",
    "/v1/admin/reactions",
    "/v1/admin/reconcile",
    "/v1/admin/webhooks",
    "/v1/admin/workspaces/{workspace_id}/custom-plan",
    "/v1/audit/charges/{usage_id}/explain",
    "/v1/audit/export",
    "/v1/billing/budgets/",
    "/v1/billing/plans/",
    "/v1/billing/preferences",
    "/v1/billing/webhook-endpoints",
    "/v1/oauth",
    "/v1/usage/decisions",
    "/v1/workspaces/{workspace_id}/bots/",
    "/v1/workspaces/{workspace_id}/storage",
)
"""Operations, lists of things, and single things: their answers name no position."""
FAR = 10**15


@pytest.fixture
def app(database: Database) -> Iterator[Served]:
    """The `faces` deployment with a sandbox of Stripe."""
    with sandboxed(database, strict=False) as both:
        yield both.app


def every(app: Served, workspace: str, *methods: str) -> list[Route]:
    usage_id = app.charge(workspace).json()["usage_id"]
    found = [one for one in routes(app, workspace, usage_id=usage_id) if one.method in methods]
    assert len(found) > 20
    return found


def problem(route: Route, response: httpx.Response, status: int, code: str | None = None) -> str:
    """The answer is this problem; the name of the field that it complains of."""
    assert response.status_code == status, f"{route}: {response.text}"
    assert response.headers["content-type"] == "application/problem+json", route
    told = response.json()
    assert {"type", "title", "status", "detail", "instance", "code"} <= told.keys(), route
    assert code is None or told["code"] == code, f"{route}: {told}"
    return ".".join(str(part) for one in told.get("errors", []) for part in one["loc"])


def test_every_write_is_carried_out_once_for_each_idempotency_key(app: Served) -> None:
    for route in every(app, app.workspace("50"), *WRITES):
        # A workspace of its own: what one route does is not in the way of the next one.
        workspace = app.workspace("50")
        mine = next(one for one in every(app, workspace, *WRITES) if str(one) == str(route))
        assert mine.takes_key, f"{route} takes no Idempotency-Key"
        key = new_key()
        if mine.needs_key:
            problem(route, mine.ask(app, mine.body), 400, "idempotency_key_missing")
        for wrong in ("", "x" * 256):
            refused = mine.ask(app, mine.body, **{"Idempotency-Key": wrong})
            if str(route) != "POST /v1/admin/catalogue":  # its example is no catalogue
                assert "Idempotency-Key" in problem(route, refused, 422), route

        first = mine.ask(app, mine.body, **key)
        again = mine.ask(app, mine.body, **key)

        assert first.status_code < 500, f"{route}: {first.text}"
        assert again.status_code == first.status_code, route
        if first.status_code < 300 and not route.template.startswith(OUR_WEBHOOKS):
            assert int(first.headers["x-ledger-position"]) > 0, route
        if first.status_code == 409 or str(route) == "POST /v1/admin/catalogue":
            assert "idempotent-replayed" not in again.headers, route
            continue
        assert again.headers["idempotent-replayed"] == "true", route
        assert "idempotent-replayed" not in first.headers, route
        assert again.content == first.content or str(route) == TOLD_ONCE, route
        position = "x-ledger-position"
        assert again.headers.get(position) == first.headers.get(position), route
        if mine.body is not None:
            longer = mine.ask(app, mine.body + b" ", **key)
            problem(route, longer, 422, "idempotency_key_reuse")


def test_every_write_refuses_a_body_that_it_does_not_know(app: Served) -> None:
    workspace = app.workspace("50")
    broken = {
        "half": b'{"a":',
        "two": b"{} {}",
        "text": b'"x"',
        "number": b"7",
        "null": b"null",
        "not UTF-8": b'{"a": "\xff"}',
        "surrogate": b'{"a": "\\ud800"}',
        "NUL": b'{"a\\u0000": "\\u0000"}',
        "NaN": b'{"amount_usd": NaN}',
        "deep": b"[" * 50_000,
    }
    asked = [route for route in every(app, workspace, *WRITES) if route.body is not None]
    before = app.position()

    for route in asked:
        for name, body in broken.items():
            field = problem(route, route.ask(app, body, **new_key()), 422, "validation_error")
            assert field.startswith("body"), f"{route}: {name}"
        problem(route, route.ask(app, b" " * 2_100_000, **new_key()), 413)
        as_text = {"Content-Type": "text/plain"} | new_key()
        problem(route, route.ask(app, route.body, **as_text), 415)
        if not isinstance(route.example, dict) or str(route) == PASSES_ON:
            continue
        more = json.dumps(route.example | {"zzz": 1}).encode()
        assert "zzz" in problem(route, route.ask(app, more, **new_key()), 422), route
        for field in route.example:
            wrong = json.dumps(route.example | {field: {"a": [1]}}).encode()
            assert field in problem(route, route.ask(app, wrong, **new_key()), 422), route

    assert app.position() == before


def test_every_read_takes_a_position_and_says_which_one_it_is_of(app: Served) -> None:
    workspace = app.workspace("50")
    reads = every(app, workspace, "GET")
    newest = int(app.charge(workspace).headers["x-ledger-position"])

    for route in reads:
        for query, field in {
            "min_position=x": "min_position",
            "min_position=-1": "min_position",
            "consistency=weak": "consistency",
        }.items():
            assert field in problem(route, route.ask(app, None, query), 422), f"{route} {query}"
        for query in (f"min_position={newest}", "consistency=strong"):
            answer = route.ask(app, None, query)
            assert answer.status_code in (200, 404), f"{route}: {answer.text}"
            if answer.status_code == 200 and not route.template.startswith(NOT_OF_THE_LEDGER):
                assert answer.json()["as_of_position"] >= newest, route


def test_no_read_answers_from_before_the_position_that_it_is_asked_for(app: Served) -> None:
    reads = every(app, app.workspace("50"), "GET")

    def ask(route: Route) -> httpx.Response:
        return route.ask(app, None, f"min_position={FAR}")

    with ThreadPoolExecutor(len(reads)) as pool:
        answers = list(pool.map(ask, reads))

    for route, answer in zip(reads, answers, strict=True):
        problem(route, answer, 503, "projection_lagging")
        assert int(answer.headers["retry-after"]) >= 1, route


@pytest.mark.parametrize("path", ["/healthz", "/v1/plans", "/v1/billing/balance", "/nowhere"])
def test_head_answers_as_get_does_without_a_body(app: Served, path: str) -> None:
    workspace = app.workspace()

    told = app.call("GET", path, workspace=workspace)
    asked = app.call("HEAD", path, workspace=workspace)

    assert (asked.status_code, asked.content) == (told.status_code, b"")
    assert asked.headers["content-type"] == told.headers["content-type"]
    # The connection is still good for what comes next.
    assert app.call("GET", "/healthz").status_code == 200
