"""What an act costs, as the decision needs it: exact until the one rounding."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from domain.account.usage import Usage
from domain.catalogue.catalogue import Meter
from domain.catalogue.price_book import PriceBook, StoredPrice, exact_total
from domain.errors import InvalidInput, UnknownModel
from domain.money import BALANCE_LIMIT, round_half_even


class Bill(NamedTuple):
    """What an act costs: µ, the same before rounding, and the price as the event keeps it."""

    total: int = 0
    exact: tuple[int, int] = (0, 1)
    price: StoredPrice | None = None


UNPRICED = Bill()


def bill_of(usage: Usage, meter: Meter, book: PriceBook, occurred: datetime) -> Bill:
    """Rate an act by the book that was in force; `UNPRICED` for a recorded one without a price."""
    if meter.rate is None:
        return UNPRICED
    try:
        price = book.price(usage.llm_model, usage.provider, occurred)
    except UnknownModel:
        if usage.mode == "strict":
            raise
        return UNPRICED
    exact = exact_total(usage.tokens, price)
    total = round_half_even(*exact)
    if total > BALANCE_LIMIT:
        raise InvalidInput(("tokens",), "cost more than any balance can hold")
    return Bill(total, exact, price)
