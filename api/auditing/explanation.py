"""Why was I charged this? One act, from its price to the balance, out of its event alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from uuid import UUID

from api.auditing.conversion import Conversion, Share, conversion_of, share_of
from domain.account.credit_facts import CreditAccountOpened
from domain.account.usage import Tokens, Usage
from domain.account.usage_facts import (
    Debited,
    Draw,
    UsageRated,
    UsageRecorded,
    UsageVoided,
    priced_later,
)
from domain.catalogue.price_book import PER, Rated, exact_cost
from domain.commands import Book
from domain.facts import Recorded
from domain.identity import account_id, parse_usage_id


@dataclass(frozen=True, slots=True)
class Line:
    """One kind of token: how many, at which price (µ a million), and what that is exactly (µ)."""

    name: str
    tokens: int
    price: int

    @property
    def cost(self) -> Fraction:
        """µ, before any rounding."""
        return Fraction(self.tokens * self.price, PER)


@dataclass(frozen=True, slots=True)
class Formula:
    """The rating of an act, step by step. Amounts in µ."""

    lines: tuple[Line, ...]
    price: tuple[int, int, int, int]
    price_book_version: int
    exact: Fraction
    total: int
    provider_cost: int

    @property
    def provider_exact(self) -> Fraction:
        """What the provider's price comes to, before any rounding."""
        return sum((line.cost for line in self.lines), Fraction(0))

    @property
    def markup_bps(self) -> int:
        """The markup in basis points."""
        return self.price[3]

    @property
    def markup(self) -> int:
        """The markup's part of the total, for display."""
        return self.total - self.provider_cost

    @property
    def is_rounded(self) -> bool:
        """Whether the exact amount was between two micros."""
        return self.exact.denominator != 1


@dataclass(frozen=True, slots=True)
class Explanation:
    """All there is to know about one act. ``charged`` is the wallet's part in µ; ``conversion`` is
    None where no units are counted, ``formula`` while the act has no price, ``share`` where units
    did not pay a part of it; ``version`` and ``position`` say where its event stands."""

    usage_id: str
    usage: Usage
    occurred_at: datetime
    recorded_at: datetime
    actor: str
    kind: str
    stream: str
    version: int
    position: int
    cause: str
    draws: tuple[Draw, ...]
    cycle_id: str | None
    units: int
    late: bool
    conversion: Conversion | None
    formula: Formula | None
    share: Share | None
    charged: int
    balance_before: int
    balance_after: int
    void: UsageVoided | None
    void_position: int | None

    @property
    def invoiced(self) -> int:
        """µ of overage: what the invoice of its cycle will ask for this act."""
        return sum(draw.amount for draw in self.draws if draw.source == "overage")

    @property
    def debt(self) -> int:
        """What no grant covered, in µ: the part that became debt."""
        return sum(d.amount - sum(d.grants.values()) for d in self.draws if d.source == "wallet")


async def owner_of(book: Book, usage_id: str) -> str:
    """The workspace on whose account an act stands; "" where there is no such account."""
    place = parse_usage_id(usage_id)
    opened = await book.find(place[0], 1) if place is not None else None
    fact = opened[0].fact if opened is not None else None
    return fact.workspace_id if isinstance(fact, CreditAccountOpened) else ""


async def explain(book: Book, workspace_id: str, usage_id: str) -> Explanation | None:
    """The explanation of an act, or None where this workspace has no such act."""
    place = parse_usage_id(usage_id)
    if place is None or place[0] != account_id(workspace_id):
        return None
    found = await book.find(*place)
    if found is None:
        return None
    recorded, position = found
    act = recorded.fact
    if not isinstance(act, Debited | UsageRecorded) or act.usage is None:
        return None
    usage, occurred_at = act.usage, act.usage.occurred_at or act.recorded_at
    conversion = await conversion_of(book, act, position)
    if isinstance(act, UsageRecorded) and act.rated is None:
        act, paid = await _priced_later(book, place[0], usage_id, act)
        if paid is not None:
            recorded, position = paid
    rating = formula(usage.tokens, act.rated) if act.rated else None
    charged, after = await _wallet_move(book, recorded)
    voided = await book.find_cause(place[0], f"void:{usage_id}")
    void = voided[0].fact if voided else None
    return Explanation(
        usage_id=usage_id,
        usage=usage,
        occurred_at=occurred_at,
        recorded_at=act.recorded_at,
        actor=act.actor,
        kind=type(act).__name__,
        stream=str(recorded.originator_id),
        version=recorded.originator_version,
        position=position,
        cause=act.unique_cause(),
        draws=act.draws,
        cycle_id=act.cycle_id,
        units=act.units,
        late=act.late,
        conversion=conversion,
        formula=rating,
        share=share_of(act, rating.exact) if rating else None,
        charged=charged,
        balance_before=after + charged,
        balance_after=after,
        void=void if isinstance(void, UsageVoided) else None,
        void_position=voided[1] if voided else None,
    )


def formula(tokens: Tokens, rated: Rated) -> Formula:
    """The rating of these tokens, by the price that the event carries."""
    p_in, p_cached, p_out, _ = rated.price
    lines = [Line("Input", tokens.input - tokens.cached_input, p_in)]
    if tokens.cached_input:
        lines.append(Line("Input, cached", tokens.cached_input, p_cached))
    lines.append(Line("Output", tokens.output, p_out))
    return Formula(
        tuple(lines),
        rated.price,
        rated.price_book_version,
        Fraction(*exact_cost(tokens, rated.price)),
        rated.total,
        rated.provider_cost,
    )


async def _priced_later(
    book: Book, stream: UUID, usage_id: str, act: UsageRecorded
) -> tuple[Debited | UsageRecorded, tuple[Recorded, int] | None]:
    """An act with the price that it got after it was recorded, and the debit that followed, if
    any."""
    found = await book.find_cause(stream, f"rating:{usage_id}")
    if found is None or not isinstance(found[0].fact, UsageRated):
        return act, None
    paid = await book.find_cause(stream, f"rated_debit:{usage_id}")
    debit = paid[0].fact if paid is not None else None
    assert debit is None or isinstance(debit, Debited)
    return priced_later(act, found[0].fact, debit), paid


async def _wallet_move(book: Book, recorded: Recorded) -> tuple[int, int]:
    """(µ that left the wallet, µ that were in it afterwards)."""
    fact = recorded.fact
    if isinstance(fact, Debited):
        return fact.amount, fact.balance_after
    return 0, await book.balance_at(recorded.originator_id, recorded.originator_version)
