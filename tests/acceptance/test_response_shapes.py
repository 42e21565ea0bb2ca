"""Specification 5.3 to 5.5, field by field: what the routes of contracts and workspaces answer,
with the JSON type that it is written with there. More fields may be there, none may be missing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from adapters.postgres.database import Database
from tests.acceptance.paying import settle
from tests.acceptance.spending import done, put
from tests.acceptance.subscribing import (
    at,
    change,
    checkout,
    confirm,
    preview,
    spend,
    stripe_invoices,
    subscribed,
)
from tests.acceptance.test_dunning import unpaid
from tests.api.sandboxed import Sandboxed, sandboxed

Shape = Any
"""A type, a tuple of types (None: null), a dict of shapes, or a list of one shape."""

TEXT, WHOLE, FLAG, NULL = str, int, bool, type(None)


@pytest.fixture
def shop(database: Database) -> Iterator[Sandboxed]:
    """`flarex` with its sandbox, whose webhooks wait to be delivered."""
    with sandboxed(database, "flarex", mode="held") as both:
        yield both


def fits(value: Any, shape: Shape, path: str = "$") -> None:
    """Every field of the shape is there, with its type."""
    if isinstance(shape, dict):
        assert isinstance(value, dict), path
        assert shape.keys() <= value.keys(), (path, shape.keys() - value.keys())
        for name, within in shape.items():
            fits(value[name], within, f"{path}.{name}")
    elif isinstance(shape, list):
        assert isinstance(value, list), path
        assert value, f"{path}: nothing to look at"
        for one in value:
            fits(one, shape[0], f"{path}[]")
    elif isinstance(shape, tuple):
        if value is None and NULL in shape:
            return
        kinds = [one for one in shape if one is not NULL]
        fits(value, kinds[0], path)
    elif shape is NUMBER:
        assert isinstance(value, int | float), (path, value)
        assert not isinstance(value, bool), path
    else:
        assert type(value) is shape, (path, value)


class NUMBER:
    """A JSON number, whole or not."""


def raw(shop: Sandboxed, path: str, workspace: str, **query: Any) -> Any:
    """What a GET answers, as a stranger's JSON parser reads it."""
    headers = {
        "Authorization": f"Bearer {shop.app.admin_key}",
        "X-Workspace-Id": workspace,
    }
    answer = shop.app.http.get(path, params=query, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


SUBSCRIPTION: Shape = {
    "plan": TEXT,
    "plan_version": WHOLE,
    "status": TEXT,
    "face_count": WHOLE,
    "face_limit": (WHOLE, NULL),
    "current_period_start": TEXT,
    "current_period_end": TEXT,
    "cancel_at": (TEXT, NULL),
    "scheduled_change": (dict, NULL),
    "overage_enabled": FLAG,
    "past_due": (dict, NULL),
}
OVERAGE: Shape = {
    "enabled": FLAG,
    "bucket": TEXT,
    "unit_price_usd": NUMBER,
    "accrued_units": WHOLE,
    "accrued_usd": NUMBER,
    "period_end": TEXT,
    "included": {"granted": WHOLE, "used": WHOLE, "remaining": WHOLE},
}
PREVIEW: Shape = {
    "preview_id": TEXT,
    "direction": TEXT,
    "proration_date": (WHOLE, NULL),
    "amount_due_now_minor": WHOLE,
    "effective_at": TEXT,
    "expires_at": TEXT,
    "next_invoice_total_minor": WHOLE,
    "effects": {"bots_to_pause": list, "allowance": {"ai_credits": {"from": WHOLE, "to": WHOLE}}},
}
LINE: Shape = {"description": TEXT, "amount_minor": WHOLE, "proration": FLAG}
CONFIRMED: Shape = {
    "status": TEXT,
    "effective_at": TEXT,
    "charged_minor": WHOLE,
    "payment_url": (TEXT, NULL),
}
INVOICE: Shape = {
    "id": TEXT,
    "number": (TEXT, NULL),
    "status": TEXT,
    "kind": TEXT,
    "period_start": TEXT,
    "period_end": TEXT,
    "subtotal_minor": WHOLE,
    "tax_minor": WHOLE,
    "total_minor": WHOLE,
    "amount_paid_minor": WHOLE,
    "currency": TEXT,
    "hosted_url": (TEXT, NULL),
    "pdf_url": (TEXT, NULL),
}
INVOICE_LINE: Shape = {
    "kind": TEXT,
    "description": TEXT,
    "quantity": WHOLE,
    "unit_price_usd": (NUMBER, NULL),
    "amount_minor": WHOLE,
    "cycle_id": (TEXT, NULL),
    "bot_id": (TEXT, NULL),
}
STATUS: Shape = {
    "status": TEXT,
    "banner": {"level": TEXT, "message": (TEXT, NULL), "action_url": (TEXT, NULL)},
    "deploys": {"allowed": FLAG, "blocked_since": (TEXT, NULL)},
    "bots": {"active": WHOLE, "paused_by_plan": WHOLE, "limit": (WHOLE, NULL)},
    "chat": {"paused": FLAG, "reason": (TEXT, NULL)},
}
GRACE: Shape = {"first_failed_at": TEXT, "ends_at": TEXT, "days": WHOLE}
SPLIT: Shape = {"credits": WHOLE, "included": WHOLE, "overage": WHOLE, "absorbed": WHOLE}
THREAD: Shape = SPLIT | {"thread_id": (TEXT, NULL)}
BREAKDOWN: Shape = {
    "cycle": {"cycle_id": TEXT, "period_start": TEXT, "period_end": TEXT},
    "totals": SPLIT,
    "bots": [SPLIT | {"bot_id": (TEXT, NULL), "name": (TEXT, NULL), "threads": [THREAD]}],
}
PLAN: Shape = {
    "plan": TEXT,
    "status": TEXT,
    "price_minor": WHOLE,
    "interval": TEXT,
    "buckets": dict,
    "limits": dict,
    "grace_days": WHOLE,
    "oauth": list,
    "entitlements": dict,
    "overage_unit_usd": (NUMBER, NULL),
}


def test_what_is_told_of_a_contract(shop: Sandboxed) -> None:
    workspace = shop.app.workspace()
    page = done(checkout(shop, workspace, "starter"), 200)
    fits(page, {"checkout_url": TEXT, "session_id": TEXT})
    workspace = subscribed(shop, "starter")
    fits(raw(shop, "/v1/billing/subscription", workspace), SUBSCRIPTION)
    put(shop.app, "/v1/billing/overage", {"enabled": True}, workspace)
    fits(raw(shop, "/v1/billing/overage", workspace), OVERAGE)
    fits(raw(shop, "/v1/plans", workspace), {"catalogue_version": WHOLE, "data": [PLAN]})
    fits(raw(shop, "/v1/billing/plans", workspace), {"data": [PLAN]})
    at(shop, "2026-06-16T00:00:00Z")
    up = preview(shop, workspace, "pro").json()
    fits(up, PREVIEW | {"lines": [LINE], "proration_date": WHOLE})
    fits(confirm(shop, workspace, up["preview_id"]).json(), CONFIRMED)
    settle(shop)
    fits(preview(shop, workspace, "starter").json(), PREVIEW | {"lines": list})
    change(shop, workspace, "starter")
    seen = raw(shop, "/v1/billing/subscription", workspace)
    fits(seen["scheduled_change"], {"plan": TEXT, "effective_at": TEXT})
    back = shop.app.call("DELETE", "/v1/billing/plan-change", workspace=workspace)
    assert done(back, 200) == {"scheduled_change": None}
    for act in ("cancel", "resume"):
        told = shop.app.post(f"/v1/billing/subscription/{act}", {}, workspace).json()
        fits(told, {"cancel_at": (TEXT, NULL)})
    portal = {"return_url": "https://example.com", "flow": "payment_method_update"}
    fits(shop.app.post("/v1/billing/portal", portal, workspace).json(), {"url": TEXT})


def test_what_is_told_of_invoices(shop: Sandboxed) -> None:
    workspace = subscribed(shop, "starter")
    put(shop.app, "/v1/billing/overage", {"enabled": True}, workspace)
    spend(shop, workspace, 1_010, "b1")
    at(shop, "2026-07-01T00:00:00Z")
    at(shop, "2026-07-01T02:00:00Z")
    listed = raw(shop, "/v1/billing/invoices", workspace)
    fits(listed, {"data": [INVOICE], "has_more": FLAG, "next_cursor": (TEXT, NULL)})
    newest = stripe_invoices(shop, workspace)[0]["id"]
    one = raw(shop, f"/v1/billing/invoices/{newest}", workspace)
    fits(one, INVOICE | {"lines": [INVOICE_LINE]})
    [line] = [line for line in one["lines"] if line["kind"] == "overage"]
    fits(line, {"unit_price_usd": NUMBER, "cycle_id": TEXT, "bot_id": TEXT})


def test_what_is_told_of_a_workspace(shop: Sandboxed) -> None:
    made = shop.app.post("/v1/workspaces", {"name": "Acme", "timezone": "UTC"})
    assert made.status_code == 201
    workspace = unpaid(shop, bots=2)
    spend(shop, workspace, 3, "b01")
    spend(shop, workspace, 2)
    told = raw(shop, f"/v1/workspaces/{workspace}/status", workspace)
    fits(told, STATUS | {"grace": GRACE, "banner": STATUS["banner"] | {"action_url": TEXT}})
    assert told["banner"]["action_url"].startswith("/v1/billing/portal?")
    path = f"/v1/workspaces/{workspace}/usage/breakdown"
    fits(raw(shop, path, workspace, cycle="current"), BREAKDOWN)
    deploy = {"bot_id": "b01", "deploy_id": "d1"}
    allowed = shop.app.post(f"/v1/workspaces/{workspace}/deploys/authorize", deploy).json()
    fits(allowed, {"allowed": FLAG, "compute": {"vcpu": NUMBER, "ram_mb": WHOLE}})
    stored = shop.app.call("PUT", f"/v1/workspaces/{workspace}/storage", {"used_bytes": 1})
    fits(stored.json(), {"allowed_growth": FLAG})
    shop.to("2026-07-05T00:00:00Z")
    blocked = shop.app.post(
        f"/v1/workspaces/{workspace}/deploys/authorize", deploy | {"deploy_id": "d2"}
    )
    assert blocked.status_code == 402
    fits(blocked.json(), {"code": TEXT, "grace_ended_at": TEXT, "portal": TEXT})
    third = shop.app.post(f"/v1/workspaces/{workspace}/bots", {"bot_id": "b03", "name": "b03"})
    done(third, 201)
    fourth = shop.app.post(f"/v1/workspaces/{workspace}/bots", {"bot_id": "x", "name": "x"})
    assert fourth.status_code == 403
    fits(fourth.json(), {"code": TEXT, "limit": WHOLE, "current": WHOLE, "resource": TEXT})
