"""Whatever a subscriber does, and whichever of Stripe's messages are lost: the contract holds.

Stripe is `Scripted`, whose clock is ours; messages are lost or told late, confirmations come late.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from domain.account.allowance_facts import CycleEnded
from domain.contract.errors import PreviewStale
from domain.contract.facts import PlanChangeQuoted, SubscriptionEnded
from domain.contract.plan_changing import Quoted
from domain.contract.subscription import CycleClosed, CycleOpened, PlanChanged, SubscriptionStarted
from domain.errors import Refusal
from domain.facts import project
from tests.domain.memory import run
from tests.domain.tenant import WORKSPACE, Tenant

PLANS = ("free", "starter", "pro", "enterprise")
ACTS = (
    "preview",
    "confirm",
    "confirm",
    "cancel",
    "resume",
    "unschedule",
    "told",
    "decline",
    "use",
    "straggle",
)

steps = st.lists(
    st.tuples(
        st.sampled_from(ACTS),
        st.sampled_from(PLANS),
        st.one_of(st.integers(0, 1_200), st.integers(0, 20 * 86_400)),
    ),
    max_size=14,
)


class Life:
    """A subscriber at whom things happen."""

    def __init__(self, plan: str, window: int = 0) -> None:
        self.tenant = Tenant("flarex", late_window_minutes=window)
        self.tenant.subscribe(plan)
        self.quotes: list[Quoted] = []

    def wait(self, seconds: int) -> None:
        """Time passes, here and at Stripe."""
        self.tenant.later(seconds=seconds)
        self.tenant.stripe.pass_time(self.tenant.now)

    def do(self, what: str, plan: str) -> None:
        """One act; refusals are allowed, other errors are not."""
        tenant, stripe = self.tenant, self.tenant.stripe
        ledger = tenant.ledger
        try:
            if what == "preview":
                self.quotes.append(tenant.preview(plan))
            elif what == "confirm" and self.quotes:
                self.confirm(self.quotes[-1])
            elif what == "cancel":
                tenant.cancel()
            elif what == "resume":
                run(ledger.resume(stripe, WORKSPACE, tenant.context))
            elif what == "unschedule":
                run(ledger.unschedule_plan(stripe, WORKSPACE, tenant.context))
            elif what == "told":
                tenant.sync()
            elif what == "decline":
                stripe.declines = not stripe.declines
            elif what == "use":
                tenant.generate(3)
            elif what == "straggle":
                tenant.generate(3, occurred_at=tenant.now - timedelta(minutes=20))
        except Refusal:
            pass

    def confirm(self, quoted: Quoted) -> None:
        """What is charged is what was shown, or nothing is done."""
        before = self.tenant.stripe.remote
        try:
            done = self.tenant.confirm(quoted)
        except PreviewStale:
            assert self.tenant.stripe.remote == before
            raise
        if done.status == "applied":
            assert done.charged == quoted.quote.amount_due_now
        else:
            assert done.charged == 0

    def check(self) -> None:
        """What holds at any time."""
        ends = self.check_cycles()
        quotes = {fact.preview_id: fact for fact in self.tenant.facts(PlanChangeQuoted)}
        for changed in self.tenant.facts(PlanChanged):
            if changed.direction == "downgrade":
                assert changed.effective_at in ends.values()
            elif changed.preview_id is not None:
                assert changed.charged == quotes[changed.preview_id].amount_due_now
        cap = self.tenant.workspace.limits["bots"]
        assert isinstance(cap, int)

    def check_cycles(self) -> dict[str, datetime]:
        """When each cycle that is over ended: once, and where the next one began."""
        runs = self.tenant.facts(SubscriptionStarted, CycleOpened)
        closed = self.tenant.facts(CycleClosed)
        assert len({fact.cycle_id for fact in closed}) == len(closed), "a cycle is closed once"
        ends: dict[str, datetime] = {}
        for fact in self.tenant.facts(CycleEnded, CycleClosed):
            assert fact.period_start < fact.period_end
            assert ends.setdefault(fact.cycle_id, fact.period_end) == fact.period_end
        for ran, following in pairwise(runs):
            assert ran.period_start < ran.period_end
            # One that ended as it began never ran.
            assert ends.get(ran.cycle_id, ran.period_start) == following.period_start
        return ends


@settings(max_examples=150, deadline=None)
@given(plan=st.sampled_from(PLANS[1:]), window=st.sampled_from((0, 15, 45)), steps=steps)
def test_the_contract_holds_and_ends_as_stripe_says(
    plan: str, window: int, steps: list[tuple[str, str, int]]
) -> None:
    life = Life(plan, window)
    for what, other, seconds in steps:
        life.wait(seconds)
        life.do(what, other)
        life.check()

    tenant = life.tenant
    tenant.sync()
    tenant.roll_over()
    remote, ours = tenant.stripe.live, tenant.subscription
    if remote.ended_at is not None:
        assert ours.plan_id == "free"
        assert len(tenant.facts(SubscriptionEnded)) == 1
    else:
        assert (ours.plan_id, ours.plan_version) == remote.plan
        assert (ours.period_start, ours.period_end) == (remote.period_start, remote.period_end)
        assert ours.cancel_at == remote.cancel_at
    life.check()
    assert tenant.account.policy is not None
    assert tenant.account.policy.plan_id == ours.plan_id
    assert tenant.account.policy.period_end == ours.period_end
    tenant.later(minutes=45)
    tenant.roll_over()
    life.check()
    assert tenant.account.waiting == (), "nothing waits for ever"
    closed = {fact.cycle_id for fact in tenant.facts(CycleClosed)}
    assert closed == {fact.cycle_id for fact in tenant.facts(CycleEnded)} | closed
    assert project(None, tenant.book.stream(tenant.account.id)) == tenant.account


@settings(max_examples=100, deadline=None)
@given(
    plans=st.sampled_from([("starter", "pro"), ("starter", "enterprise"), ("pro", "enterprise")]),
    at=st.integers(0, 30 * 86_400 - 1),
    delay=st.integers(0, 2 * 3_600),
    surcharge=st.integers(-3, 3),
)
def test_a_preview_and_its_confirmation_never_differ_by_a_cent(
    plans: tuple[str, str], at: int, delay: int, surcharge: int
) -> None:
    life = Life(plans[0])
    life.wait(at)
    quoted = life.tenant.preview(plans[1])
    life.wait(delay)
    life.tenant.stripe.surcharge = surcharge
    late = delay >= 900 or life.tenant.now >= quoted.quote.expires_at
    assert quoted.quote.expires_at <= quoted.quote.recorded_at + timedelta(minutes=15)
    try:
        done = life.tenant.confirm(quoted)
    except PreviewStale as refused:
        assert late or surcharge
        if not late:
            assert refused.amount_due_now == quoted.quote.amount_due_now + surcharge
        assert life.tenant.subscription.plan_id == plans[0]
    else:
        assert not late
        assert not surcharge
        assert done.charged == quoted.quote.amount_due_now
