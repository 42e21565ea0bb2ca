"""The use cases: what services, dashboards and administrators ask of the book.

Each one builds a command, hands it to the writer (`Book`) and makes the answer from what was
committed. Amounts are µ; time and actors come in with the `Context`.
"""

from __future__ import annotations

from domain.account.charging import Charging
from domain.account.crediting import Credit, Crediting
from domain.catalogue.selling import Selling
from domain.commands import Book
from domain.contract.migrating import Migrating
from domain.invoice.invoicing import Invoicing
from domain.payment.topping import Topping
from domain.places import PLANS, PRICES, account_stream
from domain.workspace.opening import Opening
from domain.workspace.tenancy import Tenancy

__all__ = ["PLANS", "PRICES", "Credit", "Ledger", "account_stream"]


class Ledger(Charging, Crediting, Opening, Tenancy, Selling, Topping, Invoicing, Migrating):
    """Every use case, once; grouped by who asks."""

    def __init__(self, book: Book) -> None:
        self.book = book
