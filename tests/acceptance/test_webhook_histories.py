"""Issue 4's property: whatever order, loss, repetition and death do, money ends up right.

A history is a story of random acts (top-ups, retries, spending, refunds, disputes, cards) with
webhooks delivered in any order, late and again, API calls in between, answers lost, and the
process killed at random points. Afterwards everything is delivered until nothing is left; then
our books must say what Stripe's say, whichever way they came there: one credit per payment, no
payment without its credit.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import pytest

from domain.account.credit_account import CreditAccount
from domain.account.credit_facts import Credited
from domain.account.topup_facts import AutoTopUpResolved, AutoTopUpTriggered
from domain.account.usage_facts import Debited
from domain.commands import Stream
from domain.facts import project
from domain.identity import account_id
from domain.payment.attempt import PaymentAttempt
from domain.payment.facts import attempt_stream
from domain.workspace.workspace import Workspace, workspace_stream
from tests.acceptance.interleaving import WORKSPACE, World, to_end
from tests.acceptance.stories import MINOR, live

HISTORIES = int(os.environ.get("HISTORIES", "2000"))
FIRST = int(os.environ.get("FIRST_HISTORY", "0"))
BUNDLES = 20


def check(world: World) -> None:
    """Our books say what Stripe's say."""
    account = state(world, CreditAccount, account_id(WORKSPACE))
    intents = [one for one in world.all("payment_intent") if one["metadata"]]
    paid = {
        one["metadata"]["payment_attempt_id"]: one
        for one in intents
        if one["status"] == "succeeded"
    }
    facts = [event.fact for event in world.book.stream(account.id)]
    credited = Counter(fact.payment_attempt_id for fact in facts if isinstance(fact, Credited))
    assert credited == Counter(paid.keys()), "one credit per payment, no payment without"
    assert len({one["metadata"]["payment_attempt_id"] for one in intents}) == len(intents)

    balance = -sum(fact.amount for fact in facts if isinstance(fact, Debited))
    for payment, intent in paid.items():
        amount, back = intent["amount_received"], gone_back(world, intent)
        attempt = state(world, PaymentAttempt, attempt_stream(payment))
        assert (attempt.status, attempt.credited) == ("succeeded", amount * MINOR)
        assert account.reversed.get(payment, 0) == min(amount, back) * MINOR
        balance += (amount - min(amount, back)) * MINOR
    assert account.balance == balance
    check_unpaid(world, intents)
    check_freezes(world, account)
    check_card(world, account)
    check_auto_topup(account, facts)
    assert project(None, world.book.stream(account.id)) == account


def gone_back(world: World, intent: dict[str, Any]) -> int:
    """Minor units of a payment that Stripe gave back, or banks took."""
    refunds = world.all("refund", payment_intent=intent["id"])
    back: int = sum(one["amount"] for one in refunds if one["status"] not in ("failed", "canceled"))
    disputes = world.all("dispute", payment_intent=intent["id"])
    moves = [entry["amount"] for one in disputes for entry in one["balance_transactions"]]
    return back - int(sum(moves))


def check_unpaid(world: World, intents: list[dict[str, Any]]) -> None:
    """What was not paid is known as just that."""
    expected = {"requires_payment_method": "failed", "requires_action": "requires_action"}
    for intent in intents:
        if intent["status"] != "succeeded":
            payment = intent["metadata"]["payment_attempt_id"]
            attempt = state(world, PaymentAttempt, attempt_stream(payment))
            assert attempt.status == expected[intent["status"]], intent
            assert not attempt.credited


def check_freezes(world: World, account: CreditAccount) -> None:
    """Frozen for every dispute that is open or lost, and for nothing else."""
    harmless = ("won", "warning_closed", "prevented")
    expected = {one["id"] for one in world.all("dispute") if one["status"] not in harmless}
    assert {ref for _, ref in account.freezes} == expected


def check_card(world: World, account: CreditAccount) -> None:
    """The card on file is the one that Stripe would charge."""
    [customer] = world.all("customer")
    workspace = state(world, Workspace, workspace_stream(WORKSPACE))
    chosen = customer["invoice_settings"]["default_payment_method"]
    saved = workspace.payment_method.id if workspace.payment_method else None
    if chosen is not None or saved is not None:
        owner = world.books.get("payment_method", saved or chosen)["customer"]
        assert (saved, owner) == (chosen or saved, world.customer)
    auto = account.auto_topup
    if saved is None and auto is not None and auto.enabled:
        assert auto.suspended == "no_card"


def check_auto_topup(account: CreditAccount, facts: list[Any]) -> None:
    """One charge at a time, and none without an end."""
    flying: str | None = None
    for fact in facts:
        if isinstance(fact, AutoTopUpTriggered):
            assert flying is None, "two automatic charges in flight"
            flying = fact.payment_attempt_id
        elif isinstance(fact, AutoTopUpResolved) and fact.payment_attempt_id == flying:
            flying = None
    auto = account.auto_topup
    assert flying is None
    assert auto is None or auto.in_flight is None
    if auto is not None and auto.enabled and auto.suspended is None:
        assert account.balance >= auto.threshold or auto.failures


def state(world: World, kind: type[Any], stream: Any) -> Any:
    """An aggregate as committed."""
    return to_end(world.book.fresh(Stream(kind, stream)))


@pytest.mark.parametrize("bundle", range(BUNDLES))
def test_whatever_the_network_does_money_ends_up_right(bundle: int) -> None:
    each = HISTORIES // BUNDLES
    first = FIRST + bundle * each
    print(f"histories {first} to {first + each - 1}")
    for seed in range(first, first + each):
        try:
            check(live(seed))
        except Exception as failure:
            raise AssertionError(
                f"history {seed}: run FIRST_HISTORY={seed} HISTORIES={BUNDLES}"
            ) from failure
