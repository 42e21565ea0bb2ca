"""Stories of money: random acts of customers, administrators, banks and networks, by a seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from domain.account.credit_facts import Credited
from domain.account.usage import Tokens, Usage
from domain.errors import PaymentRequired, TryAgain
from domain.payment.errors import NotRefundable
from domain.payment.facts import payment_stream
from domain.payment.paying import Urls
from tests.acceptance.interleaving import WORKSPACE, World

ACTS = 12
MINOR = 10_000
URLS = Urls("http://daybook.test/ok", "http://daybook.test/no")
CARDS = (
    *("pm_card_visa",) * 5,
    "pm_card_chargeCustomerFail",
    "pm_card_chargeDeclinedInsufficientFunds",
    *("pm_card_authenticationRequired",) * 2,
)
SIZES = (500, 2_000, 10_000)
KEYS = ("a", "b", "c", "d")


async def top_up(world: World, key: str, amount: int) -> None:
    """A customer's request, as `POST /v1/billing/topup` carries it out."""
    context = await world.context()
    stream = payment_stream("topup", WORKSPACE, key)
    try:
        attempt, is_new = await world.ledger.request_payment(
            WORKSPACE, "topup", stream, amount, context
        )
        await world.ledger.pursue(world.till.payments, attempt, URLS, context, is_new=is_new)
    except (PaymentRequired, TryAgain):
        return


async def spend(world: World, number: int) -> None:
    """A metered act of half a dollar: gpt-5.4-mini, 2 million tokens in."""
    usage = Usage(
        event_id=f"use{number}",
        meter="chat",
        llm_model="gpt-5.4-mini",
        tokens=Tokens(input=2_000_000),
        mode="record",
    )
    await world.ledger.charge(WORKSPACE, usage, await world.context())


async def order_auto_topup(world: World, enabled: bool) -> None:
    """The customer's standing order."""
    await world.ledger.configure_auto_topup(
        WORKSPACE,
        enabled,
        3_000_000,
        5_000_000,
        None,
        15_000_000,
        (1_000_000, 10**10),
        await world.context(),
    )


async def open_card_page(world: World, key: str) -> None:
    """A page to save a card on."""
    try:
        await world.ledger.open_card_page(
            world.till.payments, WORKSPACE, key, URLS, await world.context()
        )
    except TryAgain:
        return


async def refund_by_admin(world: World, payment: str, amount: int, key: str) -> None:
    """A refund by an administrator of ours."""
    try:
        await world.ledger.request_refund(
            world.till.payments, payment, amount, key, "T-1", await world.context()
        )
    except (NotRefundable, TryAgain):
        return


def new_card(world: World) -> bool:
    """Another card is saved and chosen, as in the portal."""
    world.order("/cards", customer=world.customer, card=world.random.choice(CARDS))
    return True


def lose_card(world: World) -> bool:
    """A card is taken off, as in the portal."""
    cards = [one for one in world.all("payment_method") if one["customer"] == world.customer]
    if cards:
        world.at_stripe("POST", f"/v1/payment_methods/{world.random.choice(cards)['id']}/detach")
    return bool(cards)


def finish_page(world: World) -> bool:
    """A customer fills in a card page."""
    pages = [one for one in world.all("checkout.session") if one["status"] == "open"]
    if pages:
        world.order("/checkout/{id}", id=world.random.choice(pages)["id"], outcome="pay")
    return bool(pages)


def authenticate(world: World) -> bool:
    """A card's holder confirms a payment, or does not."""
    waiting = world.all("payment_intent", status="requires_action")
    if waiting:
        outcome = world.random.choice(("complete", "complete", "fail"))
        world.order("/authenticate/{id}", id=world.random.choice(waiting)["id"], outcome=outcome)
    return bool(waiting)


def refund(world: World) -> bool:
    """Money is given back in Stripe's dashboard, in part or in whole."""
    charges = [
        one
        for one in world.all("charge", status="succeeded")
        if one["amount_refunded"] < one["amount"] and not one["disputed"]
    ]
    if charges:
        charge = world.random.choice(charges)
        left = charge["amount"] - charge["amount_refunded"]
        amount = left if world.random.random() < 0.3 else world.random.randint(1, left)
        world.at_stripe("POST", "/v1/refunds", charge=charge["id"], amount=amount)
    return bool(charges)


