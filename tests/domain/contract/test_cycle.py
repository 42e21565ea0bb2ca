"""Cycle boundaries: the examples of the specification's section 4, and what holds for all."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.contract.cycle import boundary


@pytest.mark.parametrize(
    ("anchor", "n", "expected"),
    [
        ((2026, 1, 31), 1, (2026, 2, 28)),
        ((2026, 1, 31), 2, (2026, 3, 31)),
        ((2026, 1, 31), 3, (2026, 4, 30)),
        ((2028, 1, 31), 1, (2028, 2, 29)),
        ((2027, 12, 31), 2, (2028, 2, 29)),
        ((2028, 2, 29), 12, (2029, 2, 28)),
        ((2028, 2, 29), 48, (2032, 2, 29)),
        ((2026, 12, 1), 1, (2027, 1, 1)),
        ((2026, 1, 31), 0, (2026, 1, 31)),
    ],
)
def test_months_are_counted_from_the_original_anchor(
    anchor: tuple[int, int, int], n: int, expected: tuple[int, int, int]
) -> None:
    start = datetime(*anchor, 10, 30, 5, 7, tzinfo=UTC)

    assert boundary(start, n) == datetime(*expected, 10, 30, 5, 7, tzinfo=UTC)


@given(
    st.datetimes(datetime(2020, 1, 1), datetime(2099, 1, 1), timezones=st.just(UTC)),
    st.integers(0, 600),
)
def test_boundaries_rise_keep_the_time_of_day_and_end_on_the_anchors_day_or_the_months_last(
    anchor: datetime, n: int
) -> None:
    here, after = boundary(anchor, n), boundary(anchor, n + 1)

    assert here < after
    assert here.timetz() == anchor.timetz()
    assert here.day == anchor.day or (here.day < anchor.day and _next_day(here).day == 1)
    assert (here.year * 12 + here.month) - (anchor.year * 12 + anchor.month) == n


def _next_day(moment: datetime) -> datetime:
    return datetime.fromordinal(moment.toordinal() + 1)
