"""Changing plans with a card behind them: what is charged is what was shown, or nothing is done."""

from __future__ import annotations

from datetime import timedelta

import pytest

from domain.account.allowance_facts import AllowanceGranted
from domain.contract.errors import (
    AlreadySubscribed,
    CheckoutRequired,
    NotSubscribed,
    PlanChangeIsPending,
    PlanNotAvailable,
    PreviewStale,
)
from domain.contract.facts import (
    CancellationRevoked,
    CancellationScheduled,
    DowngradeScheduled,
    DowngradeUnscheduled,
    SubscriptionEnded,
)
from domain.contract.subscription import CycleClosed, CycleOpened, PlanChanged, SubscriptionStarted
from domain.errors import NotFound
from domain.workspace.facts import BotPaused, BotResumed
from tests.domain.given import NOW
from tests.domain.memory import run
from tests.domain.tenant import WORKSPACE, Tenant, catalogue
from tests.domain.tenant import subscriber as tenant

END = NOW.replace(month=7)
HALF = NOW + timedelta(days=15)


def test_a_paid_page_starts_a_contract_once_and_replaces_the_free_one() -> None:
    made = Tenant("flarex")
    made.later(days=10)
    made.subscribe("starter")
    again = run(made.ledger.activate(made.stripe.live, 1_000, made.context))

    assert again == "applied"
    [closed] = made.facts(CycleClosed)
    first, second = made.facts(SubscriptionStarted)
    assert closed.period_end == second.period_start == made.now
    assert (first.plan_id, second.plan_id) == ("free", "starter")
    assert [fact.charged for fact in made.facts(PlanChanged)] == [1_000]
    assert made.remaining() == 1_000
    assert made.workspace.limits["bots"] == 3


def test_an_upgrade_charges_the_previewed_amount_at_the_previewed_instant() -> None:
    made = tenant()
    made.generate(600)
    made.to(HALF)

    quoted = made.preview("pro")
    made.later(minutes=5)
    done = made.confirm(quoted)

    assert quoted.quote.amount_due_now == done.charged == 1_500
    assert [line.amount_minor for line in quoted.quote.lines] == [-500, 2_000]
    assert quoted.quote.proration_date == 1_781_568_000
    assert made.stripe.calls[-1] == "upgrade:1781568000"
    assert made.remaining() == 4_400
    assert made.subscription.period_end == END
    assert made.workspace.limits["bots"] == 10
    assert made.confirm(quoted).charged == 1_500  # whoever asks again
    assert len(made.facts(PlanChanged)) == 2


def test_with_prorated_allowances_an_upgrade_grants_what_the_rest_of_the_cycle_is_worth() -> None:
    made = tenant(allowance_on_upgrade="prorate")
    made.generate(600)
    made.to(HALF)
    made.confirm(made.preview("pro"))

    assert made.remaining() == 2_400


def test_each_of_two_prorated_upgrades_adds_what_its_own_charge_paid_for() -> None:
    """Half of 4 000 more, then a quarter of 45 000 more, as shown before each."""
    made = tenant(allowance_on_upgrade="prorate")
    made.to(HALF)
    first = made.preview("pro")
    made.later(minutes=14)  # the charge still counts from the preview's instant
    made.confirm(first)
    made.to(NOW + (END - NOW) * 3 / 4)
    second = made.preview("enterprise")
    made.confirm(second)

    assert first.allowances == {"ai_credits": (1_000, 3_000)}
    assert second.allowances == {"ai_credits": (3_000, 14_250)}
    assert [fact.units for fact in made.facts(AllowanceGranted)[-2:]] == [3_000, 14_250]
    made.to(END)
    made.roll_over()
    assert made.remaining() == 50_000, "whole cycles are granted whole"


def test_a_prorated_change_there_and_back_grants_what_was_granted() -> None:
    made = Tenant(catalogue("flarex", allowance_on_upgrade="prorate"), "starter")
    made.to(HALF)
    for plan, units in (("pro", 3_000), ("enterprise", 25_500), ("starter", 1_000)):
        made.plan(plan)
        assert made.remaining() == units


def test_a_preview_is_stale_after_its_time_after_another_change_and_after_the_cycle() -> None:
    made = tenant()
    expired = made.preview("pro")
    made.later(minutes=15)
    with pytest.raises(PreviewStale):
        made.confirm(expired)

    overtaken = made.preview("pro")
    made.cancel()
    with pytest.raises(PreviewStale):
        made.confirm(overtaken)

    made.to(END - timedelta(minutes=1))
    late = made.preview("pro")
    assert late.quote.expires_at == END
    made.to(END)
    with pytest.raises(PreviewStale):
        made.confirm(late)
    assert not [call for call in made.stripe.calls if call.startswith("upgrade")]


def test_another_amount_at_the_confirmation_is_refused_with_the_new_figure() -> None:
    made = tenant()
    made.to(HALF)
    quoted = made.preview("pro")
    made.stripe.surcharge = 7

    with pytest.raises(PreviewStale) as refused:
        made.confirm(quoted)

    assert refused.value.amount_due_now == 1_507
    assert made.subscription.plan_id == "starter"


def test_an_unknown_preview_and_another_workspaces_is_not_found() -> None:
    made = tenant()
    with pytest.raises(NotFound):
        run(made.ledger.confirm_plan(made.stripe, WORKSPACE, "none", made.context))


