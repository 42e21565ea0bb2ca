"""Money at the border in slow motion: every wait is a point at which something else may happen,
or the process die.

The sandbox's own desk answers the real adapter, without a network; the use cases and handlers
are the real ones, on a book in memory. A seed decides who goes on, what is lost, what is
delivered again, and when everything is killed.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import count
from random import Random
from typing import Any
from urllib.parse import urlencode, urlsplit

import msgspec
import stripe

from adapters import catalogues
from adapters.settings import Settings
from adapters.stripe.contracts import StripeContracts
from adapters.stripe.payments import StripePayments
from adapters.stripe.sandbox.books import API_VERSION, Books, Json
from adapters.stripe.sandbox.control import ORDERS
from adapters.stripe.sandbox.desk import Asked, Desk
from adapters.stripe.sandbox.errors import StripeError
from adapters.stripe.sandbox.route import ROUTES
from adapters.stripe.sandbox.server import create_app
from api.stripe.money_events import MONEY
from api.stripe.money_reactions import charge
from api.stripe.till import Till, stripe_event
from domain.account.topup_facts import AutoTopUpTriggered
from domain.commands import Command, Done
from domain.errors import TryAgain
from domain.facts import Context, Recorded
from domain.ledger import Ledger
from tests.domain.memory import MemoryBook, run

WORKSPACE = "ws_1"
START = datetime(2026, 6, 1, tzinfo=UTC)
STEPS_MAX = 20_000

PAYMENTS = ("payment_intent.", "charge.succeeded", "charge.failed")
REFUNDS = ("refund.", "charge.refund")
DISPUTES = ("charge.dispute.created", "charge.dispute.funds_withdrawn")
"""Events that come after all others in some histories."""

Actor = Coroutine[Any, Any, None]


class Pause:
    """A point at which others may go on."""

    def __await__(self) -> Generator[None, None, None]:
        yield


class SlowBook(MemoryBook):
    """A book whose every commit takes its time: whoever waits may be killed before it, or after
    it and never hear of it."""

    async def submit(self, command: Command) -> Done:
        """Decide and commit, at once, somewhere in the middle."""
        await Pause()
        done = await super().submit(command)
        await Pause()
        return done

    def copy(self) -> SlowBook:
        """The same book, to be continued differently."""
        twin = SlowBook()
        twin.states, twin.events, twin.causes = (
            dict(self.states),
            list(self.events),
            dict(self.causes),
        )
        return twin


class SlowLine(stripe.HTTPClient):
    """The sandbox's desk instead of a network that is slow and loses answers."""

    name = "slow"

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """Ask the desk; now and then nobody answers, before or after it was done."""
        await Pause()
        fate = self._world.fate()
        if fate != "lost":
            parts = urlsplit(url)
            form = parts.query if method == "get" else post_data or ""
            key = headers.get("Idempotency-Key") if method == "post" else None
            status, body = self._world.ask(method.upper(), parts.path, form, key)
        await Pause()
        if fate != "answered":
            raise stripe.APIConnectionError("nobody answers")  # type: ignore[no-untyped-call]
        return msgspec.json.encode(body), status, {}

    async def sleep_async(self, secs: float) -> None:
        """Whoever waits lets others go on."""
        await Pause()

    async def close_async(self) -> None:
        """Nothing is open."""


class StandingClock:
    """The time, a second later whenever it is asked for."""

    def __init__(self) -> None:
        self._seconds = count()

    async def now(self) -> datetime:
        """The time, UTC."""
        return START + timedelta(seconds=next(self._seconds))


@cache
def _templates() -> list[tuple[str, re.Pattern[str], str]]:
    create_app(Books())  # registers every route
    fixed_first = sorted(ROUTES, key=lambda entry: entry[1].count("{"))
    return [
        (method, re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path) + "$"), path)
        for method, path in fixed_first
    ]


@cache
def _opened() -> SlowBook:
    """A book with a catalogue, prices, and a workspace that has a customer at Stripe."""
    book = SlowBook()
    ledger, context = Ledger(book), Context(START)
    catalogue, digest = catalogues.load("faces")
    assert catalogue.price_book is not None
    to_end(ledger.publish_catalogue(catalogue, digest, context))
    to_end(
        ledger.publish_prices(
            catalogues.starts_at(catalogue.price_book),
            "usd",
            0,
            catalogues.price_entries(catalogue),
            "prices",
            context,
        )
    )
    to_end(ledger.create_workspace(WORKSPACE, "Acme", "owner", "UTC", context))
    return book


def to_end(asked: Awaitable[Any]) -> Any:
    """Let somebody go on, alone, to the end."""

    async def whole() -> Any:
        return await asked

    steps = whole()
    for _ in range(STEPS_MAX):
        try:
            steps.send(None)
        except StopIteration as done:
            return done.value
    raise AssertionError("it never ends")


@dataclass
class Delivery:
    """An event of Stripe's, and whether we said that we have it."""

    event: Json
    is_acknowledged: bool = False


