"""µ to the minor units that Stripe counts in, and back. Exact, or refused."""

from __future__ import annotations

WITHOUT_CENTS = (
    *("bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "ugx", "vnd"),
    *("vuv", "xaf", "xof", "xpf"),
)
MICROS = 1_000_000
CENTS = 100


def _micros_of_one(currency: str) -> int:
    return MICROS if currency in WITHOUT_CENTS else MICROS // CENTS


def to_minor(micros: int, currency: str) -> int:
    """µ as minor units.

    :raises ValueError: it is no whole number of them.
    """
    minor, rest = divmod(micros, _micros_of_one(currency))
    if rest:
        raise ValueError(f"{micros} µ are no whole minor units of {currency}")
    return minor


def to_micros(minor: int, currency: str) -> int:
    """Minor units as µ."""
    return minor * _micros_of_one(currency)
