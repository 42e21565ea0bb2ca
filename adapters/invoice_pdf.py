"""Invoices and receipts as PDF, for archives: what stands on them, and setting it with typst."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any, Final

import msgspec
import typst

from domain.money import digits_of

TEMPLATE = Path(__file__).with_name("invoice.typ")
STANDARD: Final = "a-2b"
"""PDF/A: everything that it takes to show it is inside, for as long as it has to be kept."""
_turn = Lock()


class Party(msgspec.Struct, frozen=True):
    """Who sells, or who buys: a name, and what stands below it."""

    name: str
    lines: tuple[str, ...] = ()


class PrintedLine(msgspec.Struct, frozen=True):
    """A line as it is printed."""

    description: str
    quantity: str
    unit_price: str
    amount: str
    details: tuple[str, ...] = ()


class PrintedTotal(msgspec.Struct, frozen=True):
    """A sum below the lines."""

    name: str
    amount: str
    strong: bool = False


class Printed(msgspec.Struct, frozen=True):
    """Everything that stands on a document. ``stamp``: such as Paid."""

    title: str
    number: str
    date: date
    seller: Party
    buyer: Party
    facts: tuple[tuple[str, str], ...]
    lines: tuple[PrintedLine, ...]
    totals: tuple[PrintedTotal, ...]
    notes: tuple[str, ...] = ()
    stamp: str | None = None


def pdf(printed: Printed) -> bytes:
    """The document as PDF; the same document gives the same bytes. Takes some 10 ms: not for the
    event loop."""
    at = printed.date
    midnight = int((date(at.year, at.month, at.day) - date(1970, 1, 1)).total_seconds())
    inputs = _inputs(printed)
    with _turn:
        try:
            made = _compiler().compile(
                sys_inputs=inputs, format="pdf", pdf_standards=STANDARD, timestamp=midnight
            )
        except typst.TypstError:
            # A name is in letters that our fonts have not: the machine's may have them.
            made = typst.compile(TEMPLATE, sys_inputs=inputs, format="pdf", timestamp=midnight)
    assert isinstance(made, bytes)
    return made


def _inputs(printed: Printed) -> dict[str, str]:
    values: dict[str, Any] = msgspec.to_builtins(printed)
    at = printed.date
    values["date"] = {"year": at.year, "month": at.month, "day": at.day}
    return {"document": json.dumps(values)}


@lru_cache(maxsize=1)
def _compiler() -> typst.Compiler:
    # Fonts of the machine are left out: a document looks the same wherever it is made.
    return typst.Compiler(TEMPLATE, root=TEMPLATE.parent, ignore_system_fonts=True)


def amount(minor: int, currency: str) -> str:
    """Minor units as people write them: -123456, usd -> −1,234.56 USD."""
    digits = digits_of(currency)
    whole, rest = divmod(abs(minor), 10**digits)
    sign = "−" if minor < 0 else ""
    fraction = f".{rest:02}" if digits else ""
    return f"{sign}{whole:,}{fraction} {currency.upper()}"


def unit_price(micros: int | None, currency: str) -> str:
    """µ for one unit: at least two digits behind the point, as many more as it has."""
    if micros is None:
        return ""
    whole, rest = divmod(abs(micros), 1_000_000)
    fraction = f"{rest:06}".rstrip("0").ljust(2, "0")
    sign = "−" if micros < 0 else ""
    return f"{sign}{whole:,}.{fraction} {currency.upper()}"


def described(printed: Printed, label: str) -> Sequence[Any]:
    """What the document says of itself under a label, as typst sees it: for tests."""
    found = typst.query(str(TEMPLATE), f"<{label}>", field="value", sys_inputs=_inputs(printed))
    values: list[Any] = json.loads(found)
    return values
