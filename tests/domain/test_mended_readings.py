"""Readings that a stranger would expect, and that an earlier version had otherwise."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from domain.account.usage_facts import Debited, UsageRated, UsageRecorded
from domain.catalogue.price_book import PriceEntry
from domain.errors import BudgetExhausted, InvalidInput, OAuthRejected
from domain.facts import Context
from domain.identity import usage_id
from tests.domain.memory import run
from tests.domain.tenant import WORKSPACE, Tenant

NEW = "brand-new-model"


def price_the_new_model(tenant: Tenant) -> None:
    """Publish its price, $1 per million tokens either way, and rate what waits for it."""
    entry = PriceEntry(NEW, 1_000_000, 1_000_000, 1_000_000)
    published = (tenant.now + timedelta(seconds=1), "usd", 0, (entry,), "v2", tenant.context)
    run(tenant.ledger.publish_prices(*published))
    for event in tuple(tenant.book.events):
        if isinstance(event.fact, UsageRecorded):
            id = usage_id(event.originator_id, event.originator_version)
            at = Context(tenant.now + timedelta(minutes=1))
            run(tenant.ledger.rate_unrated(WORKSPACE, id, at))


@pytest.mark.parametrize(
    ("input", "debits"),
    [(4_000, []), (5_000, []), (6_000, [1_000])],
    ids=["inside the quota", "all of the quota", "beyond it"],
)
def test_a_price_that_comes_later_is_paid_only_for_what_the_quota_did_not_cover(
    input: int, debits: list[int]
) -> None:
    tenant = Tenant("faces", micros=1_000_000)  # free: 5,000 tokens of compile and interview
    tenant.act("interview", input, model=NEW, mode="record")

    price_the_new_model(tenant)

    assert tenant.remaining() == max(5_000 - input, 0)
    assert [fact.amount for fact in tenant.facts(Debited)] == debits
    assert len(tenant.facts(UsageRated)) == len(debits)


def test_late_usage_that_nobody_agreed_to_pay_is_recorded_and_absorbed() -> None:
    tenant = Tenant("flarex", plan="starter")
    tenant.generate(1_000)
    then = tenant.now
    tenant.later(days=31)

    act = tenant.generate(14, occurred_at=then)

    assert act.late
    assert [(draw.source, draw.units) for draw in act.draws] == [("absorbed", 14)]
    assert tenant.remaining() == 1_000


@pytest.mark.parametrize("fallback", [True, False])
def test_a_direct_act_past_a_revoked_account_is_what_the_user_allowed(fallback: bool) -> None:
    tenant = Tenant("faces", plan="connect", micros=5_000_000)
    tenant.ask(tenant.ledger.connect_oauth, "openai", "conn_1")
    tenant.ask(tenant.ledger.disconnect_oauth, "openai", "revoked")
    tenant.ask(tenant.ledger.set_api_fallback, fallback)

    if fallback:
        assert isinstance(tenant.act("chat", 1_000, model="gpt-5.4"), Debited)
        return
    with pytest.raises(OAuthRejected) as refused:
        tenant.act("chat", 1_000, model="gpt-5.4")
    assert refused.value.fallback_available


def test_an_act_that_says_it_went_through_a_revoked_account_is_told_to_link_it_again() -> None:
    tenant = Tenant("faces", plan="connect", micros=5_000_000)
    tenant.link()
    tenant.unlink("revoked")
    with pytest.raises(InvalidInput) as unlinked:
        tenant.act("chat", 1_000, model="gpt-5.4", route="oauth")
    assert unlinked.value.code == "validation_error", "the wallet does not pay for it a second time"

    tenant.fallback(False)

    with pytest.raises(OAuthRejected):
        tenant.act("chat", 1_000, model="gpt-5.4", route="oauth")


def test_a_hold_is_settled_by_the_meter_it_was_placed_for() -> None:
    tenant = Tenant("faces", micros=5_000_000)
    hold = tenant.hold("chat", 1_000)

    with pytest.raises(InvalidInput, match="meter chat"):
        tenant.act("interview", 1_000, hold_id=hold.hold_id)


@pytest.mark.parametrize("per", ["day", "cycle"])
def test_what_a_voided_act_spent_of_a_budget_may_be_spent_again(per: Any) -> None:
    tenant = Tenant("faces", micros=5_000_000)
    tenant.ask(tenant.ledger.set_budget, "cap", "workspace", None, 1_000, per, True)
    act = tenant.act("chat", 4_000)
    with pytest.raises(BudgetExhausted):
        tenant.act("chat", 4_000)

    tenant.void(act)

    assert tenant.act("chat", 4_000)


def test_a_void_on_the_next_day_leaves_that_days_budget_alone() -> None:
    tenant = Tenant("faces", micros=5_000_000)
    tenant.ask(tenant.ledger.set_budget, "cap", "workspace", None, 1_000, "day", True)
    yesterday = tenant.act("chat", 4_000)
    tenant.later(days=1)
    tenant.act("chat", 4_000)

    tenant.void(yesterday)

    with pytest.raises(BudgetExhausted):
        tenant.act("chat", 4_000)
