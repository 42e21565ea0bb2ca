"""Rounding, printing and reading money, each against Python's own exact arithmetic."""

from decimal import ROUND_HALF_EVEN, Context, Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from domain.money import BALANCE_LIMIT, parse_usd, round_half_even, usd

WHOLE = BALANCE_LIMIT // 1_000_000 * 1_000_000
micros = st.integers(-WHOLE, WHOLE)


@given(st.integers(-(10**40), 10**40), st.integers(1, 10**20))
@example(5, 2)
@example(15, 2)
@example(-5, 2)
@example(-15, 2)
def test_ties_go_to_the_even_neighbour(numerator: int, denominator: int) -> None:
    # 80 digits are enough to tell a tie from a near tie with denominators of 20.
    context = Context(prec=80)
    quotient = context.divide(Decimal(numerator), Decimal(denominator))

    rounded = round_half_even(numerator, denominator)

    assert rounded == int(quotient.quantize(Decimal(1), ROUND_HALF_EVEN, context))


@given(micros)
def test_an_amount_is_printed_exactly_and_read_back(amount: int) -> None:
    printed = usd(amount)

    assert printed * 1_000_000 == amount
    assert parse_usd(str(printed), digits=6) == amount


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (19_962_965, "19.962965"),
        (-27_035, "-0.027035"),
        (20_000_000, "20"),
        (1, "0.000001"),
        (0, "0"),
    ],
)
def test_amounts_have_no_trailing_zeros_and_no_exponent(amount: int, text: str) -> None:
    assert str(usd(amount)) == text


@pytest.mark.parametrize("text", ["20.001", "NaN", "Infinity", "-Infinity", "1e-3", "", "ten"])
def test_what_is_no_amount_of_two_digits_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"fraction digits|decimal number|finite"):
        parse_usd(text, digits=2)


@pytest.mark.parametrize("text", ["1e400", "9007199255", "-1e30"])
def test_an_amount_beyond_every_balance_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="larger"):
        parse_usd(text, digits=2)


@pytest.mark.parametrize(
    ("text", "amount"), [("20.00", 20_000_000), ("0.99", 990_000), (7, 7_000_000), ("1e2", 10**8)]
)
def test_an_amount_may_be_written_in_any_decimal_way(text: str | int, amount: int) -> None:
    assert parse_usd(text, digits=2) == amount
