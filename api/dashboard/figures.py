"""How amounts, counts and times are written for people: exact, grouped, and never as a float."""

from __future__ import annotations

from datetime import datetime, timedelta
from fractions import Fraction
from typing import NamedTuple
from zoneinfo import ZoneInfo

from domain.money import MICROS

SYMBOLS = {"usd": "$", "eur": "€", "gbp": "£"}
MINUS = "−"


class Amount(NamedTuple):
    """An amount in the parts that a page sets differently: ``−``, ``$``, ``1,234``, ``56``,
    ``7890``. ``fine`` is what lies below a cent, empty where that is nothing."""

    sign: str
    symbol: str
    whole: str
    cents: str
    fine: str

    def __str__(self) -> str:
        return f"{self.sign}{self.symbol}{self.whole}.{self.cents}{self.fine}"


def amount(micros: int, currency: str = "usd", *, full: bool = False) -> Amount:
    """µ as an amount of the currency; ``full`` keeps all six digits, so that columns line up."""
    whole, rest = divmod(abs(micros), MICROS)
    digits = f"{rest:06d}"
    fine = digits[2:] if full else digits[2:].rstrip("0")
    symbol = SYMBOLS.get(currency, f"{currency.upper()} ")
    return Amount(MINUS if micros < 0 else "", symbol, f"{whole:,}", digits[:2], fine)


def count(number: int) -> str:
    """A whole number with its thousands grouped."""
    return f"{MINUS if number < 0 else ''}{abs(number):,}"


def units(bucket: str) -> str:
    """The units of a bucket, as people read them: ``ai_credits`` are AI credits."""
    return bucket.replace("_", " ").replace("ai ", "AI ")


def exact(value: Fraction) -> str:
    """A fraction as a decimal, in full; as a fraction where no decimal is exact."""
    digits = 0
    while value.denominator > 1 and (value * 10**digits).denominator > 1:
        digits += 1
        if digits > 30:
            return f"{count(value.numerator)}/{value.denominator:,}"
    whole, rest = divmod(abs(value.numerator) * 10**digits // value.denominator, 10**digits)
    sign = MINUS if value < 0 else ""
    return f"{sign}{whole:,}.{rest:0{digits}d}" if digits else f"{sign}{whole:,}"


def percent(basis_points: int) -> str:
    """Basis points as per cent: 500 is ``5 %``, 525 is ``5.25 %``."""
    return f"{exact(Fraction(basis_points, 100))} %"


def moment(at: datetime, zone: ZoneInfo, *, seconds: bool = True) -> str:
    """``12 Jun 2026, 14:03:09`` in the workspace's time zone."""
    local = at.astimezone(zone)
    return f"{day(at, zone)}, {local:%H:%M:%S}" if seconds else f"{day(at, zone)}, {local:%H:%M}"


def day(at: datetime, zone: ZoneInfo) -> str:
    """``12 Jun 2026`` in the workspace's time zone."""
    local = at.astimezone(zone)
    return f"{local.day} {local:%b %Y}"


def until(at: datetime, now: datetime) -> str:
    """How far off an instant is, in the largest sensible unit: ``in 12 days``."""
    left = at - now
    if left <= timedelta(0):
        return "now"
    if left >= timedelta(days=2):
        return f"in {left.days} days"
    hours, rest = divmod(int(left.total_seconds()), 3600)
    if hours:
        return f"in {hours} hour{'s' if hours > 1 else ''}"
    minutes = max(rest // 60, 1)
    return f"in {minutes} minute{'s' if minutes > 1 else ''}"
