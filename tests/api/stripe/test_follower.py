"""Facts that ask something of the outside reach their reactions: in order and at least once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import psycopg
import pytest

from adapters import catalogues
from adapters.postgres.database import Database
from api.app import publish
from api.house import House, open_house
from api.metrics import Metrics
from api.stripe import border
from api.stripe.follower import Follower, Reaction, name_of
from api.stripe.till import Disposition, StripeEvent, Till
from domain.account.credit_facts import Credited
from domain.commands import Command, Stream
from domain.facts import Context, Fact, Recorded
from domain.workspace.facts import StripeCustomerLinked
from domain.workspace.workspace import Workspace, WorkspaceCreated, workspace_stream
from tests.api.conftest import serve, settings_of, until
from tests.api.sandboxed import event, send, with_stripe

Reactions = Mapping[type[Fact], Sequence[Reaction]]


class Killed(BaseException):
    """The process ends here."""


def noting(seen: list[Any]) -> Reaction:
    """A reaction that remembers what it was given."""

    async def note(recorded: Recorded, position: int, till: Till, context: Context) -> None:
        seen.append((type(recorded.fact).__name__, position))

    return note


def living(database: Database, act: Callable[[House], Coroutine[Any, Any, Any]]) -> Any:
    """Do something in a house of its own."""

    async def run() -> Any:
        async with open_house(settings_of(database), Metrics()) as house:
            await publish(house, *catalogues.load("faces"))
            return await act(house)

    return asyncio.run(run())


def follower(house: House, reactions: Reactions) -> Follower:
    return Follower(house.pool, house.till, house.inbox, reactions)


async def workspace(house: House, name: str, credits: int = 0) -> str:
    """A new workspace that was given so many credits of 1 USD."""
    context = await house.till.context()
    id = f"ws_{name}"
    await house.ledger.create_workspace(id, name, "owner", "UTC", context)
    for number in range(credits):
        await house.ledger.grant(id, 1_000_000, f"gift {number}", context, category="promotional")
    return id


def parked(database: Database) -> list[tuple[str, int, str]]:
    """(reaction, attempts, error) of what failed."""
    with psycopg.connect(database.conninfo()) as connection:
        return connection.execute(
            "SELECT reaction, attempts, error FROM follower_parked ORDER BY position"
        ).fetchall()


def test_every_fact_that_somebody_asked_for_is_handed_out_once_and_in_its_streams_order(
    database: Database,
) -> None:
    seen: list[Any] = []
    reactions: Reactions = {Credited: [noting(seen)], WorkspaceCreated: [noting(seen)]}

    async def act(house: House) -> list[int]:
        steps = []
        for name in ("one", "two"):
            await workspace(house, name, 3)
            steps.append(await follower(house, reactions).step())
        return [*steps, await follower(house, reactions).step()]

    assert living(database, act) == [4, 4, 0]
    assert sorted(name for name, _ in seen[:4]) == [*["Credited"] * 3, "WorkspaceCreated"]
    assert sorted(name for name, _ in seen[4:]) == [*["Credited"] * 3, "WorkspaceCreated"]
    for kind in ("WorkspaceCreated", "Credited"):  # streams are handed out side by side
        positions = [position for name, position in seen if name == kind]
        assert positions == sorted(set(positions))


def test_more_facts_than_a_step_holds_are_all_handed_out(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.stripe.follower.FACTS", 3)
    monkeypatch.setattr("api.stripe.follower.SPAN", 5)
    seen: list[Any] = []

    async def act(house: House) -> int:
        for name in ("one", "two", "three"):
            await workspace(house, name, 7)
        return await follower(house, {Credited: [noting(seen)]}).step()

    assert living(database, act) == 21
    assert len(set(seen)) == 21


def test_a_process_killed_in_a_reaction_is_followed_by_one_that_repeats_it(
    database: Database,
) -> None:
    seen: list[int] = []
    deadly = {3}

    async def fragile(recorded: Recorded, position: int, till: Till, context: Context) -> None:
        seen.append(position)
        if len(seen) in deadly:
            raise Killed

    async def give(house: House) -> None:
        await workspace(house, "acme", 5)

    async def act(house: House) -> int:
        return await follower(house, {Credited: [fragile]}).step()

    living(database, give)
    with pytest.raises(Killed):
        living(database, act)
    assert living(database, act) == 5

    first = seen[:3]
    assert seen == first + first + seen[-2:]


def test_a_reaction_that_fails_holds_up_nobody_and_is_tried_again(database: Database) -> None:
    seen: list[Any] = []
    broken = threading.Event()
    broken.set()

    async def poisoned(recorded: Recorded, position: int, till: Till, context: Context) -> None:
        if broken.is_set():
            raise ValueError("ann@example.org")
        seen.append(("poisoned", position))

    reactions: Reactions = {Credited: [poisoned, noting(seen)]}

    async def act(house: House) -> list[int]:
        await workspace(house, "acme", 1)
        steps = [await follower(house, reactions).step()]
        await workspace(house, "next", 1)
        steps.append(await follower(house, reactions).step(every=True))
        broken.clear()
        return [*steps, await follower(house, reactions).step(every=True)]

    assert living(database, act) == [1, 1, 2]

    assert [name for name, _ in seen] == ["Credited", "Credited", "poisoned", "poisoned"]
    assert parked(database) == []


def test_what_is_parked_says_how_often_it_failed_and_nothing_of_persons(
    database: Database,
) -> None:
    async def poisoned(recorded: Recorded, position: int, till: Till, context: Context) -> None:
        raise ValueError("ann@example.org")

    async def act(house: House) -> None:
        await workspace(house, "acme", 1)
        for _ in range(3):
            await follower(house, {Credited: [poisoned]}).step(every=True)

    living(database, act)

    assert parked(database) == [(name_of(poisoned), 3, "ValueError")]


def test_an_administrator_sees_how_far_it_is_and_what_failed(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def poisoned(recorded: Recorded, position: int, till: Till, context: Context) -> None:
        raise ValueError("ann@example.org")

    monkeypatch.setattr("api.house.all_reactions", lambda: {Credited: [poisoned]})
    with serve(settings_of(database)) as app:
        workspace = app.workspace("5.00")
        assert app.get("/v1/admin/reactions")["behind"] > 0

        app.post("/v1/test/tick")

        seen = app.get("/v1/admin/reactions")
        assert (seen["behind"], seen["position"] > 0) == (0, True)
        (failed,) = seen["parked"]
        assert (failed["reaction"], failed["error"]) == (name_of(poisoned), "ValueError")
        assert "daybook_reactions_parked 1.0" in app.http.get("/metrics").text
        tenant = app.key("admin", workspace_id=workspace)
        assert app.call("GET", "/v1/admin/reactions", key=tenant).status_code == 403


def test_a_parked_reaction_waits_for_its_time(database: Database) -> None:
    calls: list[int] = []

    async def poisoned(recorded: Recorded, position: int, till: Till, context: Context) -> None:
        calls.append(position)
        raise ValueError

    async def act(house: House) -> None:
        await workspace(house, "acme", 1)
        one = follower(house, {Credited: [poisoned]})
        await one.step()
        await one.step(every=True)  # now it rests for 5 s
        for _ in range(5):
            await one.step()

    living(database, act)

    assert len(calls) == 2


def test_two_followers_share_the_work_and_repeat_nothing(database: Database) -> None:
    seen: list[Any] = []

    async def slow(recorded: Recorded, position: int, till: Till, context: Context) -> None:
        await asyncio.sleep(0.005)
        seen.append(position)

    async def act(house: House) -> list[int]:
        await workspace(house, "acme", 20)
        followers = [follower(house, {Credited: [slow]}) for _ in range(3)]
        return list(await asyncio.gather(*(one.step() for one in followers)))

    assert sum(living(database, act)) == 20
    assert len(seen) == len(set(seen)) == 20


def test_a_follower_is_woken_by_the_commit(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(border, "POLL_S", 600.0)
    seen: list[Any] = []
    monkeypatch.setattr("api.house.all_reactions", lambda: {Credited: [noting(seen)]})

    with keeping(database) as stop:
        for name in ("one", "two"):
            living(database, partial(workspace, name=name, credits=1))
            until(lambda: len(seen) >= 1)
            seen.clear()
        stop.set()
        living(database, partial(workspace, name="last", credits=1))


def test_a_deferred_event_is_taken_in_when_a_fact_names_its_object(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def of_customer(told: StripeEvent, till: Till, context: Context) -> Disposition:
        stream = workspace_stream(told.object["workspace"])
        found = await till.ledger.book.find_cause(stream, "stripe_customer")
        return "applied" if found else "deferred"

    monkeypatch.setattr("api.house.all_handlers", lambda: {"customer.updated": (of_customer,)})

    async def link(house: House) -> None:
        context = await house.till.context()

        def decide(of: Workspace) -> None:
            stamp = of.stamp(context, "stripe_customer")
            of.record(StripeCustomerLinked(**stamp, stripe_customer_id="cus_customer1"))

        stream = Stream(Workspace, workspace_stream(tenant))
        await house.ledger.book.submit(Command((stream,), decide))

    with serve(with_stripe(settings_of(database))) as app:
        tenant = app.workspace()
        told = {"object": "customer", "id": "cus_customer1", "workspace": tenant}
        assert send(app, event("customer.updated", told)).json()["disposition"] == "deferred"
        other = told | {"id": "cus_customer2"}
        assert send(app, event("customer.updated", other)).json()["disposition"] == "deferred"
        app.post("/v1/test/tick")
        living(database, link)
        app.post("/v1/test/tick")
        found = {
            one["event_id"]: one["disposition"] for one in app.get("/v1/admin/webhooks")["data"]
        }

    assert sorted(found.values()) == ["applied", "deferred"]


@contextmanager
def keeping(database: Database) -> Iterator[threading.Event]:
    """What goes on at the border by itself, until the event that is given is set."""
    stop = threading.Event()
    thread = threading.Thread(target=border.run, args=(settings_of(database), stop), daemon=True)
    thread.start()
    try:
        yield stop
    finally:
        stop.set()
        thread.join(20)
        assert not thread.is_alive()
