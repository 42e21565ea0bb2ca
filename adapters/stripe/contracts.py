"""Subscriptions on Stripe: the domain's `Contracts`, asked through `StripeClient`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import stripe
from msgspec.structs import replace

from adapters.stripe import agreements
from adapters.stripe.billing import TOLERANCE, StripeInvoices
from adapters.stripe.client import asking
from adapters.stripe.objects import fetch
from adapters.stripe.readings import id_of
from domain.contract.errors import NotSubscribed, PreviewStale
from domain.contract.processor import (
    Preview,
    Price,
    RemoteSubscription,
    Session,
    Upgrade,
)
from domain.errors import Conflict

STALE = "Stripe no longer takes this change; ask for a new preview"
GONE = "Stripe no longer has this subscription running"


class StripeContracts(StripeInvoices):
    """One Stripe account. Prices are found by a lookup key that says all there is to them."""

    async def create_customer(self, workspace_id: str) -> str:
        """A customer for a workspace; with payments' own key, so that both make one."""
        with asking("open a customer"):
            made = await self._v1.customers.create_async(
                {"metadata": {"workspace_id": workspace_id}},
                {"idempotency_key": f"customer:{workspace_id}"},
            )
        return str(made.id)

    # Pages.

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
        metadata = {
            "workspace_id": workspace_id,
            "payment_attempt_id": payment_attempt_id,
            "plan_id": price.plan_id,
        }
        params: Any = {
            "mode": "subscription",
            "customer": customer_id,
            "client_reference_id": workspace_id,
            "line_items": [{"price": await self._price(price), "quantity": 1}],
            "metadata": metadata,
            "subscription_data": {"metadata": metadata},
            "success_url": success_url,
            "cancel_url": cancel_url,
        }
        with asking("open a checkout page"):
            made = await self._v1.checkout.sessions.create_async(
                params, {"idempotency_key": payment_attempt_id}
            )
        return agreements.session(made.to_dict())

    async def session(self, session_id: str) -> Session | None:
        """A payment page as it is now."""
        found = await fetch(self._client, "checkout.session", session_id)
        if found is None or found["mode"] != "subscription":
            return None
        return agreements.session(found)

    # Subscriptions.

    async def subscription(self, subscription_id: str) -> RemoteSubscription | None:
        """A subscription as it is now."""
        found = await fetch(self._client, "subscription", subscription_id)
        if found is None:
            return None
        remote = agreements.subscription(found)
        if remote.schedule_id is None:
            return remote
        return replace(remote, scheduled_plan=await self._scheduled(remote))

    async def preview(self, subscription_id: str, price: Price, proration_date: int) -> Preview:
        """What changing to a price at an instant would charge, in Stripe's own numbers."""
        params: Any = {
            "subscription": subscription_id,
            "subscription_details": {
                "items": await self._items(subscription_id, price),
                "proration_behavior": "always_invoice",
                "proration_date": proration_date,
            },
        }
        with asking("preview a change of plan"), _refused(PreviewStale, STALE):
            made = await self._v1.invoices.create_preview_async(params)
        found = made.to_dict()
        return agreements.preview(found, found["lines"]["data"])

    async def upgrade(
        self, subscription_id: str, price: Price, proration_date: int, key: str
    ) -> Upgrade:
        """Change to a price and charge the difference at once; without payment nothing changes.
        Whatever was scheduled is released."""
        await self._free(subscription_id)
        params: Any = {
            "items": await self._items(subscription_id, price),
            "proration_behavior": "always_invoice",
            "proration_date": proration_date,
            "payment_behavior": "pending_if_incomplete",
        }
        with asking("change a plan"), _refused(PreviewStale, STALE):
            made = await self._v1.subscriptions.update_async(
                subscription_id, params, {"idempotency_key": key}
            )
        invoice_id = id_of(made.to_dict().get("latest_invoice")) or None
        found = await fetch(self._client, "invoice", invoice_id) if invoice_id else None
        now = await self.subscription(subscription_id)
        assert now is not None
        if found is None or found.get("billing_reason") != "subscription_update":
            return Upgrade(now, None, 0, None)
        return Upgrade(now, invoice_id, int(found["amount_due"]), found.get("hosted_invoice_url"))

    async def schedule(
        self, subscription_id: str, price: Price, key: str, at: datetime | None = None
    ) -> str:
        """Change to a price when the period ends, without proration; the schedule's id.

        :raises PreviewStale: the period that runs does not end ``at`` that instant.
        """
        found = await fetch(self._client, "subscription", subscription_id)
        assert found is not None
        ends = agreements.subscription(found).period_end
        if at is not None and abs(ends - at) > TOLERANCE:
            raise PreviewStale(STALE)
        schedule_id = id_of(found.get("schedule"))
        if not schedule_id:
            with asking("schedule a change of plan"), _refused(PreviewStale, STALE):
                made = await self._v1.subscription_schedules.create_async(
                    {"from_subscription": subscription_id}, {"idempotency_key": f"{key}:create"}
                )
            schedule_id = made.id
        item = found["items"]["data"][0]
        start, end = int(item["current_period_start"]), int(item["current_period_end"])
        schedule = await fetch(self._client, "subscription_schedule", schedule_id)
        current = (schedule or {}).get("current_phase") or {"start_date": start}
        now = [{"price": id_of(item["price"]), "quantity": 1}]
        later = [{"price": await self._price(price), "quantity": 1}]
        params: Any = {
            "end_behavior": "release",
            "proration_behavior": "none",
            "phases": [
                {
                    "items": now,
                    "start_date": current["start_date"],
                    "end_date": end,
                    "proration_behavior": "none",
                },
                {
                    "items": later,
                    "start_date": end,
                    "duration": {"interval": "month", "interval_count": 1},
                    "proration_behavior": "none",
                },
            ],
        }
        with asking("schedule a change of plan"), _refused(PreviewStale, STALE):
            await self._v1.subscription_schedules.update_async(
                schedule_id, params, {"idempotency_key": f"{key}:{schedule_id}:{end}"}
            )
        return schedule_id

    async def release(self, schedule_id: str) -> None:
        """Let a schedule change nothing any more. A no-op for one that is done or released."""
        schedule = await fetch(self._client, "subscription_schedule", schedule_id)
        if schedule is None or schedule["status"] not in ("active", "not_started"):
            return
        try:
            with asking("release a schedule"):
                await self._v1.subscription_schedules.release_async(
                    schedule_id, {}, {"idempotency_key": f"release:{schedule_id}"}
                )
        except stripe.InvalidRequestError:
            pass  # somebody else did at this moment, or it is done

    async def note_overage(self, subscription_id: str, enabled: bool, key: str) -> str | None:
        """Tell that overage is agreed to, or not. A change of metadata prorates nothing; what is
        said of prorations is said because the product promises it."""
        params: Any = {
            "metadata": {"overage": "on" if enabled else "off"},
            "proration_behavior": "create_prorations",
        }
        with asking("switch overage"), _refused(NotSubscribed, GONE):
            made = await self._v1.subscriptions.update_async(
                subscription_id, params, {"idempotency_key": key}
            )
        response = made.last_response
        return response.request_id if response is not None else None

    async def set_cancel(self, subscription_id: str, cancel: bool, key: str) -> RemoteSubscription:
        """End it with its period, or let it go on. Whatever else was scheduled is released."""
        await self._free(subscription_id)
        with asking("cancel a subscription"), _refused(NotSubscribed, GONE):
            made = await self._v1.subscriptions.update_async(
                subscription_id, {"cancel_at_period_end": cancel}, {"idempotency_key": key}
            )
        return agreements.subscription(made.to_dict())

    async def drop(self, subscription_id: str) -> None:
        """End a subscription at once that is not to be. Again, a no-op."""
        found = await self.subscription(subscription_id)
        if found is None or found.status in ("canceled", "incomplete_expired"):
            return
        try:
            with asking("drop a subscription"):
                await self._v1.subscriptions.cancel_async(
                    subscription_id, {}, {"idempotency_key": f"drop:{subscription_id}"}
                )
        except stripe.InvalidRequestError:
            pass  # it ended at this moment

    # Parts.

    async def _scheduled(self, remote: RemoteSubscription) -> tuple[str, int] | None:
        """The plan that a schedule will put in force when the period ends."""
        schedule = await fetch(self._client, "subscription_schedule", remote.schedule_id or "")
        ends = int(remote.period_end.timestamp())
        for phase in (schedule or {}).get("phases") or ():
            if phase["start_date"] >= ends:
                price = await fetch(self._client, "price", id_of(phase["items"][0]["price"]))
                return None if price is None else agreements.plan_of_price(price)
        return None

    async def _free(self, subscription_id: str) -> None:
        """Let go of the schedule that a subscription is under: nothing else may change one that
        is. A schedule stays for a period after it has done what it was made for."""
        found = await self.subscription(subscription_id)
        if found is not None and found.schedule_id is not None:
            await self.release(found.schedule_id)

    async def _items(self, subscription_id: str, price: Price) -> list[dict[str, str]]:
        """The one item of a subscription, at another price."""
        found = await fetch(self._client, "subscription", subscription_id)
        assert found is not None
        return [{"id": found["items"]["data"][0]["id"], "price": await self._price(price)}]

    async def _price(self, price: Price) -> str:
        """Stripe's price of a plan's version, made the first time it is asked for."""
        key = f"daybook:{price.plan_id}:{price.plan_version}:{price.currency}:{price.amount}"
        known = await self._known_price(key)
        if known is not None:
            return known
        params: Any = {
            "currency": price.currency,
            "unit_amount": price.amount,
            "recurring": {"interval": "month"},
            "lookup_key": key,
            "product_data": {"name": price.plan_id.replace("_", " ").capitalize()},
            "metadata": {"plan_id": price.plan_id, "plan_version": str(price.plan_version)},
        }
        try:
            with asking("make a price"):
                made = await self._v1.prices.create_async(params, {"idempotency_key": key})
        except stripe.InvalidRequestError:
            known = await self._known_price(key)  # somebody else was here first
            if known is None:
                raise
            return known
        return made.id

    async def _known_price(self, key: str) -> str | None:
        with asking("look for a price"):
            known = await self._v1.prices.list_async({"lookup_keys": [key], "active": True})
        return known.data[0].id if known.data else None


@contextmanager
def _refused(kind: type[Conflict], why: str) -> Iterator[None]:
    """Say in the domain's words that Stripe will not: the object is in another state by now."""
    try:
        yield
    except stripe.InvalidRequestError:
        raise kind(why) from None
