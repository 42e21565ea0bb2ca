"""Card payments on Stripe: the domain's `Payments`, asked through `StripeClient`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Any

import stripe

from adapters.stripe import readings
from adapters.stripe.amounts import to_minor
from adapters.stripe.client import asking
from adapters.stripe.objects import fetch, listed
from domain.errors import InvalidInput
from domain.payment.errors import NotRefundable
from domain.payment.processor import (
    Card,
    Charge,
    Contest,
    Customer,
    Intent,
    Order,
    Page,
    Refund,
    Session,
)

PORTAL = "daybook"
"""Names our portal configuration among an account's."""
FEATURES = {
    "customer_update": {"enabled": True, "allowed_updates": ["email"]},
    "invoice_history": {"enabled": True},
    "payment_method_update": {"enabled": True},
    "subscription_cancel": {"enabled": True, "mode": "at_period_end"},
    # Plans are changed with a preview, by us.
    "subscription_update": {"enabled": False},
}
EARLIER_S = 3600
"""How much earlier than our clock's an intent may be created by Stripe's."""


class StripePayments:
    """One Stripe account. Keys of idempotency are derived from what each call is about."""

    def __init__(self, client: stripe.StripeClient) -> None:
        self._client = client
        self._v1 = client.v1
        self._portal: str | None = None

    # Customers and cards.

    async def new_customer(self, workspace_id: str) -> str:
        """Open a customer; the same workspace again gives the same one."""
        with asking("open a customer"):
            made = await self._v1.customers.create_async(
                {"metadata": {"workspace_id": workspace_id}},
                {"idempotency_key": f"customer:{workspace_id}"},
            )
        return str(made.id)

    async def customer(self, customer_id: str) -> Customer | None:
        """A customer; one that was deleted is none."""
        found = await fetch(self._client, "customer", customer_id)
        return None if found is None or found.get("deleted") else readings.customer(found)

    async def card(self, payment_method_id: str) -> Card | None:
        """A saved card."""
        found = await fetch(self._client, "payment_method", payment_method_id)
        return None if found is None else readings.card(found)

    async def make_default(self, customer_id: str, payment_method_id: str) -> bool:
        """Charge this card from now on; False if it is not the customer's any more."""
        try:
            with asking("make a card the default"):
                await self._v1.customers.update_async(
                    customer_id,
                    {"invoice_settings": {"default_payment_method": payment_method_id}},
                )
        except stripe.InvalidRequestError:
            return False
        return True

    # Charging.

    async def charge_card(self, order: Order) -> Intent:
        """Charge a saved card without its holder, at once. A refusal is an answer too."""
        try:
            with asking("charge a card"):
                made = await self._v1.payment_intents.create_async(
                    {
                        "amount": to_minor(order.amount, order.currency),
                        "currency": order.currency,
                        "customer": order.customer,
                        "payment_method": order.payment_method or "",
                        "off_session": True,
                        "confirm": True,
                        "metadata": _metadata(order),
                    },
                    {"idempotency_key": order.payment_attempt_id},
                )
        except stripe.CardError as refused:
            return readings.intent(_intent_of(refused))
        except stripe.InvalidRequestError as refused:
            # Such as a card that was detached a moment ago: nothing was charged, nor will be.
            return Intent(
                id="",
                status="failed",
                payment_attempt_id=order.payment_attempt_id,
                workspace_id=order.workspace_id,
                code=refused.code or "invalid_request",
            )
        return readings.intent(made.to_dict())

    async def find_intent(self, order: Order) -> Intent | None:
        """What came of an order. Listed, not searched: the search index lags behind."""
        since = int(order.requested_at.timestamp()) - EARLIER_S
        lately: dict[str, str | int] = {"customer": order.customer, "created[gte]": since}
        async for one in listed(self._client, "payment_intent", **lately):
            if one["metadata"].get("payment_attempt_id") == order.payment_attempt_id:
                return readings.intent(one)
        return None

    async def intent(self, intent_id: str) -> Intent | None:
        """A payment."""
        found = await fetch(self._client, "payment_intent", intent_id)
        return None if found is None else readings.intent(found)

    async def name_attempt(
        self, intent_id: str, payment_attempt_id: str, workspace_id: str
    ) -> None:
        """Write on a payment which attempt of ours it belongs to, so that refunds and disputes
        of it find their way here."""
        named = {"payment_attempt_id": payment_attempt_id, "workspace_id": workspace_id}
        with asking("name a payment's attempt"):
            await self._v1.payment_intents.update_async(intent_id, {"metadata": named})

    async def authenticate(self, intent: Intent, return_url: str) -> Intent:
        """Prepare a page on which the card's holder confirms a payment that needs it: the same
        payment, so that it can never be made twice."""
        now = await self.intent(intent.id) or intent
        if now.status != "failed":
            return now  # somebody else has prepared it, or it went on
        # The address is a part of the key: whoever asks with another one asks for something else.
        key = f"authenticate:{intent.id}:{sha256(return_url.encode()).hexdigest()[:16]}"
        try:
            with asking("ask for authentication"):
                await self._v1.payment_intents.confirm_async(
                    intent.id,
                    {"payment_method": intent.payment_method or "", "return_url": return_url},
                    {"idempotency_key": key},
                )
        except (stripe.CardError, stripe.InvalidRequestError):
            pass  # it has moved on meanwhile; how far says Stripe now
        return await self.intent(intent.id) or intent

    # Pages.

    async def card_page(self, order: Order, success_url: str, cancel_url: str) -> Page:
        """Open a page on which a card is saved for later."""
        params: Any = {
            "mode": "setup",
            "currency": order.currency,
            "setup_intent_data": {"metadata": _metadata(order)},
        }
        return await self._page(order, params, success_url, cancel_url)

    async def payment_page(self, order: Order, success_url: str, cancel_url: str) -> Page:
        """Open a page on which the order is paid."""
        price = {
            "currency": order.currency,
            "unit_amount": to_minor(order.amount, order.currency),
            "product_data": {"name": "Credits"},
        }
        params: Any = {
            "mode": "payment",
            "line_items": [{"price_data": price, "quantity": 1}],
            "payment_intent_data": {"metadata": _metadata(order)},
        }
        return await self._page(order, params, success_url, cancel_url)

    async def _page(self, order: Order, params: Any, success_url: str, cancel_url: str) -> Page:
        params |= {
            "customer": order.customer,
            "client_reference_id": order.workspace_id,
            "metadata": _metadata(order),
            "success_url": success_url,
            "cancel_url": cancel_url,
        }
        with asking("open a checkout page"), _acceptable():
            made = await self._v1.checkout.sessions.create_async(
                params, {"idempotency_key": order.payment_attempt_id}
            )
        return Page(made.id, made.url or "")

    async def session(self, session_id: str) -> Session | None:
        """A checkout page."""
        found = await fetch(self._client, "checkout.session", session_id)
        return None if found is None else await self._session(found)

    async def session_of(self, intent_id: str) -> Session | None:
        """The checkout page on which a payment was made, if it was on one."""
        async for one in listed(self._client, "checkout.session", payment_intent=intent_id):
            return await self._session(one)
        return None

    async def _session(self, found: dict[str, Any]) -> Session:
        saved = None
        if found["mode"] == "setup" and found.get("setup_intent"):
            setup = await fetch(self._client, "setup_intent", readings.id_of(found["setup_intent"]))
            if setup is not None and setup["status"] == "succeeded":
                saved = setup["payment_method"]
        return readings.session(found, readings.id_of(saved) or None)

    async def portal(self, customer_id: str, return_url: str, flow: str | None) -> str:
        """The address, good for one visit, of a page for cards, invoices and cancellation."""
        configuration = self._portal or await self._configure_portal()
        params: Any = {
            "customer": customer_id,
            "return_url": return_url,
            "configuration": configuration,
        }
        if flow is not None:
            params["flow_data"] = {"type": flow}
        with asking("open the portal"), _acceptable():
            made = await self._v1.billing_portal.sessions.create_async(params)
        return str(made.url)

    async def _configure_portal(self) -> str:
        with asking("look for the portal's configuration"):
            every = await self._v1.billing_portal.configurations.list_async(
                {"active": True, "limit": 100}
            )
        for one in every.data:
            if (one.to_dict()["metadata"] or {}).get("name") == PORTAL:
                self._portal = one.id
                return one.id
        params: Any = {"features": FEATURES, "metadata": {"name": PORTAL}}
        with asking("configure the portal"):
            made = await self._v1.billing_portal.configurations.create_async(
                params, {"idempotency_key": f"portal:{PORTAL}"}
            )
        self._portal = made.id
        return made.id

    # Money that goes back.

    async def refund(
        self, intent_id: str, amount: int, currency: str, key: str, ticket_ref: str | None
    ) -> Refund:
        """Give money back, once per ``key``.

        :raises NotRefundable: Stripe will not.
        """
        params: Any = {
            "payment_intent": intent_id,
            "amount": to_minor(amount, currency),
            "metadata": {"ticket_ref": ticket_ref} if ticket_ref else {},
        }
        try:
            with asking("refund a payment"):
                made = await self._v1.refunds.create_async(params, {"idempotency_key": key})
        except (stripe.InvalidRequestError, stripe.CardError) as refused:
            raise NotRefundable(f"Stripe will not refund it: {refused.user_message}") from None
        return readings.refund(made.to_dict())

    async def charge(self, charge_id: str) -> Charge | None:
        """What was taken from a card, with every refund of it."""
        found = await fetch(self._client, "charge", charge_id)
        if found is None:
            return None
        refunds = [one async for one in listed(self._client, "refund", charge=charge_id)]
        return readings.charge(found, refunds)

    async def contest(self, dispute_id: str) -> Contest | None:
        """A dispute."""
        found = await fetch(self._client, "dispute", dispute_id)
        return None if found is None else readings.contest(found)


@contextmanager
def _acceptable() -> Iterator[None]:
    """What the caller chose goes to Stripe within this block.

    :raises InvalidInput: Stripe does not take it, an address say; names the field.
    """
    try:
        yield
    except stripe.InvalidRequestError as refused:
        why = refused.user_message or "Stripe does not take it"
        raise InvalidInput((refused.param or "stripe",), why) from None


def _metadata(order: Order) -> dict[str, str]:
    return {
        "payment_attempt_id": order.payment_attempt_id,
        "workspace_id": order.workspace_id,
        "kind": order.kind,
    }


def _intent_of(refused: stripe.CardError) -> dict[str, Any]:
    """The payment that a refusal is about: Stripe sends it along."""
    body: Any = refused.json_body
    found: dict[str, Any] = body["error"]["payment_intent"]
    return found
