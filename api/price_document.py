"""Prices as people write them: the body of `POST /v1/admin/price-books`, also in a file."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from adapters.prices import list_prices
from api.amounts import micros
from domain.account.usage import Label
from domain.catalogue.price_book import PriceEntry
from domain.errors import InvalidInput

ENTRIES_MAX = 10_000
Micros = Annotated[int, Meta(ge=0, le=10**15)]


class Price(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One model's price for a million tokens: in USD (`input_usd_per_m`), or in integer µ as its
    event holds it (`input`). Cached input is full price if left out."""

    model: Label
    input_usd_per_m: Decimal | None = None
    output_usd_per_m: Decimal | None = None
    cached_input_usd_per_m: Decimal | None = None
    input: Micros | None = None
    output: Micros | None = None
    cached_input: Micros | None = None
    provider: Annotated[str, Meta(max_length=255)] = ""


class NewPriceBook(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Prices from `effective_from` on (now, if left out): a list, or the public list prices."""

    markup_bps: Annotated[int, Meta(ge=0, le=1_000_000)]
    effective_from: Annotated[datetime, Meta(tz=True)] | None = None
    entries: list[Price] | None = None
    seed: Literal["genai-prices"] | None = None
    currency: str | None = None  # the deployment's, if it is said

    def starts_at(self, now: datetime) -> datetime:
        """When these prices come into force, UTC.

        :raises InvalidInput: no instant that can be kept.
        """
        try:
            return (self.effective_from or now).astimezone(UTC)
        except OverflowError:
            raise InvalidInput(("effective_from",), "must be within the years 1 to 9999") from None

    def prices(self, at: datetime) -> tuple[PriceEntry, ...]:
        """All of them; list prices are those of an instant.

        :raises InvalidInput: naming the entry and its field.
        """
        if (self.entries is None) == (self.seed is None):
            raise InvalidInput(("entries",), "give either entries, or a seed")
        listed = self.entries
        entries = (
            list_prices(at)
            if listed is None
            else tuple(_entry(index, price) for index, price in enumerate(listed))
        )
        if len(entries) > ENTRIES_MAX:
            raise InvalidInput(("entries",), f"at most {ENTRIES_MAX} prices")
        return entries


DOCUMENT = msgspec.json.Decoder(NewPriceBook)


def _entry(index: int, price: Price) -> PriceEntry:
    def micros_of(name: str, missing: int | None = None) -> int:
        field = f"{name}_usd_per_m"
        asked: Decimal | None = getattr(price, field)
        exact: int | None = getattr(price, name)
        if asked is not None and exact is not None:
            raise InvalidInput(("entries", index, name), f"give either {name}, or {field}")
        amount = exact if asked is None else micros(asked, "entries", index, field, digits=6)
        if amount is None:
            amount = missing
        if amount is None:
            raise InvalidInput(("entries", index, field), "must be given")
        if amount < 0:
            raise InvalidInput(("entries", index, field), "must not be negative")
        return amount

    full = micros_of("input")
    return PriceEntry(
        price.model, full, micros_of("cached_input", full), micros_of("output"), price.provider
    )
