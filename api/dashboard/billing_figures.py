"""What the Billing page shows, gathered from our own API."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from api.dashboard.inside import Inside, Told
from api.dashboard.watch import Tenant
from api.house import House
from domain.commands import Stream
from domain.money import MICROS, minor_of
from domain.workspace.workspace import Workspace, workspace_stream

INVOICES_SHOWN = 12
UNNAMED = "The bank gives no reason."


async def tenant(house: House, workspace_id: str) -> Tenant:
    """Whose page it is, and the zone in which its times are written."""
    found = await _workspace(house, workspace_id)
    return _tenant(found, workspace_id)


async def figures(house: House, inside: Inside, workspace_id: str) -> dict[str, Any]:
    """All sections of the page; what cannot be told now is empty or None."""
    found = await _workspace(house, workspace_id)
    balance = (await inside.get("/v1/billing/balance", consistency="strong")).body
    method = found.payment_method
    subscription = _times((await inside.get("/v1/billing/subscription")).body)
    return {
        "workspace": _tenant(found, workspace_id),
        "balance": balance,
        "currency": balance.get("currency", "usd"),
        "card": method if method is not None and balance.get("has_payment_method", True) else None,
        "auto": _or_none(await inside.get("/v1/billing/auto-topup")),
        "subscription": subscription,
        "is_billed": subscription["stripe_subscription_id"] is not None,
        "overage": _or_none(await inside.get("/v1/billing/overage")),
        "plans": _plans(await inside.get("/v1/billing/plans")),
        "invoices": _invoices(await inside.get("/v1/billing/invoices", limit=INVOICES_SHOWN)),
        "standing": _or_none(await inside.get(f"/v1/workspaces/{workspace_id}/status")),
    }


def quote(told: dict[str, Any], currency: str) -> dict[str, Any]:
    """A preview of a plan change; amounts in µ."""
    unit = minor_of(currency)
    lines = [
        {"words": line["description"], "amount": line["amount_minor"] * unit}
        for line in told["lines"]
    ]
    made: dict[str, Any] = _times(told)
    return made | {
        "due": told["amount_due_now_minor"] * unit,
        "next": told["next_invoice_total_minor"] * unit,
        "lines": lines,
        "bots_to_pause": told["effects"]["bots_to_pause"],
        "allowance": told["effects"]["allowance"],
    }


def refusal(told: Told) -> dict[str, Any]:
    """Why something was not done, in words, and where a person can go on."""
    body = told.body
    words = told.detail
    if errors := body.get("errors"):
        words = "; ".join(f"{_name(error)}: {error.get('msg', '')}" for error in errors)
    if body.get("code") == "card_declined":
        reason = str(body.get("decline_code") or "generic_decline").replace("_", " ")
        named = f"The bank says: {reason}." if reason != "generic decline" else UNNAMED
        words = f"{named} Try another card."
    return {
        "code": str(body.get("code", "")),
        "words": words,
        "url": body.get("checkout_url") or body.get("payment_url"),
    }


def _name(error: dict[str, Any]) -> str:
    parts = [str(part) for part in error.get("loc", []) if part not in ("body", "header")]
    return ".".join(parts).replace("_usd", "").replace("_", " ").capitalize() or "Form"


def _plans(told: Told) -> list[dict[str, Any]]:
    """The plans that can be chosen, cheapest first; prices in µ."""
    if not told.ok:
        return []
    listed = told.body["data"]
    return [plan | {"price": plan["price_minor"] * minor_of(plan["currency"])} for plan in listed]


def _invoices(told: Told) -> list[dict[str, Any]]:
    if not told.ok:
        return []
    return [
        _times(invoice) | {"total": int(invoice["total_minor"]) * minor_of(invoice["currency"])}
        for invoice in told.body.get("data", [])
    ]


def _or_none(told: Told) -> dict[str, Any] | None:
    return _times(told.body) if told.ok else None


def _times(value: Any) -> Any:
    """JSON whose times are datetimes, and whose amounts in currency are µ under ``…_micros``."""
    if isinstance(value, list):
        return [_times(part) for part in value]
    if not isinstance(value, dict):
        return value
    made = {name: _time(name, _times(part)) for name, part in value.items()}
    for name, part in value.items():
        if name.endswith("_usd") and isinstance(part, int | Decimal):
            made.setdefault(name.replace("_usd", "_micros"), int(part * MICROS))
    return made


def _time(name: str, value: Any) -> Any:
    is_time = name.endswith(("_at", "_start", "_end", "_since"))
    return datetime.fromisoformat(value) if is_time and isinstance(value, str) else value


async def _workspace(house: House, workspace_id: str) -> Workspace:
    found = await house.ledger.book.fresh(Stream(Workspace, workspace_stream(workspace_id)))
    assert isinstance(found, Workspace)
    return found


def _tenant(found: Workspace, workspace_id: str) -> Tenant:
    try:
        zone = ZoneInfo(found.timezone)
    except (ZoneInfoNotFoundError, ValueError):
        zone = ZoneInfo("UTC")
    return Tenant(workspace_id, found.name or workspace_id, zone)
