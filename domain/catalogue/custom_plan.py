"""A plan for one workspace only: quoted individually, from a base and what differs from it."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET, UnsetType

from domain.catalogue.plan import GraceDays, Plan, PlanStatus, PriceMinor, Reset, Strict, Units
from domain.errors import InvalidInput
from domain.facts import Fact

if TYPE_CHECKING:
    from domain.catalogue.catalogue import PlanCatalogue

PRICE_MAX = 1_000_000_000
"""µ a unit of overage that anybody would quote."""

INVOICED_MAX = 99_999_999
"""Minor units that Stripe takes as one amount: eight digits."""


class BucketOverrides(Strict, kw_only=True, frozen=True):
    """What differs of a bucket's terms."""

    units: Units | UnsetType = UNSET
    reset: Reset | UnsetType = UNSET


class PlanOverrides(Strict, kw_only=True, frozen=True):
    """What differs from the base plan. What is left out stays; parts of mappings are merged."""

    price_minor: PriceMinor | UnsetType = UNSET
    oauth: tuple[str, ...] | UnsetType = UNSET
    buckets: dict[str, BucketOverrides] = {}
    overage_unit_usd: Decimal | UnsetType | None = UNSET
    grace_days: GraceDays | UnsetType = UNSET
    limits: dict[str, int | str | None] = {}
    entitlements: dict[str, str] = {}


def customised(base: Plan, overrides: PlanOverrides) -> Plan:
    """The base plan with what differs.

    :raises InvalidInput: a bucket or a limit that the base does not know, a limit that is
        negative, a unit price that is not positive or finer than a micro, or a price that Stripe
        would refuse when the plan is taken.
    """
    for field in ("buckets", "limits"):
        for name in getattr(overrides, field).keys() - getattr(base, field).keys():
            raise InvalidInput(("overrides", field, name), f"the base plan has no {name}")
    replaced: dict[str, Any] = {
        field: value
        for field in ("price_minor", "oauth", "overage_unit_usd", "grace_days")
        if (value := getattr(overrides, field)) is not UNSET
    }
    buckets = dict(base.buckets)
    for name, terms in overrides.buckets.items():
        changed = {key: getattr(terms, key) for key in ("units", "reset")}
        changed = {key: value for key, value in changed.items() if value is not UNSET}
        buckets[name] = msgspec.structs.replace(buckets[name], **changed)
    plan = msgspec.structs.replace(
        base,
        **replaced,
        status="live",
        custom_base=False,
        buckets=buckets,
        limits={**base.limits, **overrides.limits},
        entitlements={**base.entitlements, **overrides.entitlements},
    )
    if plan.price_minor > INVOICED_MAX:
        raise InvalidInput(("overrides", "price_minor"), f"Stripe takes at most {INVOICED_MAX}")
    wrong = plan.wrong_limit()
    if wrong is not None:
        raise InvalidInput(("overrides", "limits", wrong[0]), wrong[1])
    try:
        price = plan.overage_unit_price
    except (ValueError, ArithmeticError):
        price = 0
    if price is not None and not 0 < price <= PRICE_MAX:
        raise InvalidInput(
            ("overrides", "overage_unit_usd"), "must be positive, with at most 6 fraction digits"
        )
    return plan


class CustomPlan(msgspec.Struct, frozen=True, gc=False):
    """A plan that one workspace may take: its versions, oldest first."""

    plan_id: str
    workspace_id: str
    versions: tuple[Plan, ...]
    valid_until: datetime | None = None
    quote_ref: str | None = None
    base_plan: str = ""
    base_version: int = 0
    accepted_version: int = 0  # 0: not yet
    withdrawn: bool = False

    def is_open(self, now: datetime) -> bool:
        """Whether it can still be taken: at exactly ``valid_until`` it no longer can."""
        return not self.withdrawn and (self.valid_until is None or now < self.valid_until)


class PlanStatusChanged(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """A plan is sold, or no more, or not even shown; who has it keeps it."""

    plan_id: str
    status: PlanStatus

    def apply(self, aggregate: PlanCatalogue) -> None:
        aggregate.statuses = {**aggregate.statuses, self.plan_id: self.status}


class CustomPlanDefined(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """A plan is offered to one workspace. ``plan`` is the base with ``overrides`` applied."""

    plan_id: str
    workspace_id: str
    custom_version: int
    base_plan: str
    base_version: int
    overrides: PlanOverrides
    plan: Plan
    quote_ref: str | None = None
    valid_until: datetime | None = None

    def apply(self, aggregate: PlanCatalogue) -> None:
        before = aggregate.custom.get(self.plan_id)
        custom = CustomPlan(
            self.plan_id,
            self.workspace_id,
            (*(before.versions if before else ()), self.plan),
            self.valid_until,
            self.quote_ref,
            self.base_plan,
            self.base_version,
            before.accepted_version if before else 0,
        )
        aggregate.custom = {**aggregate.custom, self.plan_id: custom}


class CustomPlanAccepted(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """The workspace took the plan that was quoted to it."""

    plan_id: str
    workspace_id: str
    custom_version: int

    def apply(self, aggregate: PlanCatalogue) -> None:
        aggregate.amend_custom(self.plan_id, accepted_version=self.custom_version)


class CustomPlanWithdrawn(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """The quote no longer stands; who took the plan before keeps it."""

    plan_id: str
    workspace_id: str

    def apply(self, aggregate: PlanCatalogue) -> None:
        aggregate.amend_custom(self.plan_id, withdrawn=True)
