"""Issue 4's property for contracts: whatever order, loss, repetition and death do, what the
customer agreed to, what Stripe bills and what we grant are one and the same in the end."""

from __future__ import annotations

import os
from collections import Counter
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest

from domain.account.credit_account import CreditAccount
from domain.contract.facts import SubscriptionEnded
from domain.contract.subscription import CycleClosed, CycleOpened, PlanChanged, SubscriptionStarted
from domain.facts import project
from domain.identity import account_id
from domain.invoice.invoice import DUNNED, Invoice, invoice_stream
from domain.workspace.workspace import Workspace, workspace_stream
from tests.acceptance.contract_stories import ContractWorld, live
from tests.acceptance.interleaving import WORKSPACE

HISTORIES = int(os.environ.get("CONTRACT_HISTORIES", "240"))
FIRST = int(os.environ.get("FIRST_HISTORY", "0"))
BUNDLES = 8


def moment(seconds: int) -> datetime:
    """Stripe's seconds in UTC."""
    return datetime.fromtimestamp(seconds, UTC)


def check(world: ContractWorld) -> None:
    """Our books say what Stripe's say."""
    check_plan(world)
    check_cycles(world)
    check_overage(world)
    check_charges(world)
    check_invoices(world)
    ours = world.ours()
    assert project(None, world.book.stream(ours.id)) == ours


def check_plan(world: ContractWorld) -> None:
    """The plan in force is the one that Stripe bills, and the account may spend by it."""
    ours = world.ours()
    account = world.book.states[account_id(WORKSPACE)]
    workspace = world.book.states[workspace_stream(WORKSPACE)]
    assert isinstance(account, CreditAccount)
    assert isinstance(workspace, Workspace)
    running = [one for one in world.living() if one["status"] != "incomplete"]
    assert len(running) <= 1
    if running and ours.stripe is not None:
        [theirs] = running
        item = theirs["items"]["data"][0]
        assert ours.stripe_id == theirs["id"]
        assert ours.plan_id == item["price"]["metadata"]["plan_id"]
        assert ours.period_start is not None  # later, where we heard late that it began
        assert ours.period_start >= moment(item["current_period_start"])
        assert ours.period_end == moment(item["current_period_end"])
        cancel_at = theirs["cancel_at"]
        assert ours.cancel_at == (None if cancel_at is None else moment(cancel_at))
        if ours.scheduled is not None:
            assert ours.scheduled.stripe_schedule_id == theirs["schedule"]
        elif theirs["schedule"] is not None:
            assert theirs["cancel_at"] is not None or changes_nothing(world, theirs)
        pending = ours.pending_change is not None
        assert pending is (theirs["pending_update"] is not None)
    else:
        unpaid = [one for one in running if one["id"] not in ours.announced]
        assert not unpaid, "somebody pays for what is not in force"
        assert ours.plan_id == "free"
    assert account.policy is not None
    assert (account.policy.plan_id, account.policy.period_end) == (ours.plan_id, ours.period_end)
    assert account.policy.overage_enabled is ours.overage_enabled


def changes_nothing(world: ContractWorld, theirs: Any) -> bool:
    """Whether a schedule has done what it was made for: it goes on for its last period."""
    schedule = world.books.get("subscription_schedule", theirs["schedule"])
    now = {item["price"]["id"] for item in theirs["items"]["data"]}
    coming = [
        {item["price"] for item in phase["items"]}
        for phase in schedule["phases"]
        if phase["end_date"] > world.books.now()
    ]
    return all(phase == now for phase in coming)


def check_cycles(world: ContractWorld) -> None:
    """Cycles abut, and what Stripe ended has ended."""
    facts = [event.fact for event in world.book.stream(world.ours().id)]
    closed = [fact for fact in facts if isinstance(fact, CycleClosed)]
    ends = {fact.cycle_id: fact.period_end for fact in closed}
    assert len(ends) == len(closed), "a cycle is closed once"
    runs = [fact for fact in facts if isinstance(fact, CycleOpened | SubscriptionStarted)]
    for ran, following in pairwise(runs):
        # One that ended as it began never ran.
        assert ends.get(ran.cycle_id, ran.period_start) == following.period_start
    account = world.book.states[account_id(WORKSPACE)]
    assert isinstance(account, CreditAccount)
    assert account.waiting == (), "nothing waits for ever"
    started = Counter(f.stripe_subscription_id for f in facts if isinstance(f, SubscriptionStarted))
    over = Counter(f.stripe_subscription_id for f in facts if isinstance(f, SubscriptionEnded))
    for one in world.all("subscription"):
        if started[one["id"]]:  # again, where Stripe renewed what we took for ended
            runs = one["status"] != "canceled"
            assert started[one["id"]] - over[one["id"]] == runs


