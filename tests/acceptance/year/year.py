"""The simulated year itself: who arrives when, what happens on the way, and how it ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from tests.acceptance.year.arithmetic import months_after
from tests.acceptance.year.customer import Customer
from tests.acceptance.year.faces import FacesCustomer
from tests.acceptance.year.flarex import FlarexCustomer
from tests.acceptance.year.seller import Seller
from tests.acceptance.year.town import DAY, HOUR, Act, Town, stamp
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

STRANGERS = 4
"""How many of those who arrive on any day have the ends of their cycles watched."""

KINDS: dict[str, type[Customer]] = {"faces": FacesCustomer, "flarex": FlarexCustomer}
Say = Callable[[str], None]


@dataclass(frozen=True)
class Pace:
    """How densely a year is lived: a mean step of ``stride`` hours, ``busy`` wishes of a workspace
    a day, and ``kills`` in all where the deployment can die. ``ends`` is when it is over."""

    stride: float = 20
    busy: float = 0.15
    kills: int = 30
    ends: datetime = ENDS


def live(shop: Sandboxed, catalogue: str, seed: int, workspaces: int, say: Say, pace: Pace) -> Town:
    """One year of a deployment, at rest."""
    town = Town(shop, seed, BEGINS)
    seller = Seller(town, catalogue)
    customers = [
        KINDS[catalogue](town, number, _arrival(town, number)) for number in range(workspaces)
    ]
    shown = BEGINS
    instants = _instants(town, customers, pace)
    for now in instants:
        if town.is_mortal and town.chance(pace.kills / len(instants)):
            town.strike()
        _step(town, customers, seller, now, pace)
        if now - shown > 28 * DAY:
            shown = now
            say(f"{catalogue} {now:%Y-%m}: {_news(town)}")
    town.rest()
    town.ask_again(patiently=True)
    come_to_rest(town, customers)
    say(f"{catalogue} at rest: {_news(town)}")
    return town


def _arrival(town: Town, number: int) -> datetime:
    """Most arrive on a day that is worth it, some on any."""
    if number % 4 == 3:
        return BEGINS + timedelta(seconds=town.random.randrange(250 * 86_400))
    return ARRIVALS[number % len(ARRIVALS)]


def _instants(town: Town, customers: Sequence[Customer], pace: Pace) -> list[datetime]:
    """When something happens: at random, and just around the ends of cycles."""
    found = {customer.arrives_at for customer in customers}
    now = BEGINS
    while now < pace.ends:
        now += timedelta(seconds=round(town.random.expovariate(1 / pace.stride) * 3_600) + 1)
        found.add(now)
    # Beyond the days on which most begin, a few that are nobody else's are enough.
    strangers = customers[3 : 4 * STRANGERS : 4]
    arrivals = {one.arrives_at for one in customers if one.arrives_at in ARRIVALS}
    for arrival in sorted(arrivals | {one.arrives_at for one in strangers}):
        for month in range(1, 15):
            end = months_after(arrival, month)
            around = (end - timedelta(seconds=1), end, end + HOUR / 2, end + HOUR)
            found |= {one for one in around if town.chance(0.35)}
    return sorted(one for one in found if BEGINS < one < pace.ends)


def _step(
    town: Town, customers: Sequence[Customer], seller: Seller, now: datetime, pace: Pace
) -> None:
    """What one instant brings, in an order of its own."""
    days = (now - town.now) / DAY
    town.go_to(now)
    if town.chance(0.15 if town.post.is_down else 0.015):
        town.post.is_down = not town.post.is_down
    acts = [
        customer.arrive for customer in customers if not customer.is_here and _is_due(customer, now)
    ]
    per_step = min(days * pace.busy / 1.5 + 0.004, 0.8)
    for customer in customers:
        if customer.is_here and town.chance(per_step):
            acts += [customer.act] * town.random.randint(1, 2)
        if customer.is_here and town.chance(0.02):
            acts.append(customer.settle_debits)
    turns = [town.post.turn] * town.chance(0.75) + [town.tick] * town.chance(0.45)
    turns += [seller.settle_on] * town.chance(0.02) + [seller.republish] * town.chance(0.01)
    turns += [seller.migrate] * town.chance(0.006)
    turns += [seller.reprice] * (seller.has_models and town.chance(0.01))
    for turn in turns:
        acts.insert(town.random.randint(0, len(acts)), turn)
    _do(town, acts)
    town.clear_up()
    town.ask_again()
    if now - town.reconciled_at > town.random.uniform(2, 7) * DAY:
        town.reconcile()


def _do(town: Town, acts: Sequence[Act]) -> None:
    """One after the other; where the deployment lives in processes of its own, several at once,
    but for those of one customer."""
    storms = min(0.04, 0.2 / max(len(acts), 1))

    def one_by_one(some: Sequence[Act]) -> None:
        for act in some:
            town.turn_weather(storms)
            act()

    if not town.is_mortal:
        one_by_one(acts)
        return
    whose: dict[int, list[Act]] = {}
    for act in acts:
        whose.setdefault(id(getattr(act, "__self__", act)), []).append(act)
    list(town.crowd.map(one_by_one, whose.values()))


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
