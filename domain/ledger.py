"""The use cases: what services, dashboards and administrators ask of the book.

Each one builds a command, hands it to the writer (`Book`) and makes the answer from what was
committed. Amounts are µ; time and actors come in with the `Context`.
"""

from __future__ import annotations

from domain.charging import Charging
from domain.commands import Book
from domain.crediting import Credit, Crediting
from domain.opening import Opening
from domain.places import PLANS, PRICES, account_stream

__all__ = ["PLANS", "PRICES", "Credit", "Ledger", "account_stream"]


class Ledger(Charging, Crediting, Opening):
    """Every use case, once; grouped by who asks."""

    def __init__(self, book: Book) -> None:
        self.book = book
