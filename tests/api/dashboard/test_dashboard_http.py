"""The dashboard without a browser: who is let in, what headers say, and the stream of events."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import NamedTuple

import httpx
import psycopg
import pytest

from api.dashboard import figures
from api.dashboard.live import Event
from tests.api.conftest import PATIENCE_S, Served, until

LISTENING = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'daybook live'"


class Sent(NamedTuple):
    """A server-sent event as a client reads it."""

    id: str
    name: str
    data: str


@contextmanager
def signed_in(app: Served, key: str) -> Iterator[httpx.Client]:
    """A client that holds the cookie."""
    with httpx.Client(base_url=app.url, trust_env=False, timeout=PATIENCE_S) as client:
        answer = client.post("/session", data={"api_key": key}, headers={"Origin": app.url})
        assert answer.status_code == 303, answer.text
        yield client


def reader(app: Served, workspace: str) -> str:
    """A key that may look at one workspace."""
    return app.key("billing:read", workspace_id=workspace)


def events(lines: Iterator[str], *names: str) -> Iterator[Sent]:
    """The events of these names, as they arrive."""
    id, name, data = "", "", []
    for line in lines:
        field, _, value = line.partition(": ")
        if field == "id":
            id = value
        elif field == "event":
            name = value
        elif field == "data":
            data.append(value)
        elif not line and name:
            if name in names:
                yield Sent(id, name, "\n".join(data))
            name, data = "", []


def test_the_cookie_is_for_this_site_and_no_script(app: Served) -> None:
    key = reader(app, app.workspace())
    answer = httpx.post(
        f"{app.url}/session", data={"api_key": key}, headers={"Origin": app.url}, trust_env=False
    )
    assert answer.headers["location"] == "/"
    flags = {part.strip().lower() for part in answer.headers["set-cookie"].split(";")[1:]}
    assert {"httponly", "samesite=strict", "path=/", "max-age=43200"} <= flags


@pytest.mark.parametrize("origin", ["https://evil.example", "null", None])
@pytest.mark.parametrize("path", ["/session", "/session/end"])
def test_a_form_of_another_site_is_refused(app: Served, path: str, origin: str | None) -> None:
    headers = {"Origin": origin} if origin else {}
    answer = httpx.post(
        f"{app.url}{path}", data={"api_key": app.admin_key}, headers=headers, trust_env=False
    )
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


def test_a_key_that_may_not_read_billing_is_told_so(app: Served) -> None:
    key = app.key("usage:write", workspace_id=app.workspace())
    answer = httpx.post(
        f"{app.url}/session", data={"api_key": key}, headers={"Origin": app.url}, trust_env=False
    )
    assert answer.status_code == 403
    assert "billing:read" in answer.text
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("part", ["", "/balance", "/charges", "/usage-by-day.json", "/live"])
def test_of_another_workspace_there_is_nothing(app: Served, part: str) -> None:
    mine, other = app.workspace("1.00"), app.workspace("1.00")
    with signed_in(app, reader(app, mine)) as client:
        assert client.get(f"/w/{other}{part}").status_code == 404
        assert client.get(f"/w/ws_unknown{part}").status_code == 404
        if part != "/live":
            assert client.get(f"/w/{mine}{part}").status_code == 200


def test_a_charge_is_explained_to_its_own_workspace_only(app: Served) -> None:
    mine, other = app.workspace("1.00"), app.workspace("1.00")
    theirs = app.charge(other).json()["usage_id"]
    with signed_in(app, app.admin_key) as client:
        assert client.get(f"/w/{other}/charges/{theirs}").status_code == 200
        assert client.get(f"/w/{mine}/charges/{theirs}").status_code == 404
        assert client.get(f"/w/{mine}/charges/use_nonsense").status_code == 404


def test_whoever_is_signed_out_is_sent_to_sign_in_and_parts_say_401(app: Served) -> None:
    workspace = app.workspace()
    with httpx.Client(base_url=app.url, trust_env=False) as client:
        page = client.get(f"/w/{workspace}")
        assert (page.status_code, page.headers["location"]) == (303, "/")
        assert client.get(f"/w/{workspace}/live").status_code == 401
        assert client.get(f"/w/{workspace}/usage-by-day.json").status_code == 401
        part = client.get(f"/w/{workspace}/balance", headers={"HX-Request": "true"})
        assert part.status_code == 401


def test_pages_may_load_from_their_own_origin_only(app: Served) -> None:
    workspace = app.workspace("1.00")
    with signed_in(app, reader(app, workspace)) as client:
        for path in ("/", f"/w/{workspace}", f"/w/{workspace}/balance", "/w/ws_unknown"):
            answer = client.get(path, follow_redirects=True)
            policy = dict(
                part.strip().partition(" ")[::2]
                for part in answer.headers["content-security-policy"].split(";")
            )
            assert policy.pop("default-src") == "'none'"
            assert policy.pop("frame-ancestors") == policy.pop("base-uri") == "'none'"
            assert set(policy.values()) == {"'self'"}
            assert "<script>" not in answer.text
            assert " style=" not in answer.text
            assert answer.headers["cache-control"] == "no-store"


def test_what_people_write_is_text_and_never_markup(app: Served) -> None:
    nasty = '<script>alert(1)</script>"&'
    workspace = app.post("/v1/workspaces", {"name": nasty}).json()["workspace_id"]
    gift = {"amount_usd": "5.00", "reason": nasty}
    assert app.post(f"/v1/admin/workspaces/{workspace}/credits", gift).status_code == 201
    usage_id = app.charge(workspace, model_username=nasty).json()["usage_id"]
    with signed_in(app, reader(app, workspace)) as client:
        for path in ("", "/balance", f"/charges/{usage_id}"):
            answer = client.get(f"/w/{workspace}{path}")
            assert "alert(1)" in answer.text
            assert "<script>alert" not in answer.text


def test_the_stream_resumes_behind_the_last_event_and_knows_one_workspace(app: Served) -> None:
    mine, other = app.workspace("1.00"), app.workspace("1.00")
    ids = [app.charge(workspace).json()["usage_id"] for workspace in (mine, mine, other, mine)]
    with signed_in(app, reader(app, mine)) as client:
        path = f"/w/{mine}/live"
        with client.stream("GET", path) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            arriving = events(answer.iter_lines(), "charge")
            seen = [next(arriving) for _ in range(3)]
        assert [ids.index(_usage_id(event)) for event in seen] == [0, 1, 3]
        with client.stream("GET", path, headers={"Last-Event-ID": seen[0].id}) as answer:
            arriving = events(answer.iter_lines(), "charge")
            again = [next(arriving) for _ in range(2)]
            assert again == seen[1:]
            app.charge(other)
            new = app.charge(mine).json()["usage_id"]
            assert _usage_id(next(arriving)) == new


def test_one_connection_listens_for_all_streams_and_leaves_with_the_last(app: Served) -> None:
    workspace = app.workspace("1.00")
    with (
        psycopg.connect(app.database.owner_url, autocommit=True) as connection,
        signed_in(app, reader(app, workspace)) as client,
    ):

        def listening() -> int:
            row = connection.execute(LISTENING).fetchone()
            assert row is not None
            return int(row[0])

        path = f"/w/{workspace}/live"
        with client.stream("GET", path) as first, client.stream("GET", path) as second:
            streams = [events(answer.iter_lines(), "charge") for answer in (first, second)]
            usage_id = app.charge(workspace).json()["usage_id"]
            assert [_usage_id(next(stream)) for stream in streams] == [usage_id] * 2
            assert listening() == 1
        until(lambda: listening() == 0)


def test_a_stream_outlives_the_loss_of_its_listener(app: Served) -> None:
    workspace = app.workspace("1.00")
    with (
        psycopg.connect(app.database.owner_url, autocommit=True) as connection,
        signed_in(app, reader(app, workspace)) as client,
        client.stream("GET", f"/w/{workspace}/live") as answer,
    ):
        arriving = events(answer.iter_lines(), "charge")
        app.charge(workspace)
        next(arriving)
        killed = connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'daybook live'"
        ).fetchall()
        assert killed == [(True,)]
        usage_id = app.charge(workspace).json()["usage_id"]
        assert _usage_id(next(arriving)) == usage_id


def _usage_id(event: Sent) -> str:
    return event.data.partition('<tr id="')[2].partition('"')[0]


def test_an_event_of_several_lines_is_one_event() -> None:
    assert Event("charge", "a\nb", "7").encode() == "id: 7\nevent: charge\ndata: a\ndata: b\n\n"


@pytest.mark.parametrize(
    ("micros", "full", "text"),
    [
        (19_950_435, False, "$19.950435"),
        (20_000_000, False, "$20.00"),
        (20_000_000, True, "$20.000000"),
        (-27_035, False, "−$0.027035"),
        (1_234_567_890_120, False, "$1,234,567.89012"),
        (0, False, "$0.00"),
    ],
)
def test_amounts_are_written_exactly(micros: int, full: bool, text: str) -> None:
    assert str(figures.amount(micros, full=full)) == text


def test_fractions_are_written_in_full() -> None:
    assert figures.exact(Fraction(198261, 4)) == "49,565.25"
    assert figures.exact(Fraction(1, 10**10)) == "0.0000000001"
    assert figures.exact(Fraction(-3, 2)) == "−1.5"
    assert figures.percent(500) == "5 %"
    assert figures.exact(Fraction(-4_000, 3)) == "−4,000/3"


def test_included_units_are_explained_as_units(flarex: Served) -> None:
    workspace = flarex.workspace()
    body = {"meter": "chat_generation", "action": "chat", "llm_model": None}
    usage_id = flarex.charge(workspace, **body).json()["usage_id"]
    with signed_in(flarex, reader(flarex, workspace)) as client:
        until(lambda: usage_id in client.get(f"/w/{workspace}/charges").text)
        assert "13 included" in client.get(f"/w/{workspace}/charges").text
        answer = client.get(f"/w/{workspace}/charges/{usage_id}").text
        assert "(12,345 + 0) tokens / 1,000 = 12.345 → <strong>13 AI credits</strong>" in answer
        assert "rounded up once for the call. The rule of catalogue version 1." in answer
        assert "37 left afterwards" in answer
        days = client.get(f"/w/{workspace}/usage-by-day.json").json()
        assert days["calls"] == 1
