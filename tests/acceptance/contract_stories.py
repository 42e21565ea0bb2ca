"""Stories of contracts: subscribing, changing, ending, not paying, by a seed; see interleaving.py.

Time moves for both sides at once, but nothing that it brings at Stripe is known here before a
webhook, a timer or a request says so.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import Any
from urllib.parse import urlencode

from msgspec import structs

from adapters import catalogues
from adapters.stripe.sandbox.books import Books, Json
from adapters.stripe.sandbox.desk import Desk
from adapters.stripe.sandbox.errors import StripeError
from api.stripe.contract_events import CONTRACT
from api.stripe.contract_reactions import REACTING
from api.stripe.money_events import MONEY
from api.stripe.till import STRENGTH, Disposition, stripe_event
from domain.account.credit_account import CreditAccount
from domain.account.usage import Tokens, Usage
from domain.contract.subscribing import Paths
from domain.contract.subscription import Subscription, subscription_stream
from domain.errors import Refusal, TryAgain
from domain.facts import Context, Recorded
from domain.identity import account_id
from domain.ledger import Ledger
from domain.payment.facts import payment_stream
from tests.acceptance.interleaving import START, WORKSPACE, Delivery, SlowBook, World, to_end

ACTS = 14
HOUR, DAY = 3_600, 86_400
PLANS = ("starter", "pro", "enterprise")
WINDOWS = (0, 45, 0, 10, 0, 30, 0)
"""Minutes that cycles wait for their usage before they are closed, by a history's number."""
PATHS = Paths("http://daybook.test/ok", "http://daybook.test/no")
GOOD, FAILS = "pm_card_visa", "pm_card_chargeCustomerFail"
LATE: tuple[Any, ...] = ((), ("checkout.",), ("invoice.",), ("customer.sub",))
"""Events that come after all others in some histories."""
NUMBERS = {GOOD: "4242424242424242", FAILS: "4000000000000341"}


class SharedClock:
    """The sandbox's time is ours."""

    def __init__(self, books: Books) -> None:
        self._books = books

    async def now(self) -> datetime:
        """The time, UTC."""
        return datetime.fromtimestamp(self._books.now(), UTC)


@cache
def _opened(late_window: int) -> SlowBook:
    """A book with `flarex` and one workspace in it; a cycle that is over waits so many minutes."""
    book = SlowBook()
    ledger, context = Ledger(book), Context(START)
    shipped, digest = catalogues.load("flarex")
    catalogue = structs.replace(shipped, late_window_minutes=late_window)
    to_end(ledger.publish_catalogue(catalogue, digest, context))
    to_end(ledger.create_workspace(WORKSPACE, "Acme", "owner", "UTC", context))
    return book


class ContractWorld(World):
    """One history of a contract."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.books = Books()
        self.books.freeze(int(START.timestamp()))
        self.desk = Desk(self.books)
        self.window = WINDOWS[seed % len(WINDOWS)]
        self.book = _opened(self.window).copy()
        self.ledger = Ledger(self.book)
        self.till = replace(self.till, ledger=self.ledger, clock=SharedClock(self.books))
        self.clock = self.till.clock  # type: ignore[assignment]
        self.late = self.random.choice(LATE)
        self.previews: list[str] = []

    async def deliver(self, delivery: Delivery) -> None:
        """One webhook, taken in by whoever is concerned, or kept for later."""
        told = stripe_event(delivery.event)
        said: Disposition = "ignored"
        for book in (MONEY, CONTRACT):
            handler = book.get(told.type)
            if handler is None:
                continue
            try:
                answer = await handler(told, self.till, await self.context("stripe"))
            except TryAgain:
                return
            said = max(said, answer, key=lambda one: STRENGTH[one])
        if said != "deferred":
            delivery.is_acknowledged = True

    def asked_for(self) -> list[tuple[int, Recorded]]:
        """Facts of ours that nobody has reacted to yet."""
        return [
            (position, event)
            for position, event in enumerate(self.book.events)
            if type(event.fact) in REACTING and position not in self.reacted
        ]

    async def react(self, position: int, event: Recorded) -> None:
        """The follower, at one fact."""
        try:
            context = await self.context("system")
            await REACTING[type(event.fact)](event, position, self.till, context)
        except TryAgain:
            return
        self.reacted.add(position)

    def pass_time(self, seconds: int) -> None:
        """Time goes by, and at Stripe does what it brings. Webhooks are kept as long as it takes,
        which Stripe does not do with events."""
        while seconds > 0:
            self.desk.clockwork.advance(self.books.now() + min(seconds, 10 * DAY))
            self.news(late=True)
            seconds -= 10 * DAY

    def ours(self) -> Subscription:
        """The contract as committed."""
        found = self.book.states[subscription_stream(WORKSPACE)]
        assert isinstance(found, Subscription)
        return found

    def has_waiting(self) -> bool:
        """Whether a cycle is over and waits for its usage."""
        account = self.book.states[account_id(WORKSPACE)]
        assert isinstance(account, CreditAccount)
        now = datetime.fromtimestamp(self.books.now(), UTC)
        return any(now < waits.closes_at for waits in account.waiting)

    def has_just_begun(self) -> bool:
        """Whether a period of Stripe's is younger than a cycle waits."""
        starts = [one["items"]["data"][0]["current_period_start"] for one in self.living()]
        return any(self.books.now() < start + 60 * self.window for start in starts)

    def living(self) -> list[Json]:
        """Stripe's subscriptions that have not ended."""
        over = ("canceled", "incomplete_expired")
        return [one for one in self.all("subscription") if one["status"] not in over]

    def try_at_stripe(self, method: str, path: str, **params: Any) -> None:
        """What somebody tries in Stripe's own dashboard; a refusal is one."""
        self.ask(method, path, urlencode(params), None)


