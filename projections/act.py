"""What one metered act adds to the sums of usage, so that its void takes the same away."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from domain.account.usage import Usage
from domain.account.usage_facts import Debited, Draw, UsageRated, UsageRecorded, UsageVoided
from domain.catalogue.price_book import Rated
from domain.facts import EPOCH
from domain.money import round_half_even

QUARTER_S = 900
"""The finest bucket of usage: every time zone in use is a whole number of these from UTC."""
QUARTERS_A_DAY = 96

Labels: TypeAlias = tuple[str | None, ...]
LABELS = (
    "meter",
    "llm_model",
    "api_key_id",
    "model_username",
    "model_iam_id",
    "face_id",
    "bot_id",
    "thread_id",
    "cycle_id",
)
SUMS = (
    "request_count",
    "input_tokens",
    "output_tokens",
    "provider_cost",
    "markup",
    "total_cost",
    "credits",
    "included_credits",
    "overage_credits",
    "absorbed_credits",
    "tokens_saved",
    "usd_saved",
)
"""Counts, tokens and units; ``provider_cost``, ``markup``, ``total_cost`` and ``usd_saved``
are µ. Costs are what the customer was charged, wallet and overage together."""

Act = Debited | UsageRecorded
Counted = Debited | UsageRecorded | UsageRated | UsageVoided


class Parts(NamedTuple):
    """Who paid for an act: µ of each kind, and units of each kind."""

    wallet: int = 0
    overage: int = 0
    external: int = 0
    absorbed: int = 0
    included_units: int = 0
    overage_units: int = 0
    absorbed_units: int = 0


def parts_of(draws: tuple[Draw, ...]) -> Parts:
    """The draws of an act, added up by source."""
    wallet = overage = external = absorbed = included_u = overage_u = absorbed_u = 0
    for draw in draws:
        match draw.source:
            case "wallet":
                wallet += draw.amount
            case "allowance":
                included_u += draw.units
            case "overage":
                overage += draw.amount
                overage_u += draw.units
            case "oauth":
                external += draw.amount
            case "absorbed":
                absorbed += draw.amount
                absorbed_u += draw.units
    return Parts(wallet, overage, external, absorbed, included_u, overage_u, absorbed_u)


def sums_of(
    usage: Usage, draws: tuple[Draw, ...], rated: Rated | None, units: int
) -> tuple[int, ...]:
    """What an act adds, in the order of `SUMS`.

    The provider's part of the cost is in proportion where the wallet paid only a share (the
    rest was included, or written off).
    """
    parts = parts_of(draws)
    total = parts.wallet + parts.overage
    provider = 0
    if rated is not None and parts.wallet:
        provider = rated.provider_cost
        if parts.wallet != rated.total:
            provider = round_half_even(provider * parts.wallet, rated.total)
    tokens = usage.tokens
    return (
        1,
        tokens.input,
        tokens.output,
        provider,
        total - provider,
        total,
        units,
        parts.included_units,
        parts.overage_units,
        parts.absorbed_units,
        usage.all_tokens if parts.external else 0,
        parts.external,
    )


def added(fact: Counted) -> tuple[int, ...]:
    """What a fact adds to the sums of its bucket and labels, in the order of `SUMS`."""
    if type(fact) is Debited:
        assert fact.usage is not None
        usage, rated = fact.usage, fact.rated
        if not fact.other_draws and rated is not None and rated.total == fact.amount:
            # As `sums_of` would say; nearly every debit is one of these.
            tokens, amount, provider = usage.tokens, fact.amount, rated.provider_cost
            return (
                *(1, tokens.input, tokens.output, provider, amount - provider, amount),
                *(fact.units, 0, 0, 0, 0, 0),
            )
        return sums_of(usage, fact.draws, rated, fact.units)
    if type(fact) is UsageRecorded:
        return sums_of(fact.usage, fact.draws, fact.rated, fact.units)
    if type(fact) is UsageVoided:
        sums = sums_of(fact.usage, fact.draws, fact.rated, fact.units)
        return tuple(-number for number in sums)
    assert isinstance(fact, UsageRated)
    rated = fact.rated
    paid, provider = rated.total if fact.owed is None else fact.owed, rated.provider_cost
    if paid != rated.total:
        provider = round_half_even(provider * paid, rated.total)
    return (0, 0, 0, provider, paid - provider, paid, 0, 0, 0, 0, 0, 0)


def labels_of(usage: Usage, cycle_id: str | None) -> Labels:
    """The labels of an act, in the order of `LABELS`."""
    return (
        usage.meter,
        usage.llm_model,
        usage.api_key_id,
        usage.model_username,
        usage.model_iam_id,
        usage.face_id,
        usage.bot_id,
        usage.thread_id,
        cycle_id,
    )


def place_of(fact: Counted) -> tuple[int, Labels]:
    """The bucket and the labels under which an act is summed, its void and rating too."""
    if isinstance(fact, UsageRated | UsageVoided):
        return bucket_of(fact.usage_at), labels_of(fact.usage, fact.cycle_id)
    usage = fact.usage
    assert usage is not None
    return bucket_of(usage.occurred_at or fact.recorded_at), labels_of(usage, fact.cycle_id)


def bucket_of(at: datetime) -> int:
    """The number of the quarter-hour that an instant falls into."""
    since = at - EPOCH
    return since.days * QUARTERS_A_DAY + since.seconds // QUARTER_S  # 7 times as fast as //


@lru_cache(maxsize=50_000)
def storable(text: str) -> str:
    """The text as PostgreSQL can hold it: without NUL, which JSON allows."""
    return text.replace("\0", "\ufffd")
