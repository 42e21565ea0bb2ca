"""Waterfalls that no shipped catalogue has, but may: who pays follows their order (spec 2.1)."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from domain.account.usage_facts import UsageRecorded
from domain.catalogue.catalogue import read_catalogue
from domain.errors import InvalidCatalogue, NoPaymentSource, OAuthRejected
from tests.domain.tenant import Tenant, drawn, shipped


def interviews(plan: str = "connect", micros: int = 0, **meter: Any) -> Tenant:
    """`faces` whose interviews are paid for otherwise: 100 units are included."""
    document = deepcopy(shipped("faces"))
    document["meters"]["interview"] |= meter
    for terms in document["plans"].values():
        terms["buckets"]["compile_tokens"]["units"] = 100
    return Tenant(read_catalogue(document), plan, micros)


INCLUDED_FIRST = ("allowance", "oauth", "wallet")


def test_units_that_come_before_the_users_own_account_are_used_before_it() -> None:
    tenant = interviews(waterfall=INCLUDED_FIRST)
    tenant.link()

    first = tenant.hold("interview", 100, model="gpt-5.4")
    second = tenant.hold("interview", 100, model="gpt-5.4")

    assert (first.route, first.units) == ("allowance", 100)
    assert (second.route, second.units, second.amount) == ("oauth", 0, 0)
    assert drawn(tenant.settle(first, 90)) == {"allowance": (90, 0)}
    assert drawn(tenant.settle(second, 90)) == {"oauth": (90, 270)}


def test_a_revoked_account_stops_nobody_while_something_before_it_pays() -> None:
    tenant = interviews(micros=1_000_000, waterfall=INCLUDED_FIRST)
    tenant.link()
    tenant.unlink("revoked")
    tenant.fallback(False)

    assert drawn(tenant.act("interview", 100, model="gpt-5.4")) == {"allowance": (100, 0)}
    with pytest.raises(OAuthRejected):
        tenant.hold("interview", 100, model="gpt-5.4")
    with pytest.raises(OAuthRejected):
        tenant.act("interview", 100, model="gpt-5.4")


def test_a_call_of_no_units_costs_nothing_where_units_are_included() -> None:
    """Only output counts: an empty wallet is not asked for what the allowance covers."""
    tenant = interviews("free", weight_input=0)

    act = tenant.act("interview", 5_000, 0)

    assert isinstance(act, UsageRecorded)
    assert drawn(act) == {}
    assert tenant.account.balance == 0
    assert tenant.remaining() == 100
    tenant.act("interview", 0, 100)
    with pytest.raises(NoPaymentSource):
        tenant.act("interview", 0, 1)


def test_overage_before_what_is_included_is_refused() -> None:
    """L3: included first, always."""
    document = deepcopy(shipped("flarex"))
    document["meters"]["chat_generation"]["waterfall"] = ["overage", "allowance"]

    with pytest.raises(InvalidCatalogue, match="included comes before"):
        read_catalogue(document)


def test_a_price_beyond_units_that_no_plan_grants_is_refused() -> None:
    """It could be switched on, and would never have billed anything."""
    document = deepcopy(shipped("flarex"))
    document["plans"]["pro"]["buckets"] = {}

    with pytest.raises(InvalidCatalogue, match="be they 0") as refused:
        read_catalogue(document)

    assert refused.value.loc == ("plans", "pro", "buckets")
    document["plans"]["pro"]["buckets"] = {"ai_credits": {"units": 0, "reset": "cycle"}}
    assert read_catalogue(document).plans["pro"].buckets["ai_credits"].units == 0
