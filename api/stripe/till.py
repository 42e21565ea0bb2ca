"""What whoever deals with Stripe holds in hands, and how what Stripe tells is taken in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

import stripe
from adapters.clock import Clock
from adapters.settings import Settings
from adapters.stripe.client import close_client, make_client
from adapters.stripe.contracts import StripeContracts
from adapters.stripe.payments import StripePayments
from domain.catalogue.catalogue import PlanCatalogue
from domain.contract.processor import Contracts
from domain.facts import Context
from domain.ledger import Ledger
from domain.payment.processor import Payments

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

Disposition = Literal["applied", "ignored", "deferred"]
"""What became of an event: carried out (perhaps long ago); nothing to us; or about something
that is not known yet, so that it has to be tried again."""

STRENGTH: Mapping[Disposition, int] = {"ignored": 0, "applied": 1, "deferred": 2}


@dataclass(frozen=True, slots=True)
class StripeEvent:
    """Something happened at Stripe. ``object`` is a picture of that moment, which may be out of
    date: fetch it again where order matters. ``previous`` are the values before an update."""

    id: str
    type: str
    created: datetime  # UTC
    object: dict[str, Any]
    previous: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Till:
    """The ledger and the ways to Stripe. Always there: where a deployment has no Stripe, asking
    raises `StripeNotConfigured`, which the API answers as 503."""

    settings: Settings
    ledger: Ledger
    stripe: stripe.StripeClient
    clock: Clock
    payments: Payments
    contracts: Contracts

    async def plans(self) -> PlanCatalogue:
        """All catalogues."""
        return await self.ledger.plans()

    async def context(self, actor: str = "system", correlation_id: str | None = None) -> Context:
        """The time now, for a command."""
        return Context(await self.clock.now(), actor, correlation_id)


Handler = Callable[[StripeEvent, Till, Context], Awaitable[Disposition]]
"""Takes in one event, by the state of its object and never by the order of arrival. It may be
called again with the same event, also at the same time in another process."""


@asynccontextmanager
async def opened(settings: Settings, ledger: Ledger, clock: Clock) -> AsyncIterator[Till]:
    """The till of these settings, for one event loop."""
    client = make_client(settings)
    try:
        payments, contracts = StripePayments(client), StripeContracts(client)
        yield Till(settings, ledger, client, clock, payments, contracts)
    finally:
        await close_client(client)


def stripe_event(body: Mapping[str, Any]) -> StripeEvent:
    """An event of Stripe's API or webhook.

    :raises KeyError, TypeError, ValueError: it is none.
    """
    data = body["data"]
    previous = data.get("previous_attributes")
    return StripeEvent(
        str(body["id"]),
        str(body["type"]),
        datetime.fromtimestamp(int(body["created"]), UTC),
        dict(data["object"]),
        previous if isinstance(previous, dict) else {},
    )
