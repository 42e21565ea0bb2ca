"""Where things stand in the book: the streams that the use cases name."""

from __future__ import annotations

from functools import lru_cache

from domain.account.credit_account import CreditAccount
from domain.catalogue.catalogue import CATALOGUE, PlanCatalogue
from domain.catalogue.price_book import PRICE_BOOK, PriceBook
from domain.commands import Stream
from domain.identity import account_id

PLANS = Stream(PlanCatalogue, CATALOGUE)
PRICES = Stream(PriceBook, PRICE_BOOK)
RATING = (PLANS, PRICES)
"""What every charge reads besides its account."""


@lru_cache(maxsize=200_000)
def account_stream(workspace_id: str) -> Stream:
    """Where a workspace's money and units are kept."""
    return Stream(CreditAccount, account_id(workspace_id))
