"""S100 against a running deployment: a superuser changes one amount, and the API, the command line
and a stranger with nothing but the published file and the public key all notice."""

from __future__ import annotations

import hashlib
import json
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import rfc8785
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from tests.api.deployments import Deployment, deployed, eventually

CHANGE = """
    UPDATE events SET state = convert_to(regexp_replace(convert_from(state, 'UTF8'),
        '"amount":[0-9]+', '"amount":1'), 'UTF8') WHERE notification_id = %s
"""
LOG = "SELECT position, stream, version, kind, data->>'at', data FROM event_log ORDER BY position"


@pytest.fixture
def deployment(state_folder: Path) -> Iterator[Deployment]:
    """`faces` with something charged; every four events are signed for."""
    settings = {"DAYBOOK_CHECKPOINT_EVENTS": "4"}
    with deployed(state_folder, "--empty", **settings) as running:
        workspace = running.call("POST", "/v1/workspaces", {"name": "Acme"})["workspace_id"]
        for number in range(12):
            act = {"event_id": f"u{number}", "meter": "chat", "llm_model": "gpt-5.4"}
            tokens = {"tokens": {"input": 12345, "output": 678}, "mode": "record"}
            charged = running.call("POST", "/v1/usage", act | tokens, workspace)
            assert charged["metered"]
        eventually(lambda: running.call("GET", "/v1/audit/verify")["unchained_events"] == 0)
        yield running


def by_a_stranger(deployment: Deployment) -> dict[int, bool]:
    """The recipe of the README: every published checkpoint by its position, and if it holds."""
    told = deployment.call("GET", "/v1/audit/checkpoints")
    (key,) = (load_pem_public_key(one["pem"].encode()) for one in told["public_keys"])
    lines = [json.loads(line) for line in Path(told["published_in"]).read_text().splitlines()]
    with psycopg.connect(deployment.line["owner_database_url"]) as connection:
        connection.execute("SET search_path = main")
        events = connection.execute(LOG).fetchall()
    chain, hashes = bytes(32), {}
    for position, stream, version, kind, at, data in events:
        event = {"position": position, "stream": str(stream), "version": version}
        event |= {"type": kind, "recorded_at": at, "payload": data}
        event_hash = hashlib.sha256(rfc8785.dumps(event)).digest()
        chain = hashlib.sha256(chain + event_hash).digest()
        hashes[position] = chain.hex()
    holds = {}
    for line in lines:
        signed = {name: line[name] for name in ("at", "chain_hash", "position")}
        key.verify(b64decode(line["signature"]), rfc8785.dumps(signed))  # type: ignore[union-attr, call-arg]
        holds[line["position"]] = hashes[line["position"]] == line["chain_hash"]
    return holds


@pytest.mark.scenario("S100")
def test_a_superuser_changes_an_amount_and_everybody_who_looks_sees_it(
    deployment: Deployment,
) -> None:
    before = deployment.call("GET", "/v1/audit/verify?all")
    assert before["intact"] is True
    assert before["first_position"] is None
    assert before["checkpoints"]["failed"] == []
    signed = [one["position"] for one in deployment.call("GET", "/v1/audit/checkpoints")["data"]]
    assert len(signed) >= 4
    assert by_a_stranger(deployment) == dict.fromkeys(signed, True)
    fine = deployment.cli("verify")
    assert fine.returncode == 0, fine.stderr
    assert fine.stdout.endswith("Intact.\n")
    debits = deployment.call("GET", "/v1/audit/events?type=Debited")["data"]
    position = debits[5]["position"]
    stream = debits[5]["stream"]

    with psycopg.connect(deployment.line["owner_database_url"], autocommit=True) as connection:
        connection.execute("SET search_path = main")
        connection.execute("SET session_replication_role = replica")
        assert connection.execute(CHANGE, [position]).rowcount == 1

    found = deployment.call("GET", "/v1/audit/verify")
    assert found["intact"] is False
    assert found["first_position"] == position
    assert found["problems"][0]["kind"] == "event_changed"
    after = [one for one in signed if one >= position]
    failed: list[Any] = found["checkpoints"]["failed"]
    assert [one["position"] for one in failed if one["where"] == "published"] == after
    assert found["checkpoints"]["last_good"] == max(one for one in signed if one < position)
    assert by_a_stranger(deployment) == {one: one < position for one in signed}
    one_stream = deployment.call("GET", f"/v1/audit/verify?stream={stream}")
    assert one_stream["first_position"] == position
    broken = deployment.cli("verify", "--json")
    assert broken.returncode == 1
    assert json.loads(broken.stdout)["first_position"] == position
    assert f"from position {position} on" in broken.stderr
    elsewhere = deployment.cli("verify", "--database-url", deployment.line["database_url"])
    assert elsewhere.returncode == 1
