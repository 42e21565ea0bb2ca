"""An explanation of a charge, as JSON."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from api.auditing.conversion import Conversion, Share
from api.auditing.evidence import (
    CycleView,
    Evidence,
    HoldView,
    Inclusion,
    InvoiceLineView,
    Policy,
    Step,
)
from api.auditing.explanation import Explanation, Formula
from domain.catalogue.price_book import PER
from domain.money import usd


class PriceUsed(msgspec.Struct, frozen=True):
    """The price-book entry that the event carries: µ for a million tokens."""

    price_book_version: int
    llm_model: str | None
    provider: str | None
    input: int
    cached_input: int
    output: int
    markup_bps: int


class FormulaView(msgspec.Struct, frozen=True):
    """The sum as text, its exact value as a fraction, and the one rounding that moved money."""

    text: str
    provider_exact: str
    total_exact: str
    rounding: str
    provider_cost_micros: int
    provider_cost_usd: Decimal
    markup_micros: int
    markup_usd: Decimal
    total_micros: int
    total_usd: Decimal


class ConversionView(msgspec.Struct, frozen=True):
    """How tokens became units: the sum as text, its exact value as a fraction, rounded up once a
    call, by the meter of this catalogue version."""

    text: str
    bucket: str
    weight_input: int
    weight_output: int
    tokens_per_unit: int
    min_units: int
    units_exact: str
    rounding: str
    units: int
    catalogue_version: int


class ShareView(msgspec.Struct, frozen=True):
    """Units paid a part of the act; money paid the price of the others, rounded once."""

    text: str
    included_units: int
    units: int
    exact: str
    rounding: str
    amount_micros: int


class ChargeExplained(msgspec.Struct, frozen=True):
    """All there is to know about one act."""

    usage_id: str
    workspace_id: str
    request: dict[str, Any]
    tokens: dict[str, int]
    occurred_at: datetime
    recorded_at: datetime
    actor: str
    cause: str
    price: PriceUsed | None
    conversion: ConversionView | None
    formula: FormulaView | None
    share: ShareView | None
    funding: list[dict[str, Any]]
    charged_micros: int
    balance_before_micros: int
    balance_after_micros: int
    late: bool
    stream: str
    version: int
    position: int
    voided_at_position: int | None
    event_hash: str
    policy: Policy | None
    cycle: CycleView | None
    hold: HoldView | None
    invoice_lines: list[InvoiceLineView]
    causation: list[Step]
    inclusion: Inclusion | None


def explained(workspace_id: str, told: Explanation, around: Evidence) -> ChargeExplained:
    """The explanation as it is sent."""
    request = msgspec.to_builtins(told.usage)
    tokens = {
        name: getattr(told.usage.tokens, name) for name in told.usage.tokens.__struct_fields__
    }
    request.pop("tokens", None)
    made = told.formula
    price = None
    if made is not None:
        model, provider = told.usage.llm_model, told.usage.provider
        price = PriceUsed(made.price_book_version, model, provider, *made.price)
    return ChargeExplained(
        told.usage_id,
        workspace_id,
        request,
        tokens,
        told.occurred_at,
        told.recorded_at,
        told.actor,
        told.cause,
        price,
        _conversion(told.conversion) if told.conversion else None,
        _formula(made) if made else None,
        _share(told.share) if told.share else None,
        [msgspec.to_builtins(draw) for draw in told.draws],
        told.charged,
        told.balance_before,
        told.balance_after,
        told.late,
        f"credit_account/{workspace_id}",
        told.version,
        told.position,
        told.void_position,
        *msgspec.structs.astuple(around),
    )


def _formula(made: Formula) -> FormulaView:
    terms = " + ".join(f"{line.tokens} × {line.price}" for line in made.lines)
    bps = made.markup_bps
    text = (
        f"({terms}) / {PER} × {10_000 + bps} / 10000 = {made.exact} µ, half-even → {made.total} µ"
    )
    return FormulaView(
        text,
        str(made.provider_exact),
        str(made.exact),
        "half-even",
        made.provider_cost,
        usd(made.provider_cost),
        made.markup,
        usd(made.markup),
        made.total,
        usd(made.total),
    )


def _conversion(made: Conversion) -> ConversionView:
    tokens = made.tokens
    text = (
        f"({made.weight_input} × {tokens.input} + {made.weight_output} × {tokens.output})"
        f" / {made.tokens_per_unit} = {made.exact}, rounded up → {made.units} {made.bucket}"
    )
    if made.is_minimum:
        text += f", the least that a call counts (min_units {made.min_units})"
    return ConversionView(
        text,
        made.bucket,
        made.weight_input,
        made.weight_output,
        made.tokens_per_unit,
        made.min_units,
        str(made.exact),
        "ceil",
        made.units,
        made.catalogue_version,
    )


def _share(made: Share) -> ShareView:
    text = (
        f"price × {made.beyond} / {made.units} = {made.exact} µ, half-even → {made.amount} µ;"
        f" {made.included} of {made.units} units were included"
    )
    return ShareView(text, made.included, made.units, str(made.exact), "half-even", made.amount)
