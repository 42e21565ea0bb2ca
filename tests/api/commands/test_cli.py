"""`daybook`: keys, balances, replay, compare and rebuild, each as a process of its own."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import httpx
import psycopg
import pytest

from adapters.postgres.database import Database
from domain.identity import account_id
from tests.api.deployments import Deployment, cli, deployed, environment, eventually
from tests.conftest import _new_state


@pytest.fixture(scope="module")
def demo() -> Iterator[Deployment]:
    """A faces deployment with its generated workload."""
    folder = _new_state()
    with deployed(folder) as running:
        yield running
    shutil.rmtree(folder, ignore_errors=True)


def test_replay_at_three_positions_equals_the_balance_after_there(demo: Deployment) -> None:
    acme = demo.line["workspaces"][0]
    with psycopg.connect(demo.line["database_url"]) as connection:
        moves = connection.execute(
            "SELECT notification_id, balance_after FROM events"
            " WHERE originator_id = %s AND balance_after IS NOT NULL ORDER BY 1",
            [account_id(acme["id"])],
        ).fetchall()
    assert len(moves) > 100

    for position, balance_after in (moves[0], moves[len(moves) // 2], moves[-1]):
        answer = demo.cli("replay", acme["id"], "--position", str(position), "--json")
        state = json.loads(answer.stdout)
        assert state["as_of_position"] == position
        assert state["balance_micros"] == balance_after
        assert state["events"][-1]["balance_after_micros"] == balance_after


def test_replay_at_an_instant_is_what_was_recorded_by_then(demo: Deployment) -> None:
    name, id = demo.line["workspaces"][1]["name"], demo.line["workspaces"][1]["id"]
    whole = json.loads(demo.cli("replay", id, "--json", "--events", "1000").stdout)
    middle = whole["events"][len(whole["events"]) // 2]
    same = [e for e in whole["events"] if e["recorded_at"] <= middle["recorded_at"]]

    then = json.loads(demo.cli("replay", name, "--at", middle["recorded_at"], "--json").stdout)

    assert then["version"] == same[-1]["version"]
    before = demo.cli("replay", id, "--at", "2020-01-01T00:00:00Z")
    assert (before.returncode, "did not exist yet" in before.stderr) == (1, True)


def test_replay_for_people_is_a_table_of_the_events(demo: Deployment) -> None:
    answer = demo.cli("replay", "Dune Analytics", "--events", "3")

    assert answer.returncode == 0
    assert "balance  0.03125 USD" in answer.stdout
    assert answer.stdout.count("Debited") == 3


def test_a_charge_is_explained_as_over_http(demo: Deployment) -> None:
    acme = demo.line["workspaces"][0]["id"]
    body = {
        "event_id": "why",
        "meter": "chat",
        "llm_model": "gpt-5.4",
        "tokens": {"input": 12_345, "output": 678},
        "api_key_id": "key_7",
    }
    usage_id = demo.call("POST", "/v1/usage", body, acme)["usage_id"]

    said = demo.cli("explain", usage_id)
    told = json.loads(demo.cli("explain", usage_id, "--json").stdout, parse_float=Decimal)

    assert said.returncode == 0, said.stderr
    lines = said.stdout.splitlines()
    assert lines[0].startswith("act       chat gpt-5.4, ")
    assert lines[1] == (
        "price     (12345 × 3000000 + 678 × 15000000) / 1000000 × 10500 / 10000"
        " = 198261/4 µ, half-even → 49565 µ"
    )
    assert "paid by   wallet: 49565 µ from " in said.stdout
    assert "because   api_key key_7" in lines
    over_http = demo.call("GET", f"/v1/audit/charges/{usage_id}/explain")
    for name in ("formula", "funding", "balance_after_micros", "event_hash", "causation"):
        assert told[name] == over_http[name]
    unknown = demo.cli("explain", "use_nothing")
    assert (unknown.returncode, unknown.stderr) == (
        1,
        "daybook: There is no usage use_nothing here.\n",
    )


def test_other_prices_are_tried_on_the_past_and_change_nothing(
    demo: Deployment, tmp_path: Path
) -> None:
    dune = demo.line["workspaces"][3]
    price = {"model": "gpt-5.4", "input_usd_per_m": "1.00", "output_usd_per_m": "5.00"}
    document = tmp_path / "prices.json"
    document.write_text(json.dumps({"markup_bps": 0, "entries": [price]}))
    assert eventually(lambda: demo.cli("compare").returncode == 0)
    before = demo.call("GET", "/v1/billing/balance", workspace=dune["id"])

    tried = demo.cli("prices", "try", str(document), "--workspace", dune["name"], "--json")
    shown = demo.cli("prices", "try", str(document), "--workspace", dune["id"])

    # 25 acts of 20,000 in and 1,000 out: 78,750 µ each, and 25,000 by the other prices.
    [row] = json.loads(tried.stdout)["rows"]
    assert row == {
        "workspace_id": dune["id"],
        "llm_model": "gpt-5.4",
        "acts": 25,
        "charged_micros": 1_968_750,
        "would_be_micros": 625_000,
        "difference_micros": -1_343_750,
        "unpriced_acts": 0,
    }
    assert "Dune Analytics" in shown.stdout and "-1.34375" in shown.stdout
    after = demo.call("GET", "/v1/billing/balance", workspace=dune["id"])
    assert after["balance_micros"] == before["balance_micros"]

    document.write_text('{"markup_bps": 0, "entries": [{"model": "gpt-5.4"}]}')
    wrong = demo.cli("prices", "try", str(document))
    assert wrong.returncode == 2
    assert "entries.0.input_usd_per_m must be given" in wrong.stderr
    nowhere = demo.cli("prices", "try", str(tmp_path / "nowhere.json"))
    assert (nowhere.returncode, "No such file" in nowhere.stderr) == (2, True)


def test_compare_is_empty_until_a_read_model_lies_and_rebuild_mends_it(demo: Deployment) -> None:
    acme = demo.line["workspaces"][0]["id"]
    assert eventually(lambda: demo.cli("compare").returncode == 0)

    with psycopg.connect(demo.line["owner_database_url"]) as connection:
        connection.execute(
            "UPDATE balances SET balance = balance + 1 WHERE workspace_id = %s", [acme]
        )
    lying = demo.cli("compare")
    assert lying.returncode == 1
    assert acme in lying.stdout
    assert "daybook rebuild" in lying.stderr

    rebuilt = demo.cli("rebuild", "balances")
    assert rebuilt.returncode == 0
    assert "balances: rebuilt" in rebuilt.stdout
    assert demo.cli("compare").returncode == 0


def test_a_key_is_shown_once_works_and_is_revoked(demo: Deployment) -> None:
    acme = demo.line["workspaces"][0]
    made = demo.cli(
        *("keys", "create", "--workspace", acme["name"], "--scope", "billing:read"),
        *("--name", "a reader", "--json"),
    )
    key = json.loads(made.stdout)

    def status() -> int:
        headers = {"Authorization": f"Bearer {key['key']}"}
        url = f"{demo.url}/v1/billing/balance"
        return httpx.get(url, headers=headers, trust_env=False).status_code

    assert status() == 200
    listed = demo.cli("keys", "list", "--json")
    assert key["key"] not in listed.stdout
    mine = next(k for k in json.loads(listed.stdout) if k["key_id"] == key["key_id"])
    assert mine["workspace_id"] == acme["id"] and mine["scopes"] == ["billing:read"]

    assert demo.cli("keys", "revoke", key["key_id"]).returncode == 0
    eventually(lambda: status() == 401)


def test_list_prices_are_imported_once(demo: Deployment) -> None:
    first, again = demo.cli("prices", "import"), demo.cli("prices", "import")

    assert first.stdout.startswith("Version 2 of the price book"), first.stderr
    assert again.stdout.startswith("Nothing to do")
    prices = demo.call("GET", "/v1/billing/llm-costs")
    assert prices["price_book_version"] == 2
    assert len(prices["data"]) > 1_000


@pytest.mark.parametrize(
    ("arguments", "code", "cure"),
    [
        (["balance", "nobody"], 1, "no workspace nobody"),
        (["replay", "Acme Robotics", "--at", "yesterday"], 2, "is not an instant"),
        (["replay", "Acme Robotics", "--at", "2026-06-01T00:00:00"], 2, "add Z for UTC"),
        (["keys", "create", "--service", "--scope", "everything"], 2, "billing:read"),
        (["keys", "create", "--scope", "admin"], 2, "--service"),
        (["keys", "revoke", "key_0"], 1, "keys list"),
        (["rebuild", "nothing"], 2, "usage_hourly"),
        (["import", "/nowhere.csv"], 1, "/nowhere.csv"),
    ],
)
def test_errors_are_plain_and_name_the_cure(
    demo: Deployment, arguments: list[str], code: int, cure: str
) -> None:
    answer = demo.cli(*arguments)

    assert answer.returncode == code
    assert cure in answer.stderr
    assert "Traceback" not in answer.stderr


def test_no_ledger_at_all_is_said_plainly(state_folder: Path) -> None:
    answer = cli("balance", "acme", "--data", str(state_folder))

    assert answer.returncode == 1
    assert answer.stderr.startswith("daybook: No Daybook has run on")
    away = cli("balance", "acme", "--database-url", "postgresql://127.0.0.1:1/x")
    assert away.returncode == 1
    assert "Traceback" not in away.stderr


def test_commands_start_the_embedded_server_when_it_does_not_run(state_folder: Path) -> None:
    with deployed(state_folder) as running:
        assert running.stop() == 0

    answer = cli("balance", "Dune Analytics", "--data", str(state_folder))

    assert "balance  0.03125 USD" in answer.stdout, answer.stderr


def test_serve_works_on_a_server_of_your_own(empty_database: Database, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "api.cli", "serve", "--port", "0", "--data", str(tmp_path)],
            stderr=stderr,
            env=environment(DATABASE_URL=empty_database.owner_url),
        )
    try:
        eventually(lambda: "ready on " in log.read_text(), 60)
        url = log.read_text().split("ready on ")[1].split()[0]
        made = cli(
            *("keys", "create", "--service", "--scope", "admin"),
            DATABASE_URL=empty_database.owner_url,
        )
        headers = {"Authorization": f"Bearer {made.stdout.strip()}"}
        answer = httpx.get(f"{url}/v1/workspaces", headers=headers, trust_env=False)
        assert answer.json()["data"] == []
        assert not (tmp_path / "data").exists()  # The embedded server was left alone.
    finally:
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(60) == 0
