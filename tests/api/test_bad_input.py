"""Bad input gets its documented problem, names the field, and writes nothing."""

from __future__ import annotations

import gzip
import json
from typing import Any

import httpx
import pytest

from tests.api.conftest import Served

ACT: dict[str, Any] = {
    "event_id": "e1",
    "meter": "chat",
    "llm_model": "gpt-5.4",
    "tokens": {"input": 10},
}
VALID = json.dumps(ACT).encode()


def act(**changes: Any) -> bytes:
    return json.dumps(ACT | changes).encode()


INVALID, OUT_OF_RANGE = "validation_error", "occurred_at_out_of_range"
USAGES: dict[str, tuple[bytes, int, str, str | None]] = {
    # what is sent, status, code, a name that the errors' loc must hold
    "naive timestamp": (act(occurred_at="2026-06-01T00:00:00"), 422, INVALID, "occurred_at"),
    "no timestamp at all": (act(occurred_at="soon"), 422, INVALID, "occurred_at"),
    "number as a timestamp": (act(occurred_at=1), 422, INVALID, "occurred_at"),
    "before time began": (act(occurred_at="0001-01-01T00:00:00+14:00"), 422, INVALID, None),
    "too old": (act(occurred_at="2026-04-26T23:59:59Z"), 422, OUT_OF_RANGE, "occurred_at"),
    "from the future": (act(occurred_at="2026-06-01T00:05:01Z"), 422, OUT_OF_RANGE, "occurred_at"),
    "unknown field": (act(modle="gpt-5.4"), 422, INVALID, "modle"),
    "unknown token kind": (act(tokens={"imput": 1}), 422, INVALID, "imput"),
    "negative tokens": (act(tokens={"input": -1}), 422, INVALID, "input"),
    "huge tokens": (act(tokens={"input": 10**9 + 1}), 422, INVALID, "input"),
    "tokens beyond any integer": (act(tokens={"input": 10**30}), 422, INVALID, "input"),
    "more digits than Python reads": (
        VALID.replace(b"10", b"9" * 5000), 422, INVALID, None,
    ),
    "true for an integer": (act(tokens={"input": True}), 422, INVALID, "input"),
    "false for an integer": (act(tokens={"output": False}), 422, INVALID, "output"),
    "fraction for an integer": (act(tokens={"input": 1.5}), 422, INVALID, "input"),
    "text for an integer": (act(tokens={"input": "1"}), 422, INVALID, "input"),
    "cached beyond input": (act(tokens={"cached_input": 1}), 422, INVALID, "tokens"),
    "reasoning beyond output": (act(tokens={"reasoning": 1}), 422, INVALID, "tokens"),
    "NUL in the event id": (act(event_id="a\0b"), 422, INVALID, "event_id"),
    "NUL in a label": (act(thread_id="a\0b"), 422, INVALID, "thread_id"),
    "NUL deep inside": (act(tokens={"input": ["\0"]}), 422, INVALID, "input"),
    "NUL in a key": (act(**{"a\0b": 1}), 422, INVALID, None),
    "lone surrogate": (act(thread_id="\ud800"), 422, INVALID, None),
    "encoded surrogate": (act(thread_id="?").replace(b"?", b"\xed\xa0\x80"), 422, INVALID, None),
    "not UTF-8": (act(thread_id="?").replace(b"?", b"\xff"), 422, INVALID, None),
    "raw control character": (act(thread_id="?").replace(b"?", b"\0"), 422, INVALID, None),
    "no event id": (VALID.replace(b"event_id", b"evnt_id"), 422, INVALID, None),
    "empty event id": (act(event_id=""), 422, INVALID, "event_id"),
    "long event id": (act(event_id="x" * 256), 422, INVALID, "event_id"),
    "number as an event id": (act(event_id=7), 422, INVALID, "event_id"),
    "unknown mode": (act(mode="lenient"), 422, INVALID, "mode"),
    "unknown model": (act(llm_model="gpt-99"), 422, "unknown_model", "llm_model"),
    "no model": (act(llm_model=None), 422, "unknown_model", "llm_model"),
    "unknown meter": (act(meter="video"), 422, INVALID, "meter"),
    "an array": (b"[]", 422, INVALID, None),
    "null": (b"null", 422, INVALID, None),
    "empty": (b"", 422, INVALID, None),
    "half": (VALID[:-3], 422, INVALID, None),
    "two values": (VALID + VALID, 422, INVALID, None),
    "a deep nest": (b"[" * 200_000, 422, INVALID, None),
    "a deep nest with NUL": (b'{"a":"\\u0000","b":' + b"[" * 200_000, 422, INVALID, None),
    "10 MB": (act(thread_id="x" * 10_000_000), 413, "payload_too_large", None),
}  # fmt: skip