# What customers do here.


async def ask(world: ContractWorld, kind: str, number: int, plan: str) -> None:
    """One request of the customer's, carried out as the API does."""
    ledger, contracts = world.ledger, world.till.contracts
    try:
        context = await world.context()
        if kind == "checkout":
            stream = payment_stream("subscription_checkout", WORKSPACE, f"k{number}")
            await ledger.subscribe(contracts, WORKSPACE, plan, stream, PATHS, context)
        elif kind == "change":
            id = f"p{number}"
            await ledger.preview_plan(contracts, WORKSPACE, plan, (), id, context)
            world.previews.append(id)
            await ledger.confirm_plan(contracts, WORKSPACE, id, await world.context())
        elif kind == "again" and world.previews:
            id = world.random.choice(world.previews)
            await ledger.confirm_plan(contracts, WORKSPACE, id, context)
        elif kind == "cancel":
            await ledger.cancel(contracts, WORKSPACE, context)
        elif kind == "resume":
            await ledger.resume(contracts, WORKSPACE, context)
        elif kind == "unschedule":
            await ledger.unschedule_plan(contracts, WORKSPACE, context)
        elif kind == "overage":
            on = world.random.random() < 0.8
            await ledger.switch_overage(contracts, WORKSPACE, on, context)
        elif kind == "spend":
            await ledger.charge(WORKSPACE, usage(world, number), context)
        elif kind == "timer":
            await ledger.roll_over(WORKSPACE, context, "timer")
    except Refusal:
        return


def usage(world: ContractWorld, number: int) -> Usage:
    """A generation of some size, by some bot; some are reported after a while."""
    ago = world.random.choice((0, 0, 600, 2_400))
    if world.has_waiting() and (begun := world.ours().period_start):
        ago = world.books.now() - int(begun.timestamp()) + 60
    return Usage(
        event_id=f"use{number}",
        meter="chat_generation",
        action="chat",
        tokens=Tokens(input=world.random.choice((7_000, 400_000, 6_000_000))),
        bot_id=world.random.choice(("b1", "b2", None)),
        occurred_at=datetime.fromtimestamp(world.books.now() - ago, UTC) if ago else None,
        mode="record",
    )


# What happens at Stripe.


def finish_page(world: ContractWorld) -> bool:
    """A customer fills in a page, or a bank's money comes."""
    pages = [one for one in world.all("checkout.session") if one["status"] == "open"]
    if not pages or world.living():
        return False
    outcome = world.random.choice(("pay", "pay", "pay", "delayed"))
    told = {"id": world.random.choice(pages)["id"], "outcome": outcome}
    try:
        world.order("/checkout/{id}", **told, card=NUMBERS[GOOD])
    except StripeError:
        return False
    if outcome == "delayed":
        how = world.random.choice(("settle", "settle", "fail"))
        world.order("/checkout/{id}", id=told["id"], outcome=how)
    return True


