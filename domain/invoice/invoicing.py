"""Invoices: Stripe's mirrored with what they mean for the contract, and our overage put on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from domain.account.credit_account import CreditAccount
from domain.account.overage import OverageLine
from domain.catalogue.catalogue import PlanCatalogue
from domain.commands import Command, Stream
from domain.contract.dunning import is_owed, note_failure, note_settled
from domain.contract.facts import OverageInvoiced
from domain.contract.policy import grant_what_is_due
from domain.contract.processor import Contracts, InvoiceIsFinal, OverageItem
from domain.contract.subscription import CycleClosed, Subscription, subscription_stream
from domain.contract.sync import ContractSync, Disposition
from domain.errors import ConcurrencyConflict
from domain.facts import Context
from domain.invoice.invoice import Invoice, InvoiceDocument, invoice_stream, is_dunned
from domain.money import usd
from domain.places import PLANS, account_stream
from domain.workspace.workspace import Workspace, workspace_stream

OTHER_BOTS = "other bots"
REPORTED_LATE = ", reported late"
"""How lines of overage are described that name no bot of their own, and those of late usage."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An attempt to collect an invoice that failed: Stripe's event of it."""

    event_id: str
    failed_at: datetime
    attempt: int
    next_attempt_at: datetime | None = None
    decline_code: str | None = None


class Invoicing(ContractSync):
    """What is asked for on invoices."""

    async def note_invoice(
        self,
        document: InvoiceDocument,
        context: Context,
        *,
        failure: Failure | None = None,
        remote_status: str | None = None,
    ) -> Disposition:
        """Take in an invoice as Stripe has it now, and a failure of it, in one save with what
        that means for the contract. ``remote_status`` is that of its subscription at Stripe.

        `ignored` if it is none of ours, `deferred` while its subscription is not known here.
        """
        workspace_id = document.workspace_id
        if workspace_id is None:
            return "deferred" if document.subscription_id else "ignored"

        def decide(
            invoice: Invoice,
            subscription: Subscription,
            workspace: Workspace,
            account: CreditAccount,
            plans: PlanCatalogue,
        ) -> Disposition:
            ours = document.subscription_id
            if not subscription.version:
                return "ignored"
            if ours is not None and not subscription.is_known(ours) and not invoice.version:
                return "deferred"
            invoice.mirror(document, context)
            if failure is not None:
                _note_failure(invoice, failure, context)
            settled = invoice.status in ("paid", "void")
            if failure and not settled and is_dunned(document, remote_status):
                first = invoice.first_failed_at or failure.failed_at
                if is_owed(subscription, document, first):
                    note_failure(subscription, workspace, plans, document.id, first, context)
            elif settled:
                note_settled(subscription, workspace, document.id, context)
                grant_what_is_due(account, subscription, plans, context)
            return "applied"

        streams = (
            Stream(Invoice, invoice_stream(document.id)),
            Stream(Subscription, subscription_stream(workspace_id)),
            Stream(Workspace, workspace_stream(workspace_id)),
            account_stream(workspace_id),
        )
        cause = f"stripe:{failure.event_id}" if failure else None
        done = await self.book.submit(Command(streams, decide, cause, (PLANS,)))
        return "applied" if done.replayed else done.answer

    async def note_invoice_deleted(
        self, document: InvoiceDocument, at: datetime, context: Context
    ) -> Disposition:
        """A draft was thrown away. `ignored` if it is none of ours."""
        workspace_id = document.workspace_id
        if workspace_id is None:
            return "ignored"

        def decide(invoice: Invoice, subscription: Subscription) -> Disposition:
            ours = document.subscription_id
            if not invoice.version and ours is not None and not subscription.is_known(ours):
                return "ignored"
            if not subscription.version:
                return "ignored"
            invoice.note_deleted(document, at, context)
            return "applied"

        streams = (
            Stream(Invoice, invoice_stream(document.id)),
            Stream(Subscription, subscription_stream(workspace_id)),
        )
        answer: Disposition = (await self.book.submit(Command(streams, decide))).answer
        return answer

    async def note_invoice_refunded(
        self, invoice_id: str, cumulative: int, context: Context
    ) -> Disposition:
        """A payment of an invoice was given back, in part or in whole; minor units in all.
        `deferred` while the invoice is not known here."""

        def decide(invoice: Invoice) -> Disposition:
            invoice.note_refunded(cumulative, context)
            return "applied" if invoice.version else "deferred"

        place = Stream(Invoice, invoice_stream(invoice_id))
        answer: Disposition = (await self.book.submit(Command((place,), decide))).answer
        return answer

    async def mirrors(self, invoice_id: str) -> bool:
        """Whether an invoice of Stripe's is known here: then it is followed to its end, whatever
        has taken the place of its subscription."""
        return bool((await self.book.fresh(Stream(Invoice, invoice_stream(invoice_id)))).version)

    async def bill_overage(
        self, contracts: Contracts, workspace_id: str, context: Context
    ) -> list[str]:
        """Put the overage of closed cycles on Stripe's draft for the renewal, or on an invoice of
        its own where that draft is final or never comes. Answers the cycles that are billed now;
        what waits for its draft stays. Each line stands once, whoever asks how often."""
        found = await self.known_subscription(workspace_id)
        billed: list[str] = []
        for cycle_id in found.unbilled if found else ():
            assert found is not None
            event = await self.book.find_cause(found.id, f"cycle_closed:{cycle_id}")
            assert event is not None
            closed = event[0].fact
            assert isinstance(closed, CycleClosed)
            if await self._bill(contracts, workspace_id, found, closed, context):
                billed.append(cycle_id)
        return billed

    async def _bill(
        self,
        contracts: Contracts,
        workspace_id: str,
        subscription: Subscription,
        closed: CycleClosed,
        context: Context,
    ) -> bool:
        draft: str | None = ""
        stripe_id = subscription.unbilled[closed.cycle_id]
        if stripe_id == subscription.stripe_id:  # else it ended, and is renewed no more
            draft = await contracts.renewal_draft(stripe_id, closed.period_end)
            if draft is None:
                return False
        customer = await self.customer(contracts, workspace_id, context)
        currency = (await self.plans()).current.currency
        items = items_of(workspace_id, closed, currency)
        known = await contracts.billed_lines(customer, closed.cycle_id, closed.period_end)
        missing = [item for item in items if item.number not in known]
        invoice_id = next(iter(known.values()), draft)
        if draft:
            try:
                for item in missing:
                    await contracts.add_line(customer, draft, item, item.key)
                missing, invoice_id = [], draft
            except InvoiceIsFinal:
                known = await contracts.billed_lines(customer, closed.cycle_id, closed.period_end)
                missing = [item for item in items if item.number not in known]
        if missing:
            alone = f"overage:{closed.cycle_id}:invoice"
            invoice_id = await contracts.open_invoice(
                workspace_id, customer, closed.cycle_id, currency, alone
            )
            try:
                for item in missing:
                    await contracts.add_line(customer, invoice_id, item, f"{item.key}:{invoice_id}")
            except InvoiceIsFinal:  # somebody else billed it at this moment
                raise ConcurrencyConflict() from None
        if invoice_id and invoice_id != draft:
            await contracts.finalize(invoice_id, f"final:{invoice_id}")
        await self._note_billed(workspace_id, closed, invoice_id or "", context)
        return True

    async def _note_billed(
        self, workspace_id: str, closed: CycleClosed, invoice_id: str, context: Context
    ) -> None:
        def decide(subscription: Subscription) -> None:
            if closed.cycle_id in subscription.unbilled:
                subscription.record(
                    OverageInvoiced(
                        **subscription.stamp(context, f"overage_invoiced:{closed.cycle_id}"),
                        cycle_id=closed.cycle_id,
                        stripe_invoice_id=invoice_id,
                        amount=closed.amount_minor,
                    )
                )

        place = Stream(Subscription, subscription_stream(workspace_id))
        await self.book.submit(Command((place,), decide))


