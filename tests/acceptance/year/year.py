"""The simulated year itself: who arrives when, what happens on the way, and how it ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from tests.acceptance.year.arithmetic import months_after
from tests.acceptance.year.customer import Customer
from tests.acceptance.year.faces import FacesCustomer
from tests.acceptance.year.flarex import FlarexCustomer
from tests.acceptance.year.town import DAY, HOUR, Town, stamp
from tests.api.sandboxed import Sandboxed

BEGINS = datetime(2027, 12, 30, 10, tzinfo=UTC)
ENDS = datetime(2029, 3, 2, 12, tzinfo=UTC)
"""Fourteen months, with 29 February 2028 and the last day of every month among them."""

ARRIVALS = (
    datetime(2027, 12, 31, 10, tzinfo=UTC),
    datetime(2028, 1, 30, 23, 59, 59, tzinfo=UTC),
    datetime(2028, 1, 31, 10, 30, tzinfo=UTC),
    datetime(2028, 2, 29, 0, 0, 1, tzinfo=UTC),
    datetime(2028, 1, 15, 12, tzinfo=UTC),
)
"""Days that are worth starting on."""

KINDS: dict[str, type[Customer]] = {"faces": FacesCustomer, "flarex": FlarexCustomer}
Say = Callable[[str], None]


def live(
    shop: Sandboxed, catalogue: str, seed: int, workspaces: int, say: Say, *, stride: float = 36
) -> Town:
    """One year of a deployment, at rest. ``stride`` is the mean step of time, in hours."""
    town = Town(shop, seed, BEGINS)
    customers = [
        KINDS[catalogue](town, number, _arrival(town, number)) for number in range(workspaces)
    ]
    shown = BEGINS
    for now in _instants(town, customers, stride):
        _step(town, customers, now)
        if now - shown > 28 * DAY:
            shown = now
            say(f"{catalogue} {now:%Y-%m}: {_news(town)}")
    come_to_rest(town, customers)
    say(f"{catalogue} at rest: {_news(town)}")
    return town


def _arrival(town: Town, number: int) -> datetime:
    """Most arrive on a day that is worth it, some on any."""
    if number % 4 == 3:
        return BEGINS + timedelta(seconds=town.random.randrange(250 * 86_400))
    return ARRIVALS[number % len(ARRIVALS)]


def _instants(town: Town, customers: Sequence[Customer], stride: float) -> list[datetime]:
    """When something happens: at random, and just around the ends of cycles."""
    found = {customer.arrives_at for customer in customers}
    now = BEGINS
    while now < ENDS:
        now += timedelta(seconds=round(town.random.expovariate(1 / stride) * 3_600) + 1)
        found.add(now)
    for arrival in sorted({customer.arrives_at for customer in customers}):
        for month in range(1, 15):
            end = months_after(arrival, month)
            around = (end - timedelta(seconds=1), end, end + HOUR / 2, end + HOUR)
            found |= {one for one in around if town.chance(0.35)}
    return sorted(one for one in found if BEGINS < one < ENDS)


def _step(town: Town, customers: Sequence[Customer], now: datetime) -> None:
    """What one instant brings, in an order of its own."""
    hours = (now - town.now) / HOUR
    town.go_to(now)
    if town.chance(0.15 if town.post.is_down else 0.015):
        town.post.is_down = not town.post.is_down
    acts = [
        customer.arrive for customer in customers if not customer.is_here and _is_due(customer, now)
    ]
    per_step = min(0.011 * hours, 0.8) + 0.01
    for customer in customers:
        if customer.is_here and town.chance(per_step):
            acts += [customer.act] * town.random.randint(1, 2)
        if customer.is_here and town.chance(0.02):
            acts.append(customer.settle_debits)
    turns = [town.post.turn] * town.chance(0.75) + [town.tick] * town.chance(0.45)
    turns += [town.settle_on] * town.chance(0.02)
    if isinstance(customers[0], FacesCustomer):
        turns += [town.reprice] * town.chance(0.01)
    for turn in turns:
        acts.insert(town.random.randint(0, len(acts)), turn)
    for act in acts:
        town.turn_weather()
        act()
    town.clear_up()
    if now - town.reconciled_at > town.random.uniform(1.5, 6) * DAY:
        town.reconcile()


def _is_due(customer: Customer, now: datetime) -> bool:
    return customer.arrives_at <= now


def come_to_rest(town: Town, customers: Sequence[Customer]) -> None:
    """Nothing is under way any more: what was lost stays lost, and is repaired."""
    town.post.lose_all()
    for _ in range(8):
        for customer in customers:
            if customer.is_here:
                customer.settle_debits()
        town.tick()
        left = town.reconcile()
        town.post.lose_all()
        town.tick()
        drafts = town.books.find("invoice", status="draft")
        if not left and not any(draft["auto_advance"] for draft in drafts):
            break
        town.go_to(town.now + HOUR + timedelta(minutes=1))
    assert not left, left


def _news(town: Town) -> str:
    acts = sum(count for name, count in town.acts.items() if ":" not in name)
    invoices = len(town.books.find("invoice"))
    return (
        f"{acts} acts, {invoices} invoices, {town.post.carried} webhooks, "
        f"{town.post.lost} lost, {town.acts['repaired']} repaired, now {stamp(town.now)}"
    )
