"""The catalogue's life: what is published, what is sold, and what is quoted to one workspace."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import msgspec
import pytest

from adapters import catalogues
from domain.catalogue.catalogue import CATALOGUE, Catalogue, PlanCatalogue
from domain.catalogue.custom_plan import BucketOverrides, PlanOverrides, customised
from domain.catalogue.plan import Plan
from domain.contract.migrating import Difference, differences
from domain.errors import Conflict, InvalidCatalogue, InvalidInput, NotFound
from domain.facts import Aggregate, project
from tests.domain.given import NOW, at

FLAREX, DIGEST = catalogues.load("flarex")
QUOTE = PlanOverrides(
    price_minor=120_000,
    buckets={"ai_credits": BucketOverrides(units=200_000)},
    overage_unit_usd=Decimal("0.008"),
    grace_days=21,
    limits={"bots": 80},
)


def opened() -> PlanCatalogue:
    """A deployment that sells flarex."""
    plans = PlanCatalogue(CATALOGUE)
    plans.publish(FLAREX, DIGEST, at())
    return plans


def changed(plan_id: str, **fields: object) -> Catalogue:
    """Flarex, with a plan that is different."""
    plan = msgspec.structs.replace(FLAREX.plans[plan_id], **fields)
    return msgspec.structs.replace(FLAREX, plans={**FLAREX.plans, plan_id: plan})


def quoted(plans: PlanCatalogue, plan_id: str = "acme", workspace: str = "ws_1") -> None:
    """A quote on the enterprise plan."""
    until = NOW + timedelta(days=30)
    plans.define_custom(plan_id, workspace, "enterprise", QUOTE, "Q-1", until, at())


def replayed(plans: PlanCatalogue) -> Aggregate | None:
    """The same, from its facts alone."""
    return project(None, plans.collect_events())


def test_published_versions_are_kept_and_the_newest_is_in_force() -> None:
    plans = opened()

    assert plans.publish(FLAREX, DIGEST, at()) == 1
    assert plans.publish(changed("pro", price_minor=5_000), "other", at(), "admin") == 2

    assert plans.plan("pro", 1).price_minor == 4_000
    assert plans.plan("pro", 2).price_minor == 5_000
    assert plans.find("pro", "ws_1").version == 2
    twin = replayed(plans)
    assert twin is not None
    assert twin.state() == plans.state()


def test_a_restart_with_the_same_file_does_not_undo_what_an_administrator_published() -> None:
    plans = opened()
    plans.publish(changed("pro", price_minor=5_000), "by hand", at(), "admin")

    assert plans.publish(FLAREX, DIGEST, at()) == 2, "the file did not change"
    assert plans.current.plans["pro"].price_minor == 5_000
    assert plans.publish(changed("pro", price_minor=6_000), "new file", at()) == 3
    assert plans.publish(FLAREX, DIGEST, at()) == 4, "the file changed back, and so do the plans"


def test_what_was_said_last_about_a_plan_counts() -> None:
    plans = opened()

    assert plans.change_status("pro", "dormant", at()) is True
    assert plans.change_status("pro", "dormant", at()) is False
    assert plans.find("pro", "ws_1").is_available(NOW) is False
    plans.publish(changed("starter", price_minor=1_100), "2", at())
    assert plans.status_of("pro") == "dormant", "the new document says of it what the old one said"
    plans.publish(changed("pro", status="hidden"), "3", at())
    assert plans.status_of("pro") == "hidden"


def test_the_default_plan_stays_live_and_unknown_plans_are_not_found() -> None:
    plans = opened()

    with pytest.raises(InvalidInput, match="new workspaces begin with this plan"):
        plans.change_status("free", "dormant", at())
    with pytest.raises(NotFound):
        plans.change_status("platinum", "dormant", at())
    assert len(plans.collect_events()) == 1


def test_s96_a_custom_plan_is_the_base_with_what_differs() -> None:
    plans = opened()
    quoted(plans)

    offer = plans.find("acme", "ws_1")
    base = FLAREX.plans["enterprise"]
    assert (offer.version, offer.plan.price_minor, offer.plan.grace_days) == (1, 120_000, 21)
    assert offer.plan.overage_unit_price == 8_000
    assert offer.plan.buckets["ai_credits"] == msgspec.structs.replace(
        base.buckets["ai_credits"], units=200_000
    )
    assert offer.plan.limits == base.limits | {"bots": 80}
    assert offer.plan.entitlements == base.entitlements
    assert plans.plan("acme", 1) == offer.plan


def test_s96_a_custom_plan_is_nobody_elses() -> None:
    plans = opened()
    quoted(plans)

    with pytest.raises(NotFound):
        plans.find("acme", "ws_2")
    assert "acme" not in [offer.plan_id for offer in plans.offers_to("ws_2")]
    assert "acme" in [offer.plan_id for offer in plans.offers_to("ws_1")]
    with pytest.raises(Conflict, match="taken"):
        quoted(plans, workspace="ws_2")
    with pytest.raises(Conflict, match="taken"):
        quoted(plans, plan_id="pro")


def test_a_quote_ends_with_its_time_and_when_it_is_withdrawn_but_what_was_taken_stays() -> None:
    plans = opened()
    quoted(plans)
    end = NOW + timedelta(days=30)

    assert plans.find("acme", "ws_1").is_available(end - timedelta(microseconds=1))
    assert not plans.find("acme", "ws_1").is_available(end)
    assert plans.accept_custom("acme", 1, at()) is True
    assert plans.accept_custom("acme", 1, at()) is False
    plans.withdraw_custom("acme", "ws_1", at())
    plans.withdraw_custom("acme", "ws_1", at())
    assert not plans.find("acme", "ws_1").is_available(NOW)
    assert plans.plan("acme", 1).price_minor == 120_000
    kinds = [type(event.fact).__name__ for event in plans.collect_events()]
    assert kinds.count("CustomPlanAccepted") == kinds.count("CustomPlanWithdrawn") == 1


def test_the_same_plan_again_is_its_next_version_and_pins_hold() -> None:
    plans = opened()
    quoted(plans)
    plans.define_custom(
        "acme", "ws_1", "enterprise", PlanOverrides(price_minor=1), None, None, at()
    )

    assert plans.find("acme", "ws_1").version == 2
    assert plans.plan("acme", 1).price_minor == 120_000
    assert plans.plan("acme", 2).price_minor == 1
    twin = replayed(plans)
    assert twin is not None
    assert twin.state() == plans.state()


def test_a_catalogue_cannot_take_a_custom_plans_name() -> None:
    plans = opened()
    quoted(plans)
    taken = msgspec.structs.replace(FLAREX, plans={**FLAREX.plans, "acme": Plan(price_minor=1)})

    with pytest.raises(InvalidCatalogue, match="custom plan"):
        plans.publish(taken, "2", at())


@pytest.mark.parametrize(
    ("overrides", "field"),
    [
        (PlanOverrides(buckets={"no_such": BucketOverrides(units=1)}), "no_such"),
        (PlanOverrides(limits={"no_such": 1}), "no_such"),
        (PlanOverrides(overage_unit_usd=Decimal(0)), "overage_unit_usd"),
        (PlanOverrides(overage_unit_usd=Decimal("-0.01")), "overage_unit_usd"),
        (PlanOverrides(overage_unit_usd=Decimal("0.0000001")), "overage_unit_usd"),
        (PlanOverrides(overage_unit_usd=Decimal("Infinity")), "overage_unit_usd"),
    ],
)
def test_overrides_that_make_no_sense_are_refused(overrides: PlanOverrides, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        customised(FLAREX.plans["enterprise"], overrides)

    assert refused.value.loc[-1] == field


def test_only_a_base_can_be_customised_and_not_for_the_past() -> None:
    plans = opened()

    with pytest.raises(InvalidInput, match="these are: enterprise"):
        plans.define_custom("x", "ws_1", "pro", PlanOverrides(), None, None, at())
    with pytest.raises(InvalidInput, match="over already"):
        plans.define_custom("x", "ws_1", "enterprise", PlanOverrides(), None, NOW, at())
    with pytest.raises(InvalidInput, match="unknown provider"):
        plans.define_custom(
            "x", "ws_1", "enterprise", PlanOverrides(oauth=("openai",)), None, None, at()
        )
    assert len(plans.collect_events()) == 1


def test_overage_can_be_taken_out_of_a_custom_plan() -> None:
    plan = customised(FLAREX.plans["enterprise"], PlanOverrides(overage_unit_usd=None))

    assert plan.overage_unit_price is None


def test_differences_name_every_field_that_a_subscriber_would_notice() -> None:
    before = FLAREX.plans["starter"]
    after = msgspec.structs.replace(
        before, price_minor=1_200, limits={**before.limits, "bots": 4}, status="dormant"
    )

    assert differences(before, after) == (
        Difference("limits.bots", 3, 4),
        Difference("price_minor", 1_000, 1_200),
    )
    assert differences(before, before) == ()
