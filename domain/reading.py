"""Use cases that only read, from the book itself: always as committed now."""

from __future__ import annotations

from domain.account.credit_account import CreditAccount
from domain.catalogue.catalogue import PlanCatalogue
from domain.catalogue.price_book import PriceBook
from domain.commands import Book
from domain.errors import NotFound
from domain.places import PLANS, PRICES, account_stream


class Reading:
    """Strong reads: no read model is asked."""

    book: Book

    async def account(self, workspace_id: str) -> CreditAccount:
        """The account as committed now.

        :raises NotFound: there is no such workspace.
        """
        account = await self.book.fresh(account_stream(workspace_id))
        assert isinstance(account, CreditAccount)
        if not account.version:
            raise NotFound("workspace", workspace_id)
        return account

    async def prices(self) -> PriceBook:
        """All price books."""
        prices = await self.book.fresh(PRICES)
        assert isinstance(prices, PriceBook)
        return prices

    async def plans(self) -> PlanCatalogue:
        """All catalogues."""
        plans = await self.book.fresh(PLANS)
        assert isinstance(plans, PlanCatalogue)
        return plans
