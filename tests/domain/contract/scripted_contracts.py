"""A provider of subscriptions for the domain's tests: one subscription, told what to do next.

It keeps just what the use cases ask about. The amounts follow Stripe's rule (a price for the part
of the period that is left, to the second); the real rules are the sandbox's, which the scenarios
run against.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from domain.contract.cycle import boundary
from domain.contract.facts import QuoteLine
from domain.contract.processor import (
    Contracts,
    OverageItem,
    Preview,
    Price,
    RemoteSubscription,
    Session,
    Upgrade,
)
from domain.invoice.invoice import InvoiceDocument
from domain.money import round_half_even

SUB = "sub_stripe1"
SECOND = timedelta(seconds=1)


class Scripted(Contracts):
    """One subscription and what was asked about it (`calls`)."""

    def __init__(self) -> None:
        self.remote: RemoteSubscription | None = None
        self.amount = 0
        self.calls: list[str] = []
        self.declines = False
        self.surcharge = 0  # what Stripe would charge more than it said before
        self.pending: Price | None = None
        self.scheduled: Price | None = None
        self.draft: str | None = None
        self.items: dict[tuple[str, int], tuple[str, int]] = {}  # cycle, line -> invoice, minor
        self.final: set[str] = set()
        self.done: dict[str, Upgrade] = {}

    def start(self, workspace_id: str, price: Price, start: datetime) -> RemoteSubscription:
        """A page was paid."""
        start = start.replace(microsecond=0)
        self.amount = price.amount
        self.remote = RemoteSubscription(
            SUB,
            "active",
            workspace_id,
            "cus_1",
            price.pin,
            start,
            boundary(start, 1),
            start,
            start,
        )
        return self.remote

    @property
    def live(self) -> RemoteSubscription:
        """The subscription, which there must be."""
        assert self.remote is not None
        return self.remote

    def pass_time(self, now: datetime) -> None:
        """What time does at Stripe: pending updates expire, periods end."""
        while self.remote is not None and self.remote.ended_at is None:
            if self.remote.pending_until is not None and now >= self.remote.pending_until:
                self.change(pending_until=None)
                self.pending = None
            if now < self.remote.period_end:
                return
            if self.remote.cancel_at is not None:
                self.change(status="canceled", ended_at=self.remote.cancel_at)
            else:
                self.renew()

    def change(self, **fields: object) -> None:
        """Something happened at Stripe."""
        assert self.remote is not None
        self.remote = replace(self.remote, **fields)

    def renew(self) -> None:
        """The period is over: the next begins, with the scheduled price."""
        assert self.remote is not None
        start = self.remote.period_end
        if self.scheduled is not None:
            self.change(plan=self.scheduled.pin, schedule_id=None)
            self.amount, self.scheduled = self.scheduled.amount, None
        n = 1
        while boundary(self.remote.anchor_at, n) <= start:
            n += 1
        self.change(period_start=start, period_end=boundary(self.remote.anchor_at, n))

    def pay_pending(self) -> None:
        """The invoice of the pending upgrade was paid."""
        assert self.pending is not None
        self.change(plan=self.pending.pin, pending_until=None)
        self.amount, self.pending = self.pending.amount, None

    # What the use cases ask.

    async def create_customer(self, workspace_id: str) -> str:
        self.calls.append("create_customer")
        return "cus_1"

    async def open_checkout(
        self,
        workspace_id: str,
        customer_id: str,
        price: Price,
        payment_attempt_id: str,
        success_url: str,
        cancel_url: str,
    ) -> Session:
        self.calls.append("open_checkout")
        return Session("cs_1", "https://pay", "open", False, workspace_id, payment_attempt_id)

    async def session(self, session_id: str) -> Session | None:
        return None

    async def subscription(self, subscription_id: str) -> RemoteSubscription | None:
        return self.remote if self.remote and self.remote.id == subscription_id else None

    async def preview(self, subscription_id: str, price: Price, proration_date: int) -> Preview:
        self.calls.append(f"preview:{proration_date}")
        remote = self.remote
        assert remote is not None
        at = datetime.fromtimestamp(proration_date, UTC)
        left, whole = (
            (remote.period_end - at) // SECOND,
            (remote.period_end - remote.period_start) // SECOND,
        )
        back = -round_half_even(self.amount * left, whole)
        more = round_half_even(price.amount * left, whole) + self.surcharge
        lines = (QuoteLine("unused", back, True), QuoteLine("rest", more, True))
        return Preview(back + more, lines)

    async def upgrade(
        self, subscription_id: str, price: Price, proration_date: int, key: str
    ) -> Upgrade:
        if key in self.done:
            return self.done[key]
        await self._free()
        due = (await self.preview(subscription_id, price, proration_date)).amount_due
        self.calls.append(f"upgrade:{proration_date}")
        assert self.remote is not None
        if self.declines:
            self.pending = price
            self.change(pending_until=self.remote.period_end, pending_plan=price.pin)
            self.done[key] = Upgrade(self.remote, "in_1", due, "https://pay/in_1")
        else:
            self.amount = price.amount
            self.change(plan=price.pin, pending_until=None)
            self.done[key] = Upgrade(self.remote, "in_1", due, None)
        return self.done[key]

    async def schedule(
        self, subscription_id: str, price: Price, key: str, at: datetime | None = None
    ) -> str:
        self.calls.append("schedule")
        self.scheduled = price
        self.change(schedule_id="sub_sched_1")
        return "sub_sched_1"

    async def release(self, schedule_id: str) -> None:
        self.calls.append("release")
        self.scheduled = None
        self.change(schedule_id=None)

    async def _free(self) -> None:
        if self.live.schedule_id is not None:
            await self.release(self.live.schedule_id)

    async def note_overage(self, subscription_id: str, enabled: bool, key: str) -> str | None:
        self.calls.append(f"overage:{enabled}")
        return "req_1"

    async def set_cancel(self, subscription_id: str, cancel: bool, key: str) -> RemoteSubscription:
        await self._free()
        self.calls.append(f"cancel:{cancel}")
        assert self.remote is not None
        self.change(cancel_at=self.remote.period_end if cancel else None)
        return self.remote

    async def drop(self, subscription_id: str) -> None:
        self.calls.append("drop")
        self.change(status="canceled", ended_at=self.live.period_start)

    async def invoice(self, invoice_id: str) -> InvoiceDocument | None:
        return None

    async def invoice_of(self, payment_intent_id: str) -> str | None:
        return None

    async def payment_of(self, invoice_id: str) -> str | None:
        return None

    async def renewal_draft(self, subscription_id: str, period_end: datetime) -> str | None:
        return self.draft

    async def billed_lines(
        self, customer_id: str, cycle_id: str, since: datetime
    ) -> dict[int, str]:
        return {n: invoice for (cycle, n), (invoice, _) in self.items.items() if cycle == cycle_id}

    async def add_line(
        self, customer_id: str, invoice_id: str, item: OverageItem, key: str
    ) -> None:
        place = (item.cycle_id, item.number)
        assert place not in self.items, "a line stands once"
        self.items[place] = (invoice_id, item.line.amount_minor)

    async def open_invoice(
        self, workspace_id: str, customer_id: str, cycle_id: str, currency: str, key: str
    ) -> str:
        return f"in_{key}"

    async def finalize(self, invoice_id: str, key: str) -> None:
        self.final.add(invoice_id)
