"""S102: the journal as beancount, which its own checker passes; and the same rows as CSV and
Parquet."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from beancount import loader
from beancount.core.data import Transaction
from pyarrow import parquet  # type: ignore[import-untyped]

from adapters.postgres.database import Database
from tests.acceptance.spending import generate, on_plan, put, to
from tests.acceptance.subscribing import spend, subscribe
from tests.api.auditing.sealed import chain
from tests.api.conftest import Served, serve, settings_of
from tests.api.sandboxed import sandboxed
from tests.projections.stories import everything, hours_of_calls, write

MICROS = 1_000_000


@pytest.fixture
def busy(database: Database) -> Iterator[Served]:
    """`faces` in which everything happened that happens to wallets."""
    names = ("acme", "ws_other", "Third-1")

    async def story(ledger: Any) -> None:
        for name in names:
            await everything(ledger, name)
        await hours_of_calls(ledger, list(names), 200)

    write(database, story, *names, markup_bps=500)
    with serve(settings_of(database)) as app:
        yield app


@pytest.fixture
def flarex(database: Database) -> Iterator[Served]:
    """Appendix A's other catalogue."""
    with serve(settings_of(database, "flarex")) as app:
        yield app


def exported(app: Served, **query: Any) -> bytes:
    """The file, once the read models have seen everything."""
    answer = app.call("GET", "/v1/audit/export", consistency="strong", **query)
    assert answer.status_code == 200, answer.text
    return answer.content


