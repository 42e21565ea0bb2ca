"""The inbox: what Stripe tells is stored first, then taken in once, and tried again until it is."""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import structlog
from msgspec import Meta
from psycopg_pool import AsyncConnectionPool

from adapters.postgres import inbox
from adapters.postgres.inbox import Arrival, Source, Taken
from adapters.stripe import objects
from api.metrics import Metrics
from api.problems import UNREACHABLE
from api.stripe.till import STRENGTH, Disposition, Handler, StripeEvent, Till, stripe_event
from domain.errors import InvalidInput, TryAgain
from domain.facts import Context

AT_ONCE_MAX = 4
"""Events that one process takes in at a time; each holds a connection meanwhile."""

SOON = timedelta(minutes=1)
AFTER = (SOON, timedelta(minutes=5), timedelta(minutes=30))
HOURLY, DAILY = timedelta(hours=1), timedelta(days=1)
OVERDUE = timedelta(hours=72)
PAYLOADS_KEPT = timedelta(days=30)
WAIT_S = 10.0
LOOK_S = 0.02

log = structlog.get_logger("daybook.stripe")

Verdict = Literal["applied", "duplicate", "ignored", "deferred"]
Handlers = Mapping[str, Sequence[Handler]]


class _Event(msgspec.Struct):
    """What must be in an event; the rest is for its handlers."""

    id: Annotated[str, Meta(pattern=r"^[\x21-\x7e]{1,255}\Z")]
    type: Annotated[str, Meta(pattern=r"^[\x21-\x7e]{1,255}\Z")]
    created: int
    data: dict[str, Any]
    api_version: str | None = None


_decode = msgspec.json.Decoder(_Event)


class Outcome(NamedTuple):
    """What taking in an event came to; ``refs`` are the Stripe objects that it names.
    ``is_first``: nobody had tried before."""

    disposition: Disposition
    refs: list[str]
    is_first: bool

    def told(self, *, is_new: bool) -> Verdict:
        """What its sender hears. Who overtook the delivery that stored it hears `duplicate`:
        that one hears what became of it."""
        return self.disposition if is_new or not self.is_first else "duplicate"


class HandlerFailed(RuntimeError):
    """A handler broke; the log says where. The event is kept and tried again."""