def items_of(workspace_id: str, closed: CycleClosed, currency: str) -> Sequence[OverageItem]:
    """A statement's lines as they go onto an invoice."""
    period = (closed.period_start, closed.period_end)
    return [
        OverageItem(
            workspace_id, closed.cycle_id, number, line, currency, period, describe(line, period)
        )
        for number, line in enumerate(closed.overage)
    ]


def describe(line: OverageLine, period: tuple[datetime, datetime]) -> str:
    """A line in words: who, how much, at what price, in which cycle."""
    units = line.bucket.replace("_", " ")
    bot = OTHER_BOTS if line.merged else f"bot {line.bot_id}" if line.bot_id else "no bot"
    cycle = f"cycle {period[0]:%Y-%m-%d} to {period[1]:%Y-%m-%d}"
    late = REPORTED_LATE if line.late else ""
    return (
        f"{line.units:,} {units} beyond the plan at {usd(line.unit_price)} each, "
        f"{bot}, {cycle}{late}"
    )


def _note_failure(invoice: Invoice, failure: Failure, context: Context) -> None:
    more: dict[str, Any] = {
        "next_attempt_at": failure.next_attempt_at,
        "decline_code": failure.decline_code,
    }
    invoice.note_failure(failure.event_id, failure.failed_at, failure.attempt, context, **more)
