"""A CSV trace of real calls, and the seeded rule that gives each call a customer and a model.

The trace names nobody, so a rule does: the same row gets the same workspace, model, key and
alias on every machine and in every run.
"""

import csv
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
WORKSPACES = 50
SEED = "daybook-trace-1"
API_KEYS = ("key_web", "key_app", "key_batch")
ALIASES = ("alice", "bruno", "chiara", "dmitri")


class TraceUnusable(RuntimeError):
    """The file is no trace; the message names the line."""


class Call(NamedTuple):
    """One line: `row` counts from 1, `at` is UTC, cut to whole microseconds."""

    row: int
    at: datetime
    input: int
    output: int


@dataclass(frozen=True)
class Trace:
    """A whole file. `id` is made of its name and content, so that edits make another trace."""

    id: str
    calls: tuple[Call, ...]  # in the order of the file

    @property
    def begin(self) -> datetime:
        """When its first call was made."""
        return min(call.at for call in self.calls)


def read_trace(path: Path, *, limit: int | None = None) -> Trace:
    """Read a file, or its first `limit` calls.

    :raises TraceUnusable: it cannot be read, or a line is not what the columns promise.
    """
    try:
        content = path.read_bytes()
        lines = content.decode().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TraceUnusable(f"{path} cannot be read: {error}") from None
    reader = csv.reader(lines)
    if tuple(next(reader, ())) != COLUMNS:
        raise TraceUnusable(f"{path}: the first line must be {','.join(COLUMNS)}")
    calls: list[Call] = []
    for row, line in enumerate(reader, 1):
        if limit is not None and row > limit:
            break
        try:
            at, context, generated = line
            calls.append(Call(row, _instant(at), _count(context), _count(generated)))
        except ValueError as error:
            raise TraceUnusable(f"{path}, line {row + 1}: {error}") from None
    if not calls:
        raise TraceUnusable(f"{path} holds no calls")
    return Trace(f"{path.stem[:60]}-{hashlib.sha256(content).hexdigest()[:12]}", tuple(calls))


def _instant(text: str) -> datetime:
    """`2023-11-16 18:15:46.6805900`: the seventh digit is cut, a microsecond is our finest."""
    whole, _, fraction = text.strip().partition(".")
    if fraction and not (fraction.isascii() and fraction.isdigit()):
        raise ValueError(f"{text!r} is not an instant")
    at = datetime.strptime(whole, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    return at + timedelta(microseconds=int(fraction[:6].ljust(6, "0")))


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"{text!r} is not a number of tokens")
    return int(text)


class Price(NamedTuple):
    """A model and its list price in USD per million tokens, as the price book says."""

    llm_model: str
    provider: str  # "": any
    input: Decimal
    output: Decimal


def workspace_name(number: int) -> str:
    """The name of one of the 50 customers: trace-00 to trace-49."""
    return f"trace-{number:02d}"


class Rule:
    """Who made a call, with which model. Depends on the row and the price list alone."""

    def __init__(self, trace: Trace, prices: Sequence[Price], markup_bps: int) -> None:
        self._trace = trace
        self._prices = sorted(prices)
        self._markup = 1 + Fraction(markup_bps, 10_000)

    def workspace(self, call: Call) -> int:
        """The number of the workspace that made the call."""
        return _draw(call.row, "workspace") % WORKSPACES

    def price(self, call: Call) -> Price:
        """The model that answered, with its price."""
        return self._prices[_draw(call.row, "model") % len(self._prices)]

    def cost(self, call: Call) -> int:
        """What the call must cost, in µ: exact rationals, rounded once, ties to even.

        Written without the ledger's own arithmetic on purpose: this is what checks it. A USD
        price per million tokens is the same number in µ per token.
        """
        price = self.price(call)
        exact = call.input * Fraction(price.input) + call.output * Fraction(price.output)
        return round(exact * self._markup)

    def usage(self, call: Call, shift: timedelta) -> dict[str, Any]:
        """The body of the usage event; the same call and shift make the same body for ever."""
        price = self.price(call)
        body: dict[str, Any] = {
            "event_id": f"{self._trace.id}-{call.row:06d}",
            "meter": "chat",
            "occurred_at": (call.at + shift).isoformat().replace("+00:00", "Z"),
            "mode": "record",
            "llm_model": price.llm_model,
            "tokens": {"input": call.input, "output": call.output},
            "api_key_id": API_KEYS[_draw(call.row, "key") % len(API_KEYS)],
            "model_username": ALIASES[_draw(call.row, "alias") % len(ALIASES)],
        }
        if price.provider:
            body["provider"] = price.provider
        return body


def _draw(row: int, what: str) -> int:
    digest = hashlib.sha256(f"{SEED}:{what}:{row}".encode()).digest()
    return int.from_bytes(digest[:8], "big")
