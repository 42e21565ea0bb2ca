"""The hash of an event is what anybody computes who has the table and RFC 8785."""

from __future__ import annotations

import hashlib
import json
from typing import Any
from uuid import UUID, uuid4

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from adapters.postgres.database import Database
from projections.event_hash import EXACT_MAX, hashed
from tests.projections.stories import everything, rows, write

STREAM = uuid4()
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-EXACT_MAX, EXACT_MAX)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


def of_state(state: bytes, topic: str = "domain:Unheard") -> bytes:
    row = (7, STREAM.bytes, 3, topic, state, topic.rpartition(":")[2], None, None, None)
    return hashed(row).event_hash


def by_the_recipe(payload: Any, **changes: Any) -> bytes:
    event = {
        "position": 7,
        "stream": str(STREAM),
        "version": 3,
        "type": "Unheard",
        "recorded_at": payload.get("at"),
        "payload": payload,
    } | changes
    return hashlib.sha256(rfc8785.dumps(event)).digest()


@given(
    st.dictionaries(st.text(), VALUES, max_size=5), st.sampled_from(["", "2026-06-01T00:00:00Z"])
)
def test_any_payload_is_hashed_in_its_canonical_form(payload: dict[str, Any], at: str) -> None:
    payload = payload | ({"at": at} if at else {})
    for ascii_ in (True, False):
        try:
            state = json.dumps(payload, ensure_ascii=ascii_, indent=1).encode()
        except UnicodeEncodeError:
            continue
        assert of_state(state) == by_the_recipe(json.loads(state))


def test_numbers_that_are_not_exact_everywhere_are_hashed_as_texts() -> None:
    long = 10**18 + 1
    assert of_state(b'{"amount":%d}' % long) == by_the_recipe({"amount": str(long)})
    assert of_state(b'{"amount":%d}' % EXACT_MAX) == by_the_recipe({"amount": EXACT_MAX})
    for wide in (2**63, 2**64, 10**30):
        assert of_state(b'{"a":[-%d]}' % wide) == by_the_recipe({"a": [str(-wide)]})


@pytest.mark.parametrize(
    "state", [b"", b"{", b"\xff", b'{"a":"\\ud800"}', b"[" * 100_000, b"7", b"[]"]
)
def test_what_is_no_json_object_has_a_hash_too(state: bytes) -> None:
    assert len(of_state(state)) == 32
    assert of_state(state) != of_state(state + b" {")


def test_everything_that_is_written_hashes_to_what_plain_sql_shows(database: Database) -> None:
    write(database, everything)
    shown = rows(
        database,
        "SELECT position, stream, version, kind, data->>'at', data FROM event_log ORDER BY 1",
    )
    stored = rows(
        database,
        "SELECT notification_id, uuid_send(originator_id), originator_version, topic, state, kind,"
        " cause, amount, balance_after FROM events ORDER BY 1",
    )
    assert len(shown) == len(stored) > 20
    for row, (position, stream, version, kind, at, data) in zip(stored, shown, strict=True):
        assert isinstance(stream, UUID)
        told = {"position": position, "stream": str(stream), "version": version}
        event = rfc8785.dumps(told | {"type": kind, "recorded_at": at, "payload": data})
        found = hashed(row)
        assert found.event_hash == found.bare_hash == hashlib.sha256(event).digest()
        assert found.fact is not None
