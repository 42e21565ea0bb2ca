"""What a deployment sells, and under which rules: the catalogue document, checked strictly.

YAML outside, these types inside.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from domain.amounts import check_texts
from domain.catalogue.plan import Plan, Strict
from domain.errors import InvalidCatalogue, InvalidInput
from domain.money import WHOLE_IN_HUNDREDTHS, WITH_MILLS

Source = Literal["oauth", "allowance", "wallet", "wallet_if_overflow", "overage"]
Positive = Annotated[int, Meta(ge=1, le=10**9)]


class Meter(Strict, kw_only=True, frozen=True):
    """Something counted: how tokens become units or money, and who pays, in which order."""

    waterfall: Annotated[tuple[Source, ...], Meta(min_length=1)]
    entry_rule: Literal["positive", "covers_estimate"] = "positive"
    rate: Literal["tokens"] | None = None
    bucket: str | None = None
    tokens_per_unit: Positive = 1
    weight_input: Annotated[int, Meta(ge=0, le=1_000_000)] = 1
    weight_output: Annotated[int, Meta(ge=0, le=1_000_000)] = 1
    rounding: Literal["ceil"] = "ceil"
    min_units: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    billable_actions: tuple[str, ...] = ()
    non_metered_actions: tuple[str, ...] = ()

    def units(self, input_tokens: int, output_tokens: int) -> int:
        """Units of the meter's bucket for one call, rounded up per call; 0 without a bucket."""
        if self.bucket is None:
            return 0
        weighted = self.weight_input * input_tokens + self.weight_output * output_tokens
        return max(-(-weighted // self.tokens_per_unit), self.min_units)


class PriceTerms(Strict, kw_only=True, frozen=True):
    """The price book a catalogue ships: USD per million tokens as [input, cached, output]."""

    version: Positive
    effective_from: str
    markup_bps: Annotated[int, Meta(ge=0, le=1_000_000)]
    per_million_usd: dict[str, tuple[Decimal, Decimal, Decimal]]


class OAuthTerms(Strict, frozen=True):
    """Which models of a provider can run on the user's own account."""

    models: tuple[str, ...]


class Preferences(Strict, frozen=True):
    """What a new workspace starts with."""

    api_fallback_default: bool = True
    overflow_default: bool = False


class TopUpTerms(Strict, frozen=True):
    """The smallest and largest top-up."""

    min_usd: Decimal = Decimal(1)
    max_usd: Decimal = Decimal(10_000)


class Seller(Strict, kw_only=True, frozen=True):
    """Who sells, as it stands on invoices and receipts."""

    name: Annotated[str, Meta(min_length=1, max_length=200)]
    address: Annotated[tuple[str, ...], Meta(max_length=8)] = ()
    tax_id: str | None = None
    note: str | None = None  # at the foot of every document


class Catalogue(Strict, kw_only=True, frozen=True):
    """One whole catalogue document."""

    catalogue: Annotated[str, Meta(min_length=1, max_length=64)]
    currency: Annotated[str, Meta(pattern=r"^[a-z]{3}$")]
    default_plan: str
    meters: dict[str, Meter]
    plans: dict[str, Plan]
    seller: Seller | None = None
    price_book: PriceTerms | None = None
    oauth_providers: dict[str, OAuthTerms] = {}
    preferences: Preferences = Preferences()
    overdraft: Literal["record", "write_off"] = "record"
    mid_stream_failure: Literal["no_charge", "charge_delivered"] = "no_charge"
    payment_ref_policy: Literal["scoped", "open"] = "scoped"
    topup_via: Literal["card", "checkout"] = "card"
    topup: TopUpTerms = TopUpTerms()
    allowance_on_upgrade: Literal["full", "prorate"] = "full"
    auto_resume_on_free_slot: bool = True
    pause_order: Literal["oldest_stay"] = "oldest_stay"
    rollback_is_deploy: bool = True
    grant_when_past_due: bool = True
    overage_settlement: Literal["invoice_items", "stripe_meter"] = "invoice_items"
    max_backdate_days: Annotated[int, Meta(ge=0, le=3650)] = 35
    late_window_minutes: Annotated[int, Meta(ge=0, le=45)] = 0

    @property
    def late_window(self) -> timedelta:
        """How long a cycle that is over waits for usage of it before it is closed; at most 45
        minutes, so that its overage reaches Stripe's draft of the renewal."""
        return timedelta(minutes=self.late_window_minutes)


def read_catalogue(document: Any) -> Catalogue:
    """Check a parsed document against the types and the rules between its parts.

    :raises InvalidCatalogue: with the path to the first field that is wrong.
    """
    try:
        catalogue = msgspec.convert(document, Catalogue, strict=True)
    except msgspec.ValidationError as wrong:
        message, _, path = str(wrong).partition(" - at `$")
        loc = tuple(part for part in path.rstrip("`").replace("[...]", "").split(".") if part)
        raise InvalidCatalogue(loc, message) from None
    try:
        check_texts(Catalogue, lambda: document)
    except InvalidInput as wrong:
        raise InvalidCatalogue(wrong.loc, wrong.message) from None
    _check_references(catalogue)
    return catalogue


def _check_references(catalogue: Catalogue) -> None:
    if catalogue.default_plan not in catalogue.plans:
        raise InvalidCatalogue(("default_plan",), f"no plan is called {catalogue.default_plan}")
    if catalogue.currency in WITH_MILLS:
        raise InvalidCatalogue(("currency",), "amounts in thousandths cannot be billed")
    if catalogue.currency in WHOLE_IN_HUNDREDTHS:
        raise InvalidCatalogue(("currency",), "whole amounts in hundredths cannot be billed")
    if catalogue.overage_settlement == "stripe_meter":
        # Known, so that what was published reads; it was never settled otherwise than by items.
        raise InvalidCatalogue(("overage_settlement",), "overage is settled by invoice_items only")
    if catalogue.late_window_minutes and not catalogue.max_backdate_days:
        raise InvalidCatalogue(
            ("late_window_minutes",), "waits for nothing while max_backdate_days is 0"
        )
    granted = {bucket for plan in catalogue.plans.values() for bucket in plan.buckets}
    for name, meter in catalogue.meters.items():
        _check_meter(("meters", name), meter, granted)
        if meter.rate == "tokens" and catalogue.price_book is None:
            raise InvalidCatalogue(("price_book",), f"the meter {name} is rated and needs prices")
    for name, plan in catalogue.plans.items():
        _check_plan(("plans", name), plan, catalogue)


def _check_meter(loc: tuple[str, ...], meter: Meter, granted: set[str]) -> None:
    sources = meter.waterfall
    if "allowance" in sources and meter.bucket is None:
        raise InvalidCatalogue((*loc, "bucket"), "an allowance needs a bucket to draw from")
    if "overage" in sources and meter.bucket is None:
        raise InvalidCatalogue((*loc, "bucket"), "overage is counted in a bucket's units")
    if meter.bucket is not None and meter.bucket not in granted:
        raise InvalidCatalogue((*loc, "bucket"), f"no plan grants {meter.bucket}")
    if "overage" in sources and "allowance" in sources[sources.index("overage") :]:
        raise InvalidCatalogue((*loc, "waterfall"), "what is included comes before overage")
    if meter.rate is None and any(source.startswith("wallet") for source in sources):
        raise InvalidCatalogue((*loc, "rate"), "a wallet can only pay for a rated meter")
    if len(set(sources)) != len(sources):
        raise InvalidCatalogue((*loc, "waterfall"), "names a source twice")
    if set(meter.billable_actions) & set(meter.non_metered_actions):
        raise InvalidCatalogue((*loc, "non_metered_actions"), "an action is either or")


def _check_plan(loc: tuple[str, ...], plan: Plan, catalogue: Catalogue) -> None:
    for provider in plan.oauth:
        if provider not in catalogue.oauth_providers:
            raise InvalidCatalogue((*loc, "oauth"), f"unknown provider {provider}")
    wrong_limit = plan.wrong_limit()
    if wrong_limit is not None:
        raise InvalidCatalogue((*loc, "limits", wrong_limit[0]), wrong_limit[1])
    try:
        price = plan.overage_unit_price
    except ValueError as wrong:
        raise InvalidCatalogue((*loc, "overage_unit_usd"), str(wrong)) from None
    if price is not None and price <= 0:
        raise InvalidCatalogue((*loc, "overage_unit_usd"), "must be positive")
    if price is not None and not plan.buckets:
        raise InvalidCatalogue((*loc, "buckets"), "overage is beyond a bucket's units, be they 0")
