"""7.3: whatever is changed in a read model, in any column, compare says where and whose it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from adapters.postgres.database import Database
from projections.models import MODELS
from projections.usage_hourly import UsageHourly
from tests.acceptance.paying import paid, save_card
from tests.acceptance.spending import done, generate, put
from tests.acceptance.subscribing import preview, spend, subscribed, with_bots
from tests.api.sandboxed import Sandboxed, sandboxed

OTHER = {
    # what a value of a type is changed to
    "bigint": "coalesce({0}, 0) + 7",
    "integer": "coalesce({0}, 0) + 7",
    "text": "coalesce({0}, '') || 'x'",
    "boolean": "NOT coalesce({0}, false)",
    "timestamp with time zone": "coalesce({0}, now()) + interval '1 hour'",
    "uuid": "gen_random_uuid()",
    "ARRAY": "ARRAY['x']",
    "jsonb": "'{{\"x\": 1}}'",
}
COLUMNS = """
    SELECT column_name, data_type FROM information_schema.columns
    WHERE table_schema = current_schema() AND table_name = %s
"""
NAMELESS = {"catalogue_versions", "plan_comparison"}  # rows of the deployment, of no workspace


@pytest.fixture
def shop(database: Database) -> Iterator[Sandboxed]:
    """`flarex` with its sandbox, whose webhooks wait to be delivered."""
    with sandboxed(database, "flarex", mode="held") as both:
        yield both


def busy(shop: Sandboxed) -> str:
    """A workspace with at least a row in every table."""
    workspace = subscribed(shop, "starter")
    put(shop.app, "/v1/billing/overage", {"enabled": True}, workspace)
    with_bots(shop, workspace, 2)
    spend(shop, workspace, 1_010, "b01")
    done(generate(shop.app, workspace, 500, thread_id="t1"))
    save_card(shop, workspace)
    paid(shop, workspace)
    gift = {"amount_usd": 1, "category": "promotional", "expires_at": "2026-09-01T00:00:00Z"}
    path = f"/v1/admin/workspaces/{workspace}/credits"
    done(shop.app.post(path, gift | {"reason": "a gift", "ticket_ref": "T-1"}))
    done(preview(shop, workspace, "pro"), 200)
    shop.app.get("/v1/billing/usage/events", workspace, consistency="strong")
    return workspace


def differences(shop: Sandboxed) -> list[Any]:
    return list(shop.app.get("/v1/audit/compare")["differences"])


@pytest.mark.scenario("S98")
def test_every_column_of_every_read_model_is_compared(shop: Sandboxed) -> None:
    workspace = busy(shop)
    assert differences(shop) == []

    tables = [table for model in MODELS if model is not UsageHourly for table in model.tables]
    unseen = []
    with psycopg.connect(shop.app.database.conninfo(), autocommit=True) as connection:
        for table in tables:
            for column, kind in connection.execute(COLUMNS, (table,)).fetchall():
                changed = _changed(connection, table, column, OTHER[kind].format(column))
                told = differences(shop)
                _put_back(connection, table, changed)
                whose = {one["workspace"] for one in told}
                if not told or not (table in NAMELESS or workspace in whose):
                    unseen.append((table, column, told))
    assert unseen == []
    assert differences(shop) == []


def test_a_row_that_is_gone_or_was_made_up_is_named(shop: Sandboxed) -> None:
    workspace = busy(shop)
    with psycopg.connect(shop.app.database.conninfo(), autocommit=True) as connection:
        connection.execute("DELETE FROM bots WHERE bot_id = 'b01'")
        connection.execute(
            "INSERT INTO bots SELECT stream, 'b99', name, created_at, paused_by,"
            " last_position FROM bots WHERE bot_id = 'b02'"
        )
    told = {one["field"]: (one["workspace"], one["projected"]) for one in differences(shop)}
    assert told.keys() == {"bots b01: row", "bots b99: row"}
    assert told["bots b01: row"] == (workspace, None)
    assert told["bots b99: row"][1]["bot_id"] == "b99"


def _changed(connection: psycopg.Connection[Any], table: str, column: str, value: str) -> Any:
    """Change one column of one row; the row as it was."""
    row = connection.execute(f"SELECT ctid, t.* FROM {table} t LIMIT 1").fetchone()
    assert row is not None, f"{table} is empty"
    connection.execute(f'UPDATE {table} SET "{column}" = {value} WHERE ctid = %s::tid', row[:1])
    return row[1:]


def _put_back(connection: psycopg.Connection[Any], table: str, row: Any) -> None:
    """Delete the row that was changed, the newest, and insert it as it was."""
    newest = f"SELECT ctid FROM {table} ORDER BY xmin::text::bigint DESC LIMIT 1"
    connection.execute(f"DELETE FROM {table} WHERE ctid = ({newest})")
    marks = ", ".join(["%s"] * len(row))
    connection.execute(f"INSERT INTO {table} VALUES ({marks})", row)
