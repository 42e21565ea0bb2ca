"""What the scenarios of plans, cycles and dunning do again and again, over HTTP, against the
sandbox of Stripe."""

from __future__ import annotations

from typing import Any

import httpx

from adapters.stripe.sandbox.books import Json
from tests.acceptance.paying import settle
from tests.acceptance.spending import done, generate
from tests.api.sandboxed import Sandboxed

GOOD = "4242424242424242"
FAILS_LATER = "4000000000000341"


def checkout(shop: Sandboxed, workspace: str, plan: str) -> httpx.Response:
    """Ask for a page on which a plan is subscribed to."""
    return shop.app.post(f"/v1/billing/checkout?plan={plan}", {}, workspace)


def on_page(shop: Sandboxed, session: str, outcome: str = "pay", card: str = GOOD) -> Json:
    """What a person does on the page."""
    return dict(shop.sandbox.control.post(f"/checkout/{session}", outcome=outcome, card=card))


def subscribed(shop: Sandboxed, plan: str, card: str = GOOD) -> str:
    """A new workspace that subscribed to a plan with a card."""
    workspace = shop.app.workspace()
    subscribe(shop, workspace, plan, card)
    return workspace


def subscribe(shop: Sandboxed, workspace: str, plan: str, card: str = GOOD) -> None:
    """Subscribe to a plan with a card, and let it be known."""
    session = done(checkout(shop, workspace, plan), 200)["session_id"]
    assert on_page(shop, session, card=card)["error"] is None
    settle(shop)
    assert subscription(shop, workspace)["plan"] == plan


def subscription(shop: Sandboxed, workspace: str) -> Any:
    """The contract as it is now."""
    return shop.app.get("/v1/billing/subscription", workspace)


def at(shop: Sandboxed, now: str) -> None:
    """Move the clocks, and do all that is due on both sides."""
    shop.to(now)
    settle(shop)


def preview(shop: Sandboxed, workspace: str, plan: str, **more: Any) -> httpx.Response:
    """Ask what another plan would cost."""
    body = {"plan": plan} | more
    return shop.app.post("/v1/billing/plan-change/preview", body, workspace)


def confirm(
    shop: Sandboxed, workspace: str, preview_id: str, key: str | None = None
) -> httpx.Response:
    """Do what was previewed."""
    headers = {"Idempotency-Key": key} if key else None
    return shop.app.call(
        "POST",
        "/v1/billing/plan-change/confirm",
        {"preview_id": preview_id},
        workspace=workspace,
        headers=headers,
    )


def change(shop: Sandboxed, workspace: str, plan: str, **more: Any) -> Any:
    """Preview and confirm; what the confirmation answers."""
    quoted = done(preview(shop, workspace, plan, **more), 200)
    return done(confirm(shop, workspace, quoted["preview_id"]), 200)


def happened(shop: Sandboxed, workspace: str, stream: str = "subscription") -> list[str]:
    """The types of all facts of a stream of the workspace's, oldest first."""
    return [event["type"] for event in events(shop, workspace, stream)]


def events(shop: Sandboxed, workspace: str, stream: str = "subscription") -> list[Any]:
    """All facts of a stream of the workspace's, oldest first."""
    found: list[Any] = []
    cursor: dict[str, Any] = {}
    while True:
        page = shop.app.get("/v1/audit/events", stream=f"{stream}/{workspace}", limit=100, **cursor)
        found += page["data"]
        if not page["has_more"]:
            return found
        cursor = {"cursor": page["next_cursor"]}


def last(shop: Sandboxed, workspace: str, type: str, stream: str = "subscription") -> Any:
    """What the last fact of a type says."""
    found = [one for one in events(shop, workspace, stream) if one["type"] == type]
    assert found, f"no {type} happened"
    return found[-1]["data"]


def asked(shop: Sandboxed, method: str, path: str) -> list[Json]:
    """Requests that Stripe saw, of a method, whose path begins so."""
    every = shop.sandbox.control.requests(method)
    return [one for one in every if one["path"].startswith(path)]


def stripe_invoices(shop: Sandboxed, workspace: str) -> list[Json]:
    """The workspace's invoices at Stripe, newest first."""
    assert shop.sandbox.books is not None
    [customer] = shop.sandbox.books.find("customer", metadata__workspace_id=workspace)
    return shop.sandbox.books.find("invoice", customer=customer["id"])


def lines_of(shop: Sandboxed, invoice: str) -> list[Json]:
    """The lines of an invoice at Stripe."""
    assert shop.sandbox.books is not None
    return shop.sandbox.books.find("line_item", invoice=invoice)[::-1]


def with_bots(shop: Sandboxed, workspace: str, count: int) -> list[str]:
    """Bots b01, b02, … created in this order."""
    names = [f"b{number:02}" for number in range(1, count + 1)]
    for name in names:
        body = {"bot_id": name, "name": name}
        done(shop.app.post(f"/v1/workspaces/{workspace}/bots", body), 201)
    return names


def spend(shop: Sandboxed, workspace: str, credits: int, bot: str | None = None) -> Any:
    """Generate for so many credits."""
    return done(generate(shop.app, workspace, credits * 1_000, bot_id=bot))


def replace_card(shop: Sandboxed, workspace: str, card: str) -> None:
    """From now on the subscription is paid, or not, with another card."""
    assert shop.sandbox.books is not None
    books = shop.sandbox.books
    [customer] = books.find("customer", metadata__workspace_id=workspace)
    saved = shop.sandbox.control.card(customer["id"], card)
    for one in books.find("subscription", customer=customer["id"]):
        if one["ended_at"] is None:
            one["default_payment_method"] = saved["id"]
            books.put(one)
    settle(shop)
