"""A void gives back to those who paid, also where they paid by repaying the debt of an act."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from domain.account.usage_facts import Debited, UsageVoided
from tests.domain.given import NOW
from tests.domain.memory import run
from tests.domain.tenant import WORKSPACE, Tenant

DOLLAR, CALL = 1_000_000, 37_035
DAY = timedelta(days=1)


def owing(*others: int) -> tuple[Tenant, Debited]:
    """A workspace that had 10 000 µ, after the call of S01 and perhaps facts of others."""
    tenant = Tenant("faces", None, 10_000)
    first = act(tenant, CALL)
    for micros in others:
        act(tenant, micros)
    return tenant, first


def act(tenant: Tenant, micros: int) -> Debited:
    """A fact that costs so much (gpt-5.4 at 3 µ a token)."""
    made = tenant.act("chat", micros // 3, model="gpt-5.4", mode="record")
    assert isinstance(made, Debited)
    assert made.amount == micros
    return made


def gift(tenant: Tenant, micros: int, **terms: Any) -> None:
    """Promotional credits."""
    run(tenant.ledger.grant(WORKSPACE, micros, tenant.new_id(), tenant.context, **terms))


def grants(tenant: Tenant) -> list[tuple[int, str]]:
    """What is left of every grant, in the order in which they came in."""
    found = sorted(tenant.account.wallet.grants, key=lambda grant: grant.opened)
    return [(grant.remaining, grant.category) for grant in found]


def test_the_grant_that_repaid_the_debt_is_whole_again() -> None:
    tenant, call = owing()
    tenant.credit(DOLLAR)

    tenant.void(call)

    assert grants(tenant) == [(10_000, "paid"), (DOLLAR, "paid")]


def test_what_is_still_owed_is_owed_no_more() -> None:
    tenant, call = owing()
    gift(tenant, 7_035)
    assert tenant.account.balance == -20_000

    tenant.void(call)

    assert grants(tenant) == [(10_000, "paid"), (7_035, "promotional")]


def test_debts_are_repaid_in_the_order_in_which_they_were_made() -> None:
    tenant, call = owing(30_000)
    later = tenant.facts(Debited)[-1]
    tenant.credit(27_035 + 10_000)
    gift(tenant, 50_000)

    tenant.void(later)

    assert grants(tenant) == [(10_000, "paid"), (50_000, "promotional")]
    tenant.void(call)
    assert grants(tenant) == [(10_000, "paid"), (37_035, "paid"), (50_000, "promotional")]


@pytest.mark.parametrize(("days", "back"), [(0, CALL), (5, 10_000)])
def test_what_repaid_it_may_be_over_by_then(days: int, back: int) -> None:
    tenant, call = owing()
    gift(tenant, 27_035, expires_at=NOW + 5 * DAY)
    tenant.to(NOW + days * DAY)

    tenant.void(call)

    [void] = tenant.facts(UsageVoided)
    assert void.amount == back
