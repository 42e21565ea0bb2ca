"""Follows our own log: facts that ask something of the outside are given to their reactions."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import groupby
from typing import Any
from uuid import UUID

import structlog
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from adapters.postgres import following, inbox
from adapters.postgres.following import Fetched
from api.stripe.inbox import Inbox
from api.stripe.till import Till
from domain.codec import KINDS
from domain.errors import TryAgain
from domain.facts import Context, Fact, Recorded

Reaction = Callable[[Recorded, int, Till, Context], Awaitable[None]]
"""Acts upon a committed fact: (recorded, position, till, context). It is called at least once,
perhaps by two processes, so what it does outside has an idempotency key made from the fact. One
that raises is called again later; what follows in the log does not wait for it."""

REACTIONS: dict[type[Fact], list[Reaction]] = {}
"""Who acts upon which facts; registered where the reactions are written."""

NAME = "outside"
FACTS = 200
"""Facts a step; their reactions run side by side, those of one stream in order."""
SPAN = 20_000
"""Positions a step: facts that ask for nothing are passed over, but not all at once."""
AT_ONCE_MAX = 4
PAUSES_S = (1, 5, 30, 120, 600, 3600)
ALARM_FROM = 3
TURN_S = 30.0

log = structlog.get_logger("daybook.follower")


class Follower:
    """Gives every fact to its reactions, in the order of the log, at least once."""

    def __init__(
        self,
        pool: AsyncConnectionPool[Any],
        till: Till,
        inbox: Inbox,
        reactions: Mapping[type[Fact], Sequence[Reaction]] = REACTIONS,
    ) -> None:
        self._pool = pool
        self._till = till
        self._inbox = inbox
        self._reactions = reactions
        self._kinds = [kind.__name__ for kind in reactions]
        self._openers = [name for name, kind in KINDS.items() if _names_stripe(kind)]

    async def step(self, *, every: bool = False, patience_s: float = TURN_S) -> int:
        """Carry out what the log asks for since the last step, and what failed before; how many
        reactions went well. ``every``: what failed is tried now, whenever it is due."""
        async with (
            self._pool.connection() as connection,
            following.turn(connection, patience_s) as ours,
        ):
            if not ours:
                return 0
            return await self._retry(connection, every) + await self._go_on(connection)

    async def is_behind(self) -> bool:
        """Whether the log has facts that were not handed out."""
        async with self._pool.connection() as connection:
            known = await following.position(connection, NAME)
            return known < await following.head(connection)

    async def _go_on(self, connection: AsyncConnection[Any]) -> int:
        went_well, position = 0, await following.position(connection, NAME)
        head = await following.head(connection)
        while position < head:
            upto = min(head, position + SPAN)
            facts = await following.read(connection, position, upto, self._kinds, FACTS)
            if len(facts) == FACTS:
                upto = facts[-1].position
            went_well += await self._react_to(connection, facts)
            waited = await inbox.named(connection, position, upto, self._openers)
            await following.move(connection, NAME, upto)
            went_well += await self._inbox.retry(waited)
            position = upto
        return went_well

    async def _react_to(self, connection: AsyncConnection[Any], facts: Sequence[Fetched]) -> int:
        streams: dict[UUID, list[Fetched]] = defaultdict(list)
        for fact in facts:
            streams[fact.recorded.originator_id].append(fact)
        gate = asyncio.Semaphore(AT_ONCE_MAX)
        went_well, failed = 0, list[tuple[Fetched, Reaction, Exception]]()

        async def of_stream(mine: Sequence[Fetched]) -> None:
            nonlocal went_well
            async with gate:
                for fact in mine:
                    for reaction in self._reactions[type(fact.recorded.fact)]:
                        error = await self._call(reaction, fact)
                        if error is None:
                            went_well += 1
                        else:
                            failed.append((fact, reaction, error))

        await asyncio.gather(*map(of_stream, streams.values()))
        for fact, reaction, error in failed:
            await self._park(connection, fact.position, name_of(reaction), error, 1)
        return went_well

    async def _retry(self, connection: AsyncConnection[Any], every: bool) -> int:
        waiting = await following.parked(connection, NAME, every=every)
        went_well = 0
        for position, group in groupby(waiting, key=lambda one: one.position):
            fact = await following.at(connection, position)
            for one in group:
                reaction = fact and self._named(type(fact.recorded.fact), one.reaction)
                if fact is None or reaction is None:
                    gone = LookupError()  # written by another version of this code
                    await self._park(connection, position, one.reaction, gone, one.attempts + 1)
                    continue
                error = await self._call(reaction, fact)
                if error is None:
                    went_well += 1
                    await following.unpark(connection, NAME, position, one.reaction)
                    log.info("reaction_went_well", position=position, reaction=one.reaction)
                else:
                    await self._park(connection, position, one.reaction, error, one.attempts + 1)
        return went_well

    async def _call(self, reaction: Reaction, fact: Fetched) -> Exception | None:
        context = await self._till.context(correlation_id=fact.recorded.fact.correlation_id)
        try:
            await reaction(fact.recorded, fact.position, self._till, context)
        except Exception as error:
            return error
        return None

    async def _park(
        self,
        connection: AsyncConnection[Any],
        position: int,
        reaction: str,
        error: Exception,
        attempts: int,
    ) -> None:
        kind = type(error).__name__
        pause_s = PAUSES_S[min(attempts, len(PAUSES_S)) - 1]
        await following.park(connection, NAME, position, reaction, kind, pause_s)
        said = {"position": position, "reaction": reaction, "error": kind, "attempts": attempts}
        if attempts < ALARM_FROM or isinstance(error, TryAgain):
            log.warning("reaction_failed", **said)
        else:
            log.error("reaction_keeps_failing", **said, exc_info=error)

    def _named(self, kind: type[Fact], name: str) -> Reaction | None:
        known = self._reactions.get(kind, ())
        return next((reaction for reaction in known if name_of(reaction) == name), None)


def name_of(reaction: Reaction) -> str:
    """What a reaction is called where it is parked."""
    return f"{reaction.__module__}:{reaction.__qualname__}"


def _names_stripe(kind: type[Fact]) -> bool:
    """Whether such a fact makes an object of Stripe known to us."""
    return any("stripe" in field or field.endswith("_refs") for field in kind.__struct_fields__)
