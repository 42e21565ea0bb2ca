"""What a dispute took goes back to where it came from, once it is won."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from domain.account.credit_account import CreditAccount
from domain.account.credit_facts import Credited
from tests.domain.given import NOW, account_with, at, credited, promo

DAY = timedelta(days=1)


def paid(account: CreditAccount, amount: int) -> Credited:
    """A payment that came in."""
    return credited(
        account,
        amount=amount,
        source="card_topup",
        cause="credit:pay",
        context=at(),
        payment_attempt_id="pay",
    )


def take_back(account: CreditAccount, payment: Credited, amount: int, cause: str = "r1") -> None:
    """The bank takes it."""
    account.reverse(payment, amount, "chargeback", f"reversal:{cause}", at())


@given(
    first=st.integers(1, 1_000),
    gifts=st.lists(
        st.tuples(st.integers(1, 1_000), st.sampled_from([10, 50, 90]), st.sampled_from([None, 5])),
        max_size=3,
    ),
    spent=st.integers(0, 4_000),
    cuts=st.lists(st.integers(0, 1_000), max_size=3),
)
@example(first=20, gifts=[(10, 50, 5)], spent=15, cuts=[])
def test_a_payment_that_was_taken_and_given_back_leaves_the_wallet_as_it_was(
    first: int, gifts: list[tuple[int, int, int | None]], spent: int, cuts: list[int]
) -> None:
    account = account_with(0)
    payment = paid(account, first)
    for amount, priority, days in gifts:
        promo(account, amount, priority=priority, expires_at=days and NOW + days * DAY)
    if spent:
        account.adjust(-spent, "spent", "T", "spent", at())
    before = account.wallet
    parts = [min(cut, first) for cut in cuts if cut]
    parts = [part for n, part in enumerate(parts) if sum(parts[: n + 1]) <= first]
    parts += [first - sum(parts)] if sum(parts) < first else []

    for n, part in enumerate(parts):
        take_back(account, payment, part, f"r{n}")
    for n, part in enumerate(sorted(parts)):
        account.reinstate("pay", payment.grant_id, part, f"reinstated:{n}", None, at())

    assert account.wallet == before
    assert account.reversed == {"pay": 0}
    assert account.taken == {"pay": ()}


@pytest.mark.parametrize(("days", "money", "gift"), [(0, 5, 10), (5, 12, 0)])
def test_what_is_over_meanwhile_comes_back_as_money_of_the_payment(
    days: int, money: int, gift: int
) -> None:
    account = account_with(0)
    payment = paid(account, 20)
    account.adjust(-15, "spent", "T", "spent", at())
    promo(account, 10, expires_at=NOW + 5 * DAY)
    take_back(account, payment, 12)
    assert account.balance == 3

    account.reinstate("pay", payment.grant_id, 12, "back", None, at(NOW + days * DAY))

    left = {grant.category: grant.remaining for grant in account.wallet.grants}
    assert left == {"paid": money} | ({"promotional": gift} if gift else {})
