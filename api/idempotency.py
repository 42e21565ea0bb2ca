"""Idempotency-Key: the same request is carried out once, and answered the same again."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from datetime import datetime
from hashlib import sha256
from http import HTTPStatus
from typing import Any, NamedTuple
from uuid import uuid4

import structlog
from psycopg_pool import AsyncConnectionPool
from starlette.responses import Response

from api import problems
from api.call import Call, encode
from api.refusals import IdempotencyInProgress, IdempotencyKeyMissing, IdempotencyKeyReuse
from domain.errors import InvalidInput, Refusal

KEY = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,253}[\x21-\x7e])?")
TAKE_OVER_S = 60
"""After this long without a sign of life, whoever began to answer is taken to have died; at once
where none of its process's connections is left."""
BEAT_S = 15.0
"""How often whoever answers gives one: a model may talk for minutes."""

NOBODY = "(answered for the time being)"
"""Who has a key whose answer was not the last word: no connection is called so, and the next
request with the same body takes it over at once."""

NAME = "workspace_id = %s AND method = %s AND path = %s AND key = %s"
CLAIM = """
    INSERT INTO idempotency_keys (workspace_id, method, path, key, fingerprint, claimed_by)
    VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING RETURNING created_at
"""
DEAD = f"""
    status IS NULL AND (created_at < now() - interval '{TAKE_OVER_S} s' OR claimed_by IS NOT NULL
    AND NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = claimed_by))
"""
LOOK = f"""
    SELECT fingerprint, status, body, position, created_at, {DEAD}
    FROM idempotency_keys WHERE {NAME}
"""  # noqa: S608
TAKE_OVER = f"""
    UPDATE idempotency_keys SET created_at = now(), claimed_by = %s
    WHERE {NAME} AND created_at = %s AND status IS NULL RETURNING created_at
"""  # noqa: S608
BEAT = f"""
    UPDATE idempotency_keys SET created_at = now()
    WHERE {NAME} AND created_at = %s AND status IS NULL RETURNING created_at
"""  # noqa: S608
KEEP = f"""
    UPDATE idempotency_keys SET status = %s, body = %s, position = %s
    WHERE {NAME} AND created_at = %s
"""  # noqa: S608
RELEASE = f"""
    UPDATE idempotency_keys SET claimed_by = '{NOBODY}'
    WHERE {NAME} AND created_at = %s AND status IS NULL
"""  # noqa: S608
FORGET = f"DELETE FROM idempotency_keys WHERE {NAME} AND created_at = %s AND status IS NULL"  # noqa: S608

KEPT_DAYS = 30
"""How long an answer is kept at least; the causes of what was written are kept for ever."""
PURGED_AT_ONCE = 5_000
PURGES_A_TURN = 20
# A request that is under way gives signs of life: one as old as this died long ago.
PURGE = f"""
    DELETE FROM idempotency_keys WHERE ctid = ANY (ARRAY (
        SELECT ctid FROM idempotency_keys WHERE created_at < now() - interval '{KEPT_DAYS} days'
        ORDER BY created_at LIMIT %s FOR UPDATE SKIP LOCKED))
"""  # noqa: S608

Name = tuple[str, str, str, str]

log = structlog.get_logger("daybook")


class Answer(NamedTuple):
    """What an operation answers: a JSON value, the position it reached, and the status."""

    content: object
    position: int | None = None
    status: int = 200
    headers: dict[str, str] = {}  # of the first answer only
    provisional: bool = False  # some of it was not decided: the same request asks again


class Kept(NamedTuple):
    """An answer as it is stored and sent."""

    status: int
    body: bytes
    position: int | None
    headers: dict[str, str]
    provisional: bool = False  # it may be another one next time

    def response(self, *, replayed: bool = False, media: str = "application/json") -> Response:
        """The HTTP answer; ``media`` is what it is unless it is a problem."""
        headers = dict(self.headers)
        if self.position is not None:
            headers["X-Ledger-Position"] = str(self.position)
        if replayed:
            headers["Idempotent-Replayed"] = "true"
        media = media if self.status < 400 else problems.MEDIA_TYPE
        return Response(self.body, self.status, headers, media)


BROKEN_OFF = Kept(HTTPStatus.INTERNAL_SERVER_ERROR, b"", None, {})
"""Nobody can tell how far it came."""


