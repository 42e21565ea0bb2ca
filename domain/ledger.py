"""The use cases: what services, dashboards and administrators ask of the book.

Each one builds a command, hands it to the writer (`Book`) and makes the answer from what was
committed. Amounts are µ; time and actors come in with the `Context`.
"""

from __future__ import annotations

from domain.charging import Charging
from domain.commands import Book
from domain.crediting import Credit, Crediting
from domain.invoicing import Invoicing
from domain.migrating import Migrating
from domain.opening import Opening
from domain.places import PLANS, PRICES, account_stream
from domain.selling import Selling
from domain.tenancy import Tenancy
from domain.topping import Topping

__all__ = ["PLANS", "PRICES", "Credit", "Ledger", "account_stream"]


class Ledger(Charging, Crediting, Opening, Tenancy, Selling, Topping, Invoicing, Migrating):
    """Every use case, once; grouped by who asks."""

    def __init__(self, book: Book) -> None:
        self.book = book
