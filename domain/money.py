"""Money: integer micro-units of the account currency, and the only place that rounds.

A micro (µ) is 10⁻⁶ of the currency unit, so 1 USD is 1 000 000 µ and the price of one
token survives. Amounts are plain ``int`` with their unit in the name (``amount`` in an event
is µ; ``*_minor`` is the card network's minor unit).
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

MICROS = 1_000_000
"""Micro-units in one unit of currency."""

MINOR = 10_000
"""Micro-units in one minor unit (a cent) of a two-digit currency."""

WITHOUT_CENTS = frozenset(
    (
        *("bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "ugx", "vnd"),
        *("vuv", "xaf", "xof", "xpf"),
    )
)
"""Currencies that the card network counts whole."""

WITH_MILLS = frozenset(("bhd", "iqd", "jod", "kwd", "lyd", "omr", "tnd"))
"""Currencies that it counts in thousandths."""

WHOLE_IN_HUNDREDTHS = frozenset(("isk", "ugx"))
"""Currencies without cents that it nevertheless counts in hundredths, of which it takes whole
hundreds only: neither way of counting fits, and a hundredth of a charge would be wrong."""

BALANCE_LIMIT = 9_007_199_254_740_991
"""The largest balance in µ: what a JSON reader that knows only doubles still reads exactly."""


def digits_of(currency: str) -> int:
    """Fraction digits of a currency's minor unit: 2 for cents, 0 where there are none."""
    return 0 if currency.lower() in WITHOUT_CENTS else 2


def minor_of(currency: str) -> int:
    """µ in one minor unit of a currency (ISO code): 10 000 for usd, a million for
    jpy, whose minor unit is the yen."""
    return MICROS if currency.lower() in WITHOUT_CENTS else MINOR


def round_half_even(numerator: int, denominator: int) -> int:
    """Divide, and round once, ties to the even neighbour. ``denominator`` is positive."""
    quotient, remainder = divmod(numerator, denominator)
    twice = 2 * remainder
    if twice > denominator or (twice == denominator and quotient & 1):
        return quotient + 1
    return quotient


def usd(micros: int) -> Decimal:
    """The amount in currency units, exactly, without trailing zeros: 19950435 -> 19.950435."""
    whole, rest = divmod(abs(micros), MICROS)
    fraction = f"{rest:06d}".rstrip("0")
    sign = "-" if micros < 0 else ""
    return Decimal(f"{sign}{whole}.{fraction}" if fraction else f"{sign}{whole}")


def parse_usd(text: str | int | Decimal, *, digits: int) -> int:
    """Read a decimal amount of at most ``digits`` fraction digits as µ.

    :raises ValueError: not a finite number, or finer than ``digits`` allows.
    """
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{text!r} is not a decimal number") from None
    if not value.is_finite():
        raise ValueError(f"{text!r} is not a finite number")
    if abs(value) > BALANCE_LIMIT // MICROS:
        raise ValueError(f"{text!r} is larger than any balance can be")
    if value != round(value, digits):
        raise ValueError(f"{text!r} has more than {digits} fraction digits")
    return int(value * MICROS)