def test_an_unpaid_upgrade_changes_nothing_until_it_is_paid() -> None:
    made = tenant()
    made.to(HALF)
    made.stripe.declines = True

    done = made.confirm(quoted := made.preview("pro"))
    assert (done.status, done.charged, done.payment_url) == (
        "pending_payment",
        0,
        "https://pay/in_1",
    )
    assert made.confirm(quoted).status == "pending_payment"
    assert (made.subscription.plan_id, made.remaining()) == ("starter", 1_000)
    with pytest.raises(PlanChangeIsPending):
        made.confirm(made.preview("free"))

    made.stripe.pay_pending()
    made.sync()
    made.sync()
    assert made.subscription.plan_id == "pro"
    assert [fact.charged for fact in made.facts(PlanChanged)] == [1_000, 1_500]
    assert made.confirm(quoted).status == "applied"


def test_a_downgrade_waits_for_the_close_and_pauses_the_newest_bots() -> None:
    made = tenant("pro")
    for number in range(1, 11):
        made.ask(made.ledger.create_bot, f"b{number:02}", "bot")
        made.later(seconds=1)
    quoted = made.preview("starter", "b07", "b08")
    assert quoted.quote.amount_due_now == 0
    assert quoted.bots_to_pause == ("b10", "b09", "b06", "b05", "b04", "b03", "b02")
    made.confirm(quoted)

    made.to(END - timedelta(seconds=1))
    made.roll_over()
    assert (made.subscription.plan_id, made.workspace.active_bots) == ("pro", 10)
    assert made.facts(DowngradeScheduled)[0].effective_at == END

    made.to(END)
    made.roll_over()
    assert made.subscription.plan_id == "starter"
    active = [bot.bot_id for bot in made.workspace.bots.values() if bot.is_active]
    assert active == ["b01", "b07", "b08"]
    assert len(made.facts(BotPaused)) == 7
    last = [type(f) for f in made.facts() if isinstance(f, CycleClosed | PlanChanged | CycleOpened)]
    assert last[-3:] == [CycleClosed, PlanChanged, CycleOpened]
    assert made.facts(AllowanceGranted)[-1].units == 1_000
    made.stripe.renew()
    made.sync()
    assert len(made.facts(CycleOpened)) == 1


def test_a_downgrade_is_taken_back_and_nothing_happens_at_the_close() -> None:
    made = tenant("pro")
    quoted = made.preview("starter")
    made.confirm(quoted)
    assert run(made.ledger.unschedule_plan(made.stripe, WORKSPACE, made.context)) is not None
    assert made.stripe.calls[-1] == "release"
    with pytest.raises(PreviewStale):
        made.confirm(quoted)
    assert run(made.ledger.unschedule_plan(made.stripe, WORKSPACE, made.context)) is None

    made.to(END)
    made.roll_over()
    assert made.subscription.plan_id == "pro"


def test_an_upgrade_takes_the_place_of_a_scheduled_downgrade() -> None:
    made = tenant("pro")
    made.confirm(made.preview("starter"))
    made.confirm(made.preview("enterprise"))

    assert "release" in made.stripe.calls
    assert [fact.reason for fact in made.facts(DowngradeUnscheduled)] == ["superseded"]
    made.to(END)
    made.roll_over()
    assert made.subscription.plan_id == "enterprise"


def test_an_upgrade_lets_paused_bots_run_again() -> None:
    made = tenant("pro")
    for number in range(1, 6):
        made.ask(made.ledger.create_bot, f"b{number}", "bot")
    made.confirm(made.preview("starter"))
    made.to(END)
    made.stripe.renew()
    made.sync()
    assert made.workspace.active_bots == 3

    made.confirm(made.preview("pro"))
    assert made.workspace.active_bots == 5
    assert {fact.by for fact in made.facts(BotResumed)} == {"upgrade"}


def test_the_free_plan_is_reached_by_ending_with_the_period() -> None:
    made = tenant()
    done = made.confirm(made.preview("free"))
    assert (done.status, done.effective_at) == ("scheduled", END)
    assert made.facts(CancellationScheduled)[0].source == "plan_change"
    run(made.ledger.unschedule_plan(made.stripe, WORKSPACE, made.context))
    assert made.subscription.cancel_at is None

    made.confirm(made.preview("free"))
    made.to(END)
    made.roll_over()
    [ended] = made.facts(SubscriptionEnded)
    assert (ended.reverted_to_plan, ended.reason, ended.involuntary) == ("free", "user", False)
    assert made.facts(SubscriptionStarted)[-1].period_start == END
    assert made.workspace.limits["bots"] == 1
    assert made.remaining() == 50


def test_a_cancelled_subscription_works_until_its_end_and_can_be_resumed() -> None:
    made = tenant()
    assert made.cancel() == made.cancel() == END
    assert len(made.facts(CancellationScheduled)) == 1
    run(made.ledger.resume(made.stripe, WORKSPACE, made.context))
    run(made.ledger.resume(made.stripe, WORKSPACE, made.context))
    assert len(made.facts(CancellationRevoked)) == 1

    made.cancel()
    made.to(END)
    made.roll_over()
    with pytest.raises(NotSubscribed):
        run(made.ledger.resume(made.stripe, WORKSPACE, made.context))
    with pytest.raises(NotSubscribed):
        made.cancel()


def test_from_free_a_plan_has_to_be_bought_on_a_page() -> None:
    made = Tenant("flarex")
    quoted = made.preview("starter")
    assert (quoted.quote.needs_checkout, quoted.quote.amount_due_now) == (True, 1_000)
    with pytest.raises(CheckoutRequired):
        made.confirm(quoted)


def test_what_makes_no_change_or_is_not_sold_is_refused() -> None:
    made = tenant()
    with pytest.raises(AlreadySubscribed):
        made.preview("starter")
    with pytest.raises(NotFound):
        made.preview("platinum")
    dormant = Tenant("faces")
    with pytest.raises(PlanNotAvailable):
        dormant.preview("pro")