def send(served: Served, workspace: str, body: bytes | Any, **headers: str) -> httpx.Response:
    sent = {
        "Authorization": f"Bearer {served.admin_key}",
        "X-Workspace-Id": workspace,
        "Content-Type": "application/json",
    }
    return served.http.post("/v1/usage", content=body, headers=sent | headers)


def expect(response: httpx.Response, status: int, code: str, field: str | None = None) -> None:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == status
    assert problem["code"] == code
    assert problem["type"] == f"https://errors.example/{code}"
    assert problem["title"] and problem["detail"] and problem["instance"]
    if status == 422:
        assert problem["errors"][0].keys() == {"loc", "msg", "type"}
    if field is not None:
        assert field in problem["errors"][0]["loc"]


def test_every_bad_usage_is_refused_with_its_problem_and_writes_nothing(app: Served) -> None:
    workspace = app.workspace("20")
    before = app.position()

    for name, (body, status, code, field) in USAGES.items():
        response = send(app, workspace, body)
        try:
            expect(response, status, code, field)
        except AssertionError as wrong:
            raise AssertionError(f"{name}: {wrong}") from wrong

    assert app.position() == before
    assert send(app, workspace, VALID).status_code == 201
    assert app.position() == before + 1


def test_who_sends_a_compressed_body_is_told_so(app: Served) -> None:
    response = send(app, app.workspace(), gzip.compress(VALID), **{"Content-Encoding": "gzip"})

    expect(response, 422, INVALID)
    assert "compressed" in response.json()["detail"]


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""]
)
def test_a_body_that_is_not_declared_to_be_json_is_refused(app: Served, content_type: str) -> None:
    workspace = app.workspace("20")
    before = app.position()

    response = send(app, workspace, VALID, **{"Content-Type": content_type})

    expect(response, 415, "unsupported_media_type")
    assert app.position() == before


def test_a_body_that_grows_too_large_while_it_is_sent_is_refused(app: Served) -> None:
    workspace = app.workspace("20")
    before = app.position()

    def chunks() -> Any:
        for _ in range(30):
            yield b" " * 100_000

    expect(send(app, workspace, chunks()), 413, "payload_too_large")
    assert app.position() == before


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer dbk_wrong",
        f"Bearer dbk_{'A' * 43}",
        "Basic YTpi",
        "Bearer dbk_é" + "A" * 42,
    ],
)
def test_without_a_good_key_nobody_gets_in(app: Served, header: str) -> None:
    workspace = app.workspace("20")
    before = app.position()

    response = app.http.post(
        "/v1/usage",
        content=VALID,
        headers=[
            (b"Authorization", header.encode("latin-1")),
            (b"X-Workspace-Id", workspace.encode()),
            (b"Content-Type", b"application/json"),
        ],
    )

    expect(response, 401, "unauthenticated")
    assert response.headers["www-authenticate"] == "Bearer"
    assert app.position() == before


def test_a_service_key_must_name_the_workspace_and_it_must_exist(app: Served) -> None:
    before = app.position()

    expect(app.call("POST", "/v1/usage", ACT), 422, "validation_error", "X-Workspace-Id")
    expect(app.call("POST", "/v1/usage", ACT, workspace="ws_nobody"), 404, "not_found")

    assert app.position() == before


@pytest.mark.parametrize(
    ("amount", "code"),
    [
        ("0.99", "amount_too_small"),
        ("-5", "amount_too_small"),
        ("20.001", "validation_error"),
        ("10000.01", "validation_error"),
        ("1e400", "validation_error"),
        ("1e-400", "validation_error"),
        ('"NaN"', "validation_error"),
        ('"Infinity"', "validation_error"),
        ('"abc"', "validation_error"),
        ("true", "validation_error"),
        ("null", "validation_error"),
        ("[20]", "validation_error"),
    ],
)
def test_an_amount_that_cannot_be_topped_up_is_refused(app: Served, amount: str, code: str) -> None:
    workspace = app.workspace()
    before = app.position()

    response = app.http.post(
        "/v1/billing/topup",
        content=f'{{"amount_usd": {amount}, "payment_ref": "wire-1"}}',
        headers={
            "Authorization": f"Bearer {app.admin_key}",
            "X-Workspace-Id": workspace,
            "Idempotency-Key": "k",
            "Content-Type": "application/json",
        },
    )

    expect(response, 422, code, "amount_usd")
    assert app.position() == before


