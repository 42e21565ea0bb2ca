"""How an act's tokens became units, and how its price was shared where units paid only a part."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from domain.account.usage import Tokens
from domain.account.usage_facts import Debited, Draw, UsageRecorded
from domain.catalogue.catalogue import CATALOGUE, Meter, PlanCatalogue
from domain.commands import Book, Stream


@dataclass(frozen=True, slots=True)
class Conversion:
    """Tokens to units of a bucket, by the meter of the catalogue version that was in force.
    ``units`` is `exact` rounded up, and at least ``min_units``."""

    bucket: str
    tokens: Tokens
    weight_input: int
    weight_output: int
    tokens_per_unit: int
    min_units: int
    units: int
    catalogue_version: int

    @property
    def exact(self) -> Fraction:
        """Units before they were rounded up."""
        weighted = self.weight_input * self.tokens.input + self.weight_output * self.tokens.output
        return Fraction(weighted, self.tokens_per_unit)

    @property
    def is_minimum(self) -> bool:
        """Whether the tokens alone would have been fewer units."""
        return self.exact <= self.min_units - 1

    @property
    def is_plain(self) -> bool:
        """Whether a unit is a token, and nothing had to be worked out."""
        return self.exact == self.units and self.tokens_per_unit == 1


@dataclass(frozen=True, slots=True)
class Share:
    """The part of a price that money paid, because ``included`` of ``units`` were paid in units;
    ``exact`` and ``amount`` in µ."""

    included: int
    units: int
    exact: Fraction
    amount: int

    @property
    def beyond(self) -> int:
        """Units that nothing included covered."""
        return self.units - self.included


async def conversion_of(
    book: Book, act: Debited | UsageRecorded, position: int
) -> Conversion | None:
    """The conversion of an act that stands at a position; None where no units were counted."""
    usage = act.usage
    if usage is None or not act.units:
        return None
    plans = await book.fresh(Stream(PlanCatalogue, CATALOGUE))
    assert isinstance(plans, PlanCatalogue)
    found = await _in_force(book, plans, usage.meter, position)
    if found is None or found[0].bucket is None:
        return None
    meter, version = found
    return Conversion(
        meter.bucket or "",
        usage.tokens,
        meter.weight_input,
        meter.weight_output,
        meter.tokens_per_unit,
        meter.min_units,
        act.units,
        version,
    )


def share_of(act: Debited | UsageRecorded, exact: Fraction) -> Share | None:
    """How a price of ``exact`` µ was shared; None where units, or money, paid all of it."""
    included = sum(draw.units for draw in act.draws if draw.source == "allowance")
    money = sum(draw.amount for draw in act.draws if _is_money(draw))
    if not money or not 0 < included < act.units:
        return None
    return Share(included, act.units, exact * (act.units - included) / act.units, money)


def _is_money(draw: Draw) -> bool:
    """Whether the wallet paid, or would have had to: what it lacked may have been written off."""
    return draw.source == "wallet" or (draw.source == "absorbed" and not draw.units)


async def _in_force(
    book: Book, plans: PlanCatalogue, meter: str, position: int
) -> tuple[Meter, int] | None:
    """The meter as the newest catalogue that stands before a position has it, and its version."""
    for version in range(plans.current_version, 0, -1):
        cause = f"catalogue:{version}:{plans.hashes[version - 1]}"
        published = await book.find_cause(CATALOGUE, cause)
        if published is not None and published[1] < position:
            found = plans.versions[version - 1].meters.get(meter)
            return None if found is None else (found, version)
    return None
