"""The hash of one event: SHA-256 of RFC 8785 canonical JSON of its position, stream, version,
type, recorded_at and payload.

``payload`` is the JSON that is stored, ``recorded_at`` its `at` as it stands there, ``type`` the
fact's name. The typed columns beside the payload only repeat it, so they are not hashed; where a
row's columns say something else than its payload, they are, as ``columns``: such a row has
another hash than an honest one.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from json import loads
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
import rfc8785
from eventsourcing.utils import TopicError

from domain.codec import decode_fact
from domain.facts import Fact

COLUMNS = (
    "notification_id, uuid_send(originator_id), originator_version, topic, state, kind, cause,"
    " amount, balance_after"
)
Row = tuple[int, bytes, int, str, bytes, str | None, str | None, int | None, int | None]
"""An event as `COLUMNS` select it."""

EXACT_MAX = 2**53 - 1
"""Beyond it a JSON number is not exact everywhere: RFC 8785 (appendix D) has it as a string."""
PLAIN = (str, bool, type(None))

_sorted = msgspec.json.Encoder(order="sorted").encode


class Hashed(NamedTuple):
    """An event's hash, and its fact where it can be read. ``bare_hash`` is the hash without the
    typed columns: another one only where they contradict the payload."""

    event_hash: bytes
    bare_hash: bytes
    fact: Fact | None


def hashed(row: Row) -> Hashed:
    """The hash of an event as it stands in the table."""
    position, stream, version, topic, state, *columns = row
    payload, recorded_at = _payload(bytes(state))
    kind = _type_of(topic)
    text = b'"payload":%b,"position":%d,"recorded_at":%b,"stream":"%b","type":%b,"version":%d}' % (
        *(payload, position, recorded_at, _stream(bytes(stream)), kind, version),
    )
    bare_hash = sha256(b"{" + text).digest()
    fact, said = _read(topic, state)
    if columns[0] == topic.rpartition(":")[2] and said in (None, tuple(columns[1:])):
        return Hashed(bare_hash, bare_hash, fact)
    written = canonical(list(columns))
    return Hashed(sha256(b'{"columns":%b,' % written + text).digest(), bare_hash, fact)


def canonical(value: Any) -> bytes:
    """RFC 8785; whole numbers that a JSON number cannot hold exactly become strings."""
    return rfc8785.dumps(_exact(value))


def _payload(state: bytes) -> tuple[bytes, bytes]:
    """(payload, recorded_at) in canonical form. What is no JSON is hashed as its bytes."""
    try:
        value, write = msgspec.json.decode(state), _sorted
        # For plain text and numbers, sorted keys are the canonical form: ten times as fast.
        if not state.isascii() or b"\\" in state or not _is_plain(value):
            value, write = loads(state), canonical
        at = value.get("at") if isinstance(value, dict) else None
        return write(value), write(at)
    except (ValueError, msgspec.DecodeError, rfc8785.CanonicalizationError, RecursionError):
        return b'{"unreadable":"%b"}' % sha256(state).hexdigest().encode(), b"null"


def _read(topic: str, state: bytes) -> tuple[Fact | None, tuple[Any, ...] | None]:
    """The fact, and what the columns cause, amount and balance_after are to say; None for what
    this code cannot read."""
    try:
        fact = decode_fact(topic, state)
    except (TopicError, msgspec.MsgspecError, ValueError):
        return None, None
    return fact, (fact.unique_cause(), *(fact.wallet_move() or (None, None)))


@lru_cache(maxsize=4_096)
def _type_of(topic: str) -> bytes:
    """The fact's name, as canonical JSON; a topic that is none of ours, whole."""
    module, _, name = topic.partition(":")
    return canonical(name if module.partition(".")[0] == "domain" else topic)


@lru_cache(maxsize=100_000)
def _stream(stream: bytes) -> bytes:
    return str(UUID(bytes=stream)).encode()


def _is_plain(value: Any) -> bool:
    kind = type(value)
    if kind is dict:
        return all(map(_is_plain, value.values()))
    if kind is int:
        return bool(-EXACT_MAX <= value <= EXACT_MAX)
    if kind is list:
        return all(map(_is_plain, value))
    return kind in PLAIN


def _exact(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _exact(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_exact(part) for part in value]
    if isinstance(value, int) and abs(value) > EXACT_MAX:
        return str(value)
    return value
