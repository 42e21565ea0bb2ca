"""What Stripe tells of a contract: recorded as the difference, whoever told or forgot to."""

from __future__ import annotations

from datetime import timedelta

from domain.account.credit_facts import SpendPolicySet
from domain.contract.facts import (
    CancellationRevoked,
    CancellationScheduled,
    DowngradeScheduled,
    DowngradeUnscheduled,
    PlanChangeFailed,
    PlanChangePending,
    StripeSubscriptionSynced,
)
from domain.contract.processor import RemoteSubscription
from domain.contract.subscribing import price_of
from domain.contract.subscription import CycleOpened, PlanChanged, SubscriptionStarted
from tests.domain.contract.scripted_contracts import SUB
from tests.domain.given import NOW
from tests.domain.memory import run
from tests.domain.tenant import WORKSPACE
from tests.domain.tenant import subscriber as tenant

END = NOW.replace(month=7)
HALF = NOW + timedelta(days=15)


def test_a_second_subscription_beside_the_first_is_never_silently_kept() -> None:
    made = tenant()
    made.stripe.change(id="sub_other")

    assert run(made.ledger.activate(made.stripe.live, 1_000, made.context)) == "deferred"
    assert len(made.facts(SubscriptionStarted)) == 2


def test_an_upgrade_that_nobody_paid_in_time_never_happened() -> None:
    made = tenant()
    made.stripe.declines = True
    made.confirm(made.preview("pro"))
    made.stripe.change(pending_until=None)
    made.sync()

    assert [fact.code for fact in made.facts(PlanChangeFailed)] == ["expired"]
    assert len(made.facts(PlanChangePending)) == 1
    assert made.subscription.plan_id == "starter"


def test_an_upgrade_whose_answer_was_lost_is_told_by_stripe() -> None:
    made = tenant()
    made.to(HALF)
    quoted = made.preview("pro")
    price = quoted.quote
    made.stripe.change(plan=(price.to_plan, price.to_version))  # and the process died
    made.sync()

    assert made.subscription.plan_id == "pro"
    assert made.facts(PlanChanged)[-1].charged == 1_500
    assert made.confirm(quoted).charged == 1_500


def test_what_is_done_in_the_portal_arrives_as_if_it_were_done_here() -> None:
    made = tenant()
    made.stripe.change(cancel_at=END)
    made.sync()
    made.sync()
    assert [fact.source for fact in made.facts(CancellationScheduled)] == ["portal"]
    made.stripe.change(cancel_at=None)
    made.sync()
    assert [fact.source for fact in made.facts(CancellationRevoked)] == ["portal"]


def test_stripes_period_is_the_one_that_counts() -> None:
    made = tenant()
    made.stripe.change(period_end=END + timedelta(days=1))
    made.sync()
    assert made.subscription.period_end == END + timedelta(days=1)
    assert made.facts(SpendPolicySet)[-1].period_end == END + timedelta(days=1)
    assert len(made.facts(StripeSubscriptionSynced)) == 1
    made.sync()
    assert len(made.facts(StripeSubscriptionSynced)) == 1


def test_a_clock_at_stripe_that_is_ahead_of_ours_opens_the_cycle_once() -> None:
    made = tenant()
    made.stripe.renew()
    made.to(END - timedelta(seconds=30))
    made.sync()
    assert made.subscription.period_start == END
    made.to(END + timedelta(seconds=30))
    made.roll_over()
    made.sync()
    assert [fact.trigger for fact in made.facts(CycleOpened)] == ["webhook"]


def test_what_we_do_while_stripe_is_asked_is_not_undone_by_its_older_answer() -> None:
    made = tenant("pro")
    quoted = made.preview("starter")
    ask, looks = made.stripe.subscription, 0

    async def slow(id: str) -> RemoteSubscription | None:
        nonlocal looks
        looks += 1
        seen = await ask(id)
        if looks == 2:  # the downgrade is scheduled between Stripe's answer and our look at it
            made.confirm(quoted)
        return seen

    made.stripe.subscription = slow  # type: ignore[method-assign,assignment]
    made.sync()

    assert made.subscription.scheduled is not None
    assert not made.facts(DowngradeUnscheduled)


def test_a_cancelled_contract_that_stripe_renewed_after_all_is_in_force_again() -> None:
    made = tenant()
    made.cancel()
    made.stripe.change(cancel_at=None)  # taken back in the portal, and we never heard
    made.to(END)
    made.stripe.pass_time(made.now)
    made.roll_over()
    assert made.subscription.plan_id == "free"

    made.sync()
    made.sync()
    assert made.subscription.plan_id == "starter"
    assert made.subscription.period_end == made.stripe.live.period_end
    assert len(made.facts(SubscriptionStarted)) == 4


def test_a_downgrade_whose_answer_was_lost_is_told_by_stripe() -> None:
    made = tenant("pro")
    quoted = made.preview("starter")
    price = price_of(run(made.ledger.plans()).find("starter", WORKSPACE), run(made.ledger.plans()))
    run(made.stripe.schedule(SUB, price, "k"))  # and the process died
    made.stripe.change(scheduled_plan=price.pin)
    made.sync()
    assert made.subscription.scheduled is not None
    assert made.confirm(quoted).status == "scheduled"

    silent = tenant("pro")
    silent.preview("starter")
    run(silent.stripe.schedule(SUB, price, "k"))
    silent.to(END)
    silent.roll_over()
    silent.stripe.pass_time(silent.now)
    silent.sync()
    assert silent.subscription.plan_id == "starter"
    assert silent.facts(PlanChanged)[-1].effective_at == END


def test_what_stripe_bills_is_what_is_in_force_but_not_before_it_bills_it() -> None:
    made = tenant("pro")
    made.stripe.change(plan=("enterprise", 1))  # by hand, in the dashboard
    made.sync()
    made.sync()
    assert made.subscription.plan_id == "enterprise"
    assert made.workspace.limits["bots"] == 50

    slow = tenant("pro")
    slow.confirm(slow.preview("starter"))
    slow.to(END)
    slow.roll_over()
    slow.stripe.change(schedule_id=None)  # Stripe has not renewed yet
    slow.sync()
    assert slow.subscription.plan_id == "starter"


def test_a_smaller_plan_by_hand_waits_unless_the_contract_ends_anyway() -> None:
    made = tenant("enterprise")
    made.stripe.change(plan=("pro", 1))
    made.sync()
    made.stripe.change(plan=("starter", 1))
    made.sync()
    assert made.subscription.plan_id == "enterprise"
    assert [fact.to_plan for fact in made.facts(DowngradeScheduled)] == ["pro", "starter"]
    assert made.subscription.billed_plan == ("starter", 1)

    made.cancel()
    made.sync()
    assert made.subscription.scheduled is None
    assert made.subscription.cancel_at == END
    made.stripe.change(cancel_at=None)
    made.sync()
    made.sync()
    assert made.subscription.cancellation is None
    assert len(made.facts(DowngradeScheduled)) == 3
    made.to(END)
    made.stripe.pass_time(made.now)
    made.roll_over()
    made.sync()
    assert (made.subscription.plan_id, made.subscription.scheduled) == ("starter", None)
    assert made.facts(PlanChanged)[-1].direction == "downgrade"
