"""Names of things: stream ids are derived, people see prefixed ids, nothing is looked up."""

from __future__ import annotations

from base64 import b64decode
from binascii import b2a_base64
from functools import lru_cache
from uuid import NAMESPACE_URL, UUID, uuid5

NAMESPACE = uuid5(NAMESPACE_URL, "daybook")

_USAGE = "use_"
_URL_SAFE = bytes.maketrans(b"+/", b"-_")


@lru_cache(maxsize=200_000)
def stream_id(category: str, name: str) -> UUID:
    """The stream of one thing: the same category and name give the same id in every process."""
    return uuid5(NAMESPACE, f"{category}/{name}")


def account_id(workspace_id: str) -> UUID:
    """The credit account's stream of a workspace."""
    return stream_id("credit_account", workspace_id)


def usage_id(account: UUID, version: int) -> str:
    """The public id of a metered act: where it stands in its account's stream.

    It carries the place instead of a number of its own, so that `explain` and `void` find the
    event by primary key, even before any read model has seen it.
    """
    # 21 bytes are 28 characters of base64, without padding.
    place = (account.int << 40 | version).to_bytes(21, "big")
    return _USAGE + b2a_base64(place, newline=False).translate(_URL_SAFE).decode()


def parse_usage_id(text: str) -> tuple[UUID, int] | None:
    """The (account stream, version) that `usage_id` wrote, or None for anything else."""
    body = text.removeprefix(_USAGE)
    if body == text or len(body) != 28 or not body.isascii() or "+" in body or "/" in body:
        return None  # + and / would be second names of one act: it could be voided by each.
    try:
        raw = b64decode(body, altchars=b"-_", validate=True)
    except ValueError:
        return None
    return UUID(bytes=raw[:16]), int.from_bytes(raw[16:], "big")


def version_of(usage_id: str) -> int:
    """The version in its account's stream that a usage id names; 0 for anything else."""
    place = parse_usage_id(usage_id)
    return place[1] if place else 0
