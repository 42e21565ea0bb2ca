"""Who takes a seat, and what bots store: caps that refuse more and take nothing away."""

from __future__ import annotations

import pytest

from domain.errors import InvalidInput, NotFound
from domain.workspace.errors import OwnerStays, PlanLimitReached
from domain.workspace.facts import MemberAdded, StorageReported
from domain.workspace.storage import GIGABYTE
from tests.domain.tenant import Tenant


def test_the_owner_takes_a_seat_and_nobody_two() -> None:
    tenant = Tenant("flarex", "starter")
    add = tenant.ledger.add_member

    assert tenant.ask(add, "user_1").answer
    assert tenant.ask(add, "user_2").answer
    assert not tenant.ask(add, "user_2").answer
    assert not tenant.ask(add, "owner").answer
    with pytest.raises(PlanLimitReached) as refused:
        tenant.ask(add, "user_3")

    assert (refused.value.resource, refused.value.limit, refused.value.current) == ("seats", 3, 3)
    assert len(tenant.facts(MemberAdded)) == 2


def test_a_smaller_plan_takes_no_seat_away_but_lets_nobody_in() -> None:
    tenant = Tenant("flarex", "starter")
    tenant.ask(tenant.ledger.add_member, "user_1")
    tenant.plan("free")

    with pytest.raises(PlanLimitReached):
        tenant.ask(tenant.ledger.add_member, "user_2")
    tenant.ask(tenant.ledger.remove_member, "user_1")
    with pytest.raises(NotFound):
        tenant.ask(tenant.ledger.remove_member, "user_1")
    with pytest.raises(OwnerStays):
        tenant.ask(tenant.ledger.remove_member, "owner")


def test_addresses_of_people_never_get_into_a_fact() -> None:
    tenant = Tenant("flarex", "starter")

    with pytest.raises(InvalidInput):
        tenant.ask(tenant.ledger.add_member, "ann@example.com")


def test_storage_may_grow_until_it_is_full() -> None:
    tenant = Tenant("flarex", "starter")
    report = tenant.ledger.report_storage

    assert tenant.ask(report, 5 * GIGABYTE - 1).answer.may_grow
    assert not tenant.ask(report, 5 * GIGABYTE).answer.may_grow
    assert not tenant.ask(report, 5 * GIGABYTE).answer.may_grow
    assert len(tenant.facts(StorageReported)) == 2
    tenant.plan("pro")
    assert tenant.ask(report, 6 * GIGABYTE).answer.may_grow


def test_a_plan_without_a_limit_has_none() -> None:
    tenant = Tenant("faces")

    for number in range(20):
        tenant.ask(tenant.ledger.add_member, f"user_{number}")
    assert tenant.ask(tenant.ledger.report_storage, 10**15).answer.may_grow
