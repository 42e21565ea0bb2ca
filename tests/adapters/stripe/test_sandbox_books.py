"""What the sandbox knows survives kill -9; time in it comes second by second."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import stripe

from adapters.stripe.sandbox.books import Books
from adapters.stripe.sandbox.clock import Clockwork
from adapters.stripe.sandbox.errors import StripeError
from adapters.stripe.sandbox.remote import Refused, Remote
from adapters.stripe.sandbox.route import DUE, Json
from tests.adapters.stripe.conftest import NOW
from tests.adapters.stripe.receiver import receiving
from tests.adapters.stripe.told import customer_with, held, off_session

ROOT = Path(__file__).parents[3]


def thing(number: int, **more: Any) -> Json:
    """Something to keep."""
    return {"object": "thing", "id": f"t{number}", "number": number, **more}


# -- books ----------------------------------------------------------------------------------------


def test_things_are_found_by_their_fields_newest_first() -> None:
    books = Books()
    for number in range(4):
        books.put(thing(number, odd=number % 2 == 1, inner={"deep": number // 2}))
    books.put(thing(0, odd=None, inner={"deep": 9}))

    assert [one["id"] for one in books.find("thing")] == ["t3", "t2", "t1", "t0"]
    assert [one["id"] for one in books.find("thing", odd=True)] == ["t3", "t1"]
    assert [one["id"] for one in books.find("thing", odd=None)] == ["t0"]
    assert [one["id"] for one in books.find("thing", inner__deep=1, odd=False)] == ["t2"]
    assert books.find("thing", number=7) == []
    assert books.earliest("thing", "number", odd=True) == 1
    assert [one["id"] for one in books.until("thing", "number", 2)] == ["t0", "t1", "t2"]


def test_a_field_is_no_way_into_the_database() -> None:
    with pytest.raises(ValueError, match="is no field"):
        Books().find("thing", **{"a') OR 1=1 --": 1})


def test_what_is_taken_is_a_copy() -> None:
    books = Books()
    books.put(thing(1))
    books.get("thing", "t1")["number"] = 9

    assert books.get("thing", "t1")["number"] == 1


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        (RuntimeError("a mistake"), False),
        (StripeError(400, "invalid_request_error", "no"), False),
        (StripeError(402, "card_error", "declined"), True),
        (StripeError(402, "card_error", "declined", kept=False), False),
    ],
)
def test_a_refusal_undoes_what_was_done_unless_it_is_kept(error: Exception, kept: bool) -> None:
    books = Books()
    with pytest.raises(type(error)), books.transaction():
        books.put(thing(1))
        books.find("thing", number=1)
        raise error

    assert [one["id"] for one in books.find("thing", number=1)] == (["t1"] if kept else [])


def test_a_part_may_fail_alone() -> None:
    books = Books()
    with books.transaction():
        books.put(thing(1))
        with pytest.raises(RuntimeError), books.transaction():
            books.put(thing(2))
            raise RuntimeError
        books.put(thing(3))

    assert [one["id"] for one in books.find("thing")] == ["t3", "t1"]


# -- time -----------------------------------------------------------------------------------------


@pytest.fixture
def only_due() -> Iterator[None]:
    """Nothing else is due."""
    before = list(DUE)
    DUE.clear()
    yield
    DUE[:] = before


@pytest.mark.usefixtures("only_due")
def test_what_falls_due_is_done_at_its_second_and_in_order() -> None:
    books = Books()
    books.freeze(NOW)
    done: list[tuple[str, int]] = []

    def every(name: str, first: int, step: int) -> None:
        state = {"next": first}

        def work(books: Books, now: int) -> int | None:
            while state["next"] <= now:
                done.append((name, books.now() - NOW))
                state["next"] += step
            return state["next"]

        DUE.append(work)

    every("a", NOW + 10, 20)
    every("b", NOW + 15, 30)

    Clockwork(books).advance(NOW + 50)

    assert done == [("a", 10), ("b", 15), ("a", 30), ("b", 45), ("a", 50)]
    assert books.now() == NOW + 50


@pytest.mark.usefixtures("only_due")
def test_work_that_is_never_done_is_noticed() -> None:
    books = Books()
    DUE.append(lambda books, now: now)

    with pytest.raises(RuntimeError, match="for ever"):
        Clockwork(books).advance(NOW)


def test_the_clock_moves_forward_only_once_there_is_a_customer(
    sandbox: Remote, client: stripe.StripeClient
) -> None:
    sandbox.control.clock("2025-01-01T00:00:00Z")
    assert sandbox.control.clock("2026-06-01T02:00:00+02:00") == NOW
    client.v1.customers.create({})

    with pytest.raises(Refused, match="forward only"):
        sandbox.control.clock(NOW - 1)
    assert sandbox.control.clock(NOW + 5) == NOW + 5


def test_a_clock_that_is_let_go_goes_on_from_where_it_stands(sandbox: Remote) -> None:
    assert NOW <= sandbox.control.clock(None) < NOW + 60


def test_a_test_clock_moves_the_sandboxs(sandbox: Remote, client: stripe.StripeClient) -> None:
    customer, method = customer_with(client, "pm_card_pendingRefund")
    intent = client.v1.payment_intents.create(off_session(customer, method)).id
    refund = client.v1.refunds.create({"payment_intent": intent}).id
    clock = client.v1.test_helpers.test_clocks.create({"frozen_time": NOW + 10})

    under_way = client.v1.test_helpers.test_clocks.advance(clock.id, {"frozen_time": NOW + 7_200})

    assert under_way.status == "advancing"
    after = held(client.v1.test_helpers.test_clocks.retrieve(clock.id))
    assert (after["status"], after["frozen_time"]) == ("ready", NOW + 7_200)
    assert client.v1.refunds.retrieve(refund).status == "succeeded"
    assert sandbox.control.now() == NOW + 7_200


# -- the process ----------------------------------------------------------------------------------


@contextmanager
def process(file: Path, port: int, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A sandbox as a deployment runs it; killed at the end."""
    with socket.create_server(("127.0.0.1", port)) as sock:
        command = [
            *(sys.executable, "-m", "adapters.stripe.sandbox.server", str(sock.fileno())),
            *("--data", str(file), *arguments),
        ]
        running = subprocess.Popen(command, cwd=ROOT, pass_fds=[sock.fileno()])
    try:
        yield running
    finally:
        if running.poll() is None:
            os.kill(running.pid, signal.SIGKILL)
        running.wait()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def test_kill_9_loses_nothing_that_was_answered(tmp_path: Path) -> None:
    port, file = free_port(), tmp_path / "sandbox.db"
    url = f"http://127.0.0.1:{port}"
    client = stripe.StripeClient("sk_test_1", base_addresses={"api": url}, max_network_retries=0)
    key: Any = {"idempotency_key": "once"}
    with receiving() as receiver:
        where = ("--webhook", receiver.url, "--secret", "whsec_1", "--mode", "held")
        with process(file, port, *where), Remote(url, "whsec_1") as first:
            first.control.clock(NOW)
            customer, method = customer_with(client)
            made = client.v1.payment_intents.create(off_session(customer, method), key).id
        with process(file, port, *where), Remote(url, "whsec_1") as second:
            again = client.v1.payment_intents.create(off_session(customer, method), key)
            told = second.control.deliver()

            assert (again.id, again.status) == (made, "succeeded")
            assert second.control.now() == NOW
            assert [one["type"] for one in told][-1] == "payment_intent.succeeded"
            assert len(held(client.v1.charges.list())["data"]) == 1
        assert len(receiver.events("whsec_1")) == len(told) == 6