@pytest.mark.parametrize("amount", ["1.00", "1", '"1.00"', "10000", "0.1e1", "19.99"])
def test_an_amount_may_be_a_number_or_text(app: Served, amount: str) -> None:
    workspace = app.workspace()

    response = app.http.post(
        "/v1/billing/topup",
        content=f'{{"amount_usd": {amount}, "payment_ref": "wire-1"}}',
        headers={
            "Authorization": f"Bearer {app.admin_key}",
            "X-Workspace-Id": workspace,
            "Idempotency-Key": "k",
            "Content-Type": "application/json",
        },
    )

    assert response.status_code == 200, response.text


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/v1/billing/usage?group_by=colour", "group_by"),
        ("/v1/billing/usage?timezone=Mars/Olympus", "timezone"),
        ("/v1/billing/usage?timezone=../../etc/passwd", "timezone"),
        ("/v1/billing/usage?start_date=yesterday", "start_date"),
        ("/v1/billing/usage?from_date=2026-13-01", "from_date"),
        ("/v1/billing/usage?end_date=9999-12-31", None),
        ("/v1/billing/usage?start_date=20260601", "start_date"),
        ("/v1/billing/usage?start_date=2026-W23-1", "start_date"),
        ("/v1/billing/usage?start_date=２０２６-06-01", "start_date"),
        ("/v1/billing/usage?start_date=2026-06-01T00:00:00Z", "start_date"),
        ("/v1/billing/usage?start_date=2026-06-02&end_date=2026-06-01", "end_date"),
        ("/v1/billing/usage?llm_model=%00", None),
        ("/v1/billing/usage/events?limit=0", "limit"),
        ("/v1/billing/usage/events?limit=101", "limit"),
        ("/v1/billing/usage/events?cursor=x", "cursor"),
        ("/v1/billing/balance?min_position=-1", "min_position"),
        ("/v1/billing/balance?consistency=weak", "consistency"),
        ("/v1/billing/llm-costs?as_of=2026-06-01T00:00:00", "as_of"),
        ("/v1/billing/llm-costs?as_of=2026-W23-1T00:00:00Z", "as_of"),
        ("/v1/billing/llm-costs?as_of=20260601T000000Z", "as_of"),
        ("/v1/billing/balance?min_position=１２", "min_position"),
        ("/v1/billing/balance?min_position=1_0", "min_position"),
        ("/v1/audit/events?stream=nowhere", "stream"),
        ("/v1/audit/events?from_position=x", "from_position"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(
    app: Served, path: str, field: str | None
) -> None:
    workspace = app.workspace()

    code = "unsupported_group_by" if field == "group_by" else "validation_error"
    expect(app.call("GET", path, workspace=workspace), 422, code, field)


def test_what_does_not_exist_is_a_problem_too(app: Served) -> None:
    expect(app.call("GET", "/v1/nothing"), 404, "not_found")
    wrong = app.call("DELETE", "/v1/usage")
    expect(wrong, 405, "method_not_allowed")
    assert wrong.headers["allow"] == "POST"
    expect(app.call("GET", "/v1/workspaces/ws_nobody"), 404, "not_found")


def test_the_clock_of_a_test_goes_forward_only_once_there_is_a_workspace(app: Served) -> None:
    def to(now: str) -> int:
        return app.call("POST", "/v1/test/clock", {"now": now}).status_code

    assert to("2026-05-01T00:00:00Z") == 200
    app.workspace()
    assert to("2026-04-30T23:59:59Z") == 422
    assert to("2026-05-01T00:00:00") == 422
    assert to("2026-05-01T02:00:00+02:00") == 200
    assert to("2026-05-02T00:00:00Z") == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "loc", "choices"),
    [
        ("POST", "/v1/usage", ACT | {"mode": "lax"}, ["mode"], "record, strict"),
        (
            *("POST", "/v1/usage/authorize", {"meter": "chat", "billing_source": "cash"}),
            *(["billing_source"], "compile, credits, oauth"),
        ),
        (
            *("DELETE", "/v1/usage/holds/h", {"reason": "bored"}),
            *(["reason"], "client_cancelled, upstream_failed, voided"),
        ),
    ],
)
def test_who_chose_what_there_is_not_is_told_what_there_is(
    app: Served, method: str, path: str, body: Any, loc: list[str], choices: str
) -> None:
    response = app.call(method, path, body, workspace=app.workspace())

    expect(response, 422, "validation_error")
    [error] = response.json()["errors"]
    assert (error["loc"], error["msg"]) == (["body", *loc], f"must be one of {choices}")


def test_nul_in_a_query_names_the_parameter(app: Served) -> None:
    asked = app.call("GET", "/v1/billing/usage", workspace=app.workspace(), bot_id="a\0b")

    expect(asked, 422, INVALID, "bot_id")
