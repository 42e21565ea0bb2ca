"""Amounts from requests, exactly."""

from __future__ import annotations

from decimal import Decimal

from domain.errors import InvalidInput
from domain.money import parse_usd


def micros(amount: Decimal, *loc: str | int, digits: int) -> int:
    """An amount of currency as µ. ``loc`` names the field.

    :raises InvalidInput: not finite, too large, or with more than ``digits`` fraction digits.
    """
    try:
        return parse_usd(amount, digits=digits)
    except (ValueError, ArithmeticError):
        if not amount.is_finite():
            raise InvalidInput(loc, "must be a finite number") from None
        raise InvalidInput(
            loc, f"must have at most {digits} fraction digits, and fit a balance"
        ) from None
