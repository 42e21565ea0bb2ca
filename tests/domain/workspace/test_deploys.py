"""May a bot be deployed? The time decides, and each verdict is noted once."""

from __future__ import annotations

from datetime import timedelta

import pytest

from domain.errors import AccountFrozen
from domain.facts import Context
from domain.workspace.deploys import Verdict
from domain.workspace.errors import (
    BotIsPaused,
    DeployBlockedPastDue,
    DeployConflict,
    PlanLimitReached,
)
from domain.workspace.facts import DeployAuthorised, DeployDenied, DeploysBlocked
from domain.workspace.tenancy import workspace_place
from domain.workspace.workspace import Workspace
from tests.domain.memory import run
from tests.domain.tenant import WORKSPACE, Tenant


@pytest.fixture
def tenant() -> Tenant:
    made = Tenant("flarex", "starter")
    made.ask(made.ledger.create_bot, "b01", "Support")
    return made


def deploy(tenant: Tenant, bot_id: str = "b01", deploy_id: str = "d1") -> Verdict:
    asked = tenant.ledger.authorize_deploy(WORKSPACE, deploy_id, bot_id, "/portal", tenant.context)
    return run(asked)[0]


def past_due(tenant: Tenant, days: int = 3) -> None:
    """The first failure was a moment ago."""
    workspace = run(tenant.ledger.workspace(WORKSPACE)).clone()
    now = tenant.now
    workspace.mark_past_due("in_1", now, days, now + timedelta(days=days), Context(now))
    keep(tenant, workspace)


def recovered(tenant: Tenant) -> None:
    """Everything is paid."""
    workspace = run(tenant.ledger.workspace(WORKSPACE)).clone()
    workspace.reactivate(tenant.context)
    keep(tenant, workspace)


def keep(tenant: Tenant, workspace: Workspace) -> None:
    tenant.book.events += workspace.collect_events()
    tenant.book.states[workspace_place(WORKSPACE).id] = workspace


def test_an_active_bot_is_deployed_with_the_plans_compute(tenant: Tenant) -> None:
    verdict = deploy(tenant)

    assert verdict.refusal is None
    assert verdict.compute == ("0.5", 512)
    assert [fact.deploy_id for fact in tenant.facts(DeployAuthorised)] == ["d1"]


def test_the_same_deploy_is_noted_once_and_answered_each_time(tenant: Tenant) -> None:
    for _ in range(3):
        assert deploy(tenant).denial is None

    assert len(tenant.facts(DeployAuthorised)) == 1


def test_a_deploy_belongs_to_one_bot(tenant: Tenant) -> None:
    deploy(tenant)

    with pytest.raises(DeployConflict):
        deploy(tenant, "b02")


def test_the_grace_ends_by_the_clock_and_not_by_a_timer(tenant: Tenant) -> None:
    past_due(tenant)
    tenant.later(days=3, seconds=-1)
    assert deploy(tenant, deploy_id="d1").denial is None

    tenant.later(seconds=1)
    verdict = deploy(tenant, deploy_id="d2")

    assert isinstance(verdict.refusal, DeployBlockedPastDue)
    assert verdict.refusal.grace_ended_at == tenant.now
    assert verdict.refusal.portal == "/portal"
    assert tenant.facts(DeploysBlocked) == []
    assert [fact.reason for fact in tenant.facts(DeployDenied)] == ["deploy_blocked_past_due"]


def test_an_old_deploy_id_opens_no_way_around_the_block(tenant: Tenant) -> None:
    deploy(tenant)
    past_due(tenant)
    tenant.later(days=3)

    assert isinstance(deploy(tenant).refusal, DeployBlockedPastDue)

    recovered(tenant)
    assert deploy(tenant).refusal is None
    assert len(tenant.facts(DeployAuthorised)) == 1


def test_the_end_of_the_grace_is_noticed_once(tenant: Tenant) -> None:
    past_due(tenant)
    assert tenant.ask(tenant.ledger.notice_grace).facts == ()
    tenant.later(days=4)

    assert tenant.ask(tenant.ledger.notice_grace).answer is True
    assert tenant.ask(tenant.ledger.notice_grace).answer is False

    [noticed] = tenant.facts(DeploysBlocked)
    assert noticed.since == tenant.now - timedelta(days=1)
    assert noticed.noticed_at == tenant.now


def test_a_frozen_account_deploys_nothing_even_when_it_has_paid(tenant: Tenant) -> None:
    tenant.freeze()
    verdict = deploy(tenant)

    assert isinstance(verdict.refusal, AccountFrozen)
    assert not verdict.refusal.needs_credits
    tenant.unfreeze()
    assert deploy(tenant).refusal is None


def test_a_paused_bot_is_not_deployed_and_a_new_one_needs_room(tenant: Tenant) -> None:
    assert deploy(tenant, "new", "d0").refusal is None
    tenant.ask(tenant.ledger.pause_bot, "b01")
    assert isinstance(deploy(tenant, "b01", "d1").refusal, BotIsPaused)
    for bot_id in ("b02", "b03", "b04"):
        tenant.ask(tenant.ledger.create_bot, bot_id, bot_id)

    assert isinstance(deploy(tenant, "new", "d2").refusal, PlanLimitReached)
    assert deploy(tenant, "b04", "d3").refusal is None


def test_what_the_plan_paused_is_not_deployed(tenant: Tenant) -> None:
    for bot_id in ("b02", "b03"):
        tenant.ask(tenant.ledger.create_bot, bot_id, bot_id)
    tenant.plan("free")

    assert deploy(tenant, "b01", "d1").refusal is None
    assert isinstance(deploy(tenant, "b03", "d2").refusal, PlanLimitReached)
