"""Which facts make which messages of our own, and when a failed one is sent again."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import outgoing
from domain.account.budget import BudgetWarned
from domain.outgoing import SCHEDULE, TYPES, fallen, message_id, notices, retry_after
from tests.domain.given import LONG_AGO

amounts = st.integers(-(10**12), 10**12)


def test_the_schedule_is_that_of_standard_webhooks() -> None:
    pauses = [retry_after(attempts) for attempts in range(1, 11)]

    assert pauses[:3] == [timedelta(seconds=5), timedelta(minutes=5), timedelta(minutes=30)]
    assert [pause // timedelta(hours=1) for pause in pauses[3:9] if pause] == [2, 5, 10, 14, 20, 24]
    assert pauses[9] is None
    assert len(SCHEDULE) == 9


def test_every_type_is_made_somewhere_and_nothing_else_is() -> None:
    source = Path(str(outgoing.__file__)).read_text()
    quoted = set(re.findall(r'"([a-z_]+\.[a-z_]+)"', source))

    assert quoted - {outgoing.PING} == set(TYPES)
    assert list(TYPES) == sorted(TYPES)


@pytest.mark.parametrize(("hard", "type"), [(False, "budget.warning"), (True, "budget.exhausted")])
def test_a_budget_warns_or_is_exhausted(hard: bool, type: str) -> None:
    fact = BudgetWarned(
        recorded_at=LONG_AGO, budget_id="b", window="2026-06-01", spent=7, limit=5, hard=hard
    )

    [notice] = notices(fact)

    assert notice.type == type
    assert (notice.data["spent_micros"], notice.data["limit_micros"]) == (7, 5)


@given(st.lists(st.integers(-(10**7), -1), max_size=30), st.integers(1, 10**8))
def test_each_line_is_told_of_once_on_the_way_down(moves: list[int], threshold: int) -> None:
    balance, told = 5 * 10**7, []
    start = balance
    for move in moves:
        balance += move
        told += [notice.type for notice in fallen(move, balance, threshold)]

    assert told.count("balance.low") == (balance < threshold <= start)
    assert told.count("balance.exhausted") == (balance <= 0)


@given(amounts, amounts)
def test_without_a_line_nothing_is_low(amount: int, after: int) -> None:
    assert all(notice.type != "balance.low" for notice in fallen(-abs(amount), after, None))


def test_a_message_has_one_name() -> None:
    assert message_id(1, "bot.paused") == message_id(1, "bot.paused")
    names = {message_id(p, t, v) for p in (1, 2) for t in ("a", "b") for v in ("", "5")}
    assert len(names) == 8
