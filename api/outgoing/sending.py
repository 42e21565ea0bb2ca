"""Makes what is to be told from the book, and sends what is due, endpoint by endpoint, in order.

Any number of processes may do so at once: a message is made by one of them, and an endpoint is
sent to by one at a time. Whoever dies in between leaves everything to be sent again.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import structlog
from psycopg_pool import AsyncConnectionPool

from adapters.clock import Clock
from adapters.outgoing import Sender
from adapters.postgres import endpoints, outbox
from adapters.postgres.outbox import Head, Tried
from adapters.settings import Settings
from api.outgoing.messages import make_messages
from domain.outgoing import retry_after

AT_ONCE = 8
TURN_S = 60.0
"""How long one endpoint is sent to before others get their turn; well within the lease."""
GONE = 410

log = structlog.get_logger("daybook.outgoing")


class Stand(Protocol):
    """What sending needs of a house."""

    @property
    def settings(self) -> Settings:
        """Whether private addresses are allowed."""
        ...

    @property
    def pool(self) -> AsyncConnectionPool[Any]:
        """Connections to the book and the messages."""
        ...


class Clocked(Stand, Protocol):
    """A stand that knows the time."""

    @property
    def clock(self) -> Clock:
        """The deployment's clock."""
        ...


def may_be_local(settings: Settings) -> bool:
    """Whether endpoints may have private addresses: in tests, beside the sandbox, and wherever
    the deployment says so. Elsewhere outsiders could make us talk to our own network."""
    return settings.webhooks_local or settings.test_clock or settings.stripe_is_sandbox


def sender_for(settings: Settings) -> Sender:
    """A sender that goes where these settings let it."""
    return Sender(local=may_be_local(settings))


async def run_once(house: Stand, now: datetime) -> int:
    """Make every message there is to make, and send what is due at ``now``; answers how many
    were made and tried. 0: nothing is left to do before something happens or time goes on."""
    done = 0
    async with house.pool.connection() as connection:
        while (made := await outbox.make(connection, make_messages, now)) is not None:
            done += made
        due = await outbox.claim(connection, now, AT_ONCE)
    if due:
        sender = sender_for(house.settings)
        try:
            tried = await asyncio.gather(*(_send_to(house, sender, one, now) for one in due))
        finally:
            await sender.close()
        done += sum(tried)
    return done


async def keep_up(house: Clocked) -> None:
    """Do so until nothing is left, by the house's clock."""
    while await run_once(house, await house.clock.now()):
        pass


async def purge(house: Clocked) -> None:
    """Forget what was settled long ago."""
    before = await house.clock.now() - timedelta(days=outbox.KEEP_DAYS)
    async with house.pool.connection() as connection:
        await outbox.purge(connection, before)


async def _send_to(house: Stand, sender: Sender, endpoint_id: str, now: datetime) -> int:
    """Send an endpoint what waits for it, one after the other, until one fails."""
    tried, until = 0, time.monotonic() + TURN_S
    try:
        while time.monotonic() < until:
            async with house.pool.connection() as connection:
                head = await outbox.head(connection, endpoint_id, now)
            if head is None or not head.is_due:
                break
            outcome = await try_once(house, sender, endpoint_id, head, now)
            tried += 1
            if outcome is None or not outcome.is_delivered:
                break
    finally:
        async with house.pool.connection() as connection:
            await outbox.release(connection, endpoint_id)
    return tried


async def try_once(
    house: Stand,
    sender: Sender,
    endpoint_id: str,
    head: Head,
    now: datetime,
    *,
    manual: bool = False,
) -> Tried | None:
    """Send one message once, and note how it went; None where the endpoint is gone.

    A receiver that answers 410 is not sent to again, nor is one that failed for the whole
    schedule; what waits for them stays, in case they are enabled again.
    """
    async with house.pool.connection() as connection:
        signing = await endpoints.signing(connection, endpoint_id, now)
    if signing is None:
        return None
    # Signed with the machine's time, whatever our clock says: receivers compare it with theirs.
    answered = await sender.send(
        signing.url, head.message_id, head.body, signing.secrets, datetime.now(UTC)
    )
    tried = Tried(*answered)
    pause = retry_after(head.attempts + 1)
    disable = None
    if tried.status_code == GONE:
        disable = "gone"
    elif not tried.is_delivered and not manual and pause is None:
        disable = "failing"
    async with house.pool.connection() as connection:
        await outbox.note(
            connection,
            endpoint_id,
            head.message_id,
            tried,
            now,
            again_at=None if pause is None else now + pause,
            manual=manual,
            disable=disable,
        )
    if not tried.is_delivered:
        log.info(
            "message_not_delivered",
            endpoint_id=endpoint_id,
            message_id=head.message_id,
            status=tried.status_code,
            error=tried.error,
        )
    return tried