def check_overage(world: ContractWorld) -> None:
    """Every line of every closed cycle stands on exactly one invoice, with its amount."""
    billed: dict[tuple[str, int], list[int]] = {}
    for item in world.all("invoiceitem"):
        if item["metadata"].get("kind") == "overage":
            place = (item["metadata"]["cycle_id"], int(item["metadata"]["line"]))
            billed.setdefault(place, []).append(item["amount"])
            assert item["invoice"] is not None
    expected: dict[tuple[str, int], list[int]] = {}
    backed: dict[str, bool] = {}
    for event in world.book.stream(world.ours().id):
        fact = event.fact
        if isinstance(fact, SubscriptionStarted):
            backed[fact.subscription_id] = fact.stripe_subscription_id is not None
        elif isinstance(fact, CycleClosed) and any(o.amount_minor for o in fact.overage):
            for number, line in enumerate(
                fact.overage if backed[contract_of(fact.cycle_id)] else ()
            ):
                expected[fact.cycle_id, number] = [line.amount_minor]
    waiting = set(world.ours().unbilled)
    for place, amounts in expected.items():
        if place[0] not in waiting or place in billed:
            assert billed.pop(place) == amounts, place
    assert not billed
    assert not waiting, "nothing will ever bill it"


def contract_of(cycle_id: str) -> str:
    """The subscription whose cycle it was; another one may be in force when it is closed."""
    return cycle_id.split(":", maxsplit=1)[0]


def check_charges(world: ContractWorld) -> None:
    """What a change cost here is what Stripe took for it."""
    changes = [
        event.fact
        for event in world.book.stream(world.ours().id)
        if isinstance(event.fact, PlanChanged)
    ]
    charged = sorted(f.charged for f in changes if f.preview_id and f.direction == "upgrade")
    took = sorted(
        one["amount_due"]
        for one in world.all("invoice", billing_reason="subscription_update")
        if one["status"] == "paid"
    )
    if world.living():
        assert charged == took
    else:  # what was heard of only after the end changed nothing any more
        assert not Counter(charged) - Counter(took)


def check_invoices(world: ContractWorld) -> None:
    """Every invoice of a contract of ours is mirrored; what is unpaid is why we are past due."""
    ours = world.ours()
    owed: set[str] = set()
    for one in world.all("invoice"):
        details = (one["parent"] or {}).get("subscription_details") or {}
        stripe_id = details.get("subscription")
        mirrored: Any = world.book.states.get(invoice_stream(one["id"]))
        if stripe_id is not None and not ours.is_known(stripe_id):
            continue
        assert isinstance(mirrored, Invoice), one["billing_reason"]
        assert mirrored.status == one["status"]
        dunned = one["billing_reason"] in DUNNED or one["metadata"].get("kind") == "overage"
        failed = one["status"] == "open" and one["attempt_count"] > 0
        cycle = one["metadata"].get("cycle_id", "")
        if (
            dunned
            and failed
            and (ours.stripe_id == stripe_id or contract_of(cycle) == ours.subscription_id)
        ):
            owed.add(one["id"])
    if ours.stripe is not None:
        since = set(ours.failed_invoices)
        assert since == owed
        assert (ours.status == "past_due") is bool(owed)
        workspace: Any = world.book.states[workspace_stream(WORKSPACE)]
        assert (workspace.status == "past_due") is bool(owed)
        assert workspace.grace_ends_at == ours.grace_ends_at


@pytest.mark.parametrize("bundle", range(BUNDLES))
def test_whatever_the_network_does_contracts_end_up_right(bundle: int) -> None:
    each = HISTORIES // BUNDLES
    first = FIRST + bundle * each
    print(f"histories {first} to {first + each - 1}")
    for seed in range(first, first + each):
        try:
            check(live(seed))
        except Exception as failure:
            raise AssertionError(f"history {seed}: run it with FIRST_HISTORY={seed}") from failure
