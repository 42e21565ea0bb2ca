"""What balances, expiries and workspaces answer after known stories."""

from datetime import datetime, timedelta
from typing import Any

from adapters.postgres.database import Database
from domain.identity import account_id
from domain.ledger import Ledger
from projections import balances, expiries, workspaces
from tests.domain.given import NOW, USD, at
from tests.projections.stories import (
    ask,
    everything,
    post,
    write,
)


def test_a_balance_and_its_lifetime_sums_add_up(database: Database) -> None:
    async def story(ledger: Ledger) -> Any:
        await everything(ledger)
        return await ledger.account("acme")

    account = write(database, story)
    post(database)
    row = ask(database, lambda c: balances.balance(c, "acme"))
    assert row is not None
    assert row.balance == account.balance
    assert row.balance == row.credited - row.debited - row.reversed - row.expired + row.voided
    assert row.credited == 20 * USD + 10 * USD + 2 * USD + USD // 2 + USD
    assert row.voided == 1_000
    assert 0 < row.expired < 2 * USD
    assert (row.workspace_id, row.currency, row.plan_id) == ("acme", "usd", "free")
    assert not row.is_frozen


def test_a_balance_says_why_it_is_frozen(database: Database) -> None:
    async def story(ledger: Ledger) -> None:
        await ledger.freeze("acme", "admin", "T1", None, at())
        await ledger.freeze("acme", "fraud", "T2", None, at())
        await ledger.unfreeze("acme", "admin", "T1", None, at())
        await ledger.freeze("other", "admin", "T3", None, at())
        await ledger.unfreeze("other", None, "T3", None, at())

    write(database, story, "acme", "other")
    post(database)
    found = ask(database, balances.frozen)
    assert [(row.workspace_id, row.freeze_reasons) for row in found] == [("acme", ["fraud:T2"])]
    poor = ask(database, lambda c: balances.below(c, 1))
    assert [row.workspace_id for row in poor] == ["acme", "other"]
    assert ask(database, lambda c: balances.balance(c, "nobody")) is None


def test_grants_are_due_until_their_end_is_written(database: Database) -> None:
    async def story(ledger: Ledger) -> None:
        for name, hours in (("acme", 1), ("other", 2)):
            end = NOW + timedelta(hours=hours)
            await ledger.grant(name, USD, "a", at(), expires_at=end)

    write(database, story, "acme", "other", "third")
    post(database)
    one, two = NOW + timedelta(hours=1), NOW + timedelta(hours=2)

    def due(after: datetime | None, until: datetime) -> list[str]:
        return ask(database, lambda c: expiries.due(c, after, until))

    assert due(None, one - timedelta(seconds=1)) == []
    assert due(None, one) == ["acme"]
    assert due(one, two) == ["other"]
    assert due(None, two) == ["acme", "other"]
    write(database, lambda ledger: ledger.expire_credits("acme", at(hours=1)))
    post(database)
    assert due(None, two) == ["other"]


def test_workspaces_are_listed(database: Database) -> None:
    async def story(ledger: Ledger) -> None:
        await ledger.create_workspace("zoo", "The \0 Zoo", "owner", "Europe/Berlin", at(hours=1))

    write(database, story, "acme")
    post(database)
    acme, zoo = ask(database, workspaces.tenants)
    assert (acme.workspace_id, acme.timezone, acme.created_at) == ("acme", "UTC", NOW)
    assert (zoo.name, zoo.timezone) == ("The \ufffd Zoo", "Europe/Berlin")
    assert ask(database, lambda c: workspaces.tenant(c, "zoo")) == zoo
    assert ask(database, lambda c: workspaces.tenant(c, "nobody")) is None
    assert ask(database, lambda c: workspaces.tenants(c, after="acme")) == [zoo]
    assert account_id("acme") != account_id("zoo")
