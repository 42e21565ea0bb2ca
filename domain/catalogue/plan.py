"""What a customer can subscribe to: one plan, as a catalogue says it."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from domain.money import parse_usd

PlanStatus = Literal["live", "dormant", "hidden"]
"""`live` can be subscribed to; `dormant` is for those who have it; `hidden` is not shown either."""

Units = Annotated[int, Meta(ge=0, le=10**15)]
Reset = Annotated[str, Meta(pattern=r"^(cycle|never|days:[1-9][0-9]{0,3})$")]
PriceMinor = Annotated[int, Meta(ge=0, le=10**12)]
GraceDays = Annotated[int, Meta(ge=0, le=365)]


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A part of the document: unknown fields are errors, defaults are not written back."""


COUNTED = ("bots", "seats", "storage_gb", "faces")
"""Limits that are held against a count."""


class BucketTerms(Strict, kw_only=True, frozen=True):
    """Included units and when they are granted anew: `cycle`, `never` or `days:N`."""

    units: Units
    reset: Reset


class Plan(Strict, kw_only=True, frozen=True):
    """What a customer can subscribe to."""

    price_minor: PriceMinor
    status: PlanStatus = "live"
    interval: Literal["month"] = "month"
    oauth: tuple[str, ...] = ()
    buckets: dict[str, BucketTerms] = {}
    overage_unit_usd: Decimal | None = None
    grace_days: GraceDays = 0
    custom_base: bool = False
    limits: dict[str, int | str | None] = {}
    entitlements: dict[str, str] = {}

    def wrong_limit(self) -> tuple[str, str] | None:
        """The first limit that nothing could be held against, and what is wrong with it."""
        for name, value in self.limits.items():
            if name in COUNTED and isinstance(value, str):
                return name, "must be a whole number, or null where there is no limit"
            if value is not None and str(value).startswith("-"):
                return name, "must be 0 or more"
        return None

    @property
    def overage_unit_price(self) -> int | None:
        """µ a unit, or None where the plan has no overage."""
        return None if self.overage_unit_usd is None else parse_usd(self.overage_unit_usd, digits=6)
