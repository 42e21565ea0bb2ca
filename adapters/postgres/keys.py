"""API keys: made, listed, revoked and found. The key itself is shown once and kept nowhere."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

import psycopg

SCOPES = (
    "billing:read",
    "billing:write",
    "usage:write",
    "payments:record",
    "audit:read",
    "admin",
)
"""What a key may be allowed; `admin` implies all others."""

PREFIX = "dbk_"
LENGTH = len(PREFIX) + 43  # 256 bits in base64url
CHANNEL = "keys_changed"

COLUMNS = "key_id, workspace_id, scopes, name, created_at, revoked_at"
ADD = """
    INSERT INTO api_keys (key_id, key_hash, workspace_id, scopes, name, created_at)
    VALUES (%s, %s, %s, %s, %s, %s)
"""
ALL = f"SELECT {COLUMNS} FROM api_keys ORDER BY created_at, key_id"  # noqa: S608
FIND = f"SELECT {COLUMNS} FROM api_keys WHERE key_hash = %s AND revoked_at IS NULL"  # noqa: S608
REVOKE = "UPDATE api_keys SET revoked_at = %s WHERE key_id = %s AND revoked_at IS NULL"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """Who may call and what. ``workspace_id`` None is a service key: every workspace."""

    key_id: str
    workspace_id: str | None
    scopes: frozenset[str]
    name: str | None
    created_at: datetime
    revoked_at: datetime | None


def create(
    connection: psycopg.Connection[Any],
    *,
    scopes: Iterable[str],
    workspace_id: str | None = None,
    name: str | None = None,
    now: datetime,
) -> tuple[ApiKey, str]:
    """Make a key: what is stored of it, and the key itself, which nobody can read again.

    :raises ValueError: a scope that does not exist, or none at all.
    """
    wanted = frozenset(scopes)
    if not wanted or not wanted <= set(SCOPES):
        raise ValueError(f"the scopes of a key are some of {', '.join(SCOPES)}")
    key = PREFIX + secrets.token_urlsafe(32)
    row = ApiKey(f"key_{secrets.token_hex(8)}", workspace_id, wanted, name, now, None)
    connection.execute(
        ADD, (row.key_id, digest(key), workspace_id, sorted(wanted), name, row.created_at)
    )
    connection.execute(f"NOTIFY {CHANNEL}")
    return row, key


def every(connection: psycopg.Connection[Any]) -> list[ApiKey]:
    """All keys, the revoked ones too, oldest first."""
    return [_key(row) for row in connection.execute(ALL).fetchall()]


def revoke(connection: psycopg.Connection[Any], key_id: str, now: datetime) -> bool:
    """Refuse a key from now on (within 5 s in every process); False if none is called so."""
    done = connection.execute(REVOKE, (now, key_id)).rowcount == 1
    connection.execute(f"NOTIFY {CHANNEL}")
    return done


async def find(connection: psycopg.AsyncConnection[Any], key_hash: bytes) -> ApiKey | None:
    """The key with this hash, unless it was revoked.

    Looking up a hash leaks nothing by its timing: whoever can choose the hash has the key.
    """
    row = await (await connection.execute(FIND, (key_hash,), prepare=True)).fetchone()
    return None if row is None else _key(row)


def digest(key: str) -> bytes:
    """What is stored of a key. It is random, so one round of SHA-256 is enough."""
    return sha256(key.encode()).digest()


def _key(row: tuple[Any, ...]) -> ApiKey:
    key_id, workspace_id, scopes, name, created_at, revoked_at = row
    return ApiKey(key_id, workspace_id, frozenset(scopes), name, created_at, revoked_at)