def checked(text: bytes, folder: Path) -> list[Transaction]:
    """What beancount reads, after its own command line passed the file."""
    file = folder / "journal.beancount"
    file.write_bytes(text)
    bean_check = Path(sys.executable).with_name("bean-check")
    done = subprocess.run([bean_check, file], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    entries, errors, _ = loader.load_file(str(file))
    assert errors == []
    return [one for one in entries if isinstance(one, Transaction)]


def sums(entries: list[Transaction], account: str) -> dict[str, Decimal]:
    found: dict[str, Decimal] = {}
    for entry in entries:
        for posting in entry.postings:
            if posting.account.startswith(account) and posting.units is not None:
                assert posting.units.number is not None
                unit = posting.units.currency
                found[unit] = found.get(unit, Decimal(0)) + posting.units.number
    return found


def balances(app: Served, *workspaces: str) -> int:
    return sum(app.balance(one) for one in workspaces)


@pytest.mark.scenario("S102")
def test_the_journal_passes_bean_check_and_owes_what_the_balances_hold(
    busy: Served, tmp_path: Path
) -> None:
    entries = checked(exported(busy, format="beancount"), tmp_path)

    owed = sums(entries, "Liabilities:Credits")
    total = balances(busy, "acme", "ws_other", "Third-1")
    assert total != 0
    assert owed == {"USD": -Decimal(total) / MICROS}
    assert (
        sums(entries, "Liabilities:Credits:Acme")["USD"] == -Decimal(busy.balance("acme")) / MICROS
    )
    assert {"position", "event_id"} <= entries[0].meta.keys()
    debit = next(one for one in entries if one.narration == "Debited" and "usage_id" in one.meta)
    why = busy.get(f"/v1/audit/charges/{debit.meta['usage_id']}/explain")
    assert why["position"] == int(debit.meta["position"])
    assert why["request"]["event_id"] == debit.meta["event_id"]
    formula = why["formula"]
    for account, part in (("Usage:Chat", "provider_cost_micros"), ("Markup", "markup_micros")):
        assert sums([debit], f"Income:{account}")["USD"] == -Decimal(formula[part]) / MICROS


@pytest.mark.scenario("S102")
def test_units_and_overage_are_posted_from_grant_to_statement(
    flarex: Served, tmp_path: Path
) -> None:
    workspace = on_plan(flarex, "starter")
    put(flarex, "/v1/billing/overage", {"enabled": True}, workspace)
    for number in range(4):  # 300 credits each, of 1,000
        assert generate(flarex, workspace, 300_000, event_id=f"g{number}").status_code == 201
    to(flarex, "2026-07-02T00:00:00Z")
    assert flarex.call("POST", "/v1/test/tick", {}).status_code == 200

    entries = checked(exported(flarex, format="beancount"), tmp_path)

    assert sums(entries, "Equity:Units:Used") == {"CRED": Decimal(1_000)}
    assert sums(entries, "Income:Overage") == {"USD": Decimal(-4)}
    assert sums(entries, "Assets:UnbilledOverage") == {"USD": Decimal(0)}
    assert sums(entries, "Assets:Receivable") == {"USD": Decimal(4)}
    compared = flarex.get("/v1/audit/compare", projection="journal")
    assert compared["equal"], compared


@pytest.mark.scenario("S102")
def test_a_larger_plans_units_take_the_place_of_the_smaller_ones(
    flarex: Served, tmp_path: Path
) -> None:
    workspace = on_plan(flarex, "starter")
    assert generate(flarex, workspace, 600_000).status_code == 201
    upgraded = flarex.post(f"/v1/admin/workspaces/{workspace}/plan", {"plan": "pro"})
    assert upgraded.status_code == 200, upgraded.text
    [bucket] = flarex.get("/v1/billing/balance", workspace)["buckets"]

    entries = checked(exported(flarex, format="beancount"), tmp_path)

    # As S70: 5,000 in all, not 6,000; and what is left is what the bucket says.
    assert bucket["remaining"] == 4_400
    assert sums(entries, "Equity:Units:Available") == {"CRED": Decimal(4_400)}
    assert flarex.get("/v1/audit/compare", projection="journal")["equal"]


def test_a_plan_that_begins_with_the_cycle_before_leaves_none_of_its_units(
    database: Database, tmp_path: Path
) -> None:
    with sandboxed(database, "flarex", mode="held") as shop:
        workspace = shop.app.workspace()
        spend(shop, workspace, 5)  # of the 50 of the free plan, whose cycle then has no length
        subscribe(shop, workspace, "starter")
        [bucket] = shop.app.get("/v1/billing/balance", workspace, consistency="strong")["buckets"]

        entries = checked(exported(shop.app, format="beancount"), tmp_path)

        assert bucket["remaining"] == 1_000
        assert sums(entries, "Equity:Units:Available") == {"CRED": Decimal(1_000)}
        assert sums(entries, "Equity:Units:Used") == {"CRED": Decimal(5)}


def test_units_of_a_closed_cycle_are_never_posted_as_available(
    flarex: Served, tmp_path: Path
) -> None:
    workspace = on_plan(flarex, "starter")
    first = generate(flarex, workspace, 900_000).json()["usage_id"]
    to(flarex, "2026-07-01T00:00:00Z")
    late = generate(flarex, workspace, 150_000, occurred_at="2026-06-30T23:00:00Z").json()
    assert late["funding"][0] == {"source": "allowance", "amount_micros": 0, "units": 100}

    def posted() -> tuple[int, int, int]:
        entries = checked(exported(flarex, format="beancount"), tmp_path)
        [bucket] = flarex.get("/v1/billing/balance", workspace)["buckets"]
        names = ("Available", "Used", "Expired")
        units = [int(sums(entries, f"Equity:Units:{one}").get("CRED", 0)) for one in names]
        assert units[0] == bucket["remaining"]
        return units[0], units[1], units[2]

    assert posted() == (1_000, 1_000, 0)
    for usage_id, used in ((late["usage_id"], 900), (first, 0)):
        body = {"reason": "wrong", "ticket_ref": "T-1"}
        assert flarex.post(f"/v1/usage/{usage_id}/void", body, workspace).status_code == 200
        assert posted() == (1_000, used, 1_000 - used)
    assert flarex.get("/v1/audit/compare", projection="journal")["equal"]


def test_csv_and_parquet_hold_the_same_rows(busy: Served, tmp_path: Path) -> None:
    chain(busy.database)
    for table in ("journal", "usage_events", "audit_trail"):
        read = list(csv.DictReader(io.StringIO(exported(busy, table=table).decode())))
        file = tmp_path / f"{table}.parquet"
        file.write_bytes(exported(busy, table=table, format="parquet"))
        rows = parquet.read_table(file).to_pylist()
        assert len(read) == len(rows) > 100
        for left, right in zip(read, rows, strict=True):
            assert left.keys() == right.keys()
            for name, value in right.items():
                if isinstance(value, str | int) and not isinstance(value, bool):
                    assert left[name] == str(value), (table, name)
    position = int(busy.get("/v1/audit/events", limit=1)["as_of_position"])
    trail = list(csv.DictReader(io.StringIO(exported(busy, table="audit_trail").decode())))
    assert [int(row["position"]) for row in trail] == list(range(1, position + 1))


def test_times_are_half_open_and_windows_join_without_gap_or_double(busy: Served) -> None:
    whole = exported(busy, table="journal").decode().splitlines()[1:]
    at = whole[len(whole) // 2].split(",")[2]
    before = exported(busy, table="journal", to=at).decode().splitlines()[1:]
    after = exported(busy, table="journal", **{"from": at}).decode().splitlines()[1:]
    assert before
    assert any(line.split(",")[2] == at for line in after)
    assert not any(line.split(",")[2] == at for line in before)
    assert sorted(before + after) == sorted(whole)


def test_a_workspaces_own_key_exports_its_own_and_nothing_of_others(busy: Served) -> None:
    key = busy.key("audit:read", workspace_id="acme")
    chain(busy.database)
    for table in ("journal", "usage_events", "audit_trail"):
        answer = busy.call("GET", "/v1/audit/export", key=key, table=table, consistency="strong")
        rows = list(csv.DictReader(io.StringIO(answer.text)))
        assert rows
        if table != "audit_trail":
            assert {row["workspace_id"] for row in rows} == {"acme"}
        else:
            # The account, the tenant, its contract, and what it paid by wire.
            own = busy.call("GET", "/v1/audit/events", key=key, limit=1000).json()["data"]
            assert len({row["stream"] for row in rows}) == 4
            assert {row["stream"] for row in rows} == {one["stream_id"] for one in own}


def test_what_cannot_be_exported_is_refused(busy: Served) -> None:
    for query in ({"format": "xlsx"}, {"table": "events"}, {"from": "yesterday"}):
        assert busy.call("GET", "/v1/audit/export", **query).status_code == 422  # type: ignore[arg-type]
    wrong = {"format": "beancount", "table": "usage_events"}
    assert busy.call("GET", "/v1/audit/export", **wrong).status_code == 422  # type: ignore[arg-type]
    other = busy.key("billing:read")
    assert busy.call("GET", "/v1/audit/export", key=other).status_code == 403
