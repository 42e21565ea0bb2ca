"""What the contract side asks of the payment provider, and what it is told."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, Protocol

import msgspec

from domain.account.overage import OverageLine
from domain.contract.facts import EndReason, QuoteLine
from domain.invoice.invoice import InvoiceDocument


class Price(msgspec.Struct, frozen=True, gc=False):
    """A plan's version as it is sold: once a month, minor units."""

    plan_id: str
    plan_version: int
    amount: int
    currency: str

    @property
    def pin(self) -> tuple[str, int]:
        """What a subscription pins of it."""
        return self.plan_id, self.plan_version


class RemoteSubscription(msgspec.Struct, frozen=True, gc=False):
    """A subscription as the provider has it now. Times in UTC."""

    id: str
    status: str
    workspace_id: str | None  # None: none of ours
    customer_id: str
    plan: tuple[str, int] | None  # the plan version that its price is of
    period_start: datetime
    period_end: datetime
    anchor_at: datetime
    created: datetime
    cancel_at: datetime | None = None
    ended_at: datetime | None = None
    end_reason: EndReason = "user"
    schedule_id: str | None = None
    scheduled_plan: tuple[str, int] | None = None  # in force when the period ends
    pending_until: datetime | None = None  # an update waits for its payment until then,
    pending_plan: tuple[str, int] | None = None  # to this plan
    latest_invoice_id: str | None = None

    @property
    def is_live(self) -> bool:
        """Whether it was paid for once and has not ended."""
        return self.status in ("active", "past_due", "unpaid", "trialing")

    @property
    def is_past_due(self) -> bool:
        """Whether an invoice of it is unpaid, heard of or not."""
        return self.status in ("past_due", "unpaid")


class Session(msgspec.Struct, frozen=True, gc=False):
    """A payment page for a subscription."""

    id: str
    url: str | None
    status: Literal["open", "complete", "expired"]
    is_paid: bool
    workspace_id: str | None
    payment_attempt_id: str | None
    subscription_id: str | None = None
    amount_total: int = 0


class Preview(msgspec.Struct, frozen=True, gc=False):
    """What a change of plan would be charged now, in the provider's own words and numbers."""

    amount_due: int
    lines: tuple[QuoteLine, ...]


class Upgrade(msgspec.Struct, frozen=True, gc=False):
    """What became of an upgrade: done and charged, or waiting for ``invoice_id`` to be paid."""

    subscription: RemoteSubscription
    invoice_id: str | None
    charged: int
    payment_url: str | None


class Contracts(Protocol):
    """The provider of subscriptions. Every call raises `StripeUnavailable` when it is away; with
    the same ``key`` it does a thing once."""

    async def create_customer(self, workspace_id: str) -> str:
        """A customer for a workspace; the same workspace again gives the same one."""
        ...

    async def open_checkout(
        self,
        workspace_id: str,
        customer_id: str,
        price: Price,
        payment_attempt_id: str,
        success_url: str,
        cancel_url: str,
    ) -> Session:
        """A page on which a plan is subscribed to; the attempt's id is the key."""
        ...

    async def session(self, session_id: str) -> Session | None:
        """A payment page as it is now, or None where there is none."""
        ...

    async def subscription(self, subscription_id: str) -> RemoteSubscription | None:
        """A subscription as it is now, or None where there is none."""
        ...

    async def preview(self, subscription_id: str, price: Price, proration_date: int) -> Preview:
        """What changing to a price at an instant (Unix seconds) would charge. Changes nothing."""
        ...

    async def upgrade(
        self, subscription_id: str, price: Price, proration_date: int, key: str
    ) -> Upgrade:
        """Change to a price and charge the difference at once; without payment nothing changes.
        Whatever was scheduled is released."""
        ...

    async def schedule(
        self, subscription_id: str, price: Price, key: str, at: datetime | None = None
    ) -> str:
        """Change to a price when the period ends, without proration; the schedule's id.

        :raises PreviewStale: the period that runs does not end ``at`` that instant.
        """
        ...

    async def release(self, schedule_id: str) -> None:
        """Let a schedule change nothing any more. A no-op for one that is done or released."""
        ...

    async def note_overage(self, subscription_id: str, enabled: bool, key: str) -> str | None:
        """Tell that overage is agreed to, or not; the provider's id of the request."""
        ...

    async def set_cancel(self, subscription_id: str, cancel: bool, key: str) -> RemoteSubscription:
        """End it with its period, or let it go on. Whatever else was scheduled is released."""
        ...

    async def drop(self, subscription_id: str) -> None:
        """End a subscription at once that is not to be: its first payment never came, or another
        one is in force. Again, a no-op."""
        ...

    async def invoice(self, invoice_id: str) -> InvoiceDocument | None:
        """An invoice with all its lines as it is now, or None where there is none."""
        ...

    async def invoice_of(self, payment_intent_id: str) -> str | None:
        """The invoice that a payment paid, or None for any other payment."""
        ...

    async def payment_of(self, invoice_id: str) -> str | None:
        """The payment that paid an invoice, or None where there is none."""
        ...

    async def renewal_draft(self, subscription_id: str, period_end: datetime) -> str | None:
        """The draft of the invoice that closes a period, if it can still take lines; "" once
        that invoice is final; None before there is one."""
        ...

    async def billed_lines(
        self, customer_id: str, cycle_id: str, since: datetime
    ) -> dict[int, str]:
        """The lines of a cycle's overage that stand on invoices, of those made since its end:
        line number -> invoice id."""
        ...

    async def add_line(
        self, customer_id: str, invoice_id: str, item: OverageItem, key: str
    ) -> None:
        """Put a line of overage on a draft.

        :raises InvoiceIsFinal: it is no draft any more.
        """
        ...

    async def open_invoice(
        self, workspace_id: str, customer_id: str, cycle_id: str, currency: str, key: str
    ) -> str:
        """A draft of its own for a cycle's overage; its id."""
        ...

    async def finalize(self, invoice_id: str, key: str) -> None:
        """Make a draft final, and let it be collected. A no-op for one that is."""
        ...


class OverageItem(msgspec.Struct, frozen=True, gc=False):
    """A line of overage on its way to an invoice: where it is of, and how it reads."""

    workspace_id: str
    cycle_id: str
    number: int  # within its statement
    line: OverageLine
    currency: str
    period: tuple[datetime, datetime]
    description: str

    @property
    def key(self) -> str:
        """What it is told apart by, for ever."""
        return f"overage:{self.cycle_id}:{self.number}"


class InvoiceIsFinal(Exception):
    """The invoice takes no more lines."""
