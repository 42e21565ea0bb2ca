"""Messages on their way out: made from the book exactly once, sent in order, every try noted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from psycopg import AsyncConnection

from domain.codec import decode_fact
from domain.facts import Fact
from domain.outgoing import ALWAYS, ELSEWHERE, EMPTIED, about

Connection = AsyncConnection[Any]

WINDOW = 50_000
"""Positions that are looked through in one transaction."""
LEASE_S = 120
"""After this long, whoever was sending is taken to have died."""
KEEP_DAYS = 30

BEGIN = "INSERT INTO outgoing_position (position) VALUES (0) ON CONFLICT DO NOTHING"
READ = "SELECT position FROM outgoing_position FOR UPDATE"
NEWEST = """
    SELECT coalesce(max(notification_id), 0), (SELECT min(from_position) FROM outgoing_endpoints)
    FROM events
"""
MOVE = "UPDATE outgoing_position SET position = %s"
# Balances that fell below a line are found by the typed columns: no debit is decoded for it.
LOOK = """
    SELECT e.notification_id, e.originator_id, e.topic, e.state, e.amount, e.balance_after,
           s.workspace_id
    FROM events e LEFT JOIN outgoing_streams s ON s.stream = e.originator_id
    WHERE e.notification_id > %(after)s AND e.notification_id <= %(upto)s AND (
        e.kind = ANY(%(elsewhere)s) OR s.workspace_id IS NOT NULL AND (
            e.kind = ANY(%(always)s)
            OR e.amount < 0 AND e.balance_after <= 0 AND e.balance_after - e.amount > 0
            OR e.amount < 0 AND EXISTS (
                SELECT FROM outgoing_endpoints p
                WHERE p.workspace_id = s.workspace_id AND p.balance_low > e.balance_after
                AND p.balance_low <= e.balance_after - e.amount)
            OR e.kind IN ('Debited', 'UsageRecorded')
               AND position(%(emptied)s IN convert_from(e.state, 'UTF8')) > 0))
    ORDER BY e.notification_id
"""
FIRST = (
    "SELECT topic, state FROM events WHERE originator_id = %s ORDER BY originator_version LIMIT 1"
)
LISTENERS = """
    SELECT endpoint_id, workspace_id, types, balance_low, from_position FROM outgoing_endpoints
    WHERE workspace_id = ANY(%s) ORDER BY number
"""
ADD = """
    INSERT INTO outgoing_messages (endpoint_id, message_id, position, type, body, created_at,
                                   next_attempt_at)
    VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING
"""
ADD_ASIDE = """
    INSERT INTO outgoing_messages (endpoint_id, message_id, position, type, body, created_at,
                                   status, settled_at)
    VALUES (%s, %s, %s, %s, %s, %s, 'failed', %s)
"""
CLAIM = f"""
    UPDATE outgoing_endpoints SET leased_until = now() + interval '{LEASE_S} s'
    WHERE endpoint_id IN (
        SELECT p.endpoint_id FROM outgoing_endpoints p CROSS JOIN LATERAL (
            SELECT next_attempt_at FROM outgoing_messages m
            WHERE m.endpoint_id = p.endpoint_id AND m.status = 'pending'
            ORDER BY m.number LIMIT 1) AS head
        WHERE p.disabled IS NULL AND head.next_attempt_at <= %(now)s
              AND (p.leased_until IS NULL OR p.leased_until < now())
        ORDER BY p.number LIMIT %(most)s FOR UPDATE OF p SKIP LOCKED)
    RETURNING endpoint_id
"""  # noqa: S608
RELEASE = "UPDATE outgoing_endpoints SET leased_until = NULL WHERE endpoint_id = %s"
HEAD = """
    SELECT m.message_id, m.type, m.body, m.attempts, m.next_attempt_at <= %(now)s
    FROM outgoing_messages m JOIN outgoing_endpoints p USING (endpoint_id)
    WHERE m.endpoint_id = %(endpoint_id)s AND m.status = 'pending' AND p.disabled IS NULL
    ORDER BY m.number LIMIT 1
"""
NOTE = """
    INSERT INTO outgoing_attempts (endpoint_id, message_id, at, manual, status_code, error,
                                   duration_ms)
    SELECT endpoint_id, message_id, %s, %s, %s, %s, %s FROM outgoing_messages
    WHERE endpoint_id = %s AND message_id = %s
"""
DELIVERED = """
    UPDATE outgoing_messages SET status = 'delivered', attempts = attempts + 1,
        next_attempt_at = NULL, settled_at = %s
    WHERE endpoint_id = %s AND message_id = %s
"""
LATER = """
    UPDATE outgoing_messages SET attempts = attempts + 1, next_attempt_at = %s
    WHERE endpoint_id = %s AND message_id = %s AND status = 'pending'
"""
GIVEN_UP = """
    UPDATE outgoing_messages SET status = 'failed', attempts = attempts + 1,
        next_attempt_at = NULL, settled_at = %s
    WHERE endpoint_id = %s AND message_id = %s AND status = 'pending'
