"""Invoices of subscriptions on Stripe, and the overage that we put on them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import stripe

from adapters.stripe import agreements
from adapters.stripe.client import asking
from adapters.stripe.objects import fetch, listed
from adapters.stripe.readings import id_of
from domain.contract.processor import InvoiceIsFinal, OverageItem
from domain.invoice.invoice import InvoiceDocument

TOLERANCE = timedelta(seconds=1)
CLOCKS_APART = timedelta(days=1)
"""How far Stripe's clock may be from ours, at the very most."""
ITEMS_MAX = 100  # a page's


class StripeInvoices:
    """The invoices of one Stripe account."""

    def __init__(self, client: stripe.StripeClient) -> None:
        self._client = client
        self._v1 = client.v1

    async def invoice(self, invoice_id: str) -> InvoiceDocument | None:
        """An invoice with all its lines as it is now."""
        found = await fetch(self._client, "invoice", invoice_id)
        if found is None:
            return None
        return agreements.invoice(found, await self._lines(found))

    async def invoice_of(self, payment_intent_id: str) -> str | None:
        """The invoice that a payment paid, or None for any other payment."""
        params: Any = {
            "payment": {"type": "payment_intent", "payment_intent": payment_intent_id},
            "limit": 1,
        }
        with asking("find a payment's invoice"):
            page = await self._v1.invoice_payments.list_async(params)
        return id_of(page.data[0].to_dict()["invoice"]) if page.data else None

    async def payment_of(self, invoice_id: str) -> str | None:
        """The payment that paid an invoice, or None where there is none."""
        params: Any = {"invoice": invoice_id, "status": "paid", "limit": 1}
        with asking("find an invoice's payment"):
            page = await self._v1.invoice_payments.list_async(params)
        paid = page.data[0].to_dict()["payment"] if page.data else {}
        return id_of(paid.get("payment_intent")) or None

    async def renewal_draft(self, subscription_id: str, period_end: datetime) -> str | None:
        """The draft of the invoice that closes a period; "" once it is final; None before."""
        async for found in listed(self._client, "invoice", subscription=subscription_id):
            if found.get("billing_reason") != "subscription_cycle":
                continue
            ends = agreements.moment(found["period_end"])
            if abs(ends - period_end) <= TOLERANCE:
                return str(found["id"]) if found["status"] == "draft" else ""
            if ends < period_end:
                return None
        return None

    async def billed_lines(
        self, customer_id: str, cycle_id: str, since: datetime
    ) -> dict[int, str]:
        """The lines of a cycle's overage that stand on invoices: line number -> invoice id."""
        billed: dict[int, str] = {}
        async for item in self._invoice_items(customer_id):
            metadata = item.get("metadata") or {}
            if metadata.get("cycle_id") == cycle_id:
                billed[int(metadata["line"])] = id_of(item.get("invoice"))
            if agreements.moment(item["date"]) < since - CLOCKS_APART:
                break
        return billed

    async def add_line(
        self, customer_id: str, invoice_id: str, item: OverageItem, key: str
    ) -> None:
        """Put a line of overage on a draft.

        :raises InvoiceIsFinal: it is no draft any more.
        """
        line, (start, end) = item.line, item.period
        metadata = {
            "kind": "overage",
            "workspace_id": item.workspace_id,
            "cycle_id": item.cycle_id,
            "line": str(item.number),
            "bucket": line.bucket,
            "units": str(line.units),
            "unit_price_micros": str(line.unit_price),
            "plan_id": line.plan_id,
            "plan_version": str(line.plan_version),
        }
        if line.bot_id is not None:
            metadata["bot_id"] = line.bot_id
        params: Any = {
            "customer": customer_id,
            "invoice": invoice_id,
            "amount": line.amount_minor,
            "currency": item.currency,
            "period": {"start": int(start.timestamp()), "end": int(end.timestamp())},
            "description": item.description,
            "metadata": metadata,
        }
        try:
            with asking("bill overage"):
                await self._v1.invoice_items.create_async(params, {"idempotency_key": key})
        except stripe.InvalidRequestError:
            found = await fetch(self._client, "invoice", invoice_id)
            if found is not None and found["status"] == "draft":
                raise
            raise InvoiceIsFinal from None

    async def open_invoice(
        self, workspace_id: str, customer_id: str, cycle_id: str, currency: str, key: str
    ) -> str:
        """A draft of its own for a cycle's overage, for the card that paid the subscription."""
        params: Any = {
            "customer": customer_id,
            "auto_advance": True,
            "collection_method": "charge_automatically",
            "currency": currency,
            "pending_invoice_items_behavior": "exclude",
            "description": "Usage beyond the plan",
            "metadata": {"kind": "overage", "workspace_id": workspace_id, "cycle_id": cycle_id},
        }
        async for one in listed(self._client, "subscription", customer=customer_id, status="all"):
            if method := id_of(one.get("default_payment_method")):
                params["default_payment_method"] = method
            break
        with asking("bill overage"):
            made = await self._v1.invoices.create_async(params, {"idempotency_key": key})
        return str(made.id)

    async def finalize(self, invoice_id: str, key: str) -> None:
        """Make a draft final, and let it be collected. A no-op for one that is."""
        found = await fetch(self._client, "invoice", invoice_id)
        if found is None or found["status"] != "draft":
            return
        try:
            with asking("finalise an invoice"):
                await self._v1.invoices.finalize_invoice_async(
                    invoice_id, {"auto_advance": True}, {"idempotency_key": key}
                )
        except stripe.InvalidRequestError:
            found = await fetch(self._client, "invoice", invoice_id)
            if found is not None and found["status"] == "draft":
                raise

    async def _lines(self, invoice: dict[str, Any]) -> list[dict[str, Any]]:
        if not invoice["lines"].get("has_more"):
            return list(invoice["lines"]["data"])
        lines: list[dict[str, Any]] = []
        params: Any = {"limit": ITEMS_MAX}
        while True:
            with asking("read an invoice"):
                page = await self._v1.invoices.line_items.list_async(invoice["id"], params)
            lines += [line.to_dict() for line in page.data]
            if not page.has_more:
                return lines
            params["starting_after"] = lines[-1]["id"]

    async def _invoice_items(self, customer_id: str) -> AsyncIterator[dict[str, Any]]:
        params: Any = {"customer": customer_id, "limit": ITEMS_MAX}
        while True:
            with asking("read invoice items"):
                page = await self._v1.invoice_items.list_async(params)
            for item in page.data:
                yield item.to_dict()
            if not page.has_more:
                return
            params["starting_after"] = page.data[-1].id
