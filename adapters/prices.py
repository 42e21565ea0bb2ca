"""The seed of a price book: the public list prices that the `genai-prices` package carries."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256
from typing import TYPE_CHECKING

import msgspec

from domain.catalogue.price_book import PriceEntry
from domain.money import parse_usd

if TYPE_CHECKING:  # What it carries takes longer to load than most of us, and few ask for it.
    from genai_prices.types import ModelInfo, TieredPrices


def list_prices(at: datetime) -> tuple[PriceEntry, ...]:
    """Every model's list price at an instant, from the installed data, without a network.

    A price book knows input, cached input and output. So a tiered price is read at its base
    tier; a missing cached price is the input price, a missing output price is nothing to pay
    (embeddings); models that are not priced by input tokens (by request, image or second), and
    prices finer than a micro per million tokens, are left out.
    """
    from genai_prices import data

    entries: dict[tuple[str, str], PriceEntry] = {}
    for provider in data.providers:
        for model in provider.models:
            entry = _entry(provider.id, model, at)
            if entry is not None:
                entries.setdefault((entry.model, entry.provider), entry)
    return tuple(entries[key] for key in sorted(entries))


def content_hash(effective_from: datetime, markup_bps: int, entries: Iterable[PriceEntry]) -> str:
    """SHA-256 (hex) of a whole price book: the same one is published once.

    The start is part of it: going back to earlier prices later on is a new book.
    """
    ordered = sorted(entries, key=lambda entry: (entry.model, entry.provider))
    start = effective_from.astimezone(UTC).isoformat()
    return sha256(msgspec.json.encode((start, markup_bps, ordered))).hexdigest()


def _entry(provider: str, model: ModelInfo, at: datetime) -> PriceEntry | None:
    prices = model.get_prices(at)
    given = _base(getattr(prices, "input_mtok", None))
    if given is None:
        return None
    cached = _base(getattr(prices, "cache_read_mtok", None))
    output = _base(getattr(prices, "output_mtok", None))
    try:
        return PriceEntry(
            model.id,
            parse_usd(given, digits=6),
            parse_usd(given if cached is None else cached, digits=6),
            parse_usd(output or Decimal(0), digits=6),
            provider=provider,
        )
    except ValueError:
        return None


def _base(price: Decimal | TieredPrices | None) -> Decimal | None:
    from genai_prices.types import TieredPrices

    return price.base if isinstance(price, TieredPrices) else price
