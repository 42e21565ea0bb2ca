"""Stories of subscribers whom an administrator brings to a newer version of their plan."""

from __future__ import annotations

from typing import Any

import pytest

from domain.account.allowance_facts import AllowanceGranted
from domain.codec import decode_fact, encode_fact
from domain.contract.facts import (
    DowngradeScheduled,
    DowngradeUnscheduled,
    PlanMigrationScheduled,
    PlanMigrationUnscheduled,
)
from domain.contract.migrating import Migrated
from domain.contract.subscribing import price_of
from domain.contract.subscription import PlanChanged
from domain.facts import Context
from tests.domain.memory import run
from tests.domain.tenant import WORKSPACE, Tenant, catalogue, shipped, subscriber


def republish(tenant: Tenant, **changes: Any) -> None:
    """The next version of the catalogue, whose Starter is different."""
    plans = shipped("flarex")["plans"]
    starter = plans["starter"] | {"price_minor": 1_200} | changes
    changed = catalogue("flarex", plans=plans | {"starter": starter})
    digest = f"v{changes}"
    run(tenant.ledger.publish_catalogue(changed, digest, Context(tenant.now), source="admin"))


def migrate(tenant: Tenant) -> Migrated | None:
    """Do it."""
    asked = tenant.ledger.migrate_plan(tenant.stripe, WORKSPACE, "starter", tenant.context)
    return run(asked)


def to_the_end(tenant: Tenant) -> None:
    """The cycle closes, here and at Stripe."""
    end = tenant.subscription.period_end
    assert end is not None
    tenant.to(end)
    tenant.stripe.renew()
    tenant.roll_over()


@pytest.mark.parametrize("units", [2_000, 500])
def test_a_migration_is_called_one_and_begins_when_the_cycle_closes(units: int) -> None:
    tenant = subscriber("starter")
    republish(tenant, buckets={"ai_credits": {"units": units, "reset": "cycle"}})

    done = migrate(tenant)

    assert done is not None
    assert done.outcome == "scheduled"
    [scheduled] = tenant.facts(PlanMigrationScheduled)
    assert (scheduled.from_version, scheduled.to_plan, scheduled.to_version) == (1, "starter", 2)
    assert scheduled.stripe_schedule_id == "sub_sched_1"
    assert tenant.facts(DowngradeScheduled) == []
    assert tenant.remaining() == 1_000, "nothing changes before"
    again = migrate(tenant)
    assert again is not None
    assert (again.outcome, again.reason) == ("left_alone", "it is scheduled already")

    to_the_end(tenant)

    changed = tenant.facts(PlanChanged)[-1]
    assert (changed.direction, changed.from_version, changed.to_version) == ("migration", 1, 2)
    assert tenant.facts(AllowanceGranted)[-1].units == units
    assert tenant.subscription.coming is None
    assert migrate(tenant) is None, "it is where it should be"


def test_a_newer_version_takes_the_place_of_an_older_migration() -> None:
    tenant = subscriber("starter")
    republish(tenant)
    migrate(tenant)
    republish(tenant, grace_days=5)

    done = migrate(tenant)

    assert done is not None
    assert (done.outcome, done.to_version) == ("scheduled", 3)
    assert [f.reason for f in tenant.facts(PlanMigrationUnscheduled)] == ["superseded"]
    to_the_end(tenant)
    assert tenant.subscription.plan_version == 3


def test_what_the_customer_chooses_takes_the_place_of_a_migration() -> None:
    tenant = subscriber("pro")
    plans = shipped("flarex")["plans"]
    pro = plans["pro"] | {"price_minor": 4_100}
    changed = catalogue("flarex", plans=plans | {"pro": pro})
    run(tenant.ledger.publish_catalogue(changed, "v2", Context(tenant.now), source="admin"))
    run(tenant.ledger.migrate_plan(tenant.stripe, WORKSPACE, "pro", tenant.context))

    tenant.confirm(tenant.preview("starter"))

    assert [f.reason for f in tenant.facts(PlanMigrationUnscheduled)] == ["superseded"]
    to_the_end(tenant)
    changed_last = tenant.facts(PlanChanged)[-1]
    assert (changed_last.to_plan, changed_last.direction) == ("starter", "downgrade")


def test_a_customer_does_not_take_back_what_an_administrator_scheduled() -> None:
    tenant = subscriber("starter")
    republish(tenant)
    migrate(tenant)
    asked = tenant.ledger.unschedule_plan(tenant.stripe, WORKSPACE, tenant.context)
    assert run(asked) is None
    assert tenant.subscription.migration is not None
    assert "release" not in tenant.stripe.calls


def test_a_cancellation_ends_it_and_stripes_word_heals_what_was_lost() -> None:
    tenant = subscriber("starter")
    republish(tenant)
    migrate(tenant)
    tenant.cancel()
    assert [f.reason for f in tenant.facts(PlanMigrationUnscheduled)] == ["cancelled"]

    lost = subscriber("starter")
    republish(lost)
    plans = run(lost.ledger.plans())
    price = price_of(plans.find("starter", WORKSPACE), plans)
    run(lost.stripe.schedule("", price, "k"))  # and the process died
    lost.stripe.change(scheduled_plan=price.pin)
    lost.sync()
    assert [f.to_version for f in lost.facts(PlanMigrationScheduled)] == [2]
    lost.sync()
    assert len(lost.facts(PlanMigrationScheduled)) == 1


def test_migrations_that_were_recorded_as_downgrades_are_read_as_what_they_say() -> None:
    tenant = subscriber("starter")
    republish(tenant)
    old = DowngradeScheduled(
        recorded_at=tenant.now,
        cause="migration:2:9",
        to_plan="starter",
        to_version=2,
        effective_at=tenant.subscription.period_end or tenant.now,
        stripe_schedule_id="sub_sched_1",
    )
    assert decode_fact(old.TOPIC, encode_fact(old)) == old
    subscription = tenant.subscription.clone()
    subscription.fold(old, subscription.version + 1)
    assert subscription.coming is old
    assert tenant.facts(DowngradeUnscheduled) == []
