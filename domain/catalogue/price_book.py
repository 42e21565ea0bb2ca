"""What a model's tokens cost: immutable, versioned price books, and the one rating rule."""

from __future__ import annotations

from bisect import bisect_right
from datetime import datetime
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from domain.account.usage import Tokens
from domain.errors import BackdatedPriceBook, InvalidInput, UnknownModel
from domain.facts import Aggregate, Context, Fact
from domain.identity import stream_id
from domain.money import round_half_even

PRICE_BOOK = stream_id("price_book", "default")
"""The one price book stream of a deployment."""

PER = 1_000_000
"""Prices are integer µ per this many tokens."""

EXACT = PER * 10_000
"""Exact totals are in this part of a µ: prices are per million tokens, markups in 1/10 000."""

Price = Annotated[int, Meta(ge=0, le=10**15)]


class PriceEntry(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """The price of one model, µ per million tokens; an empty provider means any."""

    model: Annotated[str, Meta(min_length=1, max_length=255)]
    input: Price
    cached_input: Price
    output: Price
    provider: str = ""


class Rated(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What an act costs, and by which numbers: ``price`` is (input, cached_input, output,
    markup_bps) of the entry that was used."""

    provider_cost: int  # µ, for display
    total: int  # µ, what the customer pays
    book: int  # the price book's version
    price: tuple[int, int, int, int]

    @property
    def stored(self) -> StoredPrice:
        """The price as an event keeps it, so that the event explains itself."""
        return (self.book, *self.price)

    @property
    def price_book_version(self) -> int:
        """The price book that was in force."""
        return self.book

    @property
    def markup(self) -> int:
        """µ; always adds up with the provider's cost to the total."""
        return self.total - self.provider_cost


StoredPrice = tuple[int, int, int, int, int]
"""How an event keeps the price it was rated by: book, input, cached_input, output, markup_bps."""


def priced(tokens: Tokens, price: StoredPrice | None, total: int) -> Rated | None:
    """What an event's act cost, from what the event keeps; None while it has no price."""
    if price is None:
        return None
    exact = provider_micros(tokens, price[1], price[2], price[3])
    return Rated(round_half_even(exact, PER), total, price[0], price[1:])


def provider_micros(tokens: Tokens, p_in: int, p_cached: int, p_out: int) -> int:
    """The provider's cost in millionths of a µ: exact, before any rounding."""
    return (
        (tokens.input - tokens.cached_input) * p_in
        + tokens.cached_input * p_cached
        + tokens.output * p_out
    )


def exact_total(tokens: Tokens, price: StoredPrice) -> tuple[int, int]:
    """`exact_cost` by a price as events keep it."""
    provider = provider_micros(tokens, price[1], price[2], price[3])
    return provider * (10_000 + price[4]), EXACT


def exact_cost(tokens: Tokens, price: tuple[int, int, int, int]) -> tuple[int, int]:
    """(numerator, denominator) of the total in µ, before the single rounding."""
    p_in, p_cached, p_out, markup_bps = price
    provider = provider_micros(tokens, p_in, p_cached, p_out)
    return provider * (10_000 + markup_bps), EXACT


class PriceBookVersion(msgspec.Struct, frozen=True):
    """One published version: in force from ``effective_from`` until the next one's."""

    version: int
    effective_from: datetime
    currency: str
    markup_bps: int
    entries: dict[str, tuple[PriceEntry, ...]]  # by model

    def find(self, model: str, provider: str | None) -> PriceEntry | None:
        """The entry that prices a model; without a provider only an unambiguous one."""
        found = self.entries.get(model)
        if found is None:
            return None
        if provider is None:
            return found[0] if len(found) == 1 else None
        for entry in found:
            if entry.provider in (provider, ""):
                return entry
        return None

    def stored(self, entry: PriceEntry) -> StoredPrice:
        """The entry as an event keeps it."""
        return (self.version, entry.input, entry.cached_input, entry.output, self.markup_bps)

    def rate(self, tokens: Tokens, entry: PriceEntry) -> Rated:
        """Cost of the tokens; ties go to the even micro (spec 3.3)."""
        p_in, p_cached, p_out = entry.input, entry.cached_input, entry.output
        provider = provider_micros(tokens, p_in, p_cached, p_out)
        bps = self.markup_bps
        return Rated(
            round_half_even(provider, PER),
            round_half_even(provider * (10_000 + bps), EXACT),
            self.version,
            (p_in, p_cached, p_out, bps),
        )


class PriceBookVersionPublished(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """Prices from ``effective_from`` on; never changed afterwards."""

    version: int
    effective_from: datetime
    currency: str
    markup_bps: int
    entries: tuple[PriceEntry, ...]
    content_sha256: str

    def apply(self, aggregate: PriceBook) -> None:
        by_model: dict[str, tuple[PriceEntry, ...]] = {}
        for entry in self.entries:
            by_model[entry.model] = (*by_model.get(entry.model, ()), entry)
        version = PriceBookVersion(
            self.version, self.effective_from, self.currency, self.markup_bps, by_model
        )
        aggregate.versions = (*aggregate.versions, version)
        aggregate.starts = (*aggregate.starts, self.effective_from)
        aggregate.hashes = (*aggregate.hashes, self.content_sha256)


class PriceBook(Aggregate, omit_defaults=True, gc=False):
    """All published versions, oldest first."""

    category: ClassVar[str] = "price_book"
    facts: ClassVar[tuple[type[Fact], ...]] = (PriceBookVersionPublished,)

    versions: tuple[PriceBookVersion, ...] = ()
    starts: tuple[datetime, ...] = ()
    hashes: tuple[str, ...] = ()

    def at(self, moment: datetime) -> PriceBookVersion | None:
        """The version in force at an instant; at exactly its start the new one applies."""
        index = bisect_right(self.starts, moment)
        return self.versions[index - 1] if index else None

    def price(self, model: str | None, provider: str | None, at: datetime) -> StoredPrice:
        """The price in force at ``at``, as an event keeps it.

        :raises UnknownModel: no model named, or no price for it at that instant.
        """
        book = self.at(at)
        entry = book.find(model, provider) if book is not None and model else None
        if book is None or entry is None:
            raise unknown_model(model, provider, book)
        return book.stored(entry)

    def rate(self, model: str | None, provider: str | None, tokens: Tokens, at: datetime) -> Rated:
        """Rate by the book in force at ``at``.

        :raises UnknownModel: no model named, or no price for it at that instant.
        """
        price = self.price(model, provider, at)
        rated = priced(tokens, price, round_half_even(*exact_total(tokens, price)))
        assert rated is not None
        return rated

    def publish(
        self,
        effective_from: datetime,
        currency: str,
        markup_bps: int,
        entries: tuple[PriceEntry, ...],
        content_sha256: str,
        context: Context,
    ) -> int:
        """Publish the next version; the same content again is a no-op. Returns its number.

        :raises BackdatedPriceBook: it would start before the newest one, or in the past.
        """
        if content_sha256 in self.hashes:
            return self.hashes.index(content_sha256) + 1
        if not entries:
            raise InvalidInput(("entries",), "a price book needs at least one price")
        if self.starts and effective_from <= self.starts[-1]:
            raise BackdatedPriceBook(
                ("effective_from",),
                f"must be later than version {len(self.starts)}'s {self.starts[-1].isoformat()}",
            )
        if self.starts and effective_from < context.now:
            raise BackdatedPriceBook(
                ("effective_from",), "is in the past; what was rated then must not change"
            )
        if len({(e.model, e.provider) for e in entries}) != len(entries):
            raise InvalidInput(("entries",), "prices one model of one provider twice")
        version = self.version + 1
        self.record(
            PriceBookVersionPublished(
                **self.stamp(context, f"price_book:{content_sha256}"),
                version=version,
                effective_from=effective_from,
                currency=currency,
                markup_bps=markup_bps,
                entries=entries,
                content_sha256=content_sha256,
            )
        )
        return version


def unknown_model(
    model: str | None, provider: str | None, book: PriceBookVersion | None
) -> UnknownModel:
    """Say which model has no price, and where prices are listed."""
    if not model:
        return UnknownModel(("llm_model",), "this meter is rated by model: name one")
    if book and provider is None and len(book.entries.get(model, ())) > 1:
        return UnknownModel(("provider",), f"several providers price {model}: name one")
    return UnknownModel(
        ("llm_model",),
        f"no price for {model}{f' of {provider}' if provider else ''};"
        " GET /v1/billing/llm-costs lists what is priced",
    )