def dispute(world: World) -> bool:
    """A payment is disputed, or its dispute goes on."""
    steps = [
        (contested["id"], step)
        for contested in world.all("dispute")
        for step in _next_steps(contested)
    ]
    charges = [one for one in world.all("charge", status="succeeded") if not one["disputed"]]
    if steps and (not charges or world.random.random() < 0.8):
        contested, step = world.random.choice(steps)
        world.order("/disputes/{id}", id=contested, step=step)
    elif charges:
        world.order("/disputes", charge=world.random.choice(charges)["id"])
    return bool(steps or charges)


def _next_steps(contested: dict[str, Any]) -> list[str]:
    """What a bank may do with a dispute now: take the money, give it back, decide."""
    moved = sum(entry["amount"] for entry in contested["balance_transactions"])
    is_open = contested["status"] == "needs_response"
    if moved < 0:
        given_back = ["funds_reinstated"] if is_open or contested["status"] == "won" else []
        return [*given_back, *(("won", "won", "lost") if is_open else ())]
    if contested["balance_transactions"]:
        return ["won"] if is_open else []
    return [*("funds_withdrawn",) * 5, "won"] if is_open else []


AT_STRIPE: dict[str, Callable[[World], bool]] = {
    "finish": finish_page,
    "card": new_card,
    "lose": lose_card,
    "holder": authenticate,
    "refund": refund,
    "dispute": dispute,
}
KINDS = ("topup", "admin", "spend", "auto", "page", *AT_STRIPE)
FOCUS = (
    (40, 2, 10, 4, 4, 4, 8, 2, 30, 4, 4),  # paying
    (5, 0, 60, 10, 0, 0, 8, 3, 20, 0, 0),  # by itself
    (20, 8, 5, 0, 0, 0, 2, 0, 5, 50, 0),  # giving back
    (20, 0, 5, 0, 0, 0, 2, 0, 5, 10, 60),  # being disputed
    (10, 0, 10, 10, 20, 25, 15, 10, 5, 0, 0),  # cards
    (20, 4, 15, 5, 5, 5, 8, 3, 10, 10, 15),  # everything
)
"""How often what happens, by what a history is about."""


def act(world: World, number: int, kind: str) -> bool:
    """One act; whether there was anything to do."""
    if kind in AT_STRIPE:
        return AT_STRIPE[kind](world)
    choice = world.random.choice
    if kind == "topup":
        key = choice(KEYS)
        # A key is always sent with the same amount.
        world.start(top_up(world, key, SIZES[KEYS.index(key) % len(SIZES)] * MINOR))
    elif kind == "spend":
        world.start(spend(world, number))
    elif kind == "auto":
        world.start(order_auto_topup(world, world.random.random() < 0.9))
    elif kind == "page":
        world.start(open_card_page(world, choice(KEYS)))
    else:
        credited = [e.fact for e in world.book.events if isinstance(e.fact, Credited)]
        paid = [fact.payment_attempt_id for fact in credited if fact.payment_attempt_id]
        if not paid:
            return False
        world.start(refund_by_admin(world, choice(paid), 1_000_000, f"r{number}"))
    return True


def live(seed: int) -> World:
    """One history, at rest."""
    world = World(seed)
    world.order("/cards", customer=world.customer, card="pm_card_visa")
    if seed % len(FOCUS) in (1, 4, 5):
        world.start(order_auto_topup(world, True))
    if seed % len(FOCUS) in (2, 3, 5):
        for key in KEYS[:2]:
            world.start(top_up(world, key, SIZES[KEYS.index(key)] * MINOR))
    weights = FOCUS[seed % len(FOCUS)]
    world.is_calm = False
    left, number = ACTS, 0
    while left or world.actors:
        chance = world.random.random()
        if left and (chance < 0.12 or not world.actors):
            number += 1
            # Whatever nobody does may be done yet, but not for ever.
            [kind] = world.random.choices(KINDS, weights)
            left -= act(world, number, kind) or number > 5 * ACTS
        elif chance < 0.20 and (news := world.news()):
            # Any event, in any order, also one that was taken in long ago.
            world.start(world.deliver(world.random.choice(news)))
        elif chance < 0.23 and (facts := world.asked_for()):
            world.start(world.react(*world.random.choice(facts)))
        elif chance > 0.99:
            world.kill()
        elif world.actors:
            world.go_on()
    world.come_to_rest()
    return world
