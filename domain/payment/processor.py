"""What the domain asks of the payment processor, and what it hears. Amounts in µ.

`Payments` is implemented on Stripe (`adapters/stripe/payments.py`). Every call that changes
something there is safe to repeat: it carries a key that is derived from what it is about.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal, Protocol

import msgspec

IntentStatus = Literal["open", "processing", "requires_action", "succeeded", "failed", "canceled"]


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What an attempt asks for. The attempt's id is the processor's idempotency key and stands,
    with the workspace, in the metadata of all that comes of it."""

    payment_attempt_id: str
    workspace_id: str
    kind: str
    amount: int
    currency: str
    customer: str
    payment_method: str | None
    requested_at: datetime


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """A payment as the processor knows it now. ``failed``: it was tried and refused, ``code``
    says why; ``open``: nobody has tried yet. The ids are those of its metadata, if it has any.
    ``id`` is "" where the processor refused to begin one."""

    id: str
    status: IntentStatus
    amount_received: int = 0
    currency: str = ""
    customer: str | None = None
    payment_attempt_id: str | None = None
    workspace_id: str | None = None
    payment_method: str | None = None
    charge: str | None = None
    code: str | None = None
    decline_code: str | None = None
    url: str | None = None  # where the card's holder confirms it


class Page(msgspec.Struct, frozen=True):
    """A page of the processor's, for the customer's browser."""

    id: str
    url: str


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A checkout page as the processor knows it now. ``amount`` is without tax."""

    id: str
    mode: Literal["payment", "setup", "subscription"]
    status: Literal["open", "complete", "expired"]
    is_paid: bool
    amount: int = 0
    currency: str = ""
    customer: str | None = None
    payment_attempt_id: str | None = None
    workspace_id: str | None = None
    intent: str | None = None
    payment_method: str | None = None  # that a setup saved
    url: str | None = None


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """A saved card: what may be shown of it, and whose it is (None: nobody's any more)."""

    id: str
    brand: str
    last4: str
    customer: str | None
    created: datetime


class Customer(msgspec.Struct, frozen=True, kw_only=True):
    """A customer at the processor, and the card that is charged unless told otherwise."""

    id: str
    workspace_id: str | None
    default_card: str | None


class Refund(msgspec.Struct, frozen=True, kw_only=True):
    """Money on its way back."""

    id: str
    amount: int
    state: Literal["pending", "succeeded", "failed"]
    ticket_ref: str | None = None


class Charge(msgspec.Struct, frozen=True, kw_only=True):
    """What was taken from a card, and every refund of it."""

    id: str
    intent: str | None
    customer: str | None
    refunds: tuple[Refund, ...] = ()


class Contest(msgspec.Struct, frozen=True, kw_only=True):
    """A dispute as the processor knows it now; amounts as they moved so far."""

    id: str
    amount: int
    charge: str | None
    intent: str | None
    withdrawn: int = 0
    reinstated: int = 0
    outcome: Literal["won", "lost", "warning_closed", "prevented"] | None = None


class Payments(Protocol):
    """A payment processor.

    Reads answer None for what does not exist. Every method raises `TryAgain` when the processor
    does not answer: then nobody knows whether it has done what it was asked.
    """

    async def new_customer(self, workspace_id: str) -> str:
        """Open a customer; the same workspace again gives the same one."""
        ...

    async def customer(self, customer_id: str) -> Customer | None:
        """A customer."""
        ...

    async def card(self, payment_method_id: str) -> Card | None:
        """A saved card."""
        ...

    async def make_default(self, customer_id: str, payment_method_id: str) -> bool:
        """Charge this card from now on; False if it is not the customer's any more."""
        ...

    async def charge_card(self, order: Order) -> Intent:
        """Charge a saved card without its holder, at once."""
        ...

    async def find_intent(self, order: Order) -> Intent | None:
        """What came of an order, found by its metadata."""
        ...

    async def intent(self, intent_id: str) -> Intent | None:
        """A payment."""
        ...

    async def name_attempt(
        self, intent_id: str, payment_attempt_id: str, workspace_id: str
    ) -> None:
        """Write on a payment which attempt of ours it belongs to, so that what becomes of it
        finds its way here."""
        ...

    async def authenticate(self, intent: Intent, return_url: str) -> Intent:
        """Prepare a page on which the card's holder confirms a payment that needs it."""
        ...

    async def card_page(self, order: Order, success_url: str, cancel_url: str) -> Page:
        """Open a page on which a card is saved for later."""
        ...

    async def payment_page(self, order: Order, success_url: str, cancel_url: str) -> Page:
        """Open a page on which the order is paid."""
        ...

    async def session(self, session_id: str) -> Session | None:
        """A checkout page."""
        ...

    async def session_of(self, intent_id: str) -> Session | None:
        """The checkout page on which a payment was made, if it was on one."""
        ...

    async def refund(
        self, intent_id: str, amount: int, currency: str, key: str, ticket_ref: str | None
    ) -> Refund:
        """Give money back, once per ``key``.

        :raises NotRefundable: the processor will not.
        """
        ...

    async def charge(self, charge_id: str) -> Charge | None:
        """What was taken from a card."""
        ...

    async def contest(self, dispute_id: str) -> Contest | None:
        """A dispute."""
        ...

    async def portal(self, customer_id: str, return_url: str, flow: str | None) -> str:
        """The address, good for one visit, of a page for cards, invoices and cancellation."""
        ...
