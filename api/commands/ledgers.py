"""`daybook workspaces` and `daybook balance`: what is in the ledger now."""

import asyncio
import json

import psycopg
from rich.table import Table

from adapters.postgres.database import Database
from api.commands.options import Data, DatabaseUrl, Json, show
from api.commands.plain import plain_errors
from api.commands.tenants import Tenant, find_tenant, tenants
from api.running.deployment import database_for, ledger_on
from domain.account.credit_account import CreditAccount
from domain.money import usd
from projections.tables import create_all

BALANCES = "SELECT workspace_id, plan_id, balance, is_frozen FROM balances"


@plain_errors()
def workspaces(json_: Json = False, database_url: DatabaseUrl = None, data: Data = None) -> None:
    """List the workspaces with their balances, as the read model has them."""
    with (
        database_for(database_url, data) as database,
        psycopg.connect(database.conninfo(), autocommit=True) as connection,
    ):
        create_all(connection)
        found = tenants(connection)
        held = {row[0]: row[1:] for row in connection.execute(BALANCES).fetchall()}
    rows = [(*tenant, *held.get(tenant.workspace_id, ("", 0, False))) for tenant in found]
    if json_:
        names = ("workspace_id", "name", "plan", "balance_micros", "is_frozen")
        print(json.dumps([dict(zip(names, row, strict=True)) for row in rows]))
        return
    table = Table("workspace", "name", "plan")
    table.add_column("balance", justify="right")
    table.add_column("")
    for id, name, plan, amount, is_frozen in rows:
        table.add_row(id, name, plan, f"{usd(amount)}", "frozen" if is_frozen else "")
    show(table)


@plain_errors()
def balance(
    workspace: str, json_: Json = False, database_url: DatabaseUrl = None, data: Data = None
) -> None:
    """Say what a workspace (its id or name) holds, as its events say at this moment."""
    with database_for(database_url, data) as database:
        with psycopg.connect(database.conninfo()) as connection:
            tenant = find_tenant(connection, workspace)
        account = asyncio.run(_account(database, tenant))
    if json_:
        print(json.dumps(_plain(tenant, account)))
        return
    currency = account.currency.upper()
    print(f"{tenant.name} ({tenant.workspace_id}), plan {account.plan}")
    print(f"balance  {usd(account.balance)} {currency}{'  FROZEN' if account.is_frozen else ''}")
    for grant in account.wallet.grants:
        until = f", until {grant.expires_at.isoformat()}" if grant.expires_at else ""
        print(f"  {grant.grant_id}: {usd(grant.remaining)} {grant.category}{until}")
    if account.wallet.debt:
        print(f"  debt: {usd(account.wallet.debt)}")
    for name, bucket in account.buckets.items():
        print(f"{name}  {bucket.remaining:,} of {bucket.granted:,} left")


async def _account(database: Database, tenant: Tenant) -> CreditAccount:
    async with ledger_on(database, "daybook-balance") as ledger:
        return await ledger.account(tenant.workspace_id)


def _plain(tenant: Tenant, account: CreditAccount) -> dict[str, object]:
    return {
        "workspace_id": tenant.workspace_id,
        "name": tenant.name,
        "plan": account.plan,
        "balance_micros": account.balance,
        "debt_micros": account.wallet.debt,
        "is_frozen": account.is_frozen,
        "version": account.version,
    }
