"""Whatever a subscriber does, and whichever of Stripe's messages are lost: the contract holds.

Stripe is `Scripted`, whose clock is ours; messages are lost or told late, confirmations come late.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from domain.contract.errors import PreviewStale
from domain.contract.facts import PlanChangeQuoted, SubscriptionEnded
from domain.contract.plan_changing import Quoted
from domain.contract.subscription import CycleClosed, CycleOpened, PlanChanged, SubscriptionStarted
from domain.errors import Refusal
from tests.domain.memory import run
from tests.domain.tenant import WORKSPACE, Tenant

PLANS = ("free", "starter", "pro", "enterprise")
ACTS = ("preview", "confirm", "confirm", "cancel", "resume", "unschedule", "told", "decline", "use")

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

    def __init__(self, plan: str) -> None:
        self.tenant = Tenant("flarex")
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
        started: Any = None
        for fact in self.tenant.facts(SubscriptionStarted, CycleOpened, CycleClosed):
            if isinstance(fact, CycleClosed):
                assert fact.period_start < fact.period_end
                assert started is not None
                assert fact.period_start == started.period_start
                started = fact
            else:
                assert fact.period_start < fact.period_end
                if isinstance(started, CycleClosed):
                    assert fact.period_start == started.period_end  # cycles abut
                started = fact
        quotes = {fact.preview_id: fact for fact in self.tenant.facts(PlanChangeQuoted)}
        for changed in self.tenant.facts(PlanChanged):
            if changed.direction == "downgrade":
                ends = [fact.period_end for fact in self.tenant.facts(CycleClosed)]
                assert changed.effective_at in ends
            elif changed.preview_id is not None:
                assert changed.charged == quotes[changed.preview_id].amount_due_now
        cap = self.tenant.workspace.limits["bots"]
        assert isinstance(cap, int)


@settings(max_examples=150, deadline=None)
@given(plan=st.sampled_from(PLANS[1:]), steps=steps)
def test_the_contract_holds_and_ends_as_stripe_says(
    plan: str, steps: list[tuple[str, str, int]]
) -> None:
    life = Life(plan)
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
