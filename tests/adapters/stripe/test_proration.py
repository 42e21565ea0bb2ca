"""Worked out by hand from Stripe's pages on prorations and billing cycle anchors."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.stripe.sandbox.proration import (
    Debit,
    boundary,
    day_of,
    period_at,
    remaining,
    share,
    unused,
)


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def text(instant: int) -> str:
    return datetime.fromtimestamp(instant, UTC).strftime("%Y-%m-%dT%H:%M:%S")


JUNE = at("2026-06-01T00:00:00")
JULY = at("2026-07-01T00:00:00")


def test_half_of_june_is_half_of_both_prices() -> None:
    middle = at("2026-06-16T00:00:00")

    assert middle == 1781568000
    assert unused(Debit(1000, JUNE, JULY), middle) == -500
    assert remaining(4000, JUNE, JULY, middle) == 2000


def test_one_second_counts() -> None:
    # June has 2 592 000 s. One second of 1 000 000.00 is 38.58 cents.
    assert remaining(100_000_000, JUNE, JULY, JULY - 1) == 39
    assert remaining(100_000_000, JUNE, JULY, JUNE + 1) == 100_000_000 - 39


@pytest.mark.parametrize(
    ("amount", "part", "whole", "expected"),
    [
        (1, 1, 2, 1),  # 0.5
        (-1, 1, 2, -1),
        (3, 1, 2, 2),  # 1.5
        (5, 1, 2, 3),  # 2.5: half up, not half to even
        (1000, 1, 3, 333),
        (1000, 2, 3, 667),
        (1000, 0, 3, 0),
        (1000, 3, 3, 1000),
        (1000, 1, 0, 0),
    ],
)
def test_a_share_rounds_half_away_from_zero(
    amount: int, part: int, whole: int, expected: int
) -> None:
    assert share(amount, part, whole) == expected


def test_the_credit_for_a_prorated_debit_is_a_share_of_that_debit() -> None:
    # Pro was debited 2000 for the last 15 days; after 5 of them two thirds are left.
    debit = Debit(2000, at("2026-06-16T00:00:00"), JULY)

    assert unused(debit, at("2026-06-21T00:00:00")) == -1333
    assert unused(debit, JULY) == 0
    assert unused(debit, JULY + 5) == 0


@pytest.mark.parametrize(
    ("anchor", "expected"),
    [
        ("2026-01-31T10:00:00", ["2026-02-28", "2026-03-31", "2026-04-30", "2026-05-31"]),
        ("2027-12-31T10:00:00", ["2028-01-31", "2028-02-29", "2028-03-31", "2028-04-30"]),
        ("2026-01-30T10:00:00", ["2026-02-28", "2026-03-30", "2026-04-30", "2026-05-30"]),
        ("2026-11-15T10:00:00", ["2026-12-15", "2027-01-15", "2027-02-15", "2027-03-15"]),
    ],
)
def test_months_count_from_the_anchor_and_the_day_is_clamped(
    anchor: str, expected: list[str]
) -> None:
    found = [text(boundary(at(anchor), "month", n)) for n in range(1, 5)]

    assert found == [f"{day}T10:00:00" for day in expected]


def test_a_leap_day_anchor_renews_yearly_on_the_28th_until_the_next_leap_year() -> None:
    leap = at("2028-02-29T00:00:00")

    assert text(boundary(leap, "year", 1)) == "2029-02-28T00:00:00"
    assert text(boundary(leap, "year", 4)) == "2032-02-29T00:00:00"


@given(
    anchor=st.integers(at("2020-01-01T00:00:00"), at("2030-01-01T00:00:00")),
    after=st.integers(0, 4_000 * 86_400),
    interval=st.sampled_from(["day", "week", "month", "year"]),
    count=st.integers(1, 3),
)
def test_periods_hold_their_instant_and_abut(
    anchor: int, after: int, interval: str, count: int
) -> None:
    start, end = period_at(anchor, interval, count, anchor + after)

    assert start <= anchor + after < end
    assert period_at(anchor, interval, count, end)[0] == end
    if start > anchor:
        assert period_at(anchor, interval, count, start - 1)[1] == start


@given(
    amount=st.integers(0, 10_000_000),
    at_s=st.integers(0, 2_592_000),
)
def test_used_and_unused_never_lose_more_than_the_rounding_of_one_line(
    amount: int, at_s: int
) -> None:
    credit = unused(Debit(amount, JUNE, JULY), JUNE + at_s)
    charge = remaining(amount, JUNE, JULY, JUNE + at_s)

    assert charge + credit == 0  # Changing to the same price costs nothing.
    assert 0 <= charge <= amount


def test_a_day_is_written_as_stripe_writes_it() -> None:
    assert day_of(at("2026-06-06T12:00:00")) == "06 Jun 2026"
