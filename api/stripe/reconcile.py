"""The reconciler: Stripe's last days against ours. What webhooks lost is taken in through the same
handlers; what that does not explain is reported, and left as it is."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

import msgspec
import structlog

from adapters.postgres import inbox, reconciliations
from adapters.stripe import objects
from adapters.stripe.client import API_VERSION
from api.house import House
from api.stripe.comparison import COMPARISONS, Difference, event_type
from api.stripe.handlers import all_handlers
from api.stripe.inbox import HandlerFailed, Verdict
from domain.errors import TryAgain
from domain.payment.attempt import PaymentAttempt
from projections import payments

WINDOW = timedelta(days=3)
"""Stripe retries a webhook for so long."""
PATIENCE = timedelta(minutes=10)
"""Younger attempts may just be under way."""
ASKED_AT_ONCE = 100
CHARGES = ("topup", "auto_topup")

log = structlog.get_logger("daybook.reconciler")


class Applied(msgspec.Struct, frozen=True):
    """Something that webhooks had lost and that is taken in now."""

    object: str
    id: str
    event_type: str


class Mismatch(msgspec.Struct, frozen=True):
    """Something that both books tell differently, and somebody has to look at."""

    object: str
    id: str
    what: str
    stripe: str
    daybook: str


class Report(msgspec.Struct, frozen=True):
    """What a comparison found. ``checked`` counts by kind of object."""

    since: datetime
    finished_at: datetime
    checked: dict[str, int]
    applied: list[Applied]
    mismatches: list[Mismatch]


class Reconciler:
    """Compares once."""

    def __init__(self, house: House, since: datetime) -> None:
        self._house = house
        self._till = house.till
        self._since = since
        self._checked: dict[str, int] = {}
        self._applied: list[Applied] = []
        self._mismatches: list[Mismatch] = []

    async def run(self) -> Report:
        """Compare, take in what is missing, and keep the report.

        :raises StripeUnavailable: Stripe cannot be asked; what was taken in stays.
        """
        await self._catch_up_events()
        await self._house.inbox.retry_due(unfinished=True)
        for kind in COMPARISONS:
            async for found in self._listed(kind):
                self._count(kind)
                await self._compare(kind, found)
        await self._ask_for_attempts()
        now = await self._till.clock.now()
        report = Report(self._since, now, self._checked, self._applied, self._mismatches)
        async with self._house.pool.connection() as connection:
            await reconciliations.keep(connection, self._since, now, msgspec.json.encode(report))
        said = log.error if self._mismatches else log.info
        said("reconciled", applied=len(self._applied), mismatches=len(self._mismatches))
        return report

    async def _listed(self, kind: str) -> AsyncIterator[dict[str, Any]]:
        params: dict[str, str | int] = {"created[gte]": int(self._since.timestamp())}
        if kind == "subscription":
            params["status"] = "all"
        async for found in objects.listed(self._till.stripe, kind, **params):
            yield found

    async def _catch_up_events(self) -> None:
        """Take in the events that never came, in the order in which they happened."""
        concern, missing = all_handlers(), list[dict[str, Any]]()
        some: list[dict[str, Any]] = []
        async for event in self._listed("event"):
            if event["type"] in concern:
                self._count("event")
                some.append(event)
            if len(some) == ASKED_AT_ONCE:
                missing += await self._unknown(some)
                some = []
        missing += await self._unknown(some)
        for event in reversed(missing):
            await self._take_in(event)

    async def _unknown(self, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        async with self._house.pool.connection() as connection:
            known = await inbox.known(connection, [event["id"] for event in events])
        return [event for event in events if event["id"] not in known]

    async def _take_in(self, event: dict[str, Any]) -> Verdict | None:
        what = event["data"]["object"]
        try:
            verdict = await self._house.inbox.receive(json.dumps(event).encode(), "reconciler")
        except (HandlerFailed, TryAgain):
            return None  # kept and tried again; whether the books agree is seen below
        if verdict == "applied":
            self._applied.append(Applied(what["object"], what["id"], event["type"]))
        return verdict

    async def _compare(self, kind: str, found: dict[str, Any]) -> None:
        compare = COMPARISONS[kind]
        difference = await compare(found, self._till)
        if difference is None:
            return
        taken = len(self._applied)
        await self._take_in(_event_of(found))
        left = await compare(found, self._till)
        if left is not None:
            del self._applied[taken:]  # it was heard, and changed nothing
            self._report(kind, found["id"], left)

    async def _ask_for_attempts(self) -> None:
        """The other way round: what we believe of payments, and Stripe did not list."""
        now = await self._till.clock.now()
        async with self._house.pool.connection() as connection:
            ours = await payments.at_stripe(connection, self._since, now - PATIENCE)
        for one in ours:
            self._count("attempt")
            await self._ask_for(await self._till.ledger.payment(one))

    async def _ask_for(self, attempt: PaymentAttempt) -> None:
        intent, session = attempt.stripe_payment_intent, attempt.stripe_session
        if intent is not None:
            await self._ask_about("payment_intent", intent, attempt)
        elif session is not None and attempt.is_open:
            await self._ask_about("checkout.session", session, attempt)
        elif (
            attempt.is_open
            and attempt.via == "card"
            and attempt.kind in CHARGES
            # The process died, or the network: Stripe may still have heard it.
            and await self._till.payments.find_intent(attempt.order()) is None
        ):
            self._report("payment_attempt", attempt.payment_attempt_id, _stranger(attempt))

    async def _ask_about(self, kind: str, id: str, attempt: PaymentAttempt) -> None:
        found = await objects.fetch(self._till.stripe, kind, id)
        if found is None:
            self._report("payment_attempt", attempt.payment_attempt_id, _stranger(attempt))
        else:
            await self._compare(kind, found)

    def _count(self, kind: str) -> None:
        self._checked[kind] = self._checked.get(kind, 0) + 1

    def _report(self, kind: str, id: str, difference: Difference) -> None:
        mismatch = Mismatch(kind, id, *difference)
        if mismatch not in self._mismatches:
            self._mismatches.append(mismatch)
            log.warning("mismatch", object=kind, id=id, what=difference.what)


def _stranger(attempt: PaymentAttempt) -> Difference:
    ours = f"{attempt.status} {attempt.credited or attempt.amount} {attempt.currency}"
    return Difference("Stripe knows nothing of this attempt", "nothing", ours)


def _event_of(found: dict[str, Any]) -> dict[str, Any]:
    """An event of our own making that tells of an object as it is; the same for the same state."""
    state = sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:16]
    return {
        "id": f"reconciled_{found['id']}_{state}",
        "object": "event",
        "api_version": API_VERSION,
        "created": found["created"],
        "data": {"object": found},
        "type": event_type(found),
    }


async def reconcile(house: House, since: datetime | None = None) -> Report:
    """Compare Stripe's books of the last three days (or ``since``) with ours.

    :raises StripeUnavailable: Stripe cannot be asked.
    """
    now = await house.till.clock.now()
    return await Reconciler(house, since or now - WINDOW).run()