"""
DISABLE = "UPDATE outgoing_endpoints SET disabled = %s WHERE endpoint_id = %s AND disabled IS NULL"
PURGE = "DELETE FROM outgoing_messages WHERE settled_at < %s"


class Seen(NamedTuple):
    """A fact that may give something to tell. ``amount`` in µ where it moved the wallet;
    ``about`` is what its stream is of, where that is not the workspace."""

    position: int
    workspace_id: str
    fact: Fact
    amount: int | None
    balance_after: int | None
    about: dict[str, Any]


class Listener(NamedTuple):
    """An endpoint, as far as choosing its messages goes."""

    endpoint_id: str
    workspace_id: str
    types: list[str]
    balance_low: int | None
    from_position: int


class Message(NamedTuple):
    """One message to one endpoint; ``body`` is what is sent, each time the same."""

    endpoint_id: str
    message_id: str
    position: int
    type: str
    body: str
    created_at: datetime


class Head(NamedTuple):
    """The message that an endpoint is to get next."""

    message_id: str
    type: str
    body: str
    attempts: int
    is_due: bool


class Tried(NamedTuple):
    """How an attempt went: a status, or the kind of error that prevented one."""

    status_code: int | None
    error: str | None
    duration_ms: int

    @property
    def is_delivered(self) -> bool:
        """Whether the receiver took the message."""
        return self.status_code is not None and 200 <= self.status_code < 300


Make = Callable[[Sequence[Seen], Sequence[Listener]], Iterable[Message]]
"""Chooses the messages; pure."""


async def make(connection: Connection, make_messages: Make, now: datetime) -> int | None:
    """Look through the next facts, and keep their messages with the position, in one
    transaction: each fact is told of once. Answers how many messages; None when all is seen."""
    async with connection.transaction():
        await connection.execute(BEGIN)
        [after] = await _one(connection, READ)
        newest, wanted = await _one(connection, NEWEST)
        if after >= newest:
            return None
        after = newest if wanted is None else max(after, wanted)
        upto, made = min(after + WINDOW, newest), 0
        if upto > after:
            seen = await _seen(connection, after, upto)
            names = list({one.workspace_id for one in seen})
            cursor = await connection.execute(LISTENERS, (names,))
            listeners = [Listener(*row) for row in await cursor.fetchall()]
            for message in make_messages(seen, listeners):
                await connection.execute(ADD, (*message, now))
                made += 1
        await connection.execute(MOVE, (upto,))
        return made


async def _one(connection: Connection, query: str) -> Any:
    row = await (await connection.execute(query.encode())).fetchone()
    assert row is not None
    return row


async def _seen(connection: Connection, after: int, upto: int) -> list[Seen]:
    cursor = await connection.execute(
        LOOK,
        {
            "after": after,
            "upto": upto,
            "always": list(ALWAYS),
            "elsewhere": list(ELSEWHERE),
            "emptied": EMPTIED,
        },
    )
    first: dict[UUID, Fact] = {}
    seen = []
    for position, stream, topic, state, amount, balance, workspace_id in await cursor.fetchall():
        said: dict[str, Any] = {}
        owner = workspace_id
        if owner is None:
            if stream not in first:
                first[stream] = await _first(connection, stream)
            owner = getattr(first[stream], "workspace_id", "")
            said = about(first[stream])
        seen.append(Seen(position, owner, decode_fact(topic, state), amount, balance, said))
    return seen


async def _first(connection: Connection, stream: UUID) -> Fact:
    row = await (await connection.execute(FIRST, (stream,))).fetchone()
    assert row is not None
    return decode_fact(*row)


async def add_aside(connection: Connection, message: Message) -> None:
    """Keep a message that waits for nothing and holds up nothing: whoever asked for it sends it
    by hand, and until that succeeds it counts as failed."""
    await connection.execute(ADD_ASIDE, (*message, message.created_at))


async def claim(connection: Connection, now: datetime, most: int) -> list[str]:
    """Endpoints with something due, ours alone until they are released."""
    cursor = await connection.execute(CLAIM, {"now": now, "most": most})
    return [endpoint_id for (endpoint_id,) in await cursor.fetchall()]


async def release(connection: Connection, endpoint_id: str) -> None:
    """Let others send to an endpoint again."""
    await connection.execute(RELEASE, (endpoint_id,))


async def head(connection: Connection, endpoint_id: str, now: datetime) -> Head | None:
    """What an endpoint gets next: nothing overtakes it, even while it waits for another try."""
    named = {"endpoint_id": endpoint_id, "now": now}
    row = await (await connection.execute(HEAD, named)).fetchone()
    return None if row is None else Head(*row)


async def note(
    connection: Connection,
    endpoint_id: str,
    message_id: str,
    tried: Tried,
    now: datetime,
    *,
    again_at: datetime | None,
    manual: bool = False,
    disable: str | None = None,
) -> None:
    """Note an attempt and what follows from it. ``again_at``: when to try again after a failure,
    None for never; a manual attempt that fails changes nothing of that."""
    place = (endpoint_id, message_id)
    async with connection.transaction():
        await connection.execute(NOTE, (now, manual, *tried, *place))
        if tried.is_delivered:
            await connection.execute(DELIVERED, (now, *place))
        elif not manual:
            if again_at is not None:
                await connection.execute(LATER, (again_at, *place))
            else:
                await connection.execute(GIVEN_UP, (now, *place))
        if disable is not None:
            await connection.execute(DISABLE, (disable, endpoint_id))


async def purge(connection: Connection, before: datetime) -> None:
    """Forget messages that were settled before then, and their attempts."""
    await connection.execute(PURGE, (before,))
