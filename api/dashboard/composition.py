"""What a balance is made of, for people: grants in the order they burn, debt, included units."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from domain.account.credit_account import CreditAccount
from domain.account.credit_facts import Credited, CreditSource, FreezeReason
from domain.account.wallet import Category, Grant
from domain.commands import Book

GRANTS_MAX = 20
BAR = 1000  # units of the bar's width

NAMES: Mapping[CreditSource, str] = {
    "card_topup": "Card top-up",
    "auto_topup": "Automatic top-up",
    "manual_payment_ref": "Payment",
    "promo": "Promotional credit",
    "adjustment": "Credit by an administrator",
}


@dataclass(frozen=True, slots=True)
class Holding:
    """One open grant. ``remaining`` and ``amount`` (what it opened with) in µ."""

    grant_id: str
    name: str
    category: Category
    priority: int
    expires_at: datetime | None
    credited_at: datetime | None
    ref: str | None
    remaining: int
    amount: int | None


@dataclass(frozen=True, slots=True)
class Part:
    """A grant's piece of the bar, in thousandths of its width."""

    category: Category
    x: int
    width: int


@dataclass(frozen=True, slots=True)
class Included:
    """Units that the plan includes, and what was used beyond them: ``overage`` in µ, so far in
    this cycle, and ``beyond`` the µ of the next such unit (None: overage is off, or there is
    none). ``resets_at`` is None where they are granted once."""

    name: str
    granted: int
    remaining: int
    resets_at: datetime | None
    beyond: int | None
    overage_units: int
    overage: int

    @property
    def width(self) -> int:
        """What is left, in thousandths of the whole."""
        return self.remaining * BAR // self.granted if self.granted else 0


@dataclass(frozen=True, slots=True)
class Composition:
    """An account at one moment. Amounts in µ; only the first ``GRANTS_MAX`` grants are listed.
    ``spends_money``: whether any act here is paid out of the balance, or units pay for all."""

    balance: int
    debt: int
    currency: str
    plan: str
    freezes: tuple[tuple[FreezeReason, str], ...]
    grants: tuple[Holding, ...]
    grants_left_out: int
    parts: tuple[Part, ...]
    buckets: tuple[Included, ...]
    spends_money: bool


async def compose(book: Book, account: CreditAccount) -> Composition:
    """Say what the account's balance is made of; looks up where each grant came from."""
    grants = account.wallet.grants
    shown = grants[:GRANTS_MAX]
    return Composition(
        balance=account.balance,
        debt=account.wallet.debt,
        currency=account.currency,
        plan=account.plan,
        freezes=account.freezes,
        grants=tuple([await _holding(book, account, grant) for grant in shown]),
        grants_left_out=len(grants) - len(shown),
        parts=bar(grants),
        buckets=tuple(included(account)),
        spends_money=spends_money(account),
    )


def spends_money(account: CreditAccount) -> bool:
    """Whether the plan lets any meter draw on the balance."""
    waterfalls = account.policy.waterfalls.values() if account.policy else ()
    return any(source.startswith("wallet") for sources in waterfalls for source in sources)


def included(account: CreditAccount) -> Iterator[Included]:
    """The buckets of the plan, by name."""
    policy = account.policy
    end = policy.period_end if policy else None
    prices = policy.overage_unit_price if policy and policy.overage_enabled else {}
    for name, bucket in sorted(account.buckets.items()):
        yield Included(
            name,
            bucket.granted,
            bucket.remaining,
            bucket.resets_at(end),
            prices.get(name),
            *account.overage.get(name, (0, 0)),
        )


async def grant_name(book: Book, account: CreditAccount, grant_id: str) -> str:
    """What a grant is called, also after it is spent."""
    opened = await _opened(book, account, int(grant_id[1:]))
    if opened is None:
        return f"Grant {grant_id}"
    ref = _ref(opened)
    return f"{_name(opened)} {ref}" if ref else _name(opened)


def bar(grants: Sequence[Grant]) -> tuple[Part, ...]:
    """The grants' shares side by side; they fill the bar exactly."""
    total = sum(grant.remaining for grant in grants)
    parts, before = [], 0
    for grant in grants:
        x = before * BAR // total
        before += grant.remaining
        if width := before * BAR // total - x:
            parts.append(Part(grant.category, x, width))
    return tuple(parts)


async def _holding(book: Book, account: CreditAccount, grant: Grant) -> Holding:
    opened = await _opened(book, account, grant.opened)
    return Holding(
        grant.grant_id,
        _name(opened) if opened else f"Grant {grant.grant_id}",
        grant.category,
        grant.priority,
        grant.expires_at,
        opened.recorded_at if opened else None,
        _ref(opened) if opened else None,
        grant.remaining,
        opened.amount if opened else None,
    )


async def _opened(book: Book, account: CreditAccount, version: int) -> Credited | None:
    place = (account.id, version)
    if place not in _OPENED:
        found = await book.find(*place)
        if found is None or not isinstance(found[0].fact, Credited):
            return None  # a void that reopened a grant, say
        if len(_OPENED) >= 10_000:
            _OPENED.clear()
        _OPENED[place] = found[0].fact
    return _OPENED[place]


_OPENED: dict[tuple[object, int], Credited] = {}
"""Credits that were looked up before; facts never change, so they cannot go stale."""


def _name(opened: Credited) -> str:
    return opened.reason or NAMES[opened.source]


def _ref(opened: Credited) -> str | None:
    return opened.payment_ref or opened.ticket_ref