class Inbox:
    """Takes in Stripe's events. Any number of processes may, also the same event at once: it is
    applied by one of them."""

    def __init__(
        self, pool: AsyncConnectionPool[Any], till: Till, handlers: Handlers, metrics: Metrics
    ) -> None:
        self._pool = pool
        self._till = till
        self._handlers = handlers
        self._metrics = metrics
        self._gate = asyncio.Semaphore(AT_ONCE_MAX)

    async def receive(self, payload: bytes, source: Source = "webhook") -> Verdict:
        """Store an event whose sender is known, then take it in, and then what waited for it.

        :raises InvalidInput: it is no event; nothing is stored.
        :raises HandlerFailed, TryAgain, psycopg.Error: it could not be taken in. It is kept and
            tried again.
        """
        now = await self._till.clock.now()
        arrival = _arrival(payload, source, now)
        async with self._pool.connection() as connection:
            is_new = await inbox.keep(connection, arrival)
        outcome = await self.attempt(arrival.event_id)
        if outcome is None:
            verdict = await self._verdict_of_another(arrival.event_id, is_new=is_new)
        else:
            verdict = outcome.told(is_new=is_new)
            if outcome.disposition == "applied":
                await self.retry(await self._related(outcome.refs))
        self._metrics.webhooks.labels(verdict).inc()
        log.info("webhook", id=arrival.event_id, type=arrival.type, disposition=verdict)
        return verdict

    async def attempt(self, event_id: str) -> Outcome | None:
        """Take in an event that is not settled; None if it is, or another process is at it.

        :raises HandlerFailed, TryAgain, psycopg.Error: a handler could not; that is noted.
        """
        try:
            async with self._gate, self._pool.connection() as connection, connection.transaction():
                taken = await inbox.take(connection, event_id)
                if taken is None:
                    return None
                now = await self._till.clock.now()
                disposition, why = await self._dispatch(taken, event_id, now)
                again = _again_at(taken.received_at, now) if disposition == "deferred" else None
                await inbox.settle(
                    connection, event_id, disposition, now, again_at=again, reason=why
                )
        except Exception as error:
            await self._note_failure(event_id, error)
            if isinstance(error, (TryAgain, *UNREACHABLE)):
                raise
            raise HandlerFailed(event_id) from None
        if disposition == "deferred" and now - taken.received_at >= OVERDUE:
            log.error("webhook_overdue", id=event_id, attempts=taken.attempts + 1)
        return Outcome(disposition, taken.refs, taken.attempts == 0)

    async def retry(self, event_ids: Iterable[str]) -> int:
        """Try open events again, and what waited for those that could be applied; how many were
        settled. One that fails does not stop the others."""
        settled, todo = 0, list(event_ids)
        while todo:
            event_id = todo.pop(0)
            outcome = None
            with suppress(Exception):  # noted by `attempt`
                outcome = await self.attempt(event_id)
            if outcome is None or outcome.disposition == "deferred":
                continue
            settled += 1
            log.info("webhook_retried", id=event_id, disposition=outcome.disposition)
            if outcome.disposition == "applied":
                related = await self._related(outcome.refs)
                # What was tried in vain before may succeed now.
                todo += [one for one in related if one not in todo and one != event_id]
        return settled

    async def retry_due(self, *, unfinished: bool = False) -> int:
        """Try what is due; how many were settled. ``unfinished``: what broke off too."""
        now = await self._till.clock.now()
        async with self._pool.connection() as connection:
            ids = await inbox.due(connection, now, unfinished=unfinished)
        return await self.retry(ids)

    async def purge(self) -> int:
        """Forget the bodies of what was settled 30 days ago; how many."""
        now = await self._till.clock.now()
        async with self._pool.connection() as connection:
            return await inbox.purge(connection, now - PAYLOADS_KEPT)

    async def _dispatch(
        self, taken: Taken, event_id: str, now: datetime
    ) -> tuple[Disposition, str | None]:
        """What became of an event, and why, where its object is not as Stripe's are. One without
        an id can never be asked for; any other may be readable when it is fetched again."""
        event = stripe_event(msgspec.json.decode(taken.payload))
        handlers = self._handlers.get(event.type, ())
        if not handlers:
            return "ignored", None
        if fault := objects.fault_of(event.object, objects.Identified):
            log.warning("webhook_without_object", id=event_id, type=event.type, fault=fault)
            return "ignored", fault
        if now - taken.received_at >= AFTER[-1]:
            event = await self._as_it_is_now(event)
        if fault := objects.fault_of(event.object):
            log.warning("webhook_unreadable", id=event_id, type=event.type, fault=fault)
            return "deferred", fault
        strongest: Disposition = "ignored"
        why = None
        context = Context(now, "stripe", event_id)
        for handler in handlers:
            try:
                found = await handler(event, self._till, context)
            except objects.Unreadable as wrong:
                found, why = "deferred", str(wrong)
            if STRENGTH[found] > STRENGTH[strongest]:
                strongest = found
        return strongest, why

    async def _as_it_is_now(self, event: StripeEvent) -> StripeEvent:
        kind, id = str(event.object.get("object")), str(event.object.get("id"))
        current = await objects.fetch(self._till.stripe, kind, id)
        return event if current is None else replace(event, object=current)

    async def _related(self, refs: Sequence[str]) -> list[str]:
        async with self._pool.connection() as connection:
            return await inbox.related(connection, refs)

    async def _note_failure(self, event_id: str, error: Exception) -> None:
        # Neither message nor values: they could repeat what the body says of a person.
        where = [f"{f.filename.rpartition('/')[2]}:{f.lineno}" for f in _frames(error)]
        log.error("webhook_failed", id=event_id, error=type(error).__name__, where=where)
        self._metrics.webhooks.labels("failed").inc()
        now = await self._till.clock.now()
        async with self._pool.connection() as connection, connection.transaction():
            taken = await inbox.take(connection, event_id)
            if taken is not None:
                again = _again_at(taken.received_at, now)
                why = type(error).__name__
                await inbox.settle(connection, event_id, "failed", now, again_at=again, reason=why)

    async def _verdict_of_another(self, event_id: str, *, is_new: bool) -> Verdict:
        """What became, or becomes, of an event that we may not take in."""
        until = time.monotonic() + WAIT_S
        while time.monotonic() < until:
            async with self._pool.connection() as connection:
                receipt = await inbox.find(connection, event_id)
            if receipt is None or receipt.next_attempt_at is None:
                break
            outcome = await self.attempt(event_id)
            if outcome is not None:
                return outcome.told(is_new=is_new)
            await asyncio.sleep(LOOK_S)
        if is_new and receipt is not None and receipt.disposition in STRENGTH:
            return receipt.disposition  # type: ignore[return-value]
        return "duplicate"


def _arrival(payload: bytes, source: Source, now: datetime) -> Arrival:
    try:
        event = _decode.decode(payload)
    except (ValueError, RecursionError) as wrong:
        raise InvalidInput((), f"is no event of Stripe: {wrong}") from None
    try:
        created = datetime.fromtimestamp(event.created, UTC)
    except (ValueError, OverflowError, OSError):
        raise InvalidInput(("created",), "is no time in seconds since 1970") from None
    if not isinstance(event.data.get("object"), dict):
        raise InvalidInput(("data", "object"), "is no object of Stripe")
    return Arrival(
        event.id,
        event.type,
        created,
        event.api_version,
        payload,
        sha256(payload).digest(),
        objects.refs_in(payload),
        source,
        now,
        now + SOON,
    )


def _again_at(received_at: datetime, now: datetime) -> datetime:
    """After 1, 5 and 30 minutes; then every hour, after three days every day."""
    soon = [received_at + after for after in AFTER if received_at + after > now]
    if soon:
        return soon[0]
    return now + (HOURLY if now - received_at < OVERDUE else DAILY)


def _frames(error: Exception) -> Sequence[traceback.FrameSummary]:
    return traceback.extract_tb(error.__traceback__)[-3:]
