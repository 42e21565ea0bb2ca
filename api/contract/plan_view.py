"""A plan as it is compared with others."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from domain.catalogue.catalogue import Offer
from domain.facts import EPOCH
from domain.money import minor_of, usd
from projections.plan_comparison import PlanRow, row_of


class PlanView(msgspec.Struct, frozen=True):
    """What a plan costs and gives. `plan` is its name, as requests take it; `version` is what a
    subscription pins. A limit of null is none. `custom`: quoted to this workspace alone, open
    until `valid_until`. `current`: the one that the workspace has."""

    plan: str
    plan_id: str
    version: int
    status: str
    price_minor: int
    price_usd: Decimal
    currency: str
    interval: str
    buckets: dict[str, Any]
    overage_unit_usd: Decimal | None
    overage_unit_price_micros: int | None
    grace_days: int
    oauth: list[str]
    limits: dict[str, Any]
    log_retention_days: int | None
    entitlements: dict[str, str]
    custom_base: bool
    custom: bool
    valid_until: datetime | None
    current: bool


class PlanComparisonView(msgspec.Struct, frozen=True):
    """The plans side by side, the cheapest first."""

    catalogue: str
    catalogue_version: int
    currency: str
    default_plan: str
    data: list[PlanView]
    as_of_position: int


def plan_view(row: PlanRow, currency: str, *, current: bool = False) -> PlanView:
    """A plan as it is shown."""
    limits = msgspec.json.decode(row.limits)
    log_days = limits.get("log_days")
    price = row.overage_unit_price
    return PlanView(
        plan=row.plan_id,
        plan_id=row.plan_id,
        version=row.version,
        status=row.status,
        price_minor=row.price_minor,
        price_usd=usd(row.price_minor * minor_of(currency)),
        currency=currency,
        interval=row.interval,
        buckets=msgspec.json.decode(row.buckets),
        overage_unit_usd=None if price is None else usd(price),
        overage_unit_price_micros=price,
        grace_days=row.grace_days,
        oauth=row.oauth,
        limits=limits,
        log_retention_days=log_days if isinstance(log_days, int) else None,
        entitlements=msgspec.json.decode(row.entitlements),
        custom_base=row.custom_base,
        custom=bool(row.workspace_id),
        valid_until=row.valid_until,
        current=current,
    )


def offer_view(offer: Offer, currency: str, *, current: bool = False) -> PlanView:
    """A plan as somebody who asks now would get it."""
    row = row_of(offer.plan_id, offer.version, offer.plan, EPOCH, 0)._replace(status=offer.status)
    if offer.custom is not None:
        custom = offer.custom
        row = row._replace(workspace_id=custom.workspace_id, valid_until=custom.valid_until)
    return plan_view(row, currency, current=current)
