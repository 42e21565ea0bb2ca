"""Derived ids: the same everywhere, and public ones that say where an act is recorded."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.identity import account_id, parse_usage_id, stream_id, usage_id


@given(st.uuids(), st.integers(1, 2**40 - 1))
def test_a_usage_id_names_its_place(account: UUID, version: int) -> None:
    id = usage_id(account, version)

    assert id.startswith("use_")
    assert parse_usage_id(id) == (account, version)


@given(st.text(max_size=40))
def test_no_text_breaks_the_reading_of_usage_ids(text: str) -> None:
    for candidate in (text, f"use_{text}"):
        place = parse_usage_id(candidate)
        assert place is None or usage_id(*place) == candidate


@pytest.mark.parametrize(
    "text",
    [
        "",
        "use_",
        "use_" + "A" * 27,
        "use_" + "A" * 29,
        "use_" + "+" * 28,  # base64's other alphabet: a second name of one act
        "use_" + "/" * 28,
        "use_" + "=" * 28,
        "pay_" + "A" * 28,
        "use_" + "é" * 28,
    ],
)
def test_what_is_no_usage_id_names_nothing(text: str) -> None:
    assert parse_usage_id(text) is None


def test_stream_ids_never_change() -> None:
    """They are stored: a changed rule would lose every account."""
    assert str(account_id("acme")) == str(stream_id("credit_account", "acme"))
    assert account_id("acme") == UUID("9767dc38-36eb-535f-85d5-e3838ebb3dd1")
    assert stream_id("payment", "acme") != account_id("acme")
