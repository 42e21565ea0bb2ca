"""Unpaid invoices: the grace counts from the first failure of the oldest, whoever tells when."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.account.allowance_facts import AllowanceGranted
from domain.contract.errors import PastDue
from domain.contract.facts import (
    DunningMoved,
    SubscriptionEnded,
    SubscriptionPastDue,
    SubscriptionRecovered,
)
from domain.contract.processor import Price
from domain.contract.subscribing import price_of
from domain.errors import CreditsExhausted
from domain.invoice.facts import (
    InvoiceFinalized,
    InvoiceLineRecorded,
    InvoiceMarkedUncollectible,
    InvoicePaid,
    InvoicePaymentFailed,
    InvoiceVoided,
)
from domain.invoice.invoice import DocumentLine, InvoiceDocument, is_dunned
from domain.invoice.invoicing import Failure
from domain.workspace.facts import BotPaused, GraceMoved, WorkspaceMarkedPastDue
from tests.domain.contract.scripted_contracts import SUB
from tests.domain.given import NOW
from tests.domain.memory import run
from tests.domain.tenant import WORKSPACE, Tenant

FAILED = NOW + timedelta(days=30, hours=1)
GRACE = timedelta(days=3)


def document(id: str = "in_1", status: str = "open", **fields: object) -> InvoiceDocument:
    """A renewal as Stripe has it."""
    terms: dict[str, object] = {
        "workspace_id": WORKSPACE,
        "subscription_id": SUB,
        "customer_id": "cus_1",
        "billing_reason": "subscription_cycle",
        "period_start": NOW,
        "period_end": NOW + timedelta(days=30),
        "currency": "usd",
        "created": NOW + timedelta(days=30),
        "paid_at": FAILED if status == "paid" else None,
        "lines": (DocumentLine("il_1", "plan", "Starter", 1_000),),
    }
    return InvoiceDocument(id=id, status=status, **(terms | fields))  # type: ignore[arg-type]


class Owing(Tenant):
    """A subscriber whose invoices fail and are paid."""

    def __init__(self, plan: str = "starter", **changes: object) -> None:
        super().__init__("flarex", **changes)  # type: ignore[arg-type]
        self.subscribe(plan)
        self.to(FAILED)
        self.stripe.renew()
        self.sync()
        self._failures = 0

    def note(self, found: InvoiceDocument, **more: object) -> str:
        """Stripe tells of an invoice."""
        return run(self.ledger.note_invoice(found, self.context, **more))  # type: ignore[arg-type]

    def fail(self, id: str = "in_1", at: datetime = FAILED, status: str = "open") -> str:
        """Stripe tells of a failure."""
        self._failures += 1
        failure = Failure(f"evt_{self._failures}", at, 1)
        return self.note(document(id, status), failure=failure)

    def pay(self, id: str = "in_1", status: str = "paid") -> str:
        """Stripe tells that an invoice is settled."""
        return self.note(document(id, status))


def test_the_first_failure_begins_the_grace_and_later_ones_change_nothing() -> None:
    owing = Owing()
    owing.fail()
    owing.fail(at=FAILED + timedelta(days=2))

    assert owing.subscription.status == "past_due"
    assert owing.subscription.grace_ends_at == FAILED + GRACE
    assert owing.workspace.grace_ends_at == FAILED + GRACE
    assert len(owing.facts(SubscriptionPastDue)) == len(owing.facts(WorkspaceMarkedPastDue)) == 1
    assert len(owing.facts(InvoicePaymentFailed)) == 2
    with pytest.raises(PastDue):
        owing.preview("pro")


@pytest.mark.parametrize("grants", [True, False])
def test_a_cycle_that_began_past_due_is_granted_at_once_or_when_all_is_paid(grants: bool) -> None:
    owing = Owing(grant_when_past_due=grants)
    owing.generate(300)
    owing.fail()
    owing.to(NOW.replace(month=8, day=2))
    owing.stripe.renew()
    owing.sync()
    owing.fail("in_2", owing.now)

    owing.pay("in_1")
    assert owing.remaining() == (1_000 if grants else 0)
    if not grants:
        with pytest.raises(CreditsExhausted):
            owing.generate(1)
    owing.pay("in_2")
    owing.pay("in_2")

    owing.generate(1)
    assert owing.remaining() == 999
    assert len(owing.facts(AllowanceGranted)) == 4, "free, June, July and August: once each"


def test_a_failure_that_is_told_twice_happened_once() -> None:
    owing = Owing()
    failure = Failure("evt_x", FAILED, 1)
    assert owing.note(document(), failure=failure) == "applied"
    assert owing.note(document(), failure=failure) == "applied"
    assert len(owing.facts(InvoicePaymentFailed)) == 1


def test_a_failure_after_the_payment_is_history() -> None:
    owing = Owing()
    owing.pay()
    owing.fail(status="paid")
    owing.fail(status="open")  # a picture that is older than what we know
    assert owing.subscription.status == "active"
    assert not owing.facts(SubscriptionPastDue)
    assert len(owing.facts(InvoicePaymentFailed)) == 2


def test_an_earlier_failure_that_is_learned_late_moves_the_grace_back() -> None:
    owing = Owing()
    owing.fail(at=FAILED + timedelta(days=3))
    owing.fail(at=FAILED)
    assert owing.subscription.grace_ends_at == owing.workspace.grace_ends_at == FAILED + GRACE
    assert [fact.reason for fact in owing.facts(DunningMoved)] == ["earlier_failure_learned"]


def test_of_two_invoices_the_oldest_counts_until_it_is_paid() -> None:
    owing = Owing()
    later = FAILED + timedelta(days=31)
    owing.fail("in_a")
    owing.to(later)
    owing.fail("in_b", later)
    assert owing.subscription.grace_ends_at == FAILED + GRACE
    owing.pay("in_a")
    assert owing.subscription.status == "past_due"
    assert owing.workspace.grace_ends_at == later + GRACE
    owing.pay("in_b")
    assert (owing.subscription.status, owing.workspace.status) == ("active", "active")
    assert len(owing.facts(SubscriptionRecovered)) == 1


def test_a_newer_invoice_that_is_paid_first_moves_nothing() -> None:
    owing = Owing()
    owing.fail("in_a")
    owing.fail("in_b", FAILED + timedelta(days=31))
    owing.pay("in_b")
    assert owing.subscription.grace_ends_at == FAILED + GRACE
    assert [fact.reason for fact in owing.facts(DunningMoved)] == ["newer_invoice_settled"]
    assert not owing.facts(GraceMoved)


def test_a_void_invoice_is_settled_and_an_uncollectible_one_is_not() -> None:
    owing = Owing()
    owing.fail()
    owing.pay(status="uncollectible")
    assert owing.subscription.status == "past_due"
    owing.pay(status="void")
    assert owing.subscription.status == "active"
    assert len(owing.facts(InvoiceMarkedUncollectible)) == len(owing.facts(InvoiceVoided)) == 1


def test_an_invoice_is_mirrored_once_whatever_comes_again() -> None:
    owing = Owing()
    for _ in range(2):
        owing.note(document(status="draft", lines=()))
        owing.note(document())
        owing.pay()
        owing.note(document())
    for kind in (InvoiceFinalized, InvoiceLineRecorded, InvoicePaid):
        assert len(owing.facts(kind)) == 1, kind


def test_what_is_not_ours_is_ignored_and_what_is_not_known_waits() -> None:
    owing = Owing()
    assert owing.note(document(workspace_id=None, subscription_id=None)) == "ignored"
    assert owing.note(document(workspace_id=None)) == "deferred"
    assert owing.note(document(subscription_id="sub_other")) == "deferred"
    assert owing.note(document(workspace_id="nobody")) == "ignored"


@pytest.mark.parametrize(
    ("reason", "status", "dunned"),
    [
        ("subscription_cycle", "active", True),
        ("subscription_threshold", "active", True),
        ("subscription_create", "incomplete", False),
        ("subscription_update", "active", False),
        ("subscription_update", "past_due", True),
        ("manual", None, False),
    ],
)
def test_which_failures_make_past_due(reason: str, status: str, dunned: bool) -> None:
    assert is_dunned(document(billing_reason=reason), status) is dunned


def test_our_own_invoices_for_overage_make_past_due() -> None:
    owing = Owing()
    own = overage(owing)
    assert is_dunned(own, None)
    owing.note(own, failure=Failure("evt_o", FAILED, 1))
    assert owing.subscription.status == "past_due"


def overage(owing: Owing) -> InvoiceDocument:
    """An invoice of ours for the overage of the contract that is in force."""
    cycle = owing.subscription.cycle_id
    return document("in_own", billing_reason="manual", subscription_id=None, cycle_id=cycle)


def test_a_subscription_that_stripe_gives_up_ends_the_grace_and_pauses_no_bot() -> None:
    owing = Owing("pro")
    for number in range(5):
        owing.ask(owing.ledger.create_bot, f"b{number}", "bot")
    owing.fail()
    owing.later(days=2)
    owing.stripe.change(status="canceled", ended_at=owing.now, end_reason="payment_failed")
    owing.sync()
    owing.sync()

    [ended] = owing.facts(SubscriptionEnded)
    assert (ended.involuntary, ended.reverted_to_plan) == (True, "free")
    assert not owing.facts(BotPaused)
    assert owing.workspace.deploys_blocked_at(owing.now)
    assert owing.workspace.limits["bots"] == 1
    owing.later(days=40)
    owing.roll_over()
    assert not owing.facts(BotPaused)
    owing.pay()
    assert owing.workspace.status == "active"


def test_whoever_subscribes_again_owes_nothing_of_the_old_grace() -> None:
    owing = Owing()
    owing.fail()
    owing.stripe.change(status="canceled", ended_at=owing.now, end_reason="payment_failed")
    owing.sync()
    owing.stripe.start(WORKSPACE, _price(owing), owing.now)
    owing.stripe.change(id="sub_again")
    run(owing.ledger.activate(owing.stripe.live, 1_000, owing.context))
    assert (owing.workspace.status, owing.subscription.status) == ("active", "active")
    assert owing.subscription.failed_invoices == {}


@pytest.mark.parametrize("reason", ["payment_failed", "user"])
@pytest.mark.parametrize("failed_days_ago", [1, 10])
def test_an_end_that_is_told_before_the_failure_leaves_the_same_debt(
    reason: str, failed_days_ago: int
) -> None:
    """Also where it is both told and paid long after the end: that lets deploys go on (X38)."""
    found = []
    for failure_first in (True, False):
        owing = Owing()
        owing.later(days=failed_days_ago)
        if failure_first:
            owing.fail()
        owing.stripe.change(status="canceled", ended_at=owing.now, end_reason=reason)
        owing.sync()
        owing.fail()
        grace, ended = owing.workspace.grace_ends_at, owing.now
        assert grace == (min(FAILED + GRACE, ended) if reason != "user" else FAILED + GRACE)
        assert owing.subscription.status == "active", "on the plan that everybody has"
        found.append((owing.subscription.failed_invoices, owing.subscription.grace_ends_at))
        owing.pay()
        assert owing.workspace.status == "active"
    assert found[0] == found[1]


def test_what_the_contract_before_owes_is_no_debt_of_the_new_one() -> None:
    """Stripe goes on trying to collect its last invoices."""
    owing = Owing()
    own = overage(owing)
    owing.note(own, failure=Failure("evt_o", FAILED, 1))
    owing.fail()
    owing.stripe.change(status="canceled", ended_at=owing.now, end_reason="payment_failed")
    owing.sync()
    owing.stripe.start(WORKSPACE, _price(owing), owing.now)
    owing.stripe.change(id="sub_again")
    run(owing.ledger.activate(owing.stripe.live, 1_000, owing.context))
    owing.later(days=3)

    owing.note(own, failure=Failure("evt_again", owing.now, 2))
    owing.fail(at=owing.now)

    assert (owing.workspace.status, owing.subscription.status) == ("active", "active")
    owing.note(overage(owing), failure=Failure("evt_new", owing.now, 1))
    assert owing.workspace.status == "past_due"


def _price(owing: Tenant) -> Price:
    plans = run(owing.ledger.plans())
    return price_of(plans.find("starter", WORKSPACE), plans)


acts = st.lists(
    st.tuples(
        st.sampled_from(["fail", "pay", "void"]),
        st.sampled_from(["in_a", "in_b", "in_c"]),
        st.integers(0, 60),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(acts=acts, plan=st.sampled_from(["starter", "pro", "enterprise"]))
def test_whatever_is_told_in_whatever_order_the_grace_is_that_of_the_oldest_unpaid_invoice(
    acts: list[tuple[str, str, int]], plan: str
) -> None:
    owing = Owing(plan)
    first: dict[str, datetime] = {}
    settled: set[str] = set()
    days = {"starter": 3, "pro": 7, "enterprise": 14}[plan]
    for what, invoice, day in acts:
        at = FAILED + timedelta(days=day)
        if what == "fail":
            owing.fail(invoice, at)
            first[invoice] = min(at, first.get(invoice, at))
        else:
            owing.pay(invoice, "paid" if what == "pay" else "void")
            settled.add(invoice)
        unpaid = {id: when for id, when in first.items() if id not in settled}
        subscription, workspace = owing.subscription, owing.workspace
        assert (subscription.status == "past_due") is bool(unpaid)
        assert (workspace.status == "past_due") is bool(unpaid)
        assert subscription.failed_invoices == unpaid
        if unpaid:
            ends = min(unpaid.values()) + timedelta(days=days)
            assert subscription.grace_ends_at == workspace.grace_ends_at == ends
    assert not owing.facts(BotPaused)
