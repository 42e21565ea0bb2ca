"""What the scenarios of money do again and again, over HTTP, against the sandbox of Stripe."""

from __future__ import annotations

from typing import Any

import httpx

from adapters.stripe.sandbox.books import Json
from tests.acceptance.spending import done
from tests.api.sandboxed import Sandboxed

VISA = "pm_card_visa"
DECLINED = "pm_card_chargeCustomerFail"
WANTS_ITS_HOLDER = "pm_card_authenticationRequired"


def with_card(shop: Sandboxed, balance_usd: str | None = None, card: str = VISA) -> str:
    """A new workspace that saved a card."""
    workspace = shop.app.workspace(balance_usd)
    save_card(shop, workspace, card)
    return workspace


def save_card(shop: Sandboxed, workspace: str, card: str = VISA) -> str:
    """Give the workspace's customer a card to charge; its id."""
    customer = customer_of(shop, workspace)
    saved = shop.sandbox.control.card(customer, card)
    settle(shop)
    assert balance(shop, workspace)["has_payment_method"] is True
    return str(saved["id"])


def customer_of(shop: Sandboxed, workspace: str) -> str:
    """The workspace's customer at Stripe; the portal opens one."""
    done(shop.app.post("/v1/billing/portal", {}, workspace), 200)
    assert shop.sandbox.books is not None
    [customer] = shop.sandbox.books.find("customer", metadata__workspace_id=workspace)
    return str(customer["id"])


def settle(shop: Sandboxed) -> None:
    """Deliver every webhook, and do what is due."""
    shop.sandbox.control.deliver()
    shop.tick()


def topup(
    shop: Sandboxed, workspace: str, amount: Any = "20.00", key: str | None = None, **more: Any
) -> httpx.Response:
    """Charge the saved card."""
    headers = {"Idempotency-Key": key} if key else None
    body = {"amount_usd": amount} | more
    return shop.app.call("POST", "/v1/billing/topup", body, workspace=workspace, headers=headers)


def balance(shop: Sandboxed, workspace: str) -> Any:
    """What the account holds, as the ledger knows it now."""
    return shop.app.get("/v1/billing/balance", workspace, consistency="strong")


def intents(shop: Sandboxed) -> list[Json]:
    """Requests for a PaymentIntent that Stripe saw."""
    return shop.sandbox.control.requests("POST", "/v1/payment_intents")


def paid(shop: Sandboxed, workspace: str) -> tuple[str, str]:
    """20 USD by card: the payment attempt and its charge at Stripe."""
    answer = done(topup(shop, workspace), 200)
    attempt = answer["payment_attempt_id"]
    assert shop.sandbox.books is not None
    [charge] = shop.sandbox.books.find("charge", metadata__payment_attempt_id=attempt)
    return attempt, charge["id"]


def events_of(shop: Sandboxed, *types: str) -> list[str]:
    """The ids of Stripe's events of these types that were not delivered yet, oldest first."""
    pending = shop.sandbox.control.webhooks("pending")
    return [one["event"] for one in pending if not types or one["type"] in types]


def deliver(shop: Sandboxed, *types: str, times: int = 1) -> list[Json]:
    """Deliver those events, and nothing else."""
    return shop.sandbox.control.deliver(events_of(shop, *types), times)


def facts_of_payment(shop: Sandboxed, attempt: str) -> list[str]:
    """The types of all facts of a payment, oldest first."""
    data = shop.app.get("/v1/audit/events", stream=f"payment/{attempt}")["data"]
    return [event["type"] for event in data]


def auto(shop: Sandboxed, workspace: str, **terms: Any) -> Any:
    """Order automatic top-ups: 20 below 5."""
    body = {"enabled": True, "threshold_usd": 5, "amount_usd": 20} | terms
    response = shop.app.call("PUT", "/v1/billing/auto-topup", body, workspace=workspace)
    return done(response, 200)