def change_card(world: ContractWorld) -> bool:
    """Another card pays the subscription from now on; perhaps it does not."""
    for one in world.living():
        card = world.random.choice((GOOD, FAILS))
        saved = world.order("/cards", customer=one["customer"], card=card)
        told = {"default_payment_method": saved["id"]}
        world.try_at_stripe("POST", f"/v1/subscriptions/{one['id']}", **told)
    return bool(world.living())


def pay(world: ContractWorld) -> bool:
    """Somebody tries to pay an open invoice, or it is forgiven."""
    invoices = world.all("invoice", status="open")
    if invoices:
        verb = world.random.choice(("pay", "pay", "pay", "void"))
        world.try_at_stripe("POST", f"/v1/invoices/{world.random.choice(invoices)['id']}/{verb}")
    return bool(invoices)


def in_portal(world: ContractWorld) -> bool:
    """The subscription is cancelled in the portal, or goes on after all."""
    for one in world.living():
        cancel = str(world.random.random() < 0.6).lower()
        world.try_at_stripe("POST", f"/v1/subscriptions/{one['id']}", cancel_at_period_end=cancel)
    return bool(world.living())


def wait(world: ContractWorld) -> bool:
    """Time passes: an hour, days, or to the end of the period."""
    seconds = world.random.choice((600, HOUR, 5 * HOUR, 3 * DAY, 12 * DAY))
    if world.has_waiting() and world.random.random() < 0.8:
        world.pass_time(300)
        return True
    near = (-60, 0, 1, 300) if world.window else (-60, 0, 1, HOUR)
    if world.random.random() < (0.6 if world.window else 0.3) and world.living():
        ends = world.living()[0]["items"]["data"][0]["current_period_end"]
        seconds = max(ends - world.books.now() + world.random.choice(near), 1)
    world.pass_time(seconds)
    if world.has_just_begun() and world.random.random() < 0.7:
        world.start(ask(world, "timer", 0, "free"))
    return True


AT_STRIPE = {"finish": finish_page, "card": change_card, "pay": pay, "portal": in_portal}
HERE = ("change", "again", "cancel", "resume", "unschedule", "overage", "spend", "timer")
KINDS = ("checkout", *HERE, *AT_STRIPE, "wait")
FOCUS = (
    (20, 20, 6, 4, 4, 4, 6, 8, 4, 25, 4, 4, 4, 20),  # everything
    (10, 45, 12, 2, 2, 8, 0, 2, 4, 15, 10, 10, 2, 15),  # changing plans
    (10, 5, 0, 10, 10, 2, 25, 40, 4, 15, 2, 2, 6, 30),  # usage and cycles
    (8, 8, 2, 2, 2, 0, 4, 6, 4, 12, 25, 25, 2, 40),  # not paying
)
"""How often what happens, by what a history is about."""


def act(world: ContractWorld, number: int, kind: str) -> bool:
    """One act; whether there was anything to do."""
    if kind in AT_STRIPE:
        return AT_STRIPE[kind](world)
    if kind == "wait":
        return wait(world)
    if kind == "checkout" and (world.living() or world.ours().stripe is not None):
        return False
    world.start(ask(world, kind, number, world.random.choice((*PLANS, "free"))))
    return True


def live(seed: int) -> ContractWorld:
    """One history, at rest."""
    world = ContractWorld(seed)
    if seed % 5:
        to_end(ask(world, "checkout", 0, world.random.choice(PLANS)))
        finish_page(world)
    if seed % 5 > 1:
        world.come_to_rest()
        to_end(ask(world, "overage", 0, ""))
    weights = FOCUS[seed % len(FOCUS)]
    world.is_calm = False
    left, number = ACTS, 0
    while left or world.actors:
        chance = world.random.random()
        if left and (chance < 0.12 or not world.actors):
            number += 1
            [kind] = world.random.choices(KINDS, weights)
            left -= act(world, number, kind) or number > 5 * ACTS
        elif chance < 0.22 and (news := world.news()):
            world.start(world.deliver(world.random.choice(news)))
        elif chance < 0.26 and (facts := world.asked_for()):
            world.start(world.react(*world.random.choice(facts)))
        elif chance > 0.99:
            world.kill()
        elif world.actors:
            world.go_on()
    world.come_to_rest()
    world.pass_time(2 * HOUR)  # drafts become final, and what the cards say is known
    world.start(ask(world, "timer", number + 1, "free"))
    world.come_to_rest()
    return world
