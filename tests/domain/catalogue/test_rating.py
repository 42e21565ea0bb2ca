"""Prices: scenarios S03–S07 and S22's refusals, and the rule itself against exact fractions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.account.usage import Tokens
from domain.catalogue.price_book import (
    PRICE_BOOK,
    PriceBook,
    PriceBookVersion,
    PriceEntry,
    exact_cost,
)
from domain.errors import BackdatedPriceBook, InvalidInput, UnknownModel
from domain.facts import Context
from tests.domain.given import LONG_AGO, NOW, prices, publish

prices_of_a_model = st.builds(
    PriceEntry,
    st.just("m"),
    st.integers(0, 10**9),
    st.integers(0, 10**9),
    st.integers(0, 10**9),
)
counts = st.integers(0, 10**9)


@st.composite
def tokens(draw: st.DrawFn) -> Tokens:
    input = draw(counts)
    return Tokens(input, draw(st.integers(0, input)), draw(counts))


@given(prices_of_a_model, tokens(), st.integers(0, 100_000))
def test_a_price_is_the_exact_fraction_rounded_once(
    entry: PriceEntry, used: Tokens, markup_bps: int
) -> None:
    book = PriceBookVersion(3, LONG_AGO, "usd", markup_bps, {"m": (entry,)})
    provider = (
        (used.input - used.cached_input) * Fraction(entry.input)
        + used.cached_input * Fraction(entry.cached_input)
        + used.output * Fraction(entry.output)
    ) / 10**6
    total = provider * (1 + Fraction(markup_bps, 10_000))

    rated = book.rate(used, entry)

    assert Fraction(*exact_cost(used, rated.price)) == total
    assert rated.total == round(total)  # Fractions round ties to even, too.
    assert rated.provider_cost == round(provider)
    assert rated.provider_cost + rated.markup == rated.total
    assert rated.price_book_version == 3


@pytest.mark.scenario("S04")
@pytest.mark.parametrize(
    ("markup_bps", "model", "used", "total"),
    [
        pytest.param(0, "gpt-5.4", Tokens(12_345), 37_035, id="S01"),
        pytest.param(0, "gpt-5.4", Tokens(12_345, 0, 678), 47_205, id="S02"),
        pytest.param(500, "gpt-5.4", Tokens(12_345, 0, 678), 49_565, id="S03"),
        pytest.param(0, "gpt-4o-mini", Tokens(30), 4, id="S04: 4.5"),
        pytest.param(0, "gpt-4o-mini", Tokens(50), 8, id="S04: 7.5"),
        pytest.param(500, "gpt-5.4-mini", Tokens(1_000), 262, id="S04: 262.5"),
        pytest.param(0, "gpt-4o-mini", Tokens(1), 0, id="S05"),
        pytest.param(500, "gpt-5.4", Tokens(12_000, 8_000, 500), 22_995, id="S06"),
    ],
)
def test_the_examples_of_the_specification(
    markup_bps: int, model: str, used: Tokens, total: int
) -> None:
    assert prices(markup_bps).rate(model, None, used, NOW).total == total


@pytest.mark.scenario("S03")
def test_the_parts_of_a_price_add_up() -> None:
    rated = prices(500).rate("gpt-5.4", None, Tokens(12_345, 0, 678), NOW)

    assert (rated.provider_cost, rated.markup, rated.total) == (47_205, 2_360, 49_565)
    assert Fraction(*exact_cost(Tokens(12_345, 0, 678), rated.price)) == Fraction(198_261, 4)


@pytest.mark.scenario("S07")
def test_an_act_is_rated_by_the_prices_of_its_instant() -> None:
    change = datetime(2026, 6, 10, tzinfo=UTC)
    book = prices(versions=((LONG_AGO, 3_000_000), (change, 2_000_000)))
    million = Tokens(1_000_000)

    before = book.rate("gpt-5.4", None, million, change - timedelta(seconds=1))
    after = book.rate("gpt-5.4", None, million, change)

    assert (before.total, before.price_book_version) == (3_000_000, 1)
    assert (after.total, after.price_book_version) == (2_000_000, 2)


@pytest.mark.scenario("S07")
def test_prices_never_change_for_what_may_already_be_rated() -> None:
    change = datetime(2026, 6, 10, tzinfo=UTC)
    book = prices(versions=((LONG_AGO, 3_000_000), (change, 2_000_000)))

    with pytest.raises(BackdatedPriceBook):
        publish(book, datetime(2026, 6, 5, tzinfo=UTC), 1)
    with pytest.raises(BackdatedPriceBook):
        publish(book, change, 1)
    with pytest.raises(BackdatedPriceBook, match="past"):
        publish(book, datetime(2026, 6, 11, tzinfo=UTC), 1, now=datetime(2026, 6, 12, tzinfo=UTC))
    assert book.version == 2


def test_publishing_the_same_prices_again_changes_nothing() -> None:
    book = prices(versions=((LONG_AGO, 3_000_000), (NOW, 2_000_000)))
    book.collect_events()

    assert publish(book, LONG_AGO, 3_000_000) == 1
    assert book.collect_events() == []


def test_before_the_first_price_book_nothing_has_a_price() -> None:
    book = prices()

    with pytest.raises(UnknownModel):
        book.rate("gpt-5.4", None, Tokens(1), LONG_AGO - timedelta(microseconds=1))
    assert book.rate("gpt-5.4", None, Tokens(1), LONG_AGO).total == 3


@pytest.mark.scenario("S22")
@pytest.mark.parametrize(
    ("model", "provider", "word"),
    [("gpt-9", None, "no price for gpt-9"), (None, None, "name one"), ("m", None, "several")],
)
def test_a_model_without_one_price_is_refused_with_the_reason(
    model: str | None, provider: str | None, word: str
) -> None:
    book = PriceBook(PRICE_BOOK)
    two = (PriceEntry("m", 1, 1, 1, "a"), PriceEntry("m", 2, 2, 2, "b"))
    book.publish(LONG_AGO, "usd", 0, two, "v1", Context(LONG_AGO))

    with pytest.raises(UnknownModel, match=word):
        book.rate(model, provider, Tokens(1), NOW)


def test_a_provider_chooses_between_prices_of_one_model() -> None:
    book = PriceBook(PRICE_BOOK)
    two = (PriceEntry("m", 10**6, 1, 1, "a"), PriceEntry("m", 2 * 10**6, 1, 1, "b"))
    book.publish(LONG_AGO, "usd", 0, two, "v1", Context(LONG_AGO))

    assert book.rate("m", "b", Tokens(1), NOW).total == 2
    with pytest.raises(UnknownModel, match="of c"):
        book.rate("m", "c", Tokens(1), NOW)


def test_a_price_book_that_prices_a_model_twice_or_nothing_is_refused() -> None:
    book = PriceBook(PRICE_BOOK)
    twice = (PriceEntry("m", 1, 1, 1), PriceEntry("m", 2, 2, 2))

    with pytest.raises(InvalidInput, match="twice"):
        book.publish(LONG_AGO, "usd", 0, twice, "v1", Context(LONG_AGO))
    with pytest.raises(InvalidInput, match="at least one"):
        book.publish(LONG_AGO, "usd", 0, (), "v0", Context(LONG_AGO))