class World:
    """One history: Stripe's books, ours, and everybody who is at work."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.books = Books()
        self.desk = Desk(self.books)
        self.book = _opened().copy()
        self.ledger = Ledger(self.book)
        client = stripe.StripeClient(
            "sk_test_of_tests",
            stripe_version=API_VERSION,
            base_addresses={"api": "http://sandbox.test"},
            max_network_retries=1,
            http_client=SlowLine(self),
        )
        settings = Settings("", "", stripe_key="sk_test_of_tests")
        self.clock = StandingClock()
        ways = (StripePayments(client), StripeContracts(client))
        self.till = Till(settings, self.ledger, client, self.clock, *ways)
        self.is_calm = True
        self.losses = self.random.choice(((97, 1, 2), (85, 5, 10), (40, 10, 50)))
        self.late = self.random.choice(((), PAYMENTS, REFUNDS, DISPUTES))
        self.actors: list[Actor] = []
        self.deliveries: dict[str, Delivery] = {}
        self.reacted: set[int] = set()
        self._numbers = count(1)
        to_end(self.ledger.stripe_customer(self.till.payments, WORKSPACE, Context(START)))
        [self.customer] = [one["id"] for one in self.books.find("customer")]

    # Stripe's side.

    def fate(self) -> str:
        """What becomes of a request."""
        if self.is_calm:
            return "answered"
        return self.random.choices(("answered", "lost", "unheard"), self.losses)[0]

    def ask(self, method: str, path: str, form: str, key: str | None) -> tuple[int, Json]:
        """One request of Stripe's API."""
        for verb, pattern, template in _templates():
            found = pattern.match(path) if verb == method else None
            if found is not None:
                number = f"req_{next(self._numbers)}"
                asked = Asked(method, template, found.groupdict(), path, form, key, number)
                try:
                    status, body, _ = self.desk.answer(asked)
                except StripeError as refused:
                    return refused.status, refused.body()
                return status, body
        raise AssertionError(f"the sandbox has no {method} {path}")

    def at_stripe(self, method: str, path: str, **params: Any) -> Json:
        """What somebody does in Stripe's own dashboard."""
        status, body = self.ask(method, path, urlencode(params), None)
        assert status == 200, body
        return body

    def order(self, path: str, **told: Any) -> Json:
        """Tell the sandbox what a bank or a customer does."""
        with self.books.transaction():
            return ORDERS[path](self.books, told)

    def all(self, kind: str, **equal: Any) -> list[Json]:
        """Stripe's objects of a kind, newest first."""
        return self.books.find(kind, **equal)

    # Ours.

    async def context(self, actor: str = "key_1") -> Context:
        """Who asks, and when."""
        return Context(await self.clock.now(), actor)

    def start(self, actor: Actor) -> None:
        """Somebody begins."""
        self.actors.append(actor)

    def go_on(self) -> None:
        """Whoever is chosen goes on to the next point at which it waits."""
        actor = self.random.choice(self.actors)
        try:
            actor.send(None)
        except StopIteration:
            self.actors.remove(actor)

    def kill(self) -> None:
        """The process dies: whoever was at work never goes on."""
        for actor in self.actors:
            actor.close()
        self.actors = []

    def news(self, *, late: bool = False) -> list[Delivery]:
        """Every event so far; those that are late only if they are asked for."""
        for event in self.all("event"):
            self.deliveries.setdefault(event["id"], Delivery(event))
        every = self.deliveries.values()
        return [one for one in every if late or not one.event["type"].startswith(self.late)]

    async def deliver(self, delivery: Delivery) -> None:
        """One webhook, taken in or kept for later."""
        told = stripe_event(delivery.event)
        handler = MONEY.get(told.type)
        if handler is None:
            delivery.is_acknowledged = True
            return
        try:
            disposition = await handler(told, self.till, await self.context("stripe"))
        except TryAgain:
            return
        if disposition != "deferred":
            delivery.is_acknowledged = True

    def asked_for(self) -> list[tuple[int, Recorded]]:
        """Facts of ours that nobody has reacted to yet."""
        return [
            (position, event)
            for position, event in enumerate(self.book.events)
            if isinstance(event.fact, AutoTopUpTriggered) and position not in self.reacted
        ]

    async def react(self, position: int, event: Recorded) -> None:
        """The follower, at one fact."""
        try:
            await charge(event, position, self.till, await self.context("system"))
        except TryAgain:
            return
        self.reacted.add(position)

    def come_to_rest(self) -> None:
        """The network is well again: everything arrives, in any order, until nothing is left."""
        self.is_calm = True
        for turn in range(50):
            while self.actors:
                self.go_on()
            news = self.news(late=turn > 2)
            waiting = [one for one in news if not one.is_acknowledged]
            facts = self.asked_for()
            if not waiting and not facts and turn > 2:
                return
            self.random.shuffle(waiting)
            for one in waiting:
                self.start(self.deliver(one))
            for position, event in facts:
                self.start(self.react(position, event))
        left = [one.event["type"] for one in self.news(late=True) if not one.is_acknowledged]
        raise AssertionError(f"it never comes to rest: {left} {self.asked_for()}")


Act = Callable[[World], None]

__all__ = ["WORKSPACE", "Act", "World", "run", "to_end"]
