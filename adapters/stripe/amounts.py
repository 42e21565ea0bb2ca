"""µ to the minor units that Stripe counts in, and back. Exact, or refused."""

from __future__ import annotations

from domain.money import minor_of


def to_minor(micros: int, currency: str) -> int:
    """µ as minor units.

    :raises ValueError: it is no whole number of them.
    """
    minor, rest = divmod(micros, minor_of(currency))
    if rest:
        raise ValueError(f"{micros} µ are no whole minor units of {currency}")
    return minor


def to_micros(minor: int, currency: str) -> int:
    """Minor units as µ."""
    return minor * minor_of(currency)