class Claim:
    """A key whose first request is ours to answer. Signs of life keep it ours until then."""

    def __init__(self, call: Call, name: Name, began: datetime) -> None:
        self._call = call
        self._name = name
        self._began = began
        self._over = asyncio.Event()
        self._beating: asyncio.Task[None] = asyncio.create_task(self._beat())

    async def settle(self, kept: Kept | None) -> None:
        """Remember the answer. One that may be different next time is not: None and a 409 leave
        nothing behind, of any other only what was asked is remembered."""
        self._over.set()
        await asyncio.gather(self._beating, return_exceptions=True)
        name, began = self._name, self._began
        async with self._call.house.pool.connection() as connection:
            if kept is None or kept.status == HTTPStatus.CONFLICT:
                await connection.execute(FORGET, (*name, began))
            elif kept.provisional or kept.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                # It may have been begun: under this key nothing else may be asked for.
                await connection.execute(RELEASE, (*name, began))
            else:
                stored = (kept.status, kept.body, kept.position)
                await connection.execute(KEEP, (*stored, *name, began))

    async def _beat(self) -> None:
        while True:
            try:
                async with asyncio.timeout(BEAT_S):
                    await self._over.wait()
                return
            except TimeoutError:
                pass
            try:
                async with self._call.house.pool.connection() as connection:
                    beat = await connection.execute(BEAT, (*self._name, self._began))
                    row = await beat.fetchone()
            except problems.UNREACHABLE as error:
                log.warning("claim_not_renewed", error=type(error).__name__)
                continue
            if row is not None:
                self._began = row[0]


async def once(
    call: Call,
    body: bytes,
    act: Callable[[str], Awaitable[Answer]],
    *,
    required: bool = False,
) -> Response:
    """Carry out ``act`` once for each Idempotency-Key of a workspace, method and path.

    ``act`` gets the key (a random one if none was sent) and uses it as the cause of what it
    writes: so even an answer that was lost with its process is not carried out twice.

    :raises IdempotencyKeyMissing: ``required``, and none was sent.
    :raises IdempotencyKeyReuse: the key was sent with another body.
    :raises IdempotencyInProgress: the first one is still being answered.
    """
    key = sent_key(call, required=required)
    if key is None:
        return (await _carry_out(call, act, uuid4().hex)).response()
    claimed = await claim(call, key, body)
    if isinstance(claimed, Kept):
        return claimed.response(replayed=True)
    kept = BROKEN_OFF
    try:
        kept = await _carry_out(call, act, key)
    finally:
        await claimed.settle(kept)
    return kept.response()


def sent_key(call: Call, *, required: bool) -> str | None:
    """The request's Idempotency-Key.

    :raises InvalidInput: it is not 1 to 255 visible ASCII characters, or given twice.
    """
    keys = call.request.headers.getlist("idempotency-key")
    if not keys:
        if required:
            raise IdempotencyKeyMissing()
        return None
    if len(keys) > 1:
        raise InvalidInput(("header", "Idempotency-Key"), "must be given once")
    key = keys[0]
    if KEY.fullmatch(key) is None:
        raise InvalidInput(("header", "Idempotency-Key"), "must be 1 to 255 ASCII characters")
    return key


async def _carry_out(call: Call, act: Callable[[str], Awaitable[Answer]], key: str) -> Kept:
    try:
        done = await act(key)
    except Refusal as refusal:
        made = problems.problem(refusal, call.request.url.path)
        return Kept(made.status, made.body, None, made.headers, refusal.provisional)
    # 202: what was asked for is under way, and the same request asks how far it is.
    pending = done.provisional or done.status == HTTPStatus.ACCEPTED
    return Kept(done.status, encode(done.content), done.position, done.headers, pending)


async def claim(call: Call, key: str, body: bytes) -> Kept | Claim:
    """The stored answer; or, where none is, the claim to give it, which must be settled.

    :raises IdempotencyKeyReuse: the key was sent with another body.
    :raises IdempotencyInProgress: the first one is still being answered.
    """
    request = call.request
    name = (call.workspace_id, request.method, request.url.path, key)
    fingerprint = sha256(request.scope["query_string"] + b"\n" + body).digest()
    async with call.house.pool.connection() as connection:
        us = call.house.name
        cursor = await connection.execute(CLAIM, (*name, fingerprint, us))
        row = await cursor.fetchone()
        if row is not None:
            return Claim(call, name, row[0])
        known = await (await connection.execute(LOOK, name)).fetchone()
        if known is None:  # forgotten this moment: whoever had it was refused
            raise IdempotencyInProgress("this key was just in use; send the request again")
        before, status, stored, position, began, is_dead = known
        if before != fingerprint:
            raise IdempotencyKeyReuse(
                ("header", "Idempotency-Key"),
                "was already used for another request; take a new one",
            )
        if status is not None:
            return Kept(status, stored, position, {})
        if is_dead:
            taken = await (await connection.execute(TAKE_OVER, (us, *name, began))).fetchone()
            if taken is not None:
                return Claim(call, name, taken[0])
    raise IdempotencyInProgress("the first request with this key is still being answered")


async def purge(pool: AsyncConnectionPool[Any]) -> int:
    """Forget answers that are older than ``KEPT_DAYS``, a bounded number of them; how many."""
    gone = 0
    async with pool.connection() as connection:
        for _ in range(PURGES_A_TURN):
            last = (await connection.execute(PURGE, (PURGED_AT_ONCE,))).rowcount
            gone += last
            if last < PURGED_AT_ONCE:
                break
    return gone
